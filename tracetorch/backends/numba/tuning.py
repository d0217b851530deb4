"""What the CPU backend decides by measured sizes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """Sizes from which one way is faster than another; measured on x86 CPUs of two to sixteen cores.

    Args:
        small: unit-steps of a window, T times units of all rows, below which a kernel is not worth its start.
        narrow: units of all rows below which the time of a step no longer depends on their number.
        dense: share of inputs that are not zero above which a dense product is faster than events.
        convolution: the same for a convolution whose events add `run` values at a time; with fewer the share falls in
            proportion. Also the share of cotangents that are not zero above which torch sends credit below faster.
        run: see `convolution`.
        few: rows, T B, below which laying out the weights for events costs more than it saves.
        sample: inputs that are looked at, about, to estimate their density.
        widths: numbers of units that a kernel may compute at once.
    """

    small: int = 2**14
    narrow: int = 256
    dense: float = 0.25
    convolution: float = 0.3
    run: int = 160
    few: int = 16
    sample: int = 2**12
    widths: tuple[int, ...] = (16, 32, 64, 256)

    def width(self, units: int) -> int:
        """Return how many units are computed at once: all of a small layer, else the width that pads least."""
        fitting = next((w for w in self.widths if units <= w), self.widths[-1])
        least = min(64, self.widths[-1])
        return min((w for w in self.widths if least <= w <= fitting), key=lambda w: (-units % w, -w), default=fitting)
