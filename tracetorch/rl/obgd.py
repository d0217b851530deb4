"""Steps along a trace: bounded against overshooting, plain, or by an optimizer of torch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from tracetorch.rl.trace import FlatParameters


class Step(ABC):
    """Move parameters along a trace, by an error."""

    @abstractmethod
    def __call__(self, trace: FlatParameters, errors: Sequence[float]) -> None:
        r"""Move the trace's parameters by the mean over rows of :math:`\eta\,\delta\,z`.

        Args:
            trace: the trace, `z`, a row for each stream.
            errors: the TD error or reward of each row, `delta`.

        Raises:
            FloatingPointError: if the trace is not finite; nothing is moved then.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what the step itself has become; most keep nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most keep nothing
        """Take back what `state_dict` gave."""


class ObGD(Step):
    r"""Bound the step so that one update can hardly overshoot its own target.

    .. math:: \eta = \frac{\alpha}{\max(1,\ \alpha\,\kappa\,\max(1, |\delta|)\,\lVert z\rVert_1)}, \qquad
        \theta \leftarrow \theta + \eta\,\delta\,z

    An update moves the value by about :math:`\eta\,\delta\,\nabla V \cdot z`. Where the gradient's entries are at most
    :math:`\kappa` in size, that is at most :math:`\eta\,\kappa\,|\delta|\,\lVert z\rVert_1`, and with the bound at most
    one and at most the error. Each group of the trace has a bound of its own.

    Args:
        lr: largest step size, alpha.
        kappa: how strictly to bound, larger is smaller steps: a number, or one for each group.

    Source: M. Elsayed, G. Vasan, A. R. Mahmood, "Streaming Deep Reinforcement Learning Finally Works" (2024),
    https://arxiv.org/abs/2410.14606, re-derived here.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.rl.ObGD(kappa=2.0).sizes([3.0], 0.5)
        [0.16666666666666666]
    """

    def __init__(self, lr: float = 1.0, kappa: float | Sequence[float] = 2.0) -> None:
        self.lr = lr
        self.kappa = [kappa] if isinstance(kappa, int | float) else list(kappa)
        if lr <= 0 or not self.kappa or min(self.kappa) <= 0:
            raise ValueError(f"lr and kappa must be positive, got {lr} and {kappa}")

    def sizes(self, norms: Sequence[float], error: float) -> list[float]:
        """Return the step size of each group.

        Args:
            norms: sum of the sizes of the trace's entries, by group.
            error: the TD error.

        Returns:
            The step sizes.
        """
        reach = self.lr * max(1.0, abs(error))
        kappas = self.kappa * len(norms) if len(self.kappa) == 1 else self.kappa
        return [self.lr / max(1.0, reach * kappa * norm) for kappa, norm in zip(kappas, norms, strict=True)]

    def __call__(self, trace: FlatParameters, errors: Sequence[float]) -> None:
        """Move the trace's parameters, each row by its own bound; see the class for the formula."""
        norms = [torch.linalg.vector_norm(part, 1, 1).tolist() for _, part in trace.segments]
        require_finite([norm for group in norms for norm in group])
        sizes = [self.sizes(row, error) for row, error in zip(zip(*norms, strict=True), errors, strict=True)]
        share = [error / len(errors) for error in errors]
        trace.move([[s * e for s, e in zip(group, share, strict=True)] for group in zip(*sizes, strict=True)])


class FixedStep(Step):
    r"""Step with a fixed size: :math:`\theta \leftarrow \theta + \eta\,\delta\,z`.

    Args:
        lr: the step size, eta.

    Example:
        >>> import tracetorch as tt
        >>> tt.rl.FixedStep(0.1).lr
        0.1
    """

    def __init__(self, lr: float) -> None:
        if lr <= 0:
            raise ValueError(f"lr must be positive, got {lr}")
        self.lr = lr

    def __call__(self, trace: FlatParameters, errors: Sequence[float]) -> None:
        """Move the trace's parameters; see the class for the formula."""
        require_finite([float(trace.value.sum())])
        trace.move([[self.lr * error / len(errors) for error in errors]] * len(trace.segments))


class AdamStep(Step):
    r"""Step by Adam along the error times the trace, in the few operations that one flat tensor needs.

    .. math:: g = \overline{\delta z}, \quad m = \beta_1 m + (1 - \beta_1) g, \quad v = \beta_2 v + (1 - \beta_2) g^2,
        \quad \theta \leftarrow \theta + \eta\,\frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    It is `OptimizerStep` with `torch.optim.Adam`, with rounding, at a fraction of the time where parameters are few.

    Args:
        lr: step size, eta.
        betas: decays of the two averages.
        eps: what keeps the root from zero.

    Source: D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization" (2015), https://arxiv.org/abs/1412.6980.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Linear(2, 1)
        >>> tt.rl.AdamStep(1e-3)(tt.rl.ParameterTrace(net), [1.0])
    """

    def __init__(self, lr: float, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        if lr <= 0 or eps <= 0 or not all(0.0 <= b < 1.0 for b in betas):
            raise ValueError(f"lr and eps are positive, betas in [0, 1), got {lr}, {eps} and {betas}")
        self.lr, self.betas, self.eps = lr, betas, eps
        self.steps = 0
        self._means: tuple[torch.Tensor, torch.Tensor] | None = None

    def __call__(self, trace: FlatParameters, errors: Sequence[float]) -> None:
        """Take one step, along the mean over rows; see the class for the formula."""
        require_finite([float(trace.value.sum())])
        one = len(errors) == 1
        g = trace.value[0] * errors[0] if one else trace.weighted(torch.tensor(errors)) / len(errors)
        if self._means is None:
            self._means = torch.zeros_like(g), torch.zeros_like(g)
        self.steps += 1
        for mean, value, beta in zip(self._means, (g, g * g), self.betas, strict=True):
            mean.mul_(beta).add_(value, alpha=1.0 - beta)
        first, second = (1.0 - beta**self.steps for beta in self.betas)
        root = (self._means[1] / second).sqrt_().add_(self.eps)
        trace.shift(self._means[0] / root, self.lr / first)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages."""
        return {"steps": self.steps, "means": None if self._means is None else [m.clone() for m in self._means]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.steps, means = state["steps"], state["means"]
        self._means = None if means is None else (means[0].clone(), means[1].clone())


class OptimizerStep(Step):
    """Hand minus the error times the trace to an optimizer of torch, as a gradient.

    Args:
        make: makes the optimizer from parameters, for example `lambda p: torch.optim.Adam(p, lr=1e-3)`.
        groups: the network, or the parameters, that the optimizer moves.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Linear(2, 1)
        >>> step = tt.rl.OptimizerStep(lambda p: torch.optim.SGD(p, lr=0.1), net)
        >>> step(tt.rl.ParameterTrace(net), [1.0])
    """

    def __init__(
        self,
        make: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        groups: nn.Module | Iterable[nn.Parameter],
    ) -> None:
        parameters = groups.parameters() if isinstance(groups, nn.Module) else groups
        self.optimizer = make([p for p in parameters if p.requires_grad])

    def __call__(self, trace: FlatParameters, errors: Sequence[float]) -> None:
        """Let the optimizer take one step, along the mean over rows."""
        require_finite([float(trace.value.sum())])
        trace.write_grad(trace.weighted(torch.tensor(errors)) / -len(errors))
        self.optimizer.step()
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.optimizer.load_state_dict(state["optimizer"])


def require_finite(numbers: Sequence[float]) -> None:
    """Raise FloatingPointError where a number of a trace is not finite."""
    if not all(math.isfinite(n) for n in numbers):
        raise FloatingPointError(
            "the eligibility trace has NaN or infinity in it; the weights are as they were before this step. Take a "
            "smaller step size or a stricter bound (ObGD with a larger kappa), and normalise observations"
        )
