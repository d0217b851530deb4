"""What is raised where a network cannot be carried over a border."""

from __future__ import annotations


class NotCarriedOverError(ValueError):
    """A part of a network has no exact counterpart on the other side; the message names the part and the reason."""

    def __init__(self, where: str, why: str) -> None:
        """Compose the message.

        Args:
            where: name of the module or of the node.
            why: what it has that cannot be carried over, and what to do.
        """
        super().__init__(f"{where!r}: {why}")
