"""Data and weights of a group, drawn once and given to every library through one file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.settings import Group, Network

Arrays = dict[str, npt.NDArray[Any]]

_LONGEST = 1000
"""Steps of the file at most; longer sequences go through it again and again, so that data costs no memory."""

_SAMPLE = (100, 8)
"""Steps and samples on which weights are scaled."""


def make_arrays(group: Group) -> Arrays:
    """Draw the data and the weights of a group.

    The weights depend on the network, the density and the seed alone: groups of one network share them.

    Args:
        group: The group.

    Returns:
        ``x`` uint8 ``[T, B, *inputs]`` (T at most 1000), ``y`` int64 ``[B]`` classes, ``w0`` .. float32 weights, the
        readout's last, in torch's layout; ``r0`` .. recurrent weights, where there are any; ``beta`` the shared decay,
        ``beta0`` .. float32 decays per neuron.
    """
    workload, network = group.workload, group.workload.network
    rng = np.random.default_rng([workload.seed, 1])
    shape = (min(group.steps, _LONGEST), workload.batch, *network.inputs)
    arrays: Arrays = {
        "x": (rng.random(shape, dtype=np.float32) < workload.density).astype(np.uint8),
        "y": rng.integers(0, network.outputs, workload.batch),
        "beta": np.float64(network.beta).reshape(()),
    }
    for i, unit in enumerate(network.units()):
        half_lives = network.half_life * np.exp(rng.uniform(-math.log(2), math.log(2), unit))
        arrays[f"beta{i}"] = np.exp(-math.log(2) / half_lives).astype(np.float32)
    weights, recurrent = scaled_weights(network, density=workload.density, seed=workload.seed)
    arrays |= {f"w{i}": weight.numpy() for i, weight in enumerate(weights)}
    arrays |= {f"r{i}": weight.numpy() for i, weight in enumerate(recurrent)}
    return arrays


def write_arrays(group: Group, folder: str | os.PathLike[str]) -> Path:
    """Draw the arrays of a group into a file.

    Args:
        group: The group.
        folder: Where the file goes.

    Returns:
        The file's path.
    """
    path = Path(folder) / "data.npz"
    np.savez(path, allow_pickle=False, **make_arrays(group))
    return path


def scaled_weights(network: Network, *, density: float, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Draw Gaussian weights, each hidden layer's scaled until the layer fires at the network's rate.

    Args:
        network: The network.
        density: Probability of an input event.
        seed: The seed.

    Returns:
        The weights in torch's layout, the readout's last; and the recurrent weights, none where there are none.
    """
    rng = np.random.default_rng([seed, 2])
    steps, batch = _SAMPLE
    x = torch.from_numpy((rng.random((steps, batch, *network.inputs)) < density).astype(np.float32))
    weights: list[Tensor] = []
    recurrent: list[Tensor] = []
    for size in network.hidden:
        kernel = (network.kernel,) * 2 if network.convolutional else ()
        fan_in = x.shape[2] * math.prod(kernel)
        weight = torch.from_numpy(rng.standard_normal((size, x.shape[2], *kernel)).astype(np.float32))
        weight /= math.sqrt(fan_in)
        if network.recurrence:
            scale = network.recurrence / math.sqrt(size)
            recurrent.append(torch.from_numpy((rng.standard_normal((size, size)) * scale).astype(np.float32)))
        current, r = currents(weight, x, network), recurrent[-1] if recurrent else None
        factor = _factor(current, r, network)
        weights.append(factor * weight)
        x = spikes(factor * current, network.beta, r)
        x = pooled(x, network)
    features = x[0, 0].numel()
    gain = math.sqrt((1 - network.beta**2) / (features * network.rate))
    weights.append(torch.from_numpy((rng.standard_normal((network.outputs, features)) * gain).astype(np.float32)))
    return weights, recurrent


def _factor(current: Tensor, recurrent: Tensor | None, network: Network) -> float:
    """Return the factor on a layer's currents at which it fires at the network's rate."""
    low, high = -10.0, 10.0  # logarithms of the factor
    for _ in range(25):
        middle = (low + high) / 2
        rate = float(spikes(math.exp(middle) * current, network.beta, recurrent).mean())
        low, high = (middle, high) if rate < network.rate else (low, middle)
    return math.exp((low + high) / 2)


def currents(weight: Tensor, x: Tensor, network: Network) -> Tensor:
    """Return a hidden layer's currents over a whole sequence, ``[T, B, *unit]``."""
    if not network.convolutional:
        return x @ weight.T
    flat = torch.nn.functional.conv2d(x.flatten(0, 1), weight, stride=network.stride, padding=network.padding)
    out: Tensor = flat.unflatten(0, x.shape[:2])
    return out


def pooled(x: Tensor, network: Network) -> Tensor:
    """Return what the next layer reads of a hidden layer's spikes, ``[T, B, *unit]``."""
    if network.pool == 1:
        return x
    return torch.nn.functional.max_pool2d(x.flatten(0, 1), network.pool).unflatten(0, x.shape[:2])


def spikes(current: Tensor, beta: float, recurrent: Tensor | None = None) -> Tensor:
    r"""Run the neuron of every workload: :math:`v_t = \beta (v_{t-1} - z_{t-1}) + I_t + R z_{t-1}`, spike above 1.

    Args:
        current: `I`, ``[T, ...]``.
        beta: Decay per step.
        recurrent: `R`, ``[units, units]``, or None.

    Returns:
        The spikes, ``[T, ...]``.
    """
    v = torch.zeros_like(current[0])
    z = torch.zeros_like(v)
    out = torch.empty_like(current)
    for step, now in enumerate(current):
        v = beta * (v - z) + now
        if recurrent is not None:
            v += z @ recurrent.T
        z = (v > 1).to(v.dtype)
        out[step] = z
    return out
