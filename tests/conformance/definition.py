"""Every rule by its definition: traces step by step, dense, with no shortcut, for chains of layers and modules."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from conformance.eligibility import features, step_eligibility, step_parameter_eligibility
from torch import Tensor, nn

from tracetorch.direct import chain
from tracetorch.layer import Layer
from tracetorch.neurons import LI, Mean, Neuron, Readout, Reset
from tracetorch.rules import NextMemory, ReadoutMemory
from tracetorch.synapses import synapse_of
from tracetorch.testing.agreement import Gradients
from tracetorch.testing.eligibility import UnitBlocks, unit_blocks
from tracetorch.testing.oracle import Loss, Out, current_of_call, learned
from tracetorch.traces import Factor, NoTrace, Pre, Rtrl, Smoothed, SnAp, SpikeTimes, Timing


@dataclass
class Record:
    """What a layer did in a sequence.

    Args:
        layer: the layer.
        xs: its inputs, `[T, B, *in]`.
        before: its states and counters before each step, `[T, B, *unit]` each.
        current: its currents, `[T, B, *unit]`.
        z: its outputs, `[T, B, *unit]`.
        kappa: decay of the output filter.
        q: decay of the output's running mean; None where rules that need one cannot know it.
    """

    layer: Layer
    xs: Tensor
    before: tuple[Tensor, ...]
    current: Tensor
    z: Tensor
    kappa: float
    q: float | None


def readout_decay(modules: Sequence[nn.Module]) -> float | None:
    """Return the one decay of the next readout among modules, 1 for `Mean`; None where there is none."""
    for module in modules:
        if isinstance(module, Layer) and isinstance(module.neuron, LI):
            return float(module.neuron.beta) if module.neuron.beta.numel() == 1 else None
        if isinstance(module, Layer) and isinstance(module.neuron, Mean):
            return 1.0
    return None


def filter_decay(layer: Layer, above: Sequence[nn.Module]) -> float:
    """Return kappa of a layer, which only one that no other spiking layer follows has.

    It is what the rule says, or the decay of the readout that follows; modules between do not count.
    """
    follower = next((module for module in above if isinstance(module, Layer)), None)
    if isinstance(layer.rule.above, NextMemory):
        if follower is None:
            return 0.0
        decay = follower.neuron.decay if layer.rule.above.kappa is None else torch.tensor(layer.rule.above.kappa)
        return 0.0 if decay is None else float(decay.detach().double())
    if isinstance(layer.neuron, Readout) or (follower is not None and not isinstance(follower.neuron, Readout)):
        return 0.0
    memory = layer.rule.above
    if not isinstance(memory, ReadoutMemory):
        return 0.0
    return float(memory.kappa if memory.kappa is not None else readout_decay(above) or 0.0)


@torch.no_grad()
def record(layer: Layer, xs: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """Run a layer's modules from a reset: outputs, states before each step, currents."""
    zs: list[Tensor] = []
    past: list[tuple[Tensor, ...]] = []
    currents: list[Tensor] = []
    state: tuple[Tensor, ...] | None = None
    for x in xs:
        current = layer.synapse(x)
        if state is None:
            state = tuple(layer.neuron.zeros(current))
        if layer.recurrent is not None:
            current = current + layer.recurrent(zs[-1] if zs else torch.zeros_like(current))
        past.append(state)
        currents.append(current)
        after, z = layer.neuron.step(layer.neuron.pack(state), current)
        state = tuple(after)
        zs.append(z)
    return torch.stack(zs), tuple(torch.stack(s) for s in zip(*past, strict=True)), torch.stack(currents)


def definition(net: nn.Module, xs: Tensor, loss_fn: Loss, *, out: Out = "all") -> Gradients:
    """Compute the gradient that each layer's rule is defined to give, for window-1 rules, `trace` and `rate`.

    Eligibilities are dense `[B, units, S, weights]` arrays, advanced one step at a time with per-unit Jacobians;
    ordinary modules between layers are differentiated at each step alone.

    Args:
        net: an `nn.Sequential`, nested as you like, of layers and modules; rules are read from the layers.
        xs: inputs, `[T, B, *in]`.
        loss_fn: a sum over steps, as for `bptt`.
        out: `"last"` for a loss on the last output alone.

    Returns:
        Outputs and gradients.

    Raises:
        ValueError: if a layer's rule has a window, or approximates its own trace.

    Example:
        >>> import torch, tracetorch as tt
        >>> from conformance.definition import definition
        >>> from tracetorch.testing import rule_gradients
        >>> net = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5), rule=tt.rules.drtrl())
        >>> xs, loss = torch.rand(9, 1, 3), lambda ys, steps: ys.sum()
        >>> found, reference = rule_gradients(net, xs, loss), definition(net, xs, loss)
        >>> torch.allclose(found.grads["synapse.weight"], reference.grads["synapse.weight"])
        True
    """
    modules = list(chain(net))
    records: list[Record | Tensor] = []
    zs = xs
    for i, module in enumerate(modules):
        if not isinstance(module, Layer):
            records.append(zs)
            with torch.no_grad():
                zs = torch.stack([module(x) for x in zs])
            continue
        given = module.rule.weight.decay if isinstance(module.rule.weight, Factor) else None
        q = readout_decay(modules[i + 1 :]) if given is None else given
        z, before, current = record(module, zs)
        kappa = filter_decay(module, modules[i + 1 :])
        records.append(Record(module, zs, before, current, z, kappa, q))
        zs = z
    ys = zs.detach().requires_grad_()
    last = slice(len(xs) - 1, len(xs))
    loss = loss_fn(ys[-1:], last) if out == "last" else loss_fn(ys, slice(0, len(xs)))
    (bars,) = torch.autograd.grad(loss, ys)
    total = {id(p): torch.zeros_like(p) for p in learned(net).values()}
    for module, rec in zip(reversed(modules), reversed(records), strict=True):
        bars = credit(rec, bars, total) if isinstance(rec, Record) else pass_through(module, rec, bars, total)
    grads = {n: total[id(p)] for n, p in learned(net).items()}
    return Gradients(ys[-1].detach() if out == "last" else ys.detach(), grads)


def pass_through(module: nn.Module, xs: Tensor, bars: Tensor, total: dict[int, Tensor]) -> Tensor:
    """Differentiate an ordinary module at each step; add to its gradients, return its inputs' cotangents."""
    params = [p for p in module.parameters() if p.requires_grad]
    downs = []
    for x, bar in zip(xs, bars, strict=True):
        leaf = x.detach().requires_grad_()
        down, *found = torch.autograd.grad(module(leaf), [leaf, *params], bar, allow_unused=True)
        downs.append(torch.zeros_like(leaf) if down is None else down)
        for p, g in zip(params, found, strict=True):
            if g is not None:
                total[id(p)] += g
    return torch.stack(downs)


def is_bias(synapse: nn.Module, name: str) -> bool:
    """Whether a parameter is a built-in synapse's bias, which has its own eligibility under every rule."""
    return name == "bias" and synapse_of(synapse).bias() is not None


def without_reset_gradient(neuron: Neuron) -> Neuron:
    """Return a copy of a neuron whose resets are detached."""
    twin = copy.deepcopy(neuron)
    for module in twin.modules():
        reset = getattr(module, "reset", None)
        if isinstance(reset, Reset):
            module.reset = dataclasses.replace(reset, gradient=False)  # type: ignore[assignment]
    return twin


def credit(rec: Record, bars: Tensor, total: dict[int, Tensor]) -> Tensor:
    """Credit one layer with its outputs' cotangents `[T, B, *unit]`; return the cotangents of its inputs."""
    layer, weight = rec.layer, rec.layer.rule.weight
    if layer.rule.window not in ("step", "sequence") or getattr(weight, "approximate", False):
        raise ValueError(f"the definition of {layer.rule} is not one of a step and a trace; use `traced` or `bptt`")
    if isinstance(weight, Rtrl | SnAp) and layer.recurrent is not None:
        raise ValueError(f"{layer.rule} credits through recurrent outputs, which the definition leaves out; use `bptt`")
    true = unit_blocks(layer.neuron, rec.before, rec.current)
    own = (
        unit_blocks(without_reset_gradient(layer.neuron), rec.before, rec.current) if isinstance(weight, Pre) else true
    )
    factor = isinstance(weight, Factor) and not isinstance(layer.neuron, Readout)
    gains, means = sensitivities(true, rec, uniform=isinstance(weight, Factor) and weight.uniform)
    late, at = means, bars
    if layer.rule.window == "sequence" and factor:
        late, at = means[-1:].expand_as(means), torch.cat([torch.zeros_like(bars[1:]), bars.sum(0, keepdim=True)])
    timed = isinstance(weight, SpikeTimes) and not isinstance(layer.neuron, Readout)
    sources = [(layer.synapse, rec.xs)]
    if layer.recurrent is not None:
        sources.append((layer.recurrent, torch.cat([torch.zeros_like(rec.z[:1]), rec.z[:-1]])))
    for module, inputs in sources:
        J = features(module, inputs.flatten(0, 1))
        for name, p in module.named_parameters():
            if p.requires_grad:
                j = J[name].reshape(*inputs.shape[:2], *J[name].shape[1:])
                blocks = true if is_bias(module, name) else own
                leaky = not isinstance(layer.neuron, Readout) and not is_bias(module, name)
                if timed and not leaky:
                    continue
                if timed and isinstance(weight, SpikeTimes):
                    found = by_spike_times(weight, rec.z, at, j)
                elif leaky and isinstance(weight, Timing):
                    found = by_timing(weight, true.psi, at, j)
                elif leaky and isinstance(weight, Smoothed):
                    found = by_smoothed(weight, true, at, j)
                else:
                    found = by_mean(rec, means, at, j) if factor else by_trace(rec, blocks, at, j)
                total[id(p)] += found.reshape(p.shape)
    for name, p in layer.neuron.named_parameters():
        if p.requires_grad and not timed:
            total[id(p)] += by_parameter(rec, true, at, name, factor=factor).sum_to_size(p.shape)
    below = late if factor else (gains if layer.rule.input in ("gain", "trace") else true.psi)
    if isinstance(layer.rule.weight, Factor) and isinstance(layer.neuron, Readout):
        below = gains
    return send(layer, rec.xs, below * bars)


def sensitivities(blocks: UnitBlocks, rec: Record, *, uniform: bool) -> tuple[Tensor, Tensor]:
    """Return the sensitivity to a constant current, `g`, and its running mean, each `[T, B, *unit]`."""
    q = 1.0 if uniform else rec.q
    sigma = torch.zeros_like(blocks.B[0])
    summed, weight = torch.zeros_like(blocks.psi[0]), 0.0
    gains, means = [], []
    for t in range(len(blocks.psi)):
        g = (blocks.D[t] * sigma).sum(-1) + blocks.psi[t]
        sigma = torch.einsum("...rs,...s->...r", blocks.A[t], sigma) + blocks.B[t]
        gains.append(g)
        if q is not None:
            summed, weight = q * summed + g, q * weight + 1.0
            means.append(summed / weight)
    return torch.stack(gains), torch.stack(means) if means else torch.full_like(blocks.psi, float("nan"))


def by_trace(rec: Record, blocks: UnitBlocks, bars: Tensor, J: Tensor) -> Tensor:
    """Return the gradient of weights by their eligibility; `J` is `[T, B, units, weights]`."""
    steps, batch, units, weights = J.shape
    full = not isinstance(rec.layer.rule.weight, NoTrace)
    E = J.new_zeros(batch, units, blocks.B.shape[-1], weights)
    filtered, found = J.new_zeros(batch, units, weights), J.new_zeros(weights)
    for t in range(steps):
        e, after = step_eligibility(E, blocks, J[t], t)
        E = after if full else E
        filtered = rec.kappa * filtered + e
        found = found + torch.einsum("bu,buk->k", bars[t].reshape(batch, units), filtered)
    return found


def by_timing(weight: Timing, psi: Tensor, bars: Tensor, J: Tensor) -> Tensor:
    """Return the gradient of weights by the two sums over time that spike timing has, each as one product."""
    steps, batch, units, _ = J.shape
    psi, bars = psi.reshape(steps, batch, units), bars.reshape(steps, batch, units)
    ago = (torch.arange(steps)[:, None] - torch.arange(steps)).to(J)
    before = torch.where(ago >= 0, weight.lambda_pre ** ago.clamp(min=0), torch.zeros_like(ago))
    after = torch.where(ago >= 1, weight.lambda_post ** (ago - 1).clamp(min=0), torch.zeros_like(ago))
    causal = torch.einsum("tbu,ts,sbuk->k", bars * psi, before, J)
    acausal = torch.einsum("tbu,ts,sbu,tbuk->k", bars, after, psi, J)
    return weight.alpha_pre * causal + weight.alpha_post * acausal


def by_spike_times(weight: SpikeTimes, z: Tensor, bars: Tensor, J: Tensor) -> Tensor:
    """Return what pairs and triplets of spikes give the weights, each as one sum over all times."""
    steps, batch, units, _ = J.shape
    z, bars = z.reshape(steps, batch, units), bars.reshape(steps, batch, units)
    ago = (torch.arange(steps)[:, None] - torch.arange(steps)).to(J)

    def window(tau: float, first: int) -> Tensor:
        return torch.where(ago >= first, torch.exp(-ago.clamp(min=0) / tau), torch.zeros_like(ago))

    after, again = (torch.einsum("ts,sbu->tbu", window(tau, 1), z) for tau in (weight.tau_minus, weight.tau_y))
    earlier = torch.einsum("ts,sbuk->tbuk", window(weight.tau_x, 1), J)
    plus = bars * z * (weight.pair_plus + weight.triplet_plus * again)
    causal = torch.einsum("tbu,ts,sbuk->k", plus, window(weight.tau_plus, 0), J)
    minus = J * (weight.pair_minus + weight.triplet_minus * earlier)
    return causal - torch.einsum("tbu,tbuk->k", bars * after, minus)


def by_smoothed(weight: Smoothed, blocks: UnitBlocks, bars: Tensor, J: Tensor) -> Tensor:
    """Return the gradient of weights as smoothed sensitivity times smoothed input; `J` is `[T, B, units, weights]`."""
    a, (steps, batch, units, _) = weight.decay, J.shape
    f, x, found = torch.zeros_like(blocks.B[0]), torch.zeros_like(J[0]), torch.zeros_like(J[0, 0, 0])
    for t in range(steps):
        h = a * (blocks.D[t] * f).sum(-1) + (1 - a) * blocks.psi[t]
        f = a * torch.einsum("...rs,...s->...r", blocks.A[t], f) + (1 - a) * blocks.B[t]
        x = a * x + J[t]
        found = found + torch.einsum("bu,buk->k", (h * bars[t]).reshape(batch, units), x)
    return found


def by_mean(rec: Record, means: Tensor, bars: Tensor, J: Tensor) -> Tensor:
    """Return the gradient of weights as mean sensitivity times mean input; `J` is `[T, B, units, weights]`."""
    steps, batch, units, weights = J.shape
    decay = rec.layer.neuron.decay
    uniform = rec.layer.rule == dataclasses.replace(rec.layer.rule, weight=Factor(uniform=True))
    a = 1.0 if uniform or decay is None else decay.detach()
    if not isinstance(a, float):
        a = a.expand(bars.shape[2:]).reshape(units, 1)
    summed, weight = torch.zeros_like(J[0]), torch.zeros_like(J[0, 0, :, :1])
    found = J.new_zeros(weights)
    for t in range(steps):
        summed, weight = a * summed + J[t], a * weight + 1.0
        q = (means[t] * bars[t]).reshape(batch, units)
        found = found + torch.einsum("bu,buk->k", q, summed / weight)
    return found


def by_parameter(rec: Record, blocks: UnitBlocks, bars: Tensor, name: str, *, factor: bool) -> Tensor:
    """Return the gradient of a raw neuron parameter, `[B, *unit]`, not yet summed over what shares it."""
    weight = rec.layer.rule.weight
    q = 1.0 if isinstance(weight, Factor) and weight.uniform else rec.q
    E = torch.zeros_like(blocks.B[0])
    filtered, summed, count = torch.zeros_like(bars[0]), torch.zeros_like(bars[0]), 0.0
    found = torch.zeros_like(bars[0])
    for t in range(len(bars)):
        e, after = step_parameter_eligibility(E, blocks, name, t)
        E = E if isinstance(weight, NoTrace) else after
        filtered = rec.kappa * filtered + e
        if factor:
            if q is None:
                raise ValueError("the running mean's decay is not known: no readout follows; give trace(decay=...)")
            summed, count = q * summed + e, q * count + 1.0
        found = found + bars[t] * (summed / count if factor else filtered)
    return found


def send(layer: Layer, xs: Tensor, qs: Tensor) -> Tensor:
    """Return the cotangents of a layer's inputs, through its synapse or its feedback matrix, step by step."""
    values = {n: p.detach() for n, p in layer.synapse.named_parameters()}
    if layer.feedback is not None:
        values["weight"] = layer.rule.feedback.through(values["weight"], layer.feedback.detach())
    downs = []
    for x, bar in zip(xs, qs, strict=True):
        leaf = x.detach().requires_grad_()
        downs.append(torch.autograd.grad(current_of_call(layer.synapse, values, leaf), leaf, bar)[0])
    return torch.stack(downs)
