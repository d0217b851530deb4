"""The numbers of a trace, computed again only where something that they depend on has changed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.traces import Numbers


@dataclass(frozen=True, eq=False)
class Known:
    """A trace's numbers, and what they were computed of.

    These are objects that may be replaced by others, `of`, tensors among them compared by identity; what counts the
    changes of tensors, `versions`; and the tensors as they were, `values`.
    """

    of: list[object]
    versions: list[tuple[int, int | None]]
    values: list[Tensor]
    numbers: Numbers

    def holds(self, of: list[object], versions: list[tuple[int, int | None]], tensors: list[Tensor]) -> bool:
        """Return whether the numbers still hold; on a CPU also where tensors were written without being counted."""
        if versions != self.versions or len(of) != len(self.of):
            return False
        if any(a is not b and (isinstance(a, Tensor) or a != b) for a, b in zip(of, self.of, strict=True)):
            return False
        return all(not t.is_cpu or torch.equal(t, v) for t, v in zip(tensors, self.values, strict=True))
