"""What compiled code was made for, compared at each step with what is there now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Entry = tuple[dict[str, Any], str, Any]
"""A table, a name in it, and the object that stood there; None where none did."""


def entry(table: dict[str, Any], name: str) -> Entry:
    """Return what stands in a table under a name now."""
    return table, name, table.get(name)


def values_of(modules: Iterable[nn.Module]) -> list[Entry]:
    """Return the buffers and parameters of modules themselves, without those of modules in them."""
    tables = [table for module in modules for table in (module._buffers, module._parameters)]
    return [(table, name, value) for table in tables for name, value in table.items()]


class Guards:
    """Entries of tables, tensors as they are, and tables of hooks without any.

    Args:
        entries: that are to stay.
        tensors: that are to keep their memory and whether they learn.
        hooks: tables that are to stay empty.
        counted: whether a tensor that does not learn must not be written into either.
        moved: tensors without hooks on their gradient.
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        tensors: Iterable[Tensor],
        hooks: Iterable[Any],
        *,
        counted: bool,
        moved: Sequence[Tensor] = (),
    ) -> None:
        self._entries = list({(id(table), name): (table, name, value) for table, name, value in entries}.values())
        apart = {id(t): t for t in tensors}.values()
        self._tensors = [(t, t.requires_grad, _count(t) if counted else None, t.data_ptr()) for t in apart]
        self._hooks, self._moved, self._handles = list(hooks), moved, -1

    def hold(self) -> bool:
        """Return whether all is as it was."""
        for table, name, value in self._entries:
            if table.get(name) is not value:
                return False
        for tensor, learns, count, address in self._tensors:
            if tensor.requires_grad is not learns or tensor.data_ptr() != address:
                return False
            if count is not None and count != tensor._version:
                return False
        return self._handles == RemovableHandle.next_id or self._unhooked()

    def _unhooked(self) -> bool:
        """Return whether there are no hooks; as each one takes a number, that is so as long as none has been taken."""
        if any(self._hooks) or hooked(self._moved):
            return False
        self._handles = RemovableHandle.next_id
        return True


def _count(value: Tensor) -> int | None:
    """Return how often a value that does not learn was changed in place; None where they are not counted."""
    return None if value.requires_grad or value.is_inference() else value._version


def hooked(tensors: Iterable[Tensor]) -> bool:
    """Return whether any tensor has hooks on its gradient."""
    return any(t._backward_hooks or t._post_accumulate_grad_hooks for t in tensors)
