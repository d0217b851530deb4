"""A layer as a pure function of its input and its state."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tracetorch.layer import Layer
from tracetorch.neurons import Neuron, surrogates


class Heaviside(surrogates.Surrogate):
    """Fire above the threshold; an exported network has no backward pass."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return `1` where `x > 0` and `0` elsewhere, in the dtype of `x`."""
        return (x > 0).to(x.dtype)

    def derivative(self, x: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(x)


class Slot:
    """A layer's states, counters and fed-back outputs while a step runs, `[B, *unit]` each; None after a reset."""

    def __init__(self) -> None:
        self.value: tuple[Tensor, ...] | None = None


class Cell(nn.Module):
    """Compute one step of a layer, with copies of its modules, from a state that is put in, and put out the next."""

    def __init__(
        self, name: str, layer: Layer, synapse: nn.Module, recurrent: nn.Module | None, neuron: Neuron
    ) -> None:
        super().__init__()
        self.synapse, self.recurrent, self.neuron = synapse, recurrent, neuron
        self.prefix = f"{name}/" if name else ""
        self.dtype = layer.synapses[0].weights()[0].dtype
        self.slot = Slot()
        for part in neuron.modules():
            if isinstance(part, Neuron) and hasattr(part, "surrogate"):
                part.surrogate = Heaviside()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what the layer carries, with the layer's name before them."""
        fed = () if self.recurrent is None else ("outputs",)
        return tuple(self.prefix + name for name in (*self.neuron.state, *self.neuron.counters, *fed))

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one time step, `[B, *in]` to `[B, *unit]`."""
        current = _single(self.synapse(x.to(self.dtype)))
        count = len(self.neuron.currents)
        like = current if count == 1 else current[:, 0]
        value = self.slot.value
        if value is None:
            value = self.neuron.zeros(like)
            value = value if self.recurrent is None else (*value, torch.zeros_like(like))
        if self.recurrent is not None:
            current = current + _single(self.recurrent(value[-1].to(self.dtype)))
            value = value[:-1]
        drive = self.neuron.pack_currents((current,) if count == 1 else current.unbind(1))
        after, z = self.neuron.step(self.neuron.pack(value), drive)
        self.slot.value = tuple(after) if self.recurrent is None else (*after, z)
        out: Tensor = z.to(self.dtype)
        return out.clone() if any(out is x for x in self.slot.value) else out  # the caller may write into it

    def restored(self, saved: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the state that `tt.get_state` saved of the layer, rows that wait for their reset as zero."""
        size = len(self.neuron.state) + len(self.neuron.counters)
        keys = [f"s.{i}" for i in range(size)] + ([] if self.recurrent is None else ["z"])
        prefix = self.prefix or "/"
        absent = [prefix + key for key in keys if prefix + key not in saved]
        if absent:
            raise ValueError(
                f"the saved state has no {absent[0]!r}: it is another network's, or was saved after a reset, whose "
                f"state is zeros(x)"
            )
        found = [saved[prefix + key] for key in keys]
        keep = saved.get(f"{prefix}keep")
        if keep is not None:
            found = [torch.where(keep.reshape(-1, *[1] * (v.dim() - 1)) > 0, v, torch.zeros_like(v)) for v in found]
        return tuple(found)


def _single(current: Tensor) -> Tensor:
    return current.float() if current.dtype in (torch.float16, torch.bfloat16) else current
