"""Audit several rules on one network: how near each layer's gradient is to BPTT's, what fires, what it costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from tracetorch.firing import Firing
from tracetorch.linking import layers
from tracetorch.network import get_state, reset
from tracetorch.rules import PRESETS, Rule
from tracetorch.testing.agreement import Agreement, agreement
from tracetorch.testing.clone import clone
from tracetorch.testing.liveness import firing_rates
from tracetorch.testing.oracle import Loss, Out, bptt, learned
from tracetorch.testing.peak import PeakBytes
from tracetorch.testing.rule_audit import Cost, RuleAudit
from tracetorch.testing.running import rule_gradients, split

Grads: TypeAlias = Mapping[str, Tensor]
Pair: TypeAlias = tuple[Tensor, Tensor]
PairLoss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
REPEATS = 3


@dataclass(frozen=True)
class Subject:
    """What is audited with one seed: a network, inputs `[T, B, *in]` on which firing is measured, and two functions.

    From a copy of the network, with rule and number format set, `run` and `reference` (BPTT) return its gradients.
    """

    net: nn.Module
    xs: Tensor
    run: Callable[[nn.Module], Grads]
    reference: Callable[[nn.Module], Grads]


def audit(
    net: nn.Module | Callable[[int], nn.Module],
    batch: Pair | Callable[[int], Pair],
    loss: PairLoss,
    *,
    rules: Mapping[str, Rule] | None = None,
    seeds: Iterable[int] = (0,),
    window: int | None = None,
    out: Out = "last",
) -> RuleAudit:
    """Compare the gradients of several rules with that of BPTT, layer by layer, and measure what the rules cost.

    Gradients are computed in double precision on copies of the network, time and memory in its own format. A cosine
    says nothing about a layer that does not fire: units that are silent or saturated are counted and listed.

    Args:
        net: the network, or a function that makes it from a seed.
        batch: inputs `[T, B, *in]` and targets, or a function that makes both from a seed.
        loss: from outputs `[B, *out]` and targets to a scalar, for example `torch.nn.functional.cross_entropy`.
        rules: rules by the name that the table shows; None for every preset with its defaults.
        seeds: a network, a batch and random feedback for each. One alone is enough where net and batch are fixed.
        window: steps in each window, with a backward after each where there is a loss; None is one scan of all steps.
        out: `"last"` for a loss on the last output; `"all"` for the sum of one at every step, with targets
            `[T, B, ...]`.

    Returns:
        The audit: print it for a table, `as_dict()` is JSON, `tracetorch.plot.cosines` draws it.

    Raises:
        ValueError: if the batch does not fit, there is no rule or no seed, or no parameter is learned.

    Example:
        >>> import torch, tracetorch as tt
        >>> def net(seed):
        ...     torch.manual_seed(seed)
        ...     stack = [tt.Layer(torch.nn.Linear(8, 8), tt.LIF(half_life=5, threshold=0.3)) for _ in range(2)]
        ...     return torch.nn.Sequential(*stack, torch.nn.Linear(8, 2))
        >>> batch = torch.rand(12, 4, 8), torch.tensor([0, 1, 0, 1])
        >>> rules = {"cascade": tt.rules.cascade(), "sltt": tt.rules.sltt()}
        >>> audit = tt.testing.audit(net, batch, torch.nn.functional.cross_entropy, rules=rules, seeds=range(3))
        >>> min(found.cosine for found in audit.agreements["cascade"]["0"]) > 0.999999
        True
    """
    rules = {name: make() for name, make in PRESETS.items()} if rules is None else rules
    plan = tuple(dict.fromkeys(seeds))

    def subject(seed: int) -> Subject:
        with _seeded(seed):
            made = net if isinstance(net, nn.Module) else net(seed)
            xs, targets = batch(seed) if callable(batch) else batch
        return _of_batch(made, xs, targets, loss, (window, out))

    return audit_subjects(subject, rules, plan)


def _of_batch(net: nn.Module, xs: Tensor, targets: Tensor, loss: PairLoss, how: tuple[int | None, Out]) -> Subject:
    """Return the subject that a network, a batch and a loss are."""
    window, out = how
    if xs.dim() < 2 or 0 in xs.shape[:2]:
        raise ValueError(f"a batch's inputs are [time, batch, ...] with a step and a sample, got {list(xs.shape)}")
    if out not in ("last", "all"):
        raise ValueError(f"out is 'last' or 'all', got {out!r}")
    if window is not None and window < 1:
        raise ValueError(f"window is a positive number of time steps or None, got {window!r}")
    if out == "all" and targets.shape[:2] != xs.shape[:2]:
        raise ValueError(
            f"with out='all' targets are [time, batch, ...] as inputs are, {list(xs.shape[:2])}, got "
            f"{list(targets.shape)}: repeat what holds for all steps with targets.expand({len(xs)}, -1)"
        )
    splits = None if window is None else split(len(xs), window)

    def summed(ys: Tensor, steps: slice) -> Tensor:
        if out == "last":
            return loss(ys[-1], _as(targets, ys))
        return torch.stack([loss(y, t) for y, t in zip(ys, _as(targets[steps], ys), strict=True)]).sum()

    function: Loss = summed
    return Subject(
        net,
        xs,
        lambda twin: rule_gradients(twin, _like(xs, twin), function, splits=splits, out=out).grads,
        lambda twin: bptt(twin, _like(xs, twin), function, out=out).grads,
    )


def audit_subjects(
    subject: Callable[[int], Subject], rules: Mapping[str, Rule], seeds: tuple[int, ...], *, repeats: int = REPEATS
) -> RuleAudit:
    """Audit what a function makes of each seed; `repeats` timings of a rule, 0 for neither time nor memory."""
    if not rules or not seeds:
        raise ValueError(f"an audit needs at least one rule and one seed, got rules {list(rules)}, seeds {list(seeds)}")
    agreements: dict[str, dict[str, list[Agreement]]] = {}
    firing: dict[str, list[Firing]] = {}
    costs: dict[str, list[Cost]] = {}
    refused: dict[str, str] = {}
    for seed in seeds:
        one = subject(seed)
        if not learned(one.net):
            raise ValueError("no parameter of the network is learned: set requires_grad_(True) on what to audit")
        with _seeded(seed):
            exact = one.reference(clone(one.net, dtype=torch.float64))
        for name, found in firing_rates(one.net, _like(one.xs, one.net)).items():
            firing.setdefault(name, []).append(found)
        for name, rule in rules.items():
            if name in refused:
                continue
            try:
                with _seeded(seed):  # random feedback is drawn where a copy is made
                    grads = one.run(clone(one.net, rule=rule, dtype=torch.float64))
            except (ValueError, RuntimeError) as error:  # the reference passed, so it is the rule that refuses
                refused[name] = str(error)
                continue
            for part, names in parts(one.net).items():
                close = agreement(*(torch.cat([g[n].reshape(-1) for n in names]) for g in (grads, exact)))
                agreements.setdefault(name, {}).setdefault(part, []).append(close)
            if repeats:
                costs.setdefault(name, []).append(_cost(one, clone(one.net, rule=rule), repeats))
    served = {name: rows for name, rows in agreements.items() if name not in refused}
    return RuleAudit(seeds, served, firing, {name: costs[name] for name in served if repeats}, refused)


def parts(net: nn.Module) -> dict[str, list[str]]:
    """Return the names of a network's learned parameters by layer: synapses, neurons apart; other modules by name."""
    owners = layers(net)
    found: dict[str, list[str]] = {}
    for name in learned(net):
        owner = next((o for o in sorted(owners, key=len, reverse=True) if not o or name.startswith(f"{o}.")), None)
        if owner is None:
            part = name.rpartition(".")[0]
        else:
            inside = name.removeprefix(f"{owner}.") if owner else name
            part = f"{owner}.neuron".lstrip(".") if inside.startswith("neuron.") else owner
        found.setdefault(part, []).append(name)
    return found


def _cost(one: Subject, twin: nn.Module, repeats: int) -> Cost:
    """Return what a rule costs in the network's own number format."""
    one.run(twin)  # compiles kernels
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        one.run(twin)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    state = sum(value.numel() * value.element_size() for value in get_state(twin).values())
    reset(twin)
    with PeakBytes((one.xs, *twin.parameters())) as meter:
        one.run(twin)
    return Cost(statistics.median(seconds) / len(one.xs), meter.peak, state)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _as(targets: Tensor, ys: Tensor) -> Tensor:
    return targets.to(ys.dtype) if targets.is_floating_point() else targets


def _like(xs: Tensor, net: nn.Module) -> Tensor:
    """Return inputs in the network's number format; whole numbers stay as they are."""
    dtype = next((p.dtype for p in net.parameters() if p.is_floating_point()), xs.dtype)
    return xs.to(dtype) if xs.is_floating_point() else xs
