"""Terms for firing rates: the final rate meets the time-mean of the eligibility, the running rate the present one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from conformance.neurons import kind
from torch import Tensor, nn

from tracetorch.network import reset, set_rule
from tracetorch.rates import FinalRate, RunningRate
from tracetorch.rules import Rule, bptt, drtrl, eprop, ottt, traced_bptt
from tracetorch.testing.conformance.case import Case, Finding, sensible
from tracetorch.testing.conformance.kind import SOFT, Kind
from tracetorch.testing.conformance.setup import BATCH, INPUTS, STEPS, UNITS, Setup, build, layer, readout, stream
from tracetorch.testing.oracle import Cuts, gradients_of, open_graph
from tracetorch.testing.running import rule_gradients

STRENGTH, TARGET, LIFE = 3.0, 0.12, 4.0


def hidden(k: Kind, recurrent: float = 0.0) -> Setup:
    """Return one spiking layer and a readout."""
    return build(layer(INPUTS, UNITS, k.make, recurrent=recurrent), readout(), xs=stream(INPUTS))


def spikes_of(net: nn.Module, xs: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs and the first layer's spikes, `[T, B, ...]` each, with recurrent spikes detached."""
    twin, oracles = open_graph(net, Cuts(recurrent=True))
    outputs: list[Tensor] = []
    oracles[0].register_forward_hook(lambda module, args, z: outputs.append(z))
    ys = torch.stack([twin(x) for x in xs])
    return ys, torch.stack(outputs)


def final_term(zs: Tensor) -> Tensor:
    """Return half the squared distance of mean rates to the target, of spikes `[T, B, units]`, over the batch."""
    return 0.5 * STRENGTH * ((zs.mean(0) - TARGET) ** 2).sum() / BATCH


def running_term(zs: Tensor) -> Tensor:
    """Return the spikes weighted by how far the running rate, a constant, is from the target."""
    decay, running, weight, total = 0.5 ** (1 / LIFE), torch.zeros_like(zs[0]), 0.0, zs.new_zeros(())
    for z in zs:
        running, weight = decay * running + z.detach(), decay * weight + 1.0
        total = total + ((running / weight - TARGET) * z).sum()
    return STRENGTH * total / BATCH


def run_with(
    setup: Setup, rule: Rule, splits: list[int], *, running: bool, resets: dict[int, Tensor | None], losses: bool
) -> Mapping[str, Tensor]:
    """Run a rule with a term added to the loss: at each window, or after the last one."""
    net = setup.net
    set_rule(net, rule)
    reset(net)
    term = RunningRate(net, TARGET, STRENGTH, half_life=LIFE) if running else FinalRate(net, TARGET, STRENGTH)

    def loss(ys: Tensor, steps: slice) -> Tensor:
        own = setup.loss(ys, steps) if losses else 0.0 * ys.sum()
        return own + term() if running or steps.stop == len(setup.xs) else own

    return rule_gradients(net, setup.xs, loss, splits=splits, resets=resets).grads


def with_loss(k: Kind, rule: Rule, splits: list[int], recurrent: float, running: bool) -> list[Finding]:
    """Loss and term together have the gradient of their sum by autograd."""
    setup = hidden(k, recurrent)
    ys, zs = spikes_of(setup.net, setup.xs)
    term = running_term(zs) if running else final_term(zs)
    want = gradients_of(setup.loss(ys, slice(0, STEPS)) + term, setup.net)
    return sensible(run_with(setup, rule, splits, running=running, resets={}, losses=True), want)


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of a neuron."""
    for running in (False, True):
        claim = "running rate = rate times eligibility" if running else "final rate = BPTT of the mean rate"
        yield Case(claim, f"eprop, {k.name}", partial(with_loss, k, eprop(), [4, 0, STEPS - 5], 0.0, running))
        yield Case(claim, f"eprop steps, {k.name}", partial(with_loss, k, eprop(), [0] * STEPS, 0.0, running))
        yield Case(claim, f"eprop, recurrent {k.name}", partial(with_loss, k, eprop(), [6, STEPS - 6], 1.0, running))


def alone(k: Kind, rule: Rule, splits: list[int], running: bool, whole: bool | None) -> list[Finding]:
    """The term alone, also where rows start again in the middle: all at once (`whole`), or some of them."""
    setup, at = hidden(k), sum(max(s, 1) for s in splits[:2])
    mask = torch.tensor([True, False, True])
    resets: dict[int, Tensor | None] = {} if whole is None else {at: None if whole else mask}
    got = run_with(setup, rule, splits, running=running, resets=resets, losses=False)
    total = torch.zeros((), dtype=torch.float64)
    for b in range(BATCH):
        again = whole is not None and (whole or bool(mask[b]))
        pieces = [setup.xs[:at], setup.xs[at:]] if again else [setup.xs]
        for piece in pieces if running else pieces[-1:]:
            _, zs = spikes_of(setup.net, piece[:, b : b + 1])
            total = total + (running_term(zs) if running else final_term(zs))
    return sensible(got, gradients_of(total, setup.net))


def splits_agree(k: Kind, rule: Rule, running: bool) -> list[Finding]:
    """The term is the same over single steps and windows, also where a presynaptic trace approximates."""
    setup = hidden(k)
    one, other = (
        run_with(setup, rule, splits, running=running, resets={}, losses=True)
        for splits in ([0] * STEPS, [4, 0, STEPS - 5])
    )
    return sensible(other, one)


def cases() -> Iterator[Case]:
    """Yield the cases of each rule that it goes with."""
    k = SOFT
    for running in (False, True):
        claim = "running rate = rate times eligibility" if running else "final rate = BPTT of the mean rate"
        for name in ("LIF soft, gradient", "ALIF, gradient", "SynapticLIF, gradient", "LIF per unit"):
            check = partial(splits_agree, kind(name), ottt(approximate=True), running)
            yield Case(claim, f"ottt, approximate where it must, {name}", check)
        for rule in (drtrl(), eprop(), ottt(), traced_bptt(), bptt()):
            splits = [4, 0, STEPS - 5]
            yield Case(claim, f"{rule}, alone", partial(alone, k, rule, splits, running, None))
            yield Case(claim, f"{rule}, after reset(net)", partial(alone, k, rule, splits, running, True))
            yield Case(claim, f"{rule}, after reset(mask)", partial(alone, k, rule, splits, running, False))
