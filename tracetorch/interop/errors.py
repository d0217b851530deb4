"""What is raised where a network cannot be carried over a border."""

from __future__ import annotations


class NotCarriedOverError(ValueError):
    """A part of a network has no exact counterpart on the other side; the message names the part and the reason.

    Args:
        where: name of the module or of the node.
        why: what it has that cannot be carried over, and what to do.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.MinGRU()))
        >>> try:
        ...     graph = tt.interop.to_nir(net)
        ... except tt.interop.NotCarriedOverError as error:
        ...     print("kept in traceTorch")
        kept in traceTorch
    """

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where!r}: {why}")
