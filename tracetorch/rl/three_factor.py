"""Three-factor learning: what a rule credits, times a factor that arrives later."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tracetorch.rl.trace import ParameterTrace


class ThreeFactor:
    r"""Remember what a network's rule credits, and write `.grad` when a factor from outside arrives.

    .. math:: z^b_k = \lambda z^b_{k-1} + \nabla_\theta\, \ell^b_k, \qquad
        \nabla_\theta = \sum_k \sum_b m^b_k z^b_k

    The factor `m` is a reward, a TD error, a surprise: one number for all rows, or one for each. What it multiplies is
    the gradient of a loss by the network's own rule, so any rule has a third factor. With :math:`\ell = -\log \pi(a)`
    and rewards it is REINFORCE; with `tt.rules.stdp` and :math:`\ell = -\sum z` it is reward-modulated STDP. An
    optimizer descends: the factor says how much of the loss is to be undone.

    Rows with factors of their own need their own traces: R backward passes and R times the parameters' numbers.

    Source: N. Frémaux, W. Gerstner, "Neuromodulated Spike-Timing-Dependent Plasticity, and Theory of Three-Factor
    Learning Rules" (2016), https://doi.org/10.3389/fncir.2015.00085; for STDP E. Izhikevich, "Solving the Distal Reward
    Problem through Linkage of STDP and Dopamine Signaling" (2007), https://doi.org/10.1093/cercor/bhl152.

    Args:
        net: the network, under rules that give a gradient at each step.
        decay: of the memory per call of `add`, in [0, 1]: `exp(-1 / tau)`, or the discount of later rewards.
        rows: number of rows with their own factor, R; 1 takes any batch, and one factor for all of it.

    Raises:
        ValueError: if the decay is none, there is no row, or nothing in the network learns.

    Attributes:
        trace: the memory, a `ParameterTrace`.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = tt.Layer(torch.nn.Linear(3, 2), tt.LIF(half_life=5), rule=tt.rules.stdp())
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        >>> factors = tt.rl.ThreeFactor(net, decay=0.9, rows=4)
        >>> for reward in (0.0, 0.0, 1.0):
        ...     factors.add(-net(torch.rand(4, 3)).sum(1))
        ...     factors.modulate(torch.full((4,), reward))
        >>> optimizer.step()
    """

    def __init__(self, net: nn.Module, *, decay: float, rows: int = 1) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"decay is a number per step in [0, 1], got {decay!r}")
        self.decay, self.trace = decay, ParameterTrace(net, rows)

    def add(self, losses: Tensor) -> None:
        """Let the memory decay by one step, and add each row's gradient.

        Args:
            losses: one for each row, with their graph, `[R]`; a single loss of the whole batch where R is 1.

        Raises:
            ValueError: if there are other rows.
        """
        if losses.dim() > 1 or losses.numel() != len(self.trace.value) > 1:
            raise ValueError(f"one loss for each of {len(self.trace.value)} rows, got {list(losses.shape)}")
        self.trace.decay(self.decay)
        self.trace.add(losses, torch.ones_like(losses))

    def modulate(self, factor: float | Sequence[float] | Tensor) -> None:
        """Add the memory times a factor to the parameters' `.grad`.

        Args:
            factor: one number, or one for each row, `[R]`.

        Raises:
            ValueError: if there are other rows, or a factor is not finite.
        """
        value = torch.as_tensor(factor).detach().to(self.trace.value)
        if value.shape not in ((), (len(self.trace.value),)) or not bool(torch.isfinite(value).all()):
            raise ValueError(f"one finite factor, or one for each of {len(self.trace.value)} rows, got {factor!r}")
        flat = self.trace.weighted(value.expand(len(self.trace.value)))
        for p, grad in zip(self.trace.parameters, self.trace.split(flat), strict=True):
            p.grad = grad.clone() if p.grad is None else p.grad + grad

    def clear(self, mask: Tensor | None = None) -> None:
        """Forget the past, as `tt.reset` does with states.

        Args:
            mask: `[R]`, true for the rows that forget; None for all.
        """
        self.trace.clear(mask)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the memory, for a checkpoint."""
        return self.trace.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned, in place.

        Args:
            state: the dictionary.

        Raises:
            ValueError: if it is of another network or number of rows.
        """
        self.trace.load_state_dict(state)
