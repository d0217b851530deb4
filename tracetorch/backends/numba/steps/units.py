"""Template of a neuron's own part of the step program; executed once per neuron, scalar type and width."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracetorch.backends.numba.steps.names import stepped
    from tracetorch.backends.numba.steps.rows import BYTES


def units(space, blocks, size) -> int:
    """Step the units of all blocks from an address on, each of `size` values."""
    for g in range(blocks):
        stepped(space + g * size * BYTES)
    return 0
