"""What both published cases share: the network's frame, the split of a sequence, the result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.reproduce.draws import Weights
from tracetorch import feedback, rules
from tracetorch.layer import Layer
from tracetorch.network import set_rule
from tracetorch.neurons import LI, Neuron
from tracetorch.scan import scan


@dataclass(frozen=True)
class Reproduced:
    """Hold the losses that were reached, and the published ones.

    Args:
        losses: one per iteration.
        published: NEST's loss of each of the first iterations; empty where none is published for this batch.
        tensorflow: the authors' TensorFlow code's, in float32; empty where none is known.
    """

    losses: list[float]
    published: tuple[float, ...] = ()
    tensorflow: tuple[float, ...] = ()

    @property
    def worst(self) -> float | None:
        """The largest relative difference from the published losses; None where there are none."""
        pairs = list(zip(self.losses, self.published, strict=False))
        return max(abs(ours / theirs - 1) for ours, theirs in pairs) if pairs else None


def network(weights: Weights, neuron: Neuron, *, decay: Tensor) -> nn.Sequential:
    """Build recurrent spiking units with a leaky readout, learning by e-prop with fixed random feedback.

    Args:
        weights: values at the start.
        neuron: the units' neuron.
        decay: the readout's decay per step, a scalar; e-prop's filter takes the same.

    Returns:
        The network, float64, `[1, B, inputs] -> [1, B, outputs]`.
    """
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(
            Layer(_linear(weights.w_in), neuron, recurrent=_linear(weights.w_rec)),
            Layer(_linear(weights.w_out), LI(beta=decay, normalized=True)),
        )
        set_rule(net, rules.eprop(feedback=feedback.RandomFeedback()))
    with torch.no_grad():
        net.get_parameter("1.feedback").copy_(weights.feedback)
    return net


def outputs(net: nn.Module, xs: Tensor, split: int | None) -> Iterator[tuple[slice, Tensor]]:
    """Run a network over a sequence, window by window.

    Args:
        net: the network, reset.
        xs: inputs, `[T, B, *in]`.
        split: None for one scan of the whole, 1 for single steps, else the number of steps per scan.

    Yields:
        The steps of the window, and their outputs, `[steps, B, *out]`.

    Raises:
        ValueError: `split` is below 1.
    """
    if split is not None and split < 1:
        raise ValueError(f"split must be None or a number of steps, 1 or more, got {split!r}")
    size = len(xs) if split is None else split
    for start in range(0, len(xs), size):
        window = xs[start : start + size]
        ys = net(window[0]).unsqueeze(0) if split == 1 else scan(net, window)
        yield slice(start, start + len(window)), ys


def clear_diagonal(net: nn.Module) -> None:
    """Drop the gradient of the units' connections to themselves, which the published networks do not have."""
    grad = net.get_parameter("0.recurrent.weight").grad
    if grad is not None:
        grad.fill_diagonal_(0.0)


def _linear(weight: Tensor) -> nn.Linear:
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, bias=False, dtype=weight.dtype)
    with torch.no_grad():
        linear.weight.copy_(weight)
    return linear
