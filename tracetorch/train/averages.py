"""Means of named numbers over the iterations that one record of the log covers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Averages:
    """Add up named numbers; give their means and start again.

    >>> averages = Averages()
    >>> averages.add({"loss": 1.0})
    >>> averages.add({"loss": 2.0, "accuracy": 0.5})
    >>> averages.take(), averages.take()
    ({'loss': 1.5, 'accuracy': 0.5}, {})
    """

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, numbers: Mapping[str, float]) -> None:
        """Add one value of each name given; a name may be missing at times."""
        for name, value in numbers.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Return the means since the last `take`."""
        return {name: total / self._counts[name] for name, total in self._sums.items()}

    def take(self) -> dict[str, float]:
        """Return the means since the last call, and forget the sums."""
        means = self.means()
        self._sums, self._counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and counts."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the `state` that `state_dict` returned."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
