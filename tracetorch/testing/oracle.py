"""Whole-sequence references by ordinary autograd: only synapses and `neuron.step` are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tracetorch.layer import Layer
from tracetorch.testing.agreement import Gradients
from tracetorch.testing.clone import replace_layers

Out = Literal["all", "last"]
Loss = Callable[[Tensor, slice], Tensor]
"""A loss that is a sum over steps: from outputs `[k, B, *out]` and the slice of steps they are, to a scalar."""


@dataclass(frozen=True)
class Cuts:
    """Where autograd is cut in a reference run.

    Args:
        recurrent: detach the spikes that go round a dense recurrence.
        states: steps before which every layer's state is detached, as truncated BPTT does.
        inputs_before: detach the inputs of every layer, and recurrent spikes, at earlier steps than this.
        feedback: send credit through the layers' feedback matrices where they have one.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import Cuts, bptt
        >>> recurrent = torch.nn.Linear(4, 4, bias=False)
        >>> net = tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=5), recurrent=recurrent)
        >>> found = bptt(net, torch.rand(9, 1, 3), lambda ys, steps: ys.sum(), cuts=Cuts(recurrent=True))
    """

    recurrent: bool = False
    states: frozenset[int] = frozenset()
    inputs_before: int = 0
    feedback: bool = False


class OracleLayer(nn.Module):
    """Run a layer's synapse and step in an open graph, with the same parameters and its own state."""

    def __init__(self, layer: Layer, cuts: Cuts) -> None:
        super().__init__()
        self.layer = layer
        self.cuts = cuts
        self.clock = 0
        self.state: tuple[Tensor, ...] | None = None
        self.last: Tensor | None = None
        self.spikes: list[Tensor] = []

    def drive(self, x: Tensor) -> Tensor:
        """Return the synapse's current, with the feedback matrix in its backward where that is asked for."""
        weight = getattr(self.layer, "feedback", None) if self.cuts.feedback else None
        synapse = self.layer.synapse
        if weight is None:
            return current_of(synapse, x)
        fixed = {name: p.detach() for name, p in synapse.named_parameters()}
        matrix = self.layer.rule.feedback.through(fixed["weight"], weight.detach())
        through = current_of_call(synapse, {**fixed, "weight": matrix}, x)
        return current_of(synapse, x.detach()) + (through - through.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one time step."""
        early = self.clock < self.cuts.inputs_before
        x = x.detach() if early else x
        current = self.drive(x if x.is_floating_point() else x.to(next(self.layer.parameters()).dtype))
        neuron = self.layer.neuron
        several = len(neuron.currents) > 1
        if several:
            current = current.reshape(len(x), len(neuron.currents), -1)
        if self.state is None:
            self.state = tuple(neuron.zeros(current[:, 0] if several else current))
            self.last = torch.zeros_like(self.state[0])
        if self.clock in self.cuts.states:
            self.state = tuple(s.detach() for s in self.state)
            self.last = self.last.detach() if self.last is not None else None
        if self.layer.recurrent is not None and self.last is not None:
            past = self.clock - 1 < self.cuts.inputs_before or self.cuts.recurrent
            fed = self.layer.recurrent(self.last.detach() if past else self.last)
            current = current + fed.reshape(current.shape)
        drive = neuron.pack_currents(current.unbind(1)) if several else current
        after, z = neuron.step(neuron.pack(self.state), drive)
        self.state, self.last, self.clock = tuple(after), z, self.clock + 1
        self.spikes.append(z.detach())
        return z


def current_of(synapse: nn.Module, x: Tensor) -> Tensor:
    """Return a synapse's current."""
    current: Tensor = synapse(x)
    return current


def current_of_call(synapse: nn.Module, values: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return a synapse's current with other values instead of its parameters."""
    current: Tensor = torch.func.functional_call(synapse, values, (x,))
    return current


def open_graph(net: nn.Module, cuts: Cuts | None = None) -> tuple[nn.Module, list[OracleLayer]]:
    """Copy a network's containers around oracle layers that share its parameters; return the layers in order too."""
    memo: dict[int, Any] = {id(p): p for p in net.parameters()}
    oracles: list[OracleLayer] = []

    def make(layer: Layer) -> nn.Module:
        oracles.append(OracleLayer(layer, Cuts() if cuts is None else cuts))
        return oracles[-1]

    return replace_layers(net, make, memo), oracles


def run(net: nn.Module, xs: Tensor, cuts: Cuts | None = None) -> Tensor:
    """Return the outputs `[T, B, *out]` of a network from a reset, with one graph through all steps."""
    twin, _ = open_graph(net, cuts)
    with parametrize.cached():
        return torch.stack([twin(x) for x in xs])


def learned(net: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are learned, each once, by name."""
    return {name: p for name, p in net.named_parameters() if p.requires_grad}


def gradients_of(loss: Tensor, net: nn.Module) -> dict[str, Tensor]:
    """Return the gradient of a scalar by every learned parameter of a network; zero where there is none."""
    named = learned(net)
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(named.items(), found, strict=True)}


def bptt(net: nn.Module, xs: Tensor, loss_fn: Loss, *, out: Out = "all", cuts: Cuts | None = None) -> Gradients:
    r"""Differentiate a network through a whole sequence by ordinary autograd: the reference of every rule.

    .. math:: \frac{d}{d\theta} \sum_t \ell_t(y_t(\theta))

    Args:
        net: a network of `tracetorch.Layer` and any other modules; its state is not touched.
        xs: inputs, `[T, B, *in]`.
        loss_fn: a sum over steps, called as `loss_fn(ys, steps)` with `ys` of `[k, B, *out]` and the slice of
            steps they are.
        out: `"last"` for a loss on the last output alone.
        cuts: where autograd is cut; None for nowhere.

    Returns:
        Outputs, and gradients of weights, biases and raw neuron parameters.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import bptt
        >>> net = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5))
        >>> found = bptt(net, torch.ones(4, 1, 3), lambda ys, steps: ys.sum())
        >>> sorted(found.grads)
        ['synapse.bias', 'synapse.weight']
    """
    steps = len(xs)
    ys = run(net, xs, cuts)
    if out == "last":
        return Gradients(ys[-1].detach(), gradients_of(loss_fn(ys[-1:], slice(steps - 1, steps)), net))
    return Gradients(ys.detach(), gradients_of(loss_fn(ys, slice(0, steps)), net))


def truncated(net: nn.Module, xs: Tensor, loss_fn: Loss, splits: Sequence[int]) -> Gradients:
    """Differentiate with every state detached at the start of each window: what `tbptt` is to give.

    Args:
        net: the network; its state is not touched.
        xs: inputs, `[T, B, *in]`.
        loss_fn: a sum over steps, as for `bptt`.
        splits: lengths of the windows, T in all.

    Returns:
        Outputs and gradients.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import truncated
        >>> net, xs = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5)), torch.rand(9, 1, 3)
        >>> reference = truncated(net, xs, lambda ys, steps: ys.sum(), [3, 3, 3])
        >>> reference.grads["synapse.weight"].shape
        torch.Size([2, 3])
    """
    return bptt(net, xs, loss_fn, cuts=Cuts(states=frozenset(starts(splits))))


def traced(net: nn.Module, xs: Tensor, loss_fn: Loss, splits: Sequence[int], *, feedback: bool = False) -> Gradients:
    r"""Differentiate as full eligibility with a window does: inside the window everything, before it each layer alone.

    For each window the whole past is run again with the inputs of all layers detached before the window, so that
    a layer's earlier state depends on its own parameters only; windows of one step are `drtrl(input="psi")`.

    .. math:: \sum_w \frac{d}{d\theta} \sum_{t \in w} \ell_t\big|_{x^l_s\ \text{fixed for}\ s < t_w}

    Args:
        net: the network; its state is not touched.
        xs: inputs, `[T, B, *in]`.
        loss_fn: a sum over steps, as for `bptt`.
        splits: lengths of the windows, T in all.
        feedback: send credit through the feedback matrices where layers have one.

    Returns:
        Outputs and gradients.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import bptt, traced
        >>> net, xs = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5)), torch.rand(9, 1, 3)
        >>> loss = lambda ys, steps: ys.sum()
        >>> found, reference = traced(net, xs, loss, [3, 3, 3]), bptt(net, xs, loss)  # equal for one layer
        >>> torch.allclose(found.grads["synapse.weight"], reference.grads["synapse.weight"])
        True
    """
    total: dict[str, Tensor] = {}
    values: list[Tensor] = []
    for start, k in zip(starts(splits), splits, strict=True):
        window = slice(start, start + k)
        ys = run(net, xs[: window.stop], Cuts(inputs_before=start, feedback=feedback))[window]
        for name, g in gradients_of(loss_fn(ys, window), net).items():
            total[name] = total[name] + g if name in total else g
        values.append(ys.detach())
    return Gradients(torch.cat(values), total)


def starts(splits: Sequence[int]) -> list[int]:
    """Return the first step of each window of the given lengths."""
    return [sum(splits[:i]) for i in range(len(splits))]
