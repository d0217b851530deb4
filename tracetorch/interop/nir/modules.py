"""Modules without a state as nodes of NIR, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tracetorch.interop.discretisation import Array
from tracetorch.interop.errors import NotCarriedOverError
from tracetorch.interop.scale import Scale

TRANSPARENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
"""Modules that change nothing in inference, and have no node."""
Shape = tuple[int, ...]


def module_node(module: nn.Module, shape: Shape, name: str, scale: Array | None = None) -> Any:
    """Return the node of a module with inputs of a shape, its weights times a factor of its outputs, `[*out]`."""
    import nir

    if isinstance(module, nn.Linear):
        if len(shape) != 1:
            raise NotCarriedOverError(name, f"NIR's Linear takes vectors, the input has the shape {list(shape)}")
        weight, bias = _weights(module, scale, name)
        return nir.Linear(weight=weight) if bias is None else nir.Affine(weight=weight, bias=bias)
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        if module.padding_mode != "zeros":
            raise NotCarriedOverError(name, f"NIR pads by zeros only, got padding_mode={module.padding_mode!r}")
        one = isinstance(module, nn.Conv1d)
        weight, bias = _weights(module, scale, name)
        options = {
            key: value if isinstance(value, str) else int(value[0]) if one else tuple(map(int, value))
            for key, value in (("stride", module.stride), ("padding", module.padding), ("dilation", module.dilation))
        }
        return (nir.Conv1d if one else nir.Conv2d)(
            input_shape=shape[1] if one else shape[1:],
            weight=weight,
            groups=int(module.groups),
            bias=np.zeros(len(weight), dtype=weight.dtype) if bias is None else bias,
            metadata={} if bias is not None else {"has_bias": False},
            **options,
        )
    if isinstance(module, nn.AvgPool2d | nn.LPPool2d):
        return _pool_node(module, name)
    if isinstance(module, nn.Flatten):
        return flatten_node(module.start_dim, module.end_dim, shape, name)
    if isinstance(module, Scale):
        return nir.Scale(scale=np.broadcast_to(module.scale.cpu().numpy(), shape).copy())
    hint = "; fuse it into the synapse before it (torch.nn.utils.fusion)" if "Norm" in type(module).__name__ else ""
    raise NotCarriedOverError(name, f"NIR has no node for {type(module).__name__}{hint}")


def _pool_node(module: nn.Module, name: str) -> Any:
    import nir

    def pair(value: Any) -> npt.NDArray[Any]:
        return np.array([value, value] if isinstance(value, int) else list(value))

    stride = module.kernel_size if module.stride is None else module.stride
    if module.ceil_mode:
        raise NotCarriedOverError(name, "NIR's pooling rounds the size of its output down, got ceil_mode=True")
    if isinstance(module, nn.LPPool2d):
        if module.norm_type != 1:
            raise NotCarriedOverError(name, f"NIR has the sum, norm_type=1, got norm_type={module.norm_type}")
        return nir.SumPool2d(kernel_size=pair(module.kernel_size), stride=pair(stride), padding=pair(0))
    if module.divisor_override is not None or (not module.count_include_pad and np.any(pair(module.padding))):
        raise NotCarriedOverError(name, "NIR's average is over the whole kernel, padding included")
    return nir.AvgPool2d(kernel_size=pair(module.kernel_size), stride=pair(stride), padding=pair(module.padding))


def flatten_node(start: int, end: int, shape: Shape, name: str) -> Any:
    """Return the node of a flattening from dimension `start` to `end`, counted with the batch as torch does."""
    import nir

    if start == 0 or start < -len(shape) or end == 0:
        raise NotCarriedOverError(name, f"the batch cannot be flattened, got start_dim={start}, end_dim={end}")
    first = start - 1 if start > 0 else start + len(shape)
    last = end - 1 if end > 0 else end
    return nir.Flatten(input_type={"input": np.array(shape)}, start_dim=first, end_dim=last)


def read_module(node: Any, name: str, dtype: torch.dtype) -> nn.Module:
    """Return the module of a node without a state, with its own weights."""
    kind = type(node).__name__
    if kind in ("Linear", "Affine"):
        weight, bias = _tensor(node.weight, dtype), _tensor(node.bias, dtype) if kind == "Affine" else None
        if weight.dim() != 2:
            raise NotCarriedOverError(name, f"its weight must have two dimensions, got {list(weight.shape)}")
        return _filled(nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=dtype), weight, bias)
    if kind in ("Conv1d", "Conv2d"):
        return _read_conv(node, 1 if kind == "Conv1d" else 2, dtype)
    if kind == "AvgPool2d":
        return nn.AvgPool2d(_pair(node.kernel_size), _pair(node.stride), _pair(node.padding))
    if kind == "SumPool2d":
        if np.any(node.padding):
            raise NotCarriedOverError(name, f"a sum over padded input is not built, got padding={node.padding}")
        return nn.LPPool2d(1, _pair(node.kernel_size), _pair(node.stride))
    if kind == "Flatten":
        start, end = int(node.start_dim), int(node.end_dim)
        return nn.Flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end)
    if kind == "Scale":
        return Scale(_tensor(node.scale, dtype)).to(dtype)
    why = "traceTorch has no delays" if kind == "Delay" else f"traceTorch has no counterpart of nir.{kind}"
    raise NotCarriedOverError(name, why)


def _read_conv(node: Any, dims: int, dtype: torch.dtype) -> nn.Module:
    weight = _tensor(node.weight, dtype)
    has_bias = node.bias is not None and bool(node.metadata.get("has_bias", True))
    padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
    kind = nn.Conv1d if dims == 1 else nn.Conv2d
    module = kind(
        weight.shape[1] * int(node.groups),
        weight.shape[0],
        tuple(weight.shape[2:]),  # type: ignore[arg-type]
        stride=_sizes(node.stride, dims),  # type: ignore[arg-type]
        padding=padding if isinstance(padding, str) else _sizes(padding, dims),  # type: ignore[arg-type]
        dilation=_sizes(node.dilation, dims),  # type: ignore[arg-type]
        groups=int(node.groups),
        bias=has_bias,
        dtype=dtype,
    )
    return _filled(module, weight, _tensor(node.bias, dtype) if has_bias else None)


def rescaled(module: nn.Module, scale: Array, name: str) -> None:
    """Multiply a synapse's outputs by a factor per unit, `[*unit]` or a number, in place, through its weights."""
    weight, bias = _weights(module, scale, name)
    _filled(module, torch.as_tensor(weight), None if bias is None else torch.as_tensor(bias))


def _weights(module: nn.Module, scale: Array | None, name: str) -> tuple[Any, Any]:
    weight = module.weight.detach().cpu().numpy()  # type: ignore[operator]
    bias = None if module.bias is None else module.bias.detach().cpu().numpy()  # type: ignore[operator]
    if scale is None:
        return weight.copy(), None if bias is None else bias.copy()
    rows = scale.reshape(scale.shape[0], -1) if scale.ndim else scale.reshape(1, 1)
    if not np.array_equal(rows, np.broadcast_to(rows[:, :1], rows.shape)):
        raise NotCarriedOverError(name, "r and tau differ within a channel, where a convolution has one weight")
    factor = np.broadcast_to(rows[:, 0], (weight.shape[0],))
    scaled = (weight * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(weight.dtype)
    return scaled, None if bias is None else (bias * factor).astype(bias.dtype)


def _filled(module: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    with torch.no_grad():
        module.weight.copy_(weight)  # type: ignore[operator]
        if bias is not None:
            module.bias.copy_(bias)  # type: ignore[operator]
    return module


def _tensor(value: Any, dtype: torch.dtype) -> Tensor:
    return torch.as_tensor(value if isinstance(value, Tensor) else np.array(value)).to(dtype)


def _sizes(value: Any, dims: int) -> tuple[int, ...]:
    flat = [int(n) for n in np.asarray(value).reshape(-1)]
    return tuple(flat * dims if len(flat) == 1 else flat)


def _pair(value: Any) -> tuple[int, int]:
    a, b = _sizes(value, 2)
    return a, b
