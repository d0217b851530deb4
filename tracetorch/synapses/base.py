r"""The synapse as a trace sees it: :math:`I = W \cdot \mathrm{features}(x) + b`.

Units are laid out as `[G, O, L]`: G groups, O output channels per group, L positions that share the weights.
A dense map has one group and one position; a convolution has its groups and its output positions. The
features of an input are then `[N, G, L, K]`, K weights per unit, and one contraction serves every synapse.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from tracetorch.synapses.effective import require_no_hooks, set_effective


class Synapse(ABC):
    """Adapt one kind of module, linear in its weights, to what traces need; holds no state and no tensors."""

    computed_by: ClassVar[tuple[str, ...]] = ("forward", "__call__", "__getattr__", "__getattribute__")
    """Methods of the module that the adapter stands for: a subclass that overrides one needs its own adapter."""
    count: int = 1
    """Number of currents that the neuron takes per unit; where there are several, `unit` is `[count, *unit]` here."""
    currents: tuple[str, ...] = ("i",)
    """Names of these currents."""
    shared: bool = True
    """Whether the features of an input are the same for all units that share a position."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.methods = [getattr(type(module), name) for name in self.computed_by]

    def serving(self, count: int) -> Synapse:
        """Return the adapter for a neuron that takes `count` currents per unit."""
        self.count = count
        return self

    def require_usable(self) -> None:
        """Raise TypeError where the module cannot be served as it is now; each call of the layer asks."""
        module = self.module
        require_no_hooks(module)
        for name, method in zip(self.computed_by, self.methods, strict=True):
            if getattr(type(module), name) is not method:
                raise TypeError(
                    f"{name} of {type(module).__name__} was replaced after the layer was made, and a layer does not "
                    f"call it: it computes with the weights; declare the module with tt.LinearInWeights(module)"
                )
            if name in module.__dict__:
                raise TypeError(
                    f"{type(module).__name__} was given a {name} of its own, which a layer does not call: it computes "
                    f"with the weights; declare the module with tt.LinearInWeights(module)"
                )
        dtypes = {p.dtype for p in module._parameters.values() if p is not None}
        if len(dtypes) > 1:
            raise TypeError(
                f"the parameters of {type(module).__name__} have more than one dtype "
                f"({', '.join(sorted(map(str, dtypes)))}); move them to one with module.to(dtype)"
            )

    @abstractmethod
    def weights(self) -> tuple[Tensor, ...]:
        """Return the weights, without the bias."""

    def bias(self) -> Tensor | None:
        """Return the bias in the units' shape or one that broadcasts to it, with its graph; None without."""
        return None

    def dense(self) -> tuple[Tensor, Tensor | None] | None:
        """Return weight `[out, in]` and bias `[out]` of a dense map, which compiled kernels run; None for others."""
        return None

    @property
    def together(self) -> str | None:
        """Why all rows have to run through a window together, as where one depends on the others; else None."""
        return None

    def over(self, xs: Tensor) -> Synapse:
        """Return the adapter for one window, `[T, B, *in]`: itself, where no row's current depends on other rows."""
        return self

    def settle(self) -> None:  # noqa: B027 - most have nothing to take up
        """Take up in the module what a window has shown, after it was run."""

    def joined(self, windows: Sequence[Synapse]) -> Synapse:
        """Return the adapter for windows that follow one another, whose adapters these are."""
        return self

    def plain(self) -> Synapse:
        """Return the adapter of what connects inputs to units, without a norm behind it."""
        return self

    def feedback_weight(self) -> Tensor | None:
        """Return the weight, in whose shape `input_grad` takes a feedback, without graph; None where it takes none."""
        return None

    @abstractmethod
    def check(self, x: Tensor) -> None:
        """Raise ValueError where an input `[N, *in]` does not fit."""

    @abstractmethod
    def current(self, x: Tensor) -> Tensor:
        """Return the currents `[N, *unit]` of inputs `[N, *in]`, bias included."""

    def feedback_matrix(self, draw: Callable[[Tensor], Tensor | None]) -> Tensor | None:
        """Return the matrix that `draw` gives for the shape of a weight; None for the weights themselves.

        Raise ValueError where there is a matrix and no weight that it may stand for.
        """
        weight = self.feedback_weight()
        found = draw(self.weights()[0].detach() if weight is None else weight)
        if found is not None and weight is None:
            raise ValueError(
                f"a feedback matrix stands for the one weight of nn.Linear or a convolution, which "
                f"{type(self.module).__name__} does not have; take tt.feedback.Symmetric()"
            )
        return found

    def out_units(self, x: Tensor) -> torch.Size:
        """Return the shape of the units, without batch, for inputs `[N, *in]`."""
        return self.current(x[:1]).shape[1:]

    def like(self, x: Tensor) -> Tensor:
        """Return a tensor of the form of the currents of inputs `[N, *in]`, at least in single precision."""
        dtype = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
        return x.new_empty(x.shape[0], *self.out_units(x), dtype=dtype)

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return what a trace of the input averages, `[N, *features]`, linear in which the current is."""

    @abstractmethod
    def weight_grad(self, features: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        """Return the weights' gradients, summed over N, from features and currents' cotangents `[N, *unit]`."""

    @abstractmethod
    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return the inputs' cotangents from the currents', through the weights or a feedback in their shape."""

    @abstractmethod
    def patches(self, features: Tensor) -> Tensor:
        """Return the features laid out per position, `[N, G, L, K]`."""

    @abstractmethod
    def units(self, q: Tensor) -> Tensor:
        """Return per-unit values `[N, *unit]` laid out as `[N, G, O, L]`."""

    @abstractmethod
    def fold(self, grad: Tensor) -> tuple[Tensor, ...]:
        """Return gradients `[G, O, K]` in the weights' own shapes."""

    @torch.no_grad()
    def scale(self, factors: Tensor) -> None:
        """Multiply the weights and the bias of each output channel by a factor, `[G, O]`, in place."""
        weights = self.weights()
        size = sum(w.numel() for w in weights) // factors.numel()
        spread = self.fold(factors.unsqueeze(-1).expand(*factors.shape, size))
        self.assign(tuple(w * f.to(w) for w, f in zip(weights, spread, strict=True)))
        bias = self.bias()
        if bias is not None:
            set_effective(self.module, "bias", bias.flatten() * factors.flatten().to(bias))

    def assign(self, weights: tuple[Tensor, ...]) -> None:
        """Set the weights to other values, in the order of `weights`."""
        set_effective(self.module, "weight", weights[0])

    def outer(self, q: Tensor, patches: Tensor) -> Tensor:
        """Return the sums over time, `[B, G, O, L, K]`, of `q`, `[T, B, G, O, L]`, times patches, `[T, B, G, L, K]`."""
        if q.shape[0] == 1:
            return q[0].unsqueeze(-1) * patches[0].unsqueeze(2)
        return torch.einsum("tbgol,tbglk->bgolk", q, patches)

    def contract(self, q: Tensor, trace: Tensor) -> tuple[Tensor, ...]:
        """Return the weights' gradients from cotangents, `[B, *unit]`, and a full trace, `[B, G, O, L, K]`."""
        return self.fold(torch.einsum("bgol,bgolk->gok", self.units(q), trace.to(q.dtype)))


def entries(synapses: Sequence[Synapse], unit: Sequence[int], currents: int = 1) -> int:
    """Return the size of a layer's full eligibility for one row of the batch: one per weight, current and position."""
    shape = tuple(unit) if currents == 1 else (currents, *unit)
    like = torch.empty(1, *shape, device="meta")
    return sum(s.units(like).shape[-1] * sum(w.numel() for w in s.weights()) for s in synapses)
