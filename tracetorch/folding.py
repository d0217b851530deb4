"""Which modules treat the samples of a batch apart, so that time may be folded into the batch."""

from __future__ import annotations

from torch import nn

from tracetorch.entry import has_hooks

_KINDS = (
    "activation",
    "batchnorm",
    "conv",
    "distance",
    "dropout",
    "flatten",
    "instancenorm",
    "linear",
    "normalization",
    "padding",
    "pixelshuffle",
    "pooling",
    "sparse",
    "upsampling",
)
"""Files of `torch.nn.modules` whose modules do, but for what is looked at below."""


def foldable(module: nn.Module, dims: int | None = None) -> bool:
    """Return whether time may be folded into the batch: torch's own modules that treat samples apart.

    `dims` is that of one step's values, `[B, ...]`; what may depend on it is not folded where it is None, not known.
    """
    package, _, name = type(module).__module__.rpartition(".")
    if has_hooks(module) or "forward" in module.__dict__:
        return False
    if type(module) is nn.Identity:
        return True
    if package != "torch.nn.modules" or name not in _KINDS or type(module) is nn.MultiheadAttention:
        return False
    if name == "batchnorm":
        return not module.training and getattr(module, "running_mean", None) is not None
    if name == "instancenorm":
        return not getattr(module, "track_running_stats", False)
    return _spares_the_batch(module, name, dims)


def _spares_the_batch(module: nn.Module, name: str, dims: int | None) -> bool:
    """Return whether a module's dimensions, which may be counted from the end, all lie behind the batch."""
    if type(module) is nn.Softmax2d:
        return dims == 4
    for axis in ("dim", "start_dim"):
        if hasattr(module, axis):
            return _behind_the_batch(getattr(module, axis), dims)
    if name == "padding":
        return len(module.padding) // 2 < (2 if dims is None else dims)  # type: ignore[arg-type]
    if dims is None:
        return name not in ("conv", "linear", "normalization") or isinstance(
            module, nn.GroupNorm | nn.LocalResponseNorm
        )
    if name == "conv":
        return dims == module.weight.dim()  # type: ignore[operator]
    if name == "linear":
        return dims > 1
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return len(module.normalized_shape) < dims
    return True


def _behind_the_batch(axis: object, dims: int | None) -> bool:
    if axis is None:  # softmax chooses by the number of dimensions: the first one for 1 and 3
        return dims is not None and dims not in (1, 3)
    if not isinstance(axis, int) or axis == 0:
        return False
    if axis > 0:
        return True
    return axis == -1 if dims is None else axis + dims > 0
