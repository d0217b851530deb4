"""What a layer may be called with, and from where: what would be wrong in silence is refused."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as torch_module

from tracetorch.neurons import Neuron

_RECORDERS = (torch._C._TorchDispatchModeKey.FAKE, torch._C._TorchDispatchModeKey.PROXY)
_GLOBAL_HOOKS = (
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
)


def require_tensor(x: Any, what: str = "the input of a layer", shape: str = "[batch, ...]") -> None:
    """Raise TypeError where a value is not a plain real tensor; `what` and `shape` describe it in the message."""
    if isinstance(x, Tensor):
        if x.layout is torch.strided and not x.is_nested and not x.is_complex():
            return
        kind = "nested" if x.is_nested else "complex" if x.is_complex() else "sparse"
        cure = {
            "nested": "pad it with x.to_padded_tensor(0.0) and give its lengths, tt.scan(net, xs, lengths=...)",
            "complex": "give real and imaginary parts as channels, torch.view_as_real(x)",
            "sparse": "make it dense with x.to_dense()",
        }[kind]
        raise TypeError(f"{what} is a dense real tensor {shape}, got a {kind} one of {x.dtype}; {cure}")
    kind = type(x).__name__
    if isinstance(x, nn.utils.rnn.PackedSequence):
        cure = "give it to tt.scan(net, x), which runs all its steps"
    elif kind == "ndarray":
        cure = "convert it with torch.as_tensor(x)"
    elif isinstance(x, list | tuple) and x and all(isinstance(part, Tensor) for part in x):
        cure = "join its tensors with torch.stack(x)"
    elif isinstance(x, list | tuple | range):
        cure = "convert it with torch.tensor(x)"
    elif hasattr(x, "__next__"):
        cure = "call the network once per step, or give torch.stack(list(x)) to tt.scan"
    else:
        cure = "pass a torch.Tensor"
    raise TypeError(f"{what} is a tensor {shape}, got {kind}; {cure}")


def require_flags(mask: Any) -> None:
    """Raise TypeError or ValueError where a value is not a tensor of booleans, or of zeros and ones."""
    require_tensor(mask, "a mask", "[batch] of booleans")
    if mask.dtype is not torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(f"mask is true for the rows that start a new sequence; got other numbers than 0 and 1: {mask}")


def require_network(net: Any) -> None:
    """Raise TypeError where a value is not a module."""
    if isinstance(net, nn.Module):
        return
    hint = "; the network comes first: tt.scan(net, xs)" if isinstance(net, Tensor) else ""
    raise TypeError(f"net must be an nn.Module with layers in it, got {type(net).__name__}{hint}")


def require_plain_call() -> None:
    """Raise RuntimeError where a layer is called inside what replays, records or transforms its call.

    A call advances the layer's state. What runs it a second time would advance it twice, and what records it would
    store the state as a constant.
    """
    if torch._C._current_graph_task_id() != -1:
        raise RuntimeError(
            "a tt.Layer ran inside a backward pass: torch.utils.checkpoint computes a forward a second time, which "
            "would advance the layer's state and traces again. Leave the layers out of the checkpoint (their memory "
            "does not grow with time), and wrap modules without tt.Layer alone"
        )
    if torch._C._get_tracing_state() is not None:
        raise RuntimeError(_recorded("torch.jit.trace or the ONNX exporter"))
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise RuntimeError(
            "a tt.Layer ran inside a transform of torch.func (vmap, grad, jvp, jacrev, ...), which cannot see its "
            "state and traces. Call the network itself and loss.backward(); for several networks at once use a loop"
        )
    if forward_ad._current_level >= 0:
        raise RuntimeError(
            "a tt.Layer ran inside torch.autograd.forward_ad, whose tangents its state does not carry. Call the "
            "network outside of it and loss.backward()"
        )
    if torch._C._len_torch_dispatch_stack() and any(map(torch._C._get_dispatch_mode, _RECORDERS)):
        raise RuntimeError(_recorded("make_fx or a FakeTensorMode"))


def require_not_exporting() -> None:
    """Raise RuntimeError where a program is being recorded by torch.export."""
    if torch.compiler.is_exporting():
        raise RuntimeError(_recorded("torch.export"))


def _recorded(by: str) -> str:
    return (
        f"a tt.Layer ran inside {by}, which would store its state as a constant, so that later steps would be wrong. "
        f"Export tt.export.step(net), one step as a function of input and state, or tt.export.window(net, T); "
        f"tt.interop.to_nir(net) is for other simulators; torch.compile(net) is supported"
    )


def hook_tables(module: nn.Module) -> list[Any]:
    """Return the tables of the hooks that calling a module itself runs."""
    return [module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks]


def global_hook_tables() -> list[Any]:
    """Return the tables of the hooks that are registered for all modules."""
    return [getattr(torch_module, name) for name in _GLOBAL_HOOKS]


def has_hooks(module: nn.Module) -> bool:
    """Return whether calling a module itself runs its own hooks."""
    return any(hook_tables(module))


def has_global_hooks() -> bool:
    """Return whether calling any module runs hooks that are registered for all modules."""
    return any(global_hook_tables())


def no_neuron(found: Any) -> str:
    """Return the message for what stands where a neuron should."""
    if isinstance(found, type) and issubclass(found, Neuron):
        name = found.__name__
        return (
            f"neuron must be a tt.Neuron, got type: the class {name} itself; make one, such as tt.{name}(half_life=20)"
        )
    return f"neuron must be a tt.Neuron, got {type(found).__name__}; swap the arguments?"


def refuse_to_compile(message: str) -> None:
    """Raise RuntimeError when a compiled graph runs; one raised while it is traced would lead round the check."""
    raise RuntimeError(message)


# What torch.compiler.disable sets, without the two seconds that its import of the compiler takes.
refuse_to_compile._torchdynamo_disable = True  # type: ignore[attr-defined]
refuse_to_compile._torchdynamo_disable_msg = "several filters, or an order of layers that nothing has shown"  # type: ignore[attr-defined]


def warn_of_positions(x: Tensor) -> None:
    """Warn where a dense layer's first step has three dimensions, as a window given to it by mistake has."""
    warnings.warn(
        f"a layer was given {list(x.shape)} for one step: a batch of {x.shape[0]} with {x.shape[1]} positions each, "
        f"all with the same weights. If it is a whole window, [time, batch, ...], give it to tt.scan(net, xs)",
        UserWarning,
        stacklevel=4,
    )
