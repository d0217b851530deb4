"""Online learning in one compiled call per step."""

from tracetorch.stream.stream import Stream

__all__ = ["Stream"]
