"""The ideal observer of Poisson clicks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class IdealObserver:
    r"""Compute the probability of 'more left clicks than right', given the channels.

    Given the contrast :math:`c` the frames are independent. In a frame the number :math:`k` of a side's
    channels that fire is sufficient: :math:`k \sim \mathrm{Bin}(n, q)` with a click, :math:`\mathrm{Bin}(n,
    \epsilon)` without, so

    .. math::
        \pi_t(c) = \frac{p_c\, q^{k_t} (1-q)^{n-k_t}}{p_c\, q^{k_t} (1-q)^{n-k_t}
                   + (1-p_c)\, \epsilon^{k_t} (1-\epsilon)^{n-k_t}}

    is the probability of a click there, the denominators' product over frames and sides is the likelihood of
    :math:`c`, and the number of clicks is Poisson-binomial in :math:`\pi_1 \dots \pi_T`. The two numbers are
    compared for each :math:`c`, then averaged over its posterior (uniform prior, midpoint rule). Trials with
    equal numbers do not occur, so the answer is given the numbers differ.

    Attributes:
        channels: Channels a side, n.
        noise: Probability that a channel fires without a click, ε.
        fires: Probability that a channel fires with a click, q.
        clicks_per_frame: Expected clicks a frame, both sides together.
        contrasts: Points of the midpoint rule over the contrast.
    """

    channels: int
    noise: float
    fires: float
    clicks_per_frame: float
    contrasts: int = 48

    def left(self, left: Tensor, right: Tensor) -> Tensor:
        """Return P(more left clicks than right | channels), ``[B]``, given that the numbers differ.

        `left` and `right` are the numbers of channels of a side that fire, ``[T, B]``, from 0 to `channels`.

        >>> import torch
        >>> observer = IdealObserver(channels=10, noise=0.05, fires=0.9, clicks_per_frame=1.0)
        >>> bool(observer.left(torch.tensor([[9], [0], [10]]), torch.tensor([[0], [8], [1]])) > 0.99)
        True
        """
        if left.dim() != 2 or left.shape != right.shape:
            raise ValueError(
                f"left and right are numbers of one shape [T, B], got {tuple(left.shape)}, {tuple(right.shape)}"
            )
        chunks = zip(left.split(250, dim=1), right.split(250, dim=1), strict=True)
        return torch.cat([self._left(a, b) for a, b in chunks])

    def _left(self, left: Tensor, right: Tensor) -> Tensor:
        contrast = (2.0 * torch.arange(self.contrasts, dtype=torch.float64) + 1.0) / self.contrasts - 1.0
        number_left, evidence_left = self._clicks(left, contrast)
        number_right, evidence_right = self._clicks(right, -contrast)
        weight = torch.softmax(evidence_left + evidence_right, dim=-1)
        zero = torch.zeros_like(number_left[..., :1])
        fewer_right = torch.cat([zero, number_right.cumsum(-1)[..., :-1]], dim=-1)
        fewer_left = torch.cat([zero, number_left.cumsum(-1)[..., :-1]], dim=-1)
        more_left = (weight * (number_left * fewer_right).sum(-1)).sum(-1)
        more_right = (weight * (number_right * fewer_left).sum(-1)).sum(-1)
        return more_left / (more_left + more_right)

    def _clicks(self, firing: Tensor, contrast: Tensor) -> tuple[Tensor, Tensor]:
        """Return a side's distribution of clicks ``[B, C, T + 1]`` and log evidence ``[B, C]``."""
        steps, size = firing.shape
        chance = -torch.expm1(-self.clicks_per_frame * (1.0 + contrast) / 2.0)
        k = torch.arange(self.channels + 1, dtype=torch.float64).unsqueeze(-1)
        with_click = chance.log() + self._binomial(k, self.fires)
        without = torch.log1p(-chance) + self._binomial(k, self.noise)
        log_evidence = torch.logaddexp(with_click, without)
        posterior = (with_click - log_evidence).exp()
        distribution = torch.zeros(size, len(contrast), steps + 1, dtype=torch.float64)
        distribution[..., 0] = 1.0
        evidence = torch.zeros(size, len(contrast), dtype=torch.float64)
        for t, row in enumerate(firing):
            click = posterior[row].unsqueeze(-1)
            moved = distribution[..., : t + 1] * click
            distribution[..., : t + 1] *= 1.0 - click
            distribution[..., 1 : t + 2] += moved
            evidence += log_evidence[row]
        return distribution, evidence

    def _binomial(self, k: Tensor, p: float) -> Tensor:
        """Return the log probability that k given channels fire and the others do not: the ways cancel."""
        q = torch.tensor(p, dtype=torch.float64)
        log: Tensor = torch.special.xlogy(k, q) + torch.special.xlog1py(self.channels - k, -q)
        return log
