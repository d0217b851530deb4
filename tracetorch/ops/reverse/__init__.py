"""The reverse filter: how credit at a window's outputs reaches its currents and its first state."""

from tracetorch.ops.reverse.reference import reverse_filter, reverse_scan

__all__ = ["reverse_filter", "reverse_scan"]
