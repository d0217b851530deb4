"""Compiled kernels of single steps."""

from tracetorch.ops.fused.load import why_not

__all__ = ["why_not"]
