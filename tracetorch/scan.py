"""Whole windows at once: layer by layer where the graph allows it, step by step where it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from tracetorch.backends.numba.pooling import pooled
from tracetorch.dropout import SequenceDropout, dropouts
from tracetorch.engine import OpenWindow
from tracetorch.entry import (
    has_global_hooks,
    has_hooks,
    require_network,
    require_not_exporting,
    require_plain_call,
)
from tracetorch.first import first_apart
from tracetorch.folding import foldable
from tracetorch.layer import Layer
from tracetorch.linking import layers, link
from tracetorch.modules import named_modules
from tracetorch.network import restart
from tracetorch.ragged import Network, Options, given
from tracetorch.ragged import run as run_rows
from tracetorch.trees import leaves, mapped, stacked
from tracetorch.undo import whole_or_nothing

Out = Literal["all", "last"]


@overload
def scan(
    net: nn.Module,
    xs: Tensor,
    out: Out = "all",
    *,
    lengths: Tensor | Sequence[int] | None = None,
    mask: Tensor | None = None,
    resets: Tensor | None = None,
    batch_first: bool = False,
) -> Tensor: ...


@overload
def scan(
    net: nn.Module,
    xs: Any,
    out: Out = "all",
    *,
    lengths: Tensor | Sequence[int] | None = None,
    mask: Tensor | None = None,
    resets: Tensor | None = None,
    batch_first: bool = False,
) -> Any: ...


def scan(
    net: nn.Module,
    xs: Any,
    out: Out = "all",
    *,
    lengths: Tensor | Sequence[int] | None = None,
    mask: Tensor | None = None,
    resets: Tensor | None = None,
    batch_first: bool = False,
) -> Any:
    """Run a network over a window of time steps: the same as single steps, in values and gradients, and far faster.

    Time comes first. Where the window is given as `[B, T, *in]` this is noticed only by a state of another batch size.

    With `lengths` or `mask`, a row that does not run does not change: its state, traces, averages and counts stay, and
    its outputs are zero, so that values and gradients are those of each sequence alone, under every rule. With
    `resets`, a row is reset before a step, as if the scan were cut there with `tt.reset(net, mask)`; no credit crosses
    a reset. Sequences of equal length run together: the fewer lengths there are, the faster.

    Args:
        net: any module with layers in it; `nn.Sequential` runs layer by layer over the whole window, other containers,
            and those in which a module has forward or backward hooks, step by step in one open window.
        xs: inputs, `[T, B, *in]`; a tuple or dictionary of such, of which the network is given one step at a
            time in the same form; or a `PackedSequence`.
        out: `all` for the outputs of all steps, or `last` for that of each row's last step alone: one event, one
            backward.
        lengths: number of steps of each row, `[B]`, padded at the end; None for T.
        mask: `[T, B]` of booleans, true where a row runs, instead of `lengths`.
        resets: `[T, B]` of booleans, true where a row begins a new sequence with this step.
        batch_first: whether `xs`, `mask`, `resets` and the outputs are `[B, T, ...]`.

    Returns:
        The outputs, `[T, B, *out]`, or `[B, *out]` for `last`, in the form in which the network returns them; a
        `PackedSequence` for all steps of one.

    Raises:
        TypeError: if the network is not a module, or the window no dense real tensor.
        ValueError: if the window is empty, `out` is unknown, lengths, mask or resets do not fit, or an input does not
            fit or is not finite; the network is then as it was before.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(
        ...     tt.Layer(torch.nn.Linear(3, 8), tt.LIF(half_life=5)),
        ...     tt.Layer(torch.nn.Linear(8, 2), tt.LI(half_life=5)),
        ... )
        >>> tt.scan(net, torch.ones(10, 4, 3)).shape
        torch.Size([10, 4, 2])
        >>> tt.scan(net, torch.ones(10, 4, 3), out="last").shape
        torch.Size([4, 2])
        >>> ys = tt.scan(net, torch.ones(10, 4, 3), lengths=[10, 3, 7, 7])
        >>> bool(ys[3:, 1].any())
        False
    """
    if out not in ("all", "last"):
        raise ValueError(f"out must be 'all' or 'last', got {out!r}")
    require_network(net)
    options = Options(lengths, mask, resets, batch_first)
    if torch.compiler.is_compiling():
        require_not_exporting()
        if not options.plain:
            raise RuntimeError("lengths, mask, resets and batch_first group rows by value: scan outside torch.compile")
        return _window(net, link(net), xs, out)
    require_plain_call()
    window = given(xs, options)
    found, rows = link(net), window.rows
    for layer in found.values():
        layer.settle()  # while the traces wait for what the step before has shown
    if rows is None:
        ys = _window(net, found, window.xs, out)
    else:
        masks = list(dropouts(net).values())
        with whole_or_nothing(found.values(), masks, parts=False):
            run_all = partial(_window, net, found)
            network = Network(list(found.values()), run_all, _repeatable(net, found, window.xs), masks)
            ys = run_rows(network, window.xs, rows, out)
            ended = rows.ended()
            if bool(ended.any()):
                restart(net, ended)
    return ys if out == "last" else window.returned(ys)


def _window(net: nn.Module, found: dict[str, Layer], xs: Any, out: Out) -> Any:
    """Run a network over a window in which all rows run through."""
    stretches, hooked = [xs], _hooked(net, found)
    dims = xs.dim() - 1 if isinstance(xs, Tensor) else None
    if eventful := out == "last" and not hooked and dims is not None and _eventful(net, found, dims):
        stretches = _stretches(found, xs)
    if torch.compiler.is_compiling():
        return _run(net, stretches, out, eventful=eventful)
    with whole_or_nothing(found.values(), list(dropouts(net).values()), parts=len(stretches) > 1):
        if hooked:
            ys = _parted(net, xs, _stepped)
            return _last_of(ys) if out == "last" else ys
        return _run(net, stretches, out, eventful=eventful)


def _repeatable(net: nn.Module, found: dict[str, Layer], xs: Any) -> nn.Module | None:
    """Return a network of which a window that is run twice comes to the same; None where it may not."""
    if not isinstance(xs, Tensor) or xs.requires_grad or torch.is_autocast_enabled(xs.device.type):
        return None
    inside = {module for layer in found.values() for module in named_modules(layer)}
    buffered = any(module._buffers for module in named_modules(net) if module not in inside)
    if buffered or _hooked(net, found) or _after(net, xs.dim() - 1) is False:
        return None
    return net


def _last_of(ys: Any) -> Any:
    return mapped(lambda y: y[-1], ys)


def _hooked(net: nn.Module, found: dict[str, Layer]) -> bool:
    """Return whether calling the network runs hooks, which see single steps; a layer checks its synapses itself."""
    if torch.compiler.is_compiling():
        return False
    if has_global_hooks():
        return True
    own = {id(part) for layer in found.values() for part in (layer.synapse, layer.recurrent)}
    return any(has_hooks(module) for module in named_modules(net) if id(module) not in own)


def _run(net: nn.Module, stretches: list[Any], out: Out, *, eventful: bool) -> Any:
    """Run a network over the stretches of a window, all but the last without credit."""
    for part in stretches[:-1]:
        _carry(net, part)
    xs = stretches[-1]
    if eventful:
        xs = xs.clone() if xs.requires_grad and xs.is_leaf else xs  # its last step would look like what stays
        return _last(net, xs, xs[-1])[1]
    ys = _parted(net, xs, partial(_all, inner=False))
    return _last_of(ys) if out == "last" else ys


def _parted(net: nn.Module, xs: Any, run: Callable[[nn.Module, Any], Any]) -> Any:
    """Run a network over a window, its first step apart where it is not a chain."""
    dims = xs.dim() - 1 if isinstance(xs, Tensor) else None
    return run(net, xs) if _after(net, dims) is not False else first_apart(net, xs, run)


STRETCH = 2**22
"""Numbers, steps times batch times units, that the widest layer returns at a time where only the last is needed.

Fewer, and what a window costs once is paid too often; more, and the outputs leave the processor's cache.
"""


def _stretches(found: dict[str, Layer], xs: Tensor) -> list[Tensor]:
    """Cut a long window of which only the end needs outputs, so that those of the whole are never in memory."""
    widest = max([1, *map(_width, found.values())])
    steps = max(16, STRETCH // (max(xs.shape[1], 1) * widest))
    if xs.shape[0] < 2 * steps or not all(layer.carries for layer in found.values()):
        return [xs]
    return list(xs.split(steps))


def _width(layer: Layer) -> int:
    """Return the number of units of a layer that carries."""
    units = getattr(layer.synapse, "out_features", None)
    if isinstance(units, int):
        return units
    state = layer.core.state
    return 1 if state is None else state.s[0][0].numel()


def _carry(module: nn.Module, xs: Tensor) -> Tensor:
    if isinstance(module, Layer):
        return module.carry(xs)
    if isinstance(module, nn.Sequential):
        for child in module:
            xs = _carry(child, xs)
        return xs
    with torch.no_grad():
        found: Tensor = _folded(module, xs)
    return found


class Scan(nn.Module):
    """A network's scan as a module, to wrap or to compile: `DDP(tt.Scan(net))`.

    Args:
        net: the network.
        out: `all` or `last`, as in `tt.scan`.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5)))
        >>> tt.Scan(net, out="last")(torch.ones(10, 4, 3)).shape
        torch.Size([4, 2])
    """

    def __init__(self, net: nn.Module, out: Out = "all") -> None:
        super().__init__()
        self.net = net
        self.out: Out = out

    def forward(self, xs: Any, **rows: Any) -> Any:
        """Run the network over a window; see `tt.scan`.

        Args:
            xs: inputs, `[T, B, *in]`.
            **rows: `lengths`, `mask`, `resets` and `batch_first`, as in `tt.scan`.

        Returns:
            The outputs, `[T, B, *out]`, or `[B, *out]` for `last`.
        """
        return scan(self.net, xs, self.out, **rows)


def _all(module: nn.Module, xs: Any, *, inner: bool) -> Any:
    """Run a module over a window; `inner` where a layer of the same chain is all that gets the outputs."""
    if isinstance(module, Layer) and _plain(module):
        return module.scan(xs, inner=inner)[0]
    if _sequential(module):
        chain = [*module.children()]
        for i, child in enumerate(chain):
            xs = _all(child, xs, inner=_leads(chain[i + 1 :], inner=inner))
        return xs
    if isinstance(module, SequenceDropout) and isinstance(xs, Tensor) and not has_hooks(module):
        return module.scan(xs)
    if isinstance(xs, Tensor) and foldable(module, xs.dim() - 1):
        return _folded(module, xs)
    return _stepped(module, xs)


def _leads(chain: Sequence[nn.Module], *, inner: bool) -> bool:
    """Return whether values that enter a chain of modules reach one layer, and nothing else can have them."""
    for module in chain:
        if isinstance(module, Layer):
            return _plain(module)
        if _sequential(module) and layers(module):
            return _leads([*module.children()], inner=False)
        if any(has_hooks(m) or type(m).__module__.partition(".modules.")[0] != "torch.nn" for m in module.modules()):
            return False
    return inner


def _plain(layer: Layer) -> bool:
    """Return whether calling a layer is its step and nothing else, so that a window of it is one scan."""
    own = type(layer)
    same = own.forward is Layer.forward and own.__call__ is Layer.__call__ and "forward" not in layer.__dict__
    return same and not has_hooks(layer)


def _sequential(module: nn.Module) -> bool:
    return type(module) is nn.Sequential and "forward" not in module.__dict__ and not has_hooks(module)


def _folded(module: nn.Module, xs: Tensor) -> Tensor:
    rows = xs.reshape(-1, *xs.shape[2:])
    found = pooled(module, rows)
    flat: Tensor = module(rows) if found is None else found
    return flat.reshape(*xs.shape[:2], *flat.shape[1:])


def _stepped(module: nn.Module, xs: Any) -> Any:
    inside = list(layers(module).values())
    if torch.is_grad_enabled() and any(layer.rule.window == "sequence" and layer.learns for layer in inside):
        raise RuntimeError(
            f"rule 'rate' averages a whole sequence, but {type(module).__name__} can only be run step by step; put "
            f"its layers into nn.Sequential, without hooks, or take tt.rules.trace()"
        )
    for layer in inside:
        layer.core.opened = OpenWindow()
    try:
        ys = []
        for step in range(1, len(leaves(xs)[0]) + 1):
            ys.append(module(mapped(lambda x, at=step - 1: x[at], xs)))
            for layer in inside:
                opened = layer.core.opened
                if opened is not None and opened.calls > step:
                    raise RuntimeError(
                        f"a layer ({layer.neuron!r}) ran twice in one step: it has one state; use layer.tied() for a "
                        f"second layer with the same parameters"
                    )
        return stacked(ys)
    finally:
        for layer in inside:
            layer.core.close()


def _last(module: nn.Module, xs: Tensor, event: Tensor) -> tuple[Tensor, Tensor]:
    """Run values without a graph, and the last step with one."""
    if isinstance(module, Layer):
        return module.scan(xs.detach(), event=event)
    if isinstance(module, nn.Sequential):
        for child in module:
            xs, event = _last(child, xs, event)
        return xs, event
    with torch.no_grad():
        ys = _folded(module, xs)
    return ys, module(event)


def _eventful(module: nn.Module, found: dict[str, Layer], dims: int) -> bool:
    """Return whether credit at the last output needs no graph of the steps before."""
    whole = ("window", "inside")
    if any(layer.core.counted or layer.rule.sends(layer.neuron) in whole for layer in found.values()):
        return False
    return _after(module, dims) is not False


def _after(module: nn.Module, dims: int | None) -> int | Literal[False] | None:
    """Return the number of dimensions, `[B, ...]`, after a chain; None if unknown, False where it may not be folded."""
    if isinstance(module, Layer):
        if not _plain(module):
            return False
        size = getattr(module.synapse, "kernel_size", None)
        if isinstance(size, tuple):
            return len(size) + 2
        return dims if isinstance(module.synapse, nn.Linear) else None
    if _sequential(module):
        for child in module.children():
            found = _after(child, dims)
            if found is False:
                return False
            dims = found
        return dims
    if not foldable(module, dims) or _random(module):
        return False
    if isinstance(module, nn.Flatten):
        return module.start_dim + 1 if module.start_dim > 0 and module.end_dim == -1 else None
    if isinstance(module, nn.Unflatten | nn.Embedding | nn.EmbeddingBag):
        return None
    return dims


def _random(module: nn.Module) -> bool:
    return module.training and type(module).__module__.rpartition(".")[2] == "dropout"
