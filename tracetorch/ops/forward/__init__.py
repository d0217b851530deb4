"""Linear recurrences forward in time: sensitivities and running sums."""

from tracetorch.ops.forward.reference import decayed_sums, linear_scan

__all__ = ["decayed_sums", "linear_scan"]
