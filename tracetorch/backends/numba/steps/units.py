"""Template of a neuron's own part of the step program; executed once per neuron, scalar type and width."""


def units(space, blocks, size) -> int:
    """Step the units of all blocks from an address on, each of `size` values."""
    for g in range(blocks):
        stepped(space + g * size * BYTES)
    return 0
