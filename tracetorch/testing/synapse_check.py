"""A check for synapses that users write themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SynapseError(AssertionError):
    """A module is not linear in its weights, or mixes samples; the message says in what.

    Example:
        >>> import torch, tracetorch as tt
        >>> try:
        ...     tt.testing.check_linear_in_weights(torch.nn.GRUCell(3, 2), torch.rand(4, 3))
        ... except tt.testing.SynapseError:
        ...     print("declare another module")
        declare another module
    """


def check_linear_in_weights(module: nn.Module, x: Tensor, *, tolerance: float = 1e-5, seed: int = 0) -> None:
    r"""Raise unless a module's output is linear in its parameters and treats samples apart.

    .. math:: f(\alpha w_1 + \beta w_2; x) = \alpha f(w_1; x) + \beta f(w_2; x)

    Args:
        module: the module.
        x: a batch of inputs, `[B, *in]`, with at least two samples that differ.
        tolerance: greatest relative difference.
        seed: of the random weights.

    Raises:
        SynapseError: if it is not; the message says in what.

    Example:
        >>> import torch
        >>> from tracetorch.testing import check_linear_in_weights
        >>> check_linear_in_weights(torch.nn.Linear(3, 2), torch.rand(4, 3))
        >>> check_linear_in_weights(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), torch.rand(4, 3))
        Traceback (most recent call last):
        ...
        tracetorch.testing.synapse_check.SynapseError: Sequential is not linear in its weights: ...
    """
    generator = torch.Generator().manual_seed(seed)
    named = {n: p.detach() for n, p in module.named_parameters()}
    if not named:
        raise SynapseError(f"{type(module).__name__} has no weights")

    def draw() -> dict[str, Tensor]:
        return {n: torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p) for n, p in named.items()}

    def call(values: dict[str, Tensor], sample: Tensor) -> Tensor:
        with torch.no_grad():
            current: Tensor = torch.func.functional_call(module, values, (sample,))
        return current

    def far(a: Tensor, b: Tensor) -> float:
        return float((a - b).norm()) / max(float(b.norm()), 1e-30)

    w1, w2 = draw(), draw()
    mixed = {n: 1.5 * w1[n] - 0.7 * w2[n] for n in named}
    error = far(call(mixed, x), 1.5 * call(w1, x) - 0.7 * call(w2, x))
    if not error <= tolerance:
        raise SynapseError(
            f"{type(module).__name__} is not linear in its weights: a mixture of weights gives another output than the "
            f"mixture of outputs (relative difference {error:.1e}); put what is not linear before or after the layer"
        )
    if x.shape[0] < 2:
        raise SynapseError(f"x must hold at least two samples, got {x.shape[0]}")
    alone = torch.cat([call(w1, x[i : i + 1].expand_as(x))[:1] for i in range(x.shape[0])])
    error = far(alone, call(w1, x))
    if not error <= tolerance:
        raise SynapseError(
            f"{type(module).__name__} mixes samples: what a sample gives depends on the others of its batch "
            f"(relative difference {error:.1e})"
        )
