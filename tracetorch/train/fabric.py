"""Where a run computes: device, processes, precision and loggers are Lightning Fabric's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = ("32-true", "64-true", "bf16-mixed")
"""Number formats in which a run goes on bit for bit; those with loss scaling have their own state."""
LOGGERS = ("csv", "tensorboard")


def make_fabric(
    device: str = "cpu",
    *,
    devices: int | None = None,
    precision: str = "32-true",
    loggers: Sequence[Any] = (),
) -> Fabric:
    """Return a Fabric for runs of this package.

    Args:
        device: ``cpu``, ``cuda``, or one of several, ``cuda:1``.
        devices: Processes on this machine, each with its own device; None for one, or what torchrun started.
        precision: One of `PRECISIONS`.
        loggers: Loggers of Fabric, beside the run's own log.

    Returns:
        The Fabric, not launched.

    Raises:
        ValueError: There are no such devices, or there is no such precision.
        ImportError: Lightning Fabric is not installed.

    Example:
        >>> make_fabric().device
        device(type='cpu')
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.utilities.exceptions import MisconfigurationException
    except ImportError as error:
        raise ImportError("training needs Lightning Fabric: pip install lightning-fabric") from error
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
    kind, _, index = device.partition(":")
    started = torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()
    here, nodes = (int(os.environ[f"{name}_WORLD_SIZE"]) if started else 1 for name in ("LOCAL", "GROUP"))
    count = here if devices is None else devices
    if kind == "cpu" and index not in ("", "0"):
        raise ValueError(f"no device {device!r}: there is one CPU")
    if count < 1 or (started and count != here):
        raise ValueError(f"devices must be {f'{here}, as torchrun was told' if started else '1 or more'}, got {count}")
    try:
        return Fabric(
            accelerator=kind,
            devices=[int(index)] if index and kind != "cpu" else count,
            num_nodes=nodes,
            precision=precision,
            loggers=list(loggers),
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ValueError(f"no device {device!r}, or not {count}: {error}") from error


def make_logger(name: str, folder: str | os.PathLike[str]) -> Any:
    """Return one of Fabric's loggers, of `LOGGERS`, which makes its files in a folder at the first record."""
    from lightning_fabric.loggers import CSVLogger, TensorBoardLogger

    if name not in LOGGERS:
        raise ValueError(f"a logger is one of {', '.join(LOGGERS)}, got {name!r}")
    if name == "csv":
        return CSVLogger(folder, name=name, flush_logs_every_n_steps=1)
    return TensorBoardLogger(folder, name=name, version="")
