"""Firing-rate terms to add to the loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tracetorch.layer import Layer
from tracetorch.linking import layers
from tracetorch.neurons import Readout


class _Rate:
    def __init__(self, net: nn.Module, target: float, strength: float) -> None:
        self.layers: list[Layer] = [x for x in layers(net).values() if not isinstance(x.neuron, Readout)]
        if not self.layers:
            raise ValueError(f"{type(net).__name__} has no spiking layer, so there is no firing rate to regulate")
        if not 0 <= target <= 1:
            raise ValueError(f"target is a firing rate per step in [0, 1], got {target!r}")
        for layer in self.layers:
            state = layer.core.peek()
            if state is not None and state.count is None and not layer.core.counted:
                raise ValueError(
                    "the layers carry a sequence whose spikes were not counted: make the rate term after "
                    "tt.reset(net), before the first forward"
                )
        self.target, self.strength = target, strength
        for layer in self.layers:
            layer.core.counted = True

    def close(self) -> None:
        """Let the layers stop counting."""
        for layer in self.layers:
            core = layer.core
            if core.counted and core.state is not None:
                core.state = core.state.without_count()
            core.counted, core.spikes = False, None


def _spikes(layer: Layer) -> tuple[Tensor, Tensor, Tensor | None]:
    if layer.core.spikes is None:
        raise RuntimeError("no forward has run since the rate term was made or the network was reset; run one first")
    return layer.core.spikes


class FinalRate(_Rate):
    r"""Loss on each unit's mean rate since the reset, as in the e-prop paper.

    .. math:: \frac{c}{2} \sum_j (\bar r_j - r^*)^2, \qquad
        \frac{\partial}{\partial W} = c\,(\bar r_j - r^*)\, \frac{1}{n} \sum_{t \le n} e_t

    The final rate meets the time-mean of the unfiltered eligibility. Make it before the forward: it makes the layers
    carry the eligibility of their spike counts. Per sample, then averaged over the batch.

    Source: G. Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking neurons" (2020),
    https://doi.org/10.1038/s41467-020-17236-y.

    Args:
        net: any module with spiking layers in it.
        target: `r*`, spikes per step, in [0, 1].
        strength: `c`.

    Raises:
        ValueError: if there is no spiking layer, the target is out of range, or a sequence has begun without it.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=5)))
        >>> rate = tt.FinalRate(net, target=0.1, strength=0.5)
        >>> optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
        >>> for _ in range(100):
        ...     tt.reset(net)
        ...     ys = tt.scan(net, torch.ones(10, 2, 3))
        ...     rate().backward()  # in training, add it to the loss
        ...     optimizer.step()
        ...     optimizer.zero_grad()
        >>> 0.02 < float(ys.detach().mean()) < 0.25
        True
        >>> rate.close()
    """

    def __init__(self, net: nn.Module, target: float, strength: float = 1.0) -> None:
        super().__init__(net, target, strength)

    def __call__(self) -> Tensor:
        """Return the term, a scalar."""
        terms = []
        for layer in self.layers:
            count, steps, _ = _spikes(layer)
            mean = count / steps.reshape(-1, *[1] * (count.dim() - 1))
            terms.append(0.5 * self.strength * (mean - self.target).square().sum() / count.shape[0])
        return torch.stack(terms).sum()


class RunningRate(_Rate):
    r"""Loss on each unit's running rate at every step: the streaming form.

    .. math:: c \sum_j \sum_t (\bar r_{j,t} - r^*)\, z_{j,t}, \qquad
        \frac{\partial}{\partial W} = c \sum_t (\bar r_{j,t} - r^*)\, e_t

    The running rate is a constant here and meets the current unfiltered eligibility, so this is another gradient than
    that of `FinalRate`. Over the steps of the last call or scan; averaged over the batch.

    Args:
        net: any module with spiking layers in it.
        target: `r*`, spikes per step, in [0, 1].
        strength: `c`.
        half_life: half-life of the running rate in steps.

    Raises:
        ValueError: if there is no spiking layer, a value is out of range, or a sequence has begun without it.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=5)))
        >>> rate = tt.RunningRate(net, target=0.1, half_life=50)
        >>> _ = net(torch.ones(2, 3))
        >>> rate().backward()
    """

    def __init__(self, net: nn.Module, target: float, strength: float = 1.0, *, half_life: float = 100.0) -> None:
        super().__init__(net, target, strength)
        if half_life <= 0:
            raise ValueError(f"half_life must be a positive number of steps, got {half_life!r}")
        self.decay = 0.5 ** (1 / half_life)
        self._running: list[Tensor | None] = [None] * len(self.layers)

    def __call__(self) -> Tensor:
        """Return the term, a scalar, and carry the running rates on; call it once after each forward."""
        terms = []
        for i, layer in enumerate(self.layers):
            _, steps, raw = _spikes(layer)
            if raw is None:
                raise RuntimeError(
                    "the last forward was without a graph, or with rows of unequal length, which the running rate does "
                    "not serve; run it with gradients on, and without lengths, mask and resets, or take tt.FinalRate"
                )
            total = torch.zeros_like(raw[0].detach().sum())
            running = self._running[i]
            if running is None or running.shape != raw.shape[1:]:
                running = torch.zeros_like(raw[0].detach())
            elapsed = steps - raw.shape[0]
            begun = (elapsed > 0).reshape(-1, *[1] * (raw.dim() - 2))
            running = torch.where(begun, running, torch.zeros_like(running))
            for t, z in enumerate(raw):
                running = self.decay * running + (1 - self.decay) * z.detach()
                weight = 1 - self.decay ** (elapsed + t + 1)
                rate = running / weight.reshape(-1, *[1] * (z.dim() - 1))
                total = total + ((rate - self.target) * z).sum()
            self._running[i] = running
            terms.append(self.strength * total / raw.shape[1])
        return torch.stack(terms).sum()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the running rates, `[B, *unit]` by the layer's number; with `tt.get_state` a stream then resumes.

        Returns:
            Copies of the tensors; a layer that has not run has none.
        """
        return {str(i): x.clone() for i, x in enumerate(self._running) if x is not None}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the `state` that `state_dict` returned.

        Args:
            state: the dictionary.

        Raises:
            ValueError: if it names a layer that is not there.
        """
        names = [str(i) for i in range(len(self._running))]
        unknown = [name for name in state if name not in names]
        if unknown:
            raise ValueError(f"there are {len(names)} spiking layers, the state has rates of number {unknown}")
        self._running = [state[name].clone() if name in state else None for name in names]
