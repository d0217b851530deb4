r"""A synapse with batch normalisation of its currents.

With the currents c of one step, the mean :math:`\mu` and the variance of each channel over the batch and the positions:

.. math:: \hat c = (c - \mu) / \sigma, \qquad I = \gamma \hat c + \beta

As every row's current depends on every row's input, the features of a weight are those of autograd within the step,
:math:`\partial I_{bu} / \partial W_{uk} = \frac{\gamma_u}{\sigma_u} (x_{bk} - \bar x_k - \hat c_{bu} m_{uk})` with
:math:`m_{uk} = \overline{\hat c_u x_k}`; they differ from unit to unit, so no trace of the input stands for them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.synapses.base import Synapse
from tracetorch.synapses.effective import require_no_hooks
from tracetorch.synapses.registry import synapse_of

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class BatchNormed(nn.Module):
    r"""A synapse whose currents are normalised over the batch: convolution, batch normalisation, neuron as one layer.

    .. math:: c = W * x, \qquad I = \gamma\, \frac{c - \mu}{\sqrt{\mathrm{var} + \epsilon}} + \beta

    In training, mean and variance are those of the batch and the positions at **each step**, in a window as in single
    steps, and the running averages move once per step; in evaluation the running averages are used. Gradients of the
    weights, of :math:`\gamma` and of :math:`\beta` are as exact as the rule is for its layer: a row's eligibility
    accounts for the other rows through the statistics of each step. Rules with one trace per weight (`cascade`,
    `eprop`, `drtrl`, `traced_bptt`), without a trace (`sltt`, `tbptt`) and `bptt` serve it; those that pair inputs with
    units (`ottt`, `trace`, `cascade(pairs=)`, ...) are refused. A lower layer's credit goes back through the statistics
    of the present step.

    A full trace takes one number per weight, position and row; a small convolution, or `sltt`, is what fits in memory.

    Args:
        synapse: `nn.Linear` or a convolution, without a bias: the norm would take it out again.
        norm: `nn.BatchNorm1d`, `2d` or `3d` of as many channels, with weights and running averages.

    Raises:
        TypeError: if one of them is of another kind.
        ValueError: if they do not fit each other.

    Source: S. Ioffe, C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
    Covariate Shift" (2015), <https://arxiv.org/abs/1502.03167>; for the eligibility, this library.

    Example:
        >>> import torch, tracetorch as tt
        >>> synapse = tt.BatchNormed(torch.nn.Conv2d(2, 4, 3, bias=False), torch.nn.BatchNorm2d(4))
        >>> layer = tt.Layer(synapse, tt.LIF(half_life=5))
        >>> layer(torch.rand(8, 2, 6, 6)).sum().backward()
        >>> synapse.norm.weight.grad.shape
        torch.Size([4])
    """

    synapse: Any
    norm: Any

    def __init__(self, synapse: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        if type(norm) not in NORMS:
            raise TypeError(f"norm is nn.BatchNorm1d, nn.BatchNorm2d or nn.BatchNorm3d, got {type(norm).__name__}")
        if type(synapse) is nn.Linear:
            channels, dims = synapse.out_features, 1
        elif isinstance(synapse, nn.modules.conv._ConvNd):
            channels, dims = synapse.out_channels, len(synapse.kernel_size)
        else:
            raise TypeError(f"a synapse with a norm is nn.Linear or a convolution, got {type(synapse).__name__}")
        if type(norm) is not NORMS[dims - 1] or norm.num_features != channels:
            raise ValueError(
                f"{type(synapse).__name__} with {channels} output channels takes nn.BatchNorm{dims}d({channels}), got "
                f"{type(norm).__name__}({norm.num_features})"
            )
        if not (norm.affine and norm.track_running_stats):
            raise ValueError("norm needs affine=True and track_running_stats=True, which are its defaults")
        if synapse.bias is not None:
            raise ValueError(f"the norm takes the bias of {type(synapse).__name__} out again; make it with bias=False")
        self.synapse, self.norm = synapse, norm

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised currents of one step; a `tt.Layer` computes the same.

        Args:
            x: the input, `[B, *in]`.

        Returns:
            The currents, `[B, *unit]`.
        """
        out: Tensor = self.norm(self.synapse(x))
        return out

    def folded(self) -> nn.Module:
        """Return the synapse that gives the same currents in evaluation, with the norm in its weights and a bias.

        Returns:
            A new `nn.Linear` or convolution, for a layer that is to be exported.

        Example:
            >>> import torch, tracetorch as tt
            >>> normed = tt.BatchNormed(torch.nn.Linear(3, 2, bias=False), torch.nn.BatchNorm1d(2)).eval()
            >>> x = torch.rand(4, 3)
            >>> torch.allclose(normed.folded()(x), normed(x), atol=1e-6)
            True
        """
        norm = self.norm
        plain: nn.Module = copy.deepcopy(self.synapse)
        with torch.no_grad():
            factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
            synapse_of(plain).scale(factor.reshape(getattr(plain, "groups", 1), -1))
            plain.bias = nn.Parameter(norm.bias - norm.running_mean * factor)
        return plain


class BatchNormedSynapse(Synapse):
    """Adapt `BatchNormed`; `over` gives the adapter of one window, with the statistics of its steps."""

    module: BatchNormed
    shared = False

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.inner = synapse_of(self.module.synapse)

    def serving(self, count: int) -> Synapse:
        """Return the adapter for a neuron of one current per unit; raise ValueError for one of several."""
        if count > 1:
            raise ValueError(f"tt.BatchNormed serves neurons of one current per unit, this one takes {count}")
        return self

    def require_usable(self) -> None:
        """Raise TypeError where the modules cannot be served as they are now."""
        super().require_usable()
        require_no_hooks(self.module.norm)
        if self.inner.module is not self.module.synapse:
            self.inner = synapse_of(self.module.synapse)
        self.inner.require_usable()

    def weights(self) -> tuple[Tensor, ...]:
        """Return the weights of the synapse, then the norm's."""
        return (*self.inner.weights(), self.module.norm.weight)

    def bias(self) -> Tensor:
        """Return the norm's bias as `[channels, 1, ...]`."""
        size = len(getattr(self.module.synapse, "kernel_size", ()))
        bias: Tensor = self.module.norm.bias
        return bias.reshape(-1, *[1] * size)

    def feedback_weight(self) -> Tensor | None:
        """Return the weight of the synapse."""
        return self.inner.feedback_weight()

    def check(self, x: Tensor) -> None:
        """Raise ValueError where an input does not fit."""
        self.inner.check(x)
        if isinstance(self.module.synapse, nn.Linear) and x.dim() != 2:
            raise ValueError(f"nn.Linear with a norm takes inputs [batch, {x.shape[-1]}] per step, got {list(x.shape)}")

    def out_units(self, x: Tensor) -> torch.Size:
        """Return the shape of the units."""
        return self.inner.out_units(x)

    def plain(self) -> Synapse:
        """Return the adapter of the synapse without its norm."""
        return self.inner

    @property
    def together(self) -> str | None:
        """Why rows run together where the norm is in training."""
        why = "tt.BatchNormed in training takes its statistics over the rows of a step; norm.eval() treats them apart"
        return why if self.module.norm.training else None

    def over(self, xs: Tensor) -> Synapse:
        """Return the adapter of a window `[T, B, *in]`."""
        norm = self.module.norm
        flat = self.inner.current(xs.reshape(-1, *xs.shape[2:]))
        flat = flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat
        c = flat.reshape(*xs.shape[:2], norm.num_features, -1)
        count = c.shape[1] * c.shape[3]
        if not norm.training:
            mean = norm.running_mean.to(c).expand(len(c), -1)
            var = norm.running_var.to(c).expand(len(c), -1)
        elif count < 2:
            raise ValueError(
                f"batch normalisation in training needs more than one value per channel and step, got a batch of "
                f"{c.shape[1]} with {c.shape[3]} position; use a larger batch, or norm.eval()"
            )
        else:
            var, mean = torch.var_mean(c, dim=(1, 3), correction=0)
        sigma = (var + norm.eps).sqrt()
        normed = c.sub_(mean[:, None, :, None]).div_(sigma[:, None, :, None])
        scale = norm.weight.detach().to(c) / sigma
        moments = (mean, var * (count / (count - 1))) if norm.training else None
        return _Window(self, normed.reshape(*xs.shape[:2], *flat.shape[1:]), scale, moments)

    def current(self, x: Tensor) -> Tensor:
        """Return the currents of the rows of one step, `[N, *unit]`."""
        return self.over(x.unsqueeze(0)).current(x)

    def units(self, q: Tensor) -> Tensor:
        """Return per-unit values laid out as `[N, G, O, L]`."""
        return self.inner.units(q)

    def features(self, x: Tensor) -> Tensor:
        """Return the features of the synapse."""
        return self.inner.features(x)

    def patches(self, features: Tensor) -> Tensor:
        """Return the features of the synapse per position, `[N, G, L, K]`."""
        return self.inner.patches(features)

    def weight_grad(self, features: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        """Raise TypeError: the gradients depend on the statistics of a window, `over(xs).weight_grad`."""
        raise TypeError("the gradients of tt.BatchNormed are those of a window: take over(xs).weight_grad")

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return the inputs' cotangents for the rows of one step."""
        return self.over(x.unsqueeze(0)).input_grad(q, x, weight)

    def fold(self, grad: Tensor) -> tuple[Tensor, ...]:
        """Return gradients `[G, O, K + 1]`, the norm's weight last, in the weights' own shapes."""
        return (*self.inner.fold(grad[..., :-1]), grad[..., -1].reshape(-1))

    @torch.no_grad()
    def scale(self, factors: Tensor) -> None:
        """Multiply the currents of each channel by a factor: the norm's weight and bias."""
        for parameter in (self.module.norm.weight, self.module.norm.bias):
            parameter.mul_(factors.flatten().to(parameter))


class _Window(BatchNormedSynapse):
    """The adapter of one window; of fewer rows than `T B` it takes them as those of the last steps."""

    def __init__(
        self, of: BatchNormedSynapse, normed: Tensor, scale: Tensor, moments: tuple[Tensor, Tensor] | None
    ) -> None:
        self.module, self.methods, self.inner = of.module, of.methods, of.inner
        self.normed, self.factor, self.moments = normed, scale, moments

    def over(self, xs: Tensor) -> Synapse:
        return self

    def current(self, x: Tensor) -> Tensor:
        norm, shape = self.module.norm, [-1, *[1] * (self.normed.dim() - 3)]
        weight, bias = (p.detach().to(self.normed).reshape(shape) for p in (norm.weight, norm.bias))
        current: Tensor = self.normed * weight + bias
        return current.flatten(0, 1)

    def settle(self) -> None:
        norm = self.module.norm
        if self.moments is None:
            return
        for mean, var in zip(*self.moments, strict=True):
            norm.num_batches_tracked.add_(1)
            part = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean.to(norm.running_mean), part)
            norm.running_var.lerp_(var.to(norm.running_var), part)

    def joined(self, windows: Sequence[Synapse]) -> Synapse:
        parts = [w for w in windows if isinstance(w, _Window)]
        normed, factor = torch.cat([w.normed for w in parts]), torch.cat([w.factor for w in parts])
        return _Window(self, normed, factor, self.moments)

    def weight_grad(self, features: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        through, normed = self._through(q)
        weight = (q.reshape_as(normed) * normed).sum((0, 1, 3))
        return (*self.inner.weight_grad(features, through), weight)

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        return self.inner.input_grad(self._through(q)[0], x, weight)

    def _through(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return cotangents `[k B, *unit]` behind the norm, and the normalised currents, `[k, B, channels, L]`."""
        steps, batch, channels = q.shape[0] // self.normed.shape[1], self.normed.shape[1], self.factor.shape[1]
        normed = self.normed[-steps:].reshape(steps, batch, channels, -1).to(q)
        found = q.reshape_as(normed)
        if self.moments is not None:
            along = (found * normed).mean((1, 3), keepdim=True)
            found = found - found.mean((1, 3), keepdim=True) - normed * along
        return (found * self.factor[-steps:, None, :, None].to(q)).reshape(q.shape), normed

    def outer(self, q: Tensor, patches: Tensor) -> Tensor:
        steps, batch, groups, outputs = q.shape[:4]
        normed = self.units(self.normed.flatten(0, 1).to(q)).reshape(q.shape)
        scaled = q * self.factor.reshape(steps, 1, groups, outputs, 1).to(q)
        total = super().outer(scaled, patches)
        if self.moments is not None:
            mean = patches.mean((1, 3))
            along = torch.einsum("tbgol,tbglk->tgok", normed, patches) / (batch * q.shape[4])
            total = total - torch.einsum("tbgol,tgk->bgolk", scaled, mean)
            total = total - torch.einsum("tbgol,tgok->bgolk", scaled * normed, along)
        return torch.cat([total, (q * normed).sum(0).unsqueeze(-1)], dim=-1)
