"""Template of a neuron's own part of the step program; executed once per neuron, scalar type and width."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracetorch.backends.numba.steps.names import F, stepped

BYTES = F(0).itemsize


def units(space, blocks, size) -> int:
    """Step the units of all blocks: write next states, outputs and Jacobian blocks beside what is.

    Args:
        space: address of the blocks.
        blocks: number of blocks.
        size: number of values of a block.
    """
    for g in range(blocks):
        stepped(space + g * size * BYTES)
    return 0
