"""The published e-prop regression: a recurrent network learns to generate a pattern."""

from __future__ import annotations

import math

import torch

from benchmarks.reproduce.draws import generator, pattern
from benchmarks.reproduce.runs import Reproduced, clear_diagonal, network, outputs
from tracetorch.network import reset
from tracetorch.neurons import LIF, SoftReset
from tracetorch.neurons.surrogates import Triangle
from tracetorch.rates import FinalRate

PUBLISHED = (101.964356999, 103.466731126, 103.340607075, 103.680244038, 104.412775749)
TENSORFLOW = (101.964363098, 103.466735840, 103.340606689, 103.680244446, 104.412780762)


def regression(iterations: int = 5, *, split: int | None = None) -> Reproduced:
    r"""Repeat e-prop's supervised regression: 100 recurrent LIF units generate a sum of four sines.

    .. math:: L = \tfrac12 \sum_t (y_t - y^*_t)^2 + \tfrac{300}{2} \sum_j (\bar z_j - 0.01)^2

    1000 steps of 1 ms, fixed random feedback, plain gradient descent with the step 1e-4, float64. The
    reported loss is the first term.

    Source: G. Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking neurons"
    (2020), https://doi.org/10.1038/s41467-020-17236-y; the losses are those that NEST's test-suite states for NEST
    and for the authors' TensorFlow code, https://github.com/nest/nest-simulator.

    Args:
        iterations: number of times the sequence is shown, each followed by one update.
        split: None for one scan of the whole sequence, 1 for single steps, else the number of steps per scan;
            the losses are the same.

    Returns:
        The loss of each iteration, beside the published ones.

    Raises:
        ValueError: `iterations` or `split` is below 1.

    Example:
        >>> from benchmarks.reproduce import regression
        >>> regression(iterations=1).worst < 1e-9
        True
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations!r}")
    weights, xs, target = pattern(generator())
    decay = torch.tensor(math.exp(-1 / 30), dtype=torch.float64)
    neuron = LIF(
        beta=decay,
        threshold=torch.tensor(0.03, dtype=torch.float64),
        surrogate=Triangle(scale=0.3, width=0.03),
        reset=SoftReset(decayed=False),
        normalized=True,
    )
    net = network(weights, neuron, decay=decay)
    rate = FinalRate(net, target=0.01, strength=300.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
    losses = []
    for _ in range(iterations):
        reset(net)
        optimizer.zero_grad()
        total = 0.0
        for steps, ys in outputs(net, xs, split):
            loss = 0.5 * (ys - target[steps]).square().sum()
            total += loss.item()
            (loss + rate() if steps.stop == len(xs) else loss).backward()
        clear_diagonal(net)
        optimizer.step()
        losses.append(total)
    return Reproduced(losses, PUBLISHED, TENSORFLOW)
