"""Resolve a rule for one layer: what its neuron can represent, and what follows it in the network."""

from __future__ import annotations

import torch
from torch import Tensor

from tracetorch.neurons import Neuron, Readout
from tracetorch.neurons.base import Constant
from tracetorch.neurons.blocks import generic_blocks
from tracetorch.rules.rule import Rule
from tracetorch.traces.credit import Factor, Full, Graph, NoTrace, Pre
from tracetorch.traces.plan import Plan, Values


def resolve(rule: Rule, neuron: Neuron, unit: tuple[int, ...], follower: Neuron | None) -> Plan:
    """Decide what a layer traces under a rule.

    Args:
        rule: the rule.
        neuron: the layer's neuron.
        unit: shape of its units.
        follower: the neuron of the layer that it feeds directly, or None where that is unknown.

    Returns:
        The plan.

    Raises:
        ValueError: if a presynaptic trace cannot represent the neuron, or the output filter has no one decay.
    """
    weight = rule.weight
    if isinstance(weight, Graph):
        return Plan("graph", "window", traces_neuron=False)
    if isinstance(weight, NoTrace):
        return Plan("none", rule.input, traces_neuron=False)
    readout = isinstance(neuron, Readout)
    if isinstance(weight, Factor) and not readout:
        return Plan(
            "factor",
            "trace",
            sequence=rule.window == "sequence",
            uniform=weight.uniform,
            buckets=weight.buckets,
            filtered=True,
        )
    credit = "gain" if isinstance(weight, Factor) else rule.input
    filtered = _filtered(rule, neuron, follower)
    if isinstance(weight, Pre):
        exact = neuron.constant(unit, detach_reset=weight.detach_reset) is not None
        if not exact and not weight.approximate:
            raise ValueError(
                f"rule {rule.name!r} keeps one trace per input, which cannot represent {_why(neuron)}; "
                f"tt.rules.drtrl() is exact here, or pass approximate=True to take the blocks at rest"
            )
        true = exact and neuron.constant(unit) is not None
        return Plan(
            "pre",
            credit,
            detach_reset=weight.detach_reset,
            approximate=not true,
            filtered=filtered,
        )
    storage = "full" if neuron.constant(unit) is None else "pre"
    return Plan(storage, credit, filtered=filtered)  # type: ignore[arg-type]


def _filtered(rule: Rule, neuron: Neuron, follower: Neuron | None) -> bool:
    if rule.kappa == 0 or not isinstance(rule.weight, Full | Pre) or isinstance(neuron, Readout):
        return False
    if follower is not None and not isinstance(follower, Readout):
        return False
    if rule.kappa is not None:
        return True
    if follower is None:
        return False
    decay = follower.decay
    if decay is None or decay.numel() > 1:
        raise ValueError(
            f"rule {rule.name!r} filters a layer's eligibility with its readout's one decay, but the readout "
            f"{type(follower).__name__} has {0 if decay is None else decay.numel()}; give the readout one decay, "
            f"tell the rule kappa=..., or take tt.rules.drtrl()"
        )
    return True


def _why(neuron: Neuron) -> str:
    kind = type(neuron).__name__
    decay = neuron.decay
    if decay is not None and decay.numel() > 1:
        return f"{kind} with a decay per neuron"
    return f"the dynamics of {kind} (adaptation, recurrence, a hard reset or a reset that keeps its gradient)"


def at_rest(neuron: Neuron, unit: tuple[int, ...], like: Tensor) -> Constant:
    """Return the blocks A and B at zero state and current, averaged over units.

    Args:
        neuron: the neuron, bound to its parameters.
        unit: shape of its units.
        like: a tensor whose dtype and device the state has.

    Returns:
        A, `[S, S]`, and B, `[S]`.
    """
    zero = like.new_zeros((1, *unit))
    blocks = generic_blocks(neuron, tuple(zero for _ in (*neuron.state, *neuron.counters)), zero, {})
    mean = [[like.new_zeros(()) if x is None else x.mean() for x in row] for row in (*blocks.A, blocks.B)]
    return torch.stack([torch.stack(row) for row in mean[:-1]]), torch.stack(mean[-1])


def values(
    plan: Plan, rule: Rule, neuron: Neuron, unit: tuple[int, ...], *, readout: Neuron | None, like: Tensor
) -> Values:
    """Return the numbers that a plan needs now.

    Args:
        plan: the plan.
        rule: the rule it resolves.
        neuron: the layer's neuron, bound to its parameters.
        unit: shape of its units.
        readout: the neuron of the next readout in the network, or None.
        like: a tensor whose dtype and device the state has.

    Returns:
        The numbers.
    """
    transition = drive = decays = None
    if plan.storage == "pre":
        # A graph cannot probe; where a probe has found the blocks constant, they are those at rest.
        probes = torch.compiler.is_compiling() and type(neuron).constant is Neuron.constant
        constant = None if probes else neuron.constant(unit, detach_reset=plan.detach_reset)
        transition, drive = at_rest(neuron, unit, like) if constant is None else constant
        transition, drive = transition.to(like), drive.to(like)
    if plan.storage == "factor":
        own = neuron.decay
        decays = like.new_ones(()) if plan.uniform or own is None else own.detach()
    return Values(_filter(plan, rule, neuron, readout, like) if plan.filtered else 0.0, transition, drive, decays)


def _filter(plan: Plan, rule: Rule, neuron: Neuron, readout: Neuron | None, like: Tensor) -> Tensor | float:
    if plan.storage == "factor":
        told = rule.weight.decay if isinstance(rule.weight, Factor) else None
        if plan.uniform:
            return 1.0
        decay = neuron.decay if readout is None or readout.decay is None else readout.decay
    else:
        told = rule.kappa
        decay = None if readout is None else readout.decay
    if told is not None:
        return told
    return 1.0 if decay is None else decay.detach().mean().to(like)
