"""Backends: how neurons are scanned through windows, forward and in reverse, behind one interface."""

from tracetorch.backends.choose import available_backends, choose, reference
from tracetorch.backends.interface import (
    Cotangents,
    Filter,
    Gradients,
    Outputs,
    Pull,
    Save,
    Scan,
    ScanBackend,
    Sensitivity,
    Tape,
    padded,
    unit_rows,
)
from tracetorch.backends.products import Convolution, Events, Product

__all__ = [
    "Convolution",
    "Cotangents",
    "Events",
    "Filter",
    "Gradients",
    "Outputs",
    "Product",
    "Pull",
    "Save",
    "Scan",
    "ScanBackend",
    "Sensitivity",
    "Tape",
    "available_backends",
    "choose",
    "padded",
    "reference",
    "unit_rows",
]
