"""Options with which every kernel is compiled."""

from __future__ import annotations

from typing import Any

FAST: dict[str, Any] = {"fastmath": {"contract", "nsz", "arcp"}, "error_model": "numpy"}
"""Sums keep their order and NaN stays NaN; a product and a sum may be one instruction."""
