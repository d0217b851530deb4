"""What a window may be given as: padded, packed, with the batch first, with lengths, a mask or resets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from tracetorch.entry import require_tensor
from tracetorch.ragged.plan import Rows
from tracetorch.trees import Tree, leaves, mapped


@dataclass(frozen=True)
class Options:
    """When the rows of a window run, as a user says it.

    Args:
        lengths: number of steps of each row, or None.
        mask: true where a row runs, or None.
        resets: true where a row is reset before a step, or None.
        batch_first: whether the batch comes before time.
    """

    lengths: Tensor | Sequence[int] | None = None
    mask: Tensor | None = None
    resets: Tensor | None = None
    batch_first: bool = False

    @property
    def plain(self) -> bool:
        """Whether nothing is said."""
        return self.lengths is None and self.mask is None and self.resets is None and not self.batch_first


@dataclass(frozen=True)
class Given:
    """A window, time first.

    Args:
        xs: inputs, `[T, B, ...]`.
        rows: when each row runs; None where all run through.
        batch_first: whether outputs are returned with the batch first.
        packed: the packed sequences that it was given as, or None.
    """

    xs: Tree
    rows: Rows | None = None
    batch_first: bool = False
    packed: PackedSequence | None = field(default=None, repr=False)

    def returned(self, ys: Tree) -> Tree:
        """Return the outputs of all steps in the form in which the inputs were given."""
        packed = self.packed
        if packed is not None:
            return mapped(lambda y: _packed(y, packed), ys)
        return mapped(lambda y: y.transpose(0, 1), ys) if self.batch_first else ys


def given(xs: Any, options: Options) -> Given:
    """Return a window as a scan runs it, or raise where what is said of its rows does not fit."""
    if isinstance(xs, PackedSequence):
        if not options.plain:
            raise ValueError("a PackedSequence has its own lengths and layout; leave out lengths, mask and batch_first")
        padded, lengths = pad_packed_sequence(xs)
        return replace(given(padded, Options(lengths)), packed=xs)
    parts = leaves(xs) if isinstance(xs, tuple | dict) and xs else [xs]
    for part in parts:
        require_tensor(part, "a window", "[time, batch, ...]")
        if part.dim() < 2 or part.shape[int(options.batch_first)] == 0:
            raise ValueError(f"a window needs at least one step, [time, batch, ...], got {list(part.shape)}")
    if options.batch_first:
        xs = mapped(lambda x: x.transpose(0, 1), xs)
    sizes = {tuple(x.shape[:2]) for x in leaves(xs)}
    if len(sizes) > 1:
        raise ValueError(f"all inputs have the same steps and rows, [time, batch, ...], got {sorted(sizes)}")
    steps, rows = sizes.pop()
    return Given(xs, _rows(options, steps, rows), options.batch_first)


def _rows(options: Options, steps: int, rows: int) -> Rows | None:
    lengths, mask, resets = options.lengths, options.mask, options.resets
    if lengths is None and mask is None and resets is None:
        return None
    if lengths is not None and mask is not None:
        raise ValueError("lengths and mask mean the same; give one of them")
    if lengths is not None:
        valid = torch.arange(steps).unsqueeze(1) < _lengths(lengths, steps, rows)
    else:
        valid = _flags(mask, "mask", options, (steps, rows), default=True)
    return Rows(valid, _flags(resets, "resets", options, (steps, rows), default=False))


def _lengths(lengths: Any, steps: int, rows: int) -> Tensor:
    try:
        found = torch.as_tensor(lengths).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"lengths is a tensor or a list of {rows} whole numbers of steps, got {type(lengths).__name__}: {error}"
        ) from None
    if found.is_floating_point() or found.dtype is torch.bool or found.shape != (rows,):
        raise ValueError(f"lengths has a whole number of steps for each row, [{rows}], got {lengths!r}")
    if bool((found < 0).any()) or int(found.max()) > steps:
        raise ValueError(f"lengths lie between 0 and the window's {steps} steps, got {found.tolist()}")
    return found


def _flags(value: Any, name: str, options: Options, shape: tuple[int, int], *, default: bool) -> Tensor:
    if value is None:
        return torch.full(shape, default)
    layout = "[batch, time]" if options.batch_first else "[time, batch]"
    require_tensor(value, name, f"{layout} of booleans")
    flags: Tensor = value.detach().cpu()
    if options.batch_first:
        flags = flags.transpose(0, 1) if flags.dim() == 2 else flags
    if tuple(flags.shape) != shape:
        expected = list(shape[::-1] if options.batch_first else shape)
        raise ValueError(f"{name} has an entry for each step and row, {layout} = {expected}, got {list(value.shape)}")
    if flags.dtype is not torch.bool and not bool(((flags == 0) | (flags == 1)).all()):
        raise ValueError(f"{name} is true or false; got other numbers than 0 and 1")
    return flags.bool()


def _packed(ys: Tensor, like: PackedSequence) -> PackedSequence:
    """Return outputs in the form of the packed inputs."""
    rows, lengths = like.sorted_indices, (like.batch_sizes.unsqueeze(1) > torch.arange(int(like.batch_sizes[0]))).sum(0)
    data = pack_padded_sequence(ys if rows is None else ys.index_select(1, rows), lengths)
    return PackedSequence(data.data, data.batch_sizes, rows, like.unsorted_indices)
