"""The published e-prop classification: a recurrent network with adaptation accumulates evidence."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.reproduce.draws import RECALL_STEPS, UNITS, evidence_trials, evidence_weights, generator
from benchmarks.reproduce.runs import Reproduced, clear_diagonal, network, outputs
from tracetorch.network import reset
from tracetorch.neurons import ALIF, SoftReset
from tracetorch.neurons.surrogates import Triangle
from tracetorch.rates import FinalRate

PUBLISHED = (0.741152550006, 0.740388187700, 0.665785233177, 0.663644193322, 0.729428962844)
RATE, BETAS, EPSILON = 5e-3, (0.9, 0.999), 1e-8


def classification(batch: int = 1, iterations: int = 5, *, split: int | None = None) -> Reproduced:
    r"""Repeat e-prop's evidence accumulation: 50 LIF and 50 ALIF units remember which side had more cues.

    .. math:: L = \frac{1}{150 B} \sum_b \Big( \sum_{t > T - 150} -\ln p_{b, t}(y^*_b)
        + \tfrac{300}{2} \sum_j (\bar z_{b, j} - 0.01)^2 \Big)

    2250 steps of 1 ms, of which the last 150 are the recall; fresh trials in each iteration; fixed random
    feedback; Adam with the step 5e-3; float64. The reported loss is the first term.

    Source: G. Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking neurons"
    (2020), https://doi.org/10.1038/s41467-020-17236-y; the losses are those that NEST's test-suite states for NEST,
    https://github.com/nest/nest-simulator.

    Args:
        batch: trials per iteration; the published losses are for 1.
        iterations: number of batches, each followed by one update.
        split: None for one scan of the whole sequence, 1 for single steps, else the number of steps per scan;
            the losses are the same.

    Returns:
        The loss of each iteration, beside the published ones where `batch` is 1.

    Raises:
        ValueError: `batch`, `iterations` or `split` is below 1.
    """
    for name, value in (("batch", batch), ("iterations", iterations)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value!r}")
    draw = generator()
    weights = evidence_weights(draw)
    trials = [evidence_trials(draw, batch=batch) for _ in range(iterations)]
    decay = torch.tensor(math.exp(-1 / 20), dtype=torch.float64)
    net = network(weights, _units(decay), decay=decay)
    rate = FinalRate(net, target=0.01, strength=300.0 / RECALL_STEPS)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, betas=BETAS, eps=EPSILON)
    losses = []
    for iteration, (xs, labels) in enumerate(trials, start=1):
        reset(net)
        optimizer.zero_grad()
        total = 0.0
        for steps, ys in outputs(net, xs, split):
            recalled = ys[max(0, len(xs) - RECALL_STEPS - steps.start) :]
            if not len(recalled):
                continue
            loss = cross_entropy(recalled.flatten(0, 1), labels.repeat(len(recalled)), reduction="sum")
            loss = loss / (RECALL_STEPS * batch)
            total += loss.item()
            (loss + rate() if steps.stop == len(xs) else loss).backward()
        clear_diagonal(net)
        # The published step adds epsilon before the second moment's bias is corrected, torch after it.
        optimizer.param_groups[0]["eps"] = EPSILON / math.sqrt(1 - BETAS[1] ** iteration)
        optimizer.step()
        losses.append(total)
    return Reproduced(losses, PUBLISHED if batch == 1 else ())


def _units(decay: Tensor) -> ALIF:
    """Return 50 units without adaptation, then 50 with it."""
    slow = math.exp(-1 / 2000)
    strength = torch.zeros(UNITS, dtype=torch.float64)
    strength[UNITS // 2 :] = 1.7 * (1 - slow) / (1 - decay)
    return ALIF(
        beta=decay,
        adaptation_beta=torch.tensor(slow, dtype=torch.float64),
        adaptation=strength,
        threshold=torch.tensor(0.6, dtype=torch.float64),
        surrogate=Triangle(scale=0.3, width=0.6),
        reset=SoftReset(decayed=False),
        # Published as a counter of 5 that already falls in the step of the spike: four silent steps follow.
        refractory=4,
    )
