"""Steps along a trace: bounded against overshooting, plain, or by an optimizer of torch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.rl.trace import ParameterTrace


class Step(ABC):
    """How an agent moves parameters along a trace, by an error.

    Example:
        >>> import torch, tracetorch as tt
        >>> class Clipped(tt.rl.Step):
        ...     def __call__(self, trace, errors):
        ...         trace.move([0.1 * max(-1.0, min(1.0, error)) for error in errors])
        >>> net = tt.Layer(torch.nn.Linear(4, 3), tt.LI(half_life=2))
        >>> agent = tt.rl.ActorCritic(net, tt.rl.Categorical(2), step=Clipped())
    """

    @abstractmethod
    def __call__(self, trace: ParameterTrace, errors: Sequence[float]) -> None:
        r"""Move the trace's parameters by the mean over rows of :math:`\eta\,\delta\,z`.

        Args:
            trace: the trace, `z`, a row for each stream.
            errors: the TD error or reward of each row, `delta`.

        Raises:
            FloatingPointError: if the trace is not finite; nothing is moved then.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what the step itself carries, for a checkpoint.

        Returns:
            Tensors and plain values; empty for most.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most keep nothing
        """Restore what `state_dict` returned.

        Args:
            state: the dictionary.
        """


class ObGD(Step):
    r"""A bounded step, so that one update can hardly overshoot its own target.

    .. math:: \eta = \frac{\alpha}{\max(1,\ \alpha\,\kappa\,\max(1, |\delta|)\,\lVert z\rVert_1)}, \qquad
        \theta \leftarrow \theta + \eta\,\delta\,z

    An update moves the value by about :math:`\eta\,\delta\,\nabla V \cdot z`. Where the gradient's entries are at most
    :math:`\kappa` in size, that is at most :math:`\eta\,\kappa\,|\delta|\,\lVert z\rVert_1`, and with the bound at most
    one and at most the error.

    Args:
        lr: largest step size, alpha.
        kappa: how strictly to bound, larger is smaller steps.

    Source: M. Elsayed, G. Vasan, A. R. Mahmood, "Streaming Deep Reinforcement Learning Finally Works" (2024),
    https://arxiv.org/abs/2410.14606, re-derived here.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.rl.ObGD(kappa=2.0).size(3.0, 0.5)
        0.16666666666666666
    """

    def __init__(self, lr: float = 1.0, kappa: float = 2.0) -> None:
        if lr <= 0 or kappa <= 0:
            raise ValueError(f"lr and kappa must be positive, got {lr} and {kappa}")
        self.lr, self.kappa = lr, kappa

    def size(self, norm: float, error: float) -> float:
        """Return the step size.

        Args:
            norm: sum of the sizes of the trace's entries.
            error: the TD error.

        Returns:
            The step size.
        """
        return self.lr / max(1.0, self.lr * self.kappa * max(1.0, abs(error)) * norm)

    def __call__(self, trace: ParameterTrace, errors: Sequence[float]) -> None:
        """Move the trace's parameters, each row by its own bound; see the class for the formula."""
        norms = torch.linalg.vector_norm(trace.value, 1, 1).tolist()
        require_finite(norms)
        sizes = [self.size(norm, error) for norm, error in zip(norms, errors, strict=True)]
        trace.move([size * error / len(errors) for size, error in zip(sizes, errors, strict=True)])


class AdaptiveObGD(ObGD):
    r"""A bounded step whose entries are scaled by the running size of their own updates.

    .. math:: v &\leftarrow \beta v + (1 - \beta)\,(\delta z)^2, \qquad
        \hat z = z / \sqrt{v / (1 - \beta^t) + \epsilon} \\
        \eta &= \frac{\alpha}{\max(1,\ \alpha\,\kappa\,\max(1, |\delta|)\,\lVert \hat z\rVert_1)}, \qquad
        \theta \leftarrow \theta + \eta\,\delta\,\hat z

    Args:
        lr: largest step size, alpha.
        kappa: how strictly to bound, larger is smaller steps.
        beta: decay of the running squares per step.

    Source: M. Elsayed, G. Vasan, A. R. Mahmood, "Streaming Deep Reinforcement Learning Finally Works" (2024),
    https://arxiv.org/abs/2410.14606.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Linear(2, 1)
        >>> step = tt.rl.AdaptiveObGD()
        >>> step(tt.rl.ParameterTrace(net), [1.0])
    """

    epsilon = 1e-8
    """What keeps the root from zero."""

    def __init__(self, lr: float = 1.0, kappa: float = 2.0, *, beta: float = 0.999) -> None:
        super().__init__(lr, kappa)
        if not 0 <= beta < 1:
            raise ValueError(f"beta is a decay per step in [0, 1), got {beta}")
        self.beta, self._steps = beta, 0
        self._squares: Tensor | None = None

    def __call__(self, trace: ParameterTrace, errors: Sequence[float]) -> None:
        """Move the trace's parameters, each row by its own bound; see the class for the formula."""
        z = trace.value
        require_finite([float(z.sum())])
        updates = z * z.new_tensor(errors).unsqueeze(-1)
        self._squares = torch.zeros_like(z) if self._squares is None else self._squares
        self._squares.mul_(self.beta).addcmul_(updates, updates, value=1 - self.beta)
        self._steps += 1
        roots = (self._squares / (1 - self.beta**self._steps) + self.epsilon).sqrt()
        norms = torch.linalg.vector_norm(z / roots, 1, 1).tolist()
        sizes = [self.size(norm, error) / len(errors) for norm, error in zip(norms, errors, strict=True)]
        trace.shift(z.new_tensor(sizes) @ (updates / roots))

    def state_dict(self) -> dict[str, Any]:
        """Return the running squares and how many steps they are of."""
        return {"squares": self._squares, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the `state` that `state_dict` returned."""
        squares = state["squares"]
        self._squares, self._steps = None if squares is None else squares.clone(), state["steps"]


class FixedStep(Step):
    r"""A step of a fixed size: :math:`\theta \leftarrow \theta + \eta\,\delta\,z`.

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

    def __call__(self, trace: ParameterTrace, errors: Sequence[float]) -> None:
        """Move the trace's parameters; see the class for the formula."""
        require_finite([float(trace.value.sum())])
        trace.move([self.lr * error / len(errors) for error in errors])


class OptimizerStep(Step):
    """A step of an optimizer of torch, with minus the error times the trace as the gradient.

    Args:
        make: makes the optimizer from parameters, for example `lambda p: torch.optim.Adam(p, lr=1e-3)`.
        net: the network that the optimizer moves.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Linear(2, 1)
        >>> step = tt.rl.OptimizerStep(lambda p: torch.optim.SGD(p, lr=0.1), net)
        >>> step(tt.rl.ParameterTrace(net), [1.0])
    """

    def __init__(
        self,
        make: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        net: nn.Module,
    ) -> None:
        self.optimizer = make([p for p in net.parameters() if p.requires_grad])

    def __call__(self, trace: ParameterTrace, errors: Sequence[float]) -> None:
        """Let the optimizer take one step, along the mean over rows."""
        require_finite([float(trace.value.sum())])
        trace.write_grad(trace.weighted(trace.value.new_tensor(errors)) / -len(errors))
        self.optimizer.step()
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the `state` that `state_dict` returned."""
        self.optimizer.load_state_dict(state["optimizer"])


def require_finite(numbers: Sequence[float]) -> None:
    """Raise FloatingPointError where a number of a trace is not finite."""
    if not all(math.isfinite(n) for n in numbers):
        raise FloatingPointError(
            "the eligibility trace has NaN or infinity in it; the weights are as they were before this step. Take a "
            "smaller step size or a stricter bound (ObGD with a larger kappa), and normalise observations"
        )
