"""Weights, inputs and targets of the two published e-prop cases, drawn in the published order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]

UNITS = 100
CUES = 7
CUE_STEPS, PAUSE_STEPS = 100, 50
TRIAL_STEPS = 2250
RECALL_STEPS = 150


@dataclass(frozen=True)
class Weights:
    """Hold the weights at the start: rounded to float32, as the published ones are, then float64.

    Args:
        w_in: from inputs to units, `[units, inputs]`.
        w_rec: among units, `[units, units]`, its diagonal zero.
        w_out: from units to outputs, `[outputs, units]`.
        feedback: the fixed feedback in the shape of `w_out`, `[outputs, units]`.
    """

    w_in: Tensor
    w_rec: Tensor
    w_out: Tensor
    feedback: Tensor


def generator() -> np.random.RandomState:
    """Return a generator with the stream of `numpy.random.seed(1)`, apart from the process-wide one."""
    return np.random.RandomState(1)


def pattern(draw: np.random.RandomState, *, steps: int = 1000) -> tuple[Weights, Tensor, Tensor]:
    """Draw the regression case: weights, then frozen input noise, then the pattern to generate.

    Args:
        draw: the generator, not yet used.
        steps: length of the sequence in steps of 1 ms.

    Returns:
        The weights; input spikes, `[steps, 1, 100]`; the target, `[steps, 1, 1]`.
    """
    scale = np.sqrt(UNITS)
    w_in = draw.randn(UNITS, UNITS).T / scale
    w_rec = draw.randn(UNITS, UNITS).T / scale
    w_out = draw.randn(UNITS, 1).T / scale
    feedback = draw.randn(UNITS, 1).T / scale
    spikes = draw.rand(steps, UNITS) < 0.05
    spikes[0] = False
    amplitudes, phases = draw.uniform(0.5, 2.0, 4), draw.uniform(0.0, 2 * np.pi, 4)
    target = np.zeros(steps)
    for amplitude, phase, period in zip(amplitudes, phases, (1000, 500, 333, 200), strict=True):
        target += amplitude * np.sin(np.linspace(phase, phase + 2 * np.pi * (steps // period), steps))
    target -= target[0]
    target /= np.abs(target).max()
    inputs = torch.from_numpy(spikes).to(torch.float64).unsqueeze(1)
    return _weights(w_in, w_rec, w_out, feedback), inputs, torch.from_numpy(target).reshape(-1, 1, 1)


def evidence_weights(draw: np.random.RandomState, *, inputs: int = 40) -> Weights:
    """Draw the classification case's weights.

    Args:
        draw: the generator, not yet used.
        inputs: number of input channels.

    Returns:
        The weights.
    """
    w_in = draw.randn(inputs, UNITS).T / np.sqrt(inputs)
    w_rec = draw.randn(UNITS, UNITS).T / np.sqrt(UNITS)
    limit = np.sqrt(6 / (UNITS + 2))
    w_out = draw.uniform(-limit, limit, (UNITS, 2)).T
    return _weights(w_in, w_rec, w_out, draw.randn(UNITS, 2).T)


def evidence_trials(draw: np.random.RandomState, *, batch: int) -> tuple[Tensor, Tensor]:
    """Draw one batch of evidence accumulation: seven cues left or right, a delay, then recall.

    Args:
        draw: the generator, after the weights.
        batch: number of trials.

    Returns:
        Input spikes, `[2250, batch, 40]`; the side with more cues, 0 or 1, `[batch]`.
    """
    first = np.array([0.3, 0.7], np.float32)[draw.choice([0, 1], batch)]
    probability = np.zeros((batch, TRIAL_STEPS, 40))
    probability[:, -RECALL_STEPS:, 20:30] = 0.04
    probability[:, :, 30:40] = 0.01
    labels = np.zeros(batch, np.int64)
    for trial in range(batch):
        sides = draw.choice([0, 1], CUES, p=[first[trial], 1 - first[trial]])
        labels[trial] = sides.sum() > CUES // 2
        for cue, side in enumerate(sides):
            start = cue * (CUE_STEPS + PAUSE_STEPS) + PAUSE_STEPS
            probability[trial, start : start + CUE_STEPS, 10 * side : 10 * side + 10] = 0.04
    spikes = probability > draw.rand(probability.size).reshape(probability.shape)
    spikes[:, 0] = False
    return torch.from_numpy(spikes.transpose(1, 0, 2).astype(np.float64)), torch.from_numpy(labels)


def _weights(w_in: Array, w_rec: Array, w_out: Array, feedback: Array) -> Weights:
    np.fill_diagonal(w_rec, 0.0)
    rounded = (torch.from_numpy(w.astype(np.float32).astype(np.float64)) for w in (w_in, w_rec, w_out, feedback))
    return Weights(*rounded)
