"""A run's folder: configuration, log, weights, state, figures."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, cast, get_type_hints

import numpy as np
import torch

import tracetorch as tt
from tracetorch.data.files import write_file
from tracetorch.train.checkpoint import encode, load_tree, remove_parts, save_tree
from tracetorch.train.formats import FORMAT, Checkpoint, Config, Record
from tracetorch.train.runner import Runner
from tracetorch.train.schema import (
    RunFileError,
    check,
    difference,
    join,
    plain,
    read_json,
    shown,
)

LOCK = ".lock"


class RunFolder:
    """A folder that stores one run.

    - ``config.json``: everything needed to repeat it;
    - ``metrics.jsonl``: one JSON record a line, of kind train, eval or test;
    - ``weights.safetensors``: the network's ``state_dict``, for use elsewhere;
    - ``state.safetensors``: the checkpoint: weights, optimizer, stream state, counters, and the checksums of itself and
      of the log, in one file that is always whole;
    - ``figures/``: PNG files;
    - ``.lock``: locked by the one process that writes here; the system unlocks it when that process ends, however.

    Attributes:
        path: The folder.

    Example:
        >>> import tempfile, tracetorch as tt
        >>> path = tempfile.mkdtemp()
        >>> _ = tt.train.fit(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}), run=path)
        >>> folder = tt.train.RunFolder.open(path)
        >>> folder.config["task"], len(folder.records())
        ('digits', 2)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name a folder; nothing is read or made."""
        self.path = Path(path)
        self._lock: Any = None

    @classmethod
    def create(cls, path: str | os.PathLike[str], config: Config) -> RunFolder:
        """Make the folder of a new run, lock it, and write its configuration.

        Args:
            path: The folder; it must not exist or be empty.
            config: What `describe` returned.

        Returns:
            The run's folder.

        Raises:
            FileExistsError: There is something in the folder already.
        """
        folder = cls(path)
        folder.path.mkdir(parents=True, exist_ok=True)
        folder._require_empty()  # before anything is written there, and after: two may have seen it empty
        folder.lock()
        folder._require_empty()
        folder.configure(config)
        return folder

    def _require_empty(self) -> None:
        if any(file.name != LOCK for file in self.path.iterdir()):
            raise FileExistsError(
                f"{str(self.path)!r} is not empty: a run overwrites nothing; give another folder, or resume its run"
            )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Open the folder of an existing run.

        Args:
            path: The folder.

        Returns:
            The run's folder.

        Raises:
            FileNotFoundError: It holds no run.
        """
        folder = cls(path)
        if not (folder.path / "config.json").is_file():
            raise FileNotFoundError(f"{str(path)!r} holds no run: there is no config.json in it")
        return folder

    def lock(self) -> None:
        """Make this object the folder's only writer, and remove what a killed one left; once more does nothing.

        Raises:
            BlockingIOError: Another process, or another `RunFolder` of this one, writes there.
        """
        from filelock import FileLock, Timeout

        if self._lock is None:
            lock = FileLock(self.path / LOCK, timeout=0)
            try:
                lock.acquire()
            except Timeout:
                raise BlockingIOError(
                    f"{str(self.path)!r} is being trained by another process: wait for its end, or stop it first"
                ) from None
            self._lock = lock
            remove_parts(self.path)

    def unlock(self) -> None:
        """Let others write; nothing happens where nothing is locked."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def configure(self, config: Config) -> None:
        """Write the configuration.

        Args:
            config: What `describe` returned.
        """
        write_file(self.path / "config.json", (json.dumps(config, indent=2, default=repr) + "\n").encode())

    @cached_property
    def config(self) -> Config:
        """The run's configuration.

        Returns:
            The configuration, checked.

        Raises:
            RunFileError: The file is no JSON object, or of another version, or something in it is missing or wrong.
        """
        file = self.path / "config.json"
        config = read_json(file, file.read_bytes())
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise RunFileError(file, "format", f"not a configuration of format {FORMAT}: it is of another version")
        check(Config, config, file)
        return cast(Config, config)

    @property
    def log(self) -> Path:
        """Return the log's path."""
        return self.path / "metrics.jsonl"

    @property
    def figures(self) -> Path:
        """Return the path of the folder of figures."""
        return self.path / "figures"

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record to the log.

        Args:
            record: Plain values by name; NaN and infinity are written as null.
        """
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(plain(record)) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """Return the log's records, NaN for null; a last line that was cut off in its middle is left out.

        Returns:
            The records, in order.

        Raises:
            RunFileError: A line is damaged.
        """
        return self._parse(self.log.read_bytes()) if self.log.is_file() else []

    def _parse(self, content: bytes) -> list[dict[str, Any]]:
        """Read the whole lines of a log."""
        kinds = get_type_hints(Record, include_extras=True)
        records = []
        for number, line in enumerate(content.split(b"\n")[:-1], 1):
            field = f"line {number}"
            record = read_json(self.log, line, field)
            check(dict[str, Any], record, self.log, field)
            check(Record, {name: record[name] for name in record if name in kinds}, self.log, field)
            for name, value in record.items():
                if name not in kinds and type(value) is not bool:
                    check(float | None, value, self.log, join(field, name))
            records.append({name: math.nan if value is None else value for name, value in record.items()})
        return records

    def save(self, trainer: Runner[Any]) -> None:
        """Write the checkpoint and the weights, each whole or not at all.

        Args:
            trainer: The run.

        Raises:
            RuntimeError: The trainer was broken off in the middle of an iteration.
            ImportError: safetensors is not installed.
        """
        log = b""
        if self.log.is_file():
            with open(self.log, "r+b") as file:
                log = file.read()
                os.fsync(file.fileno())  # a checkpoint counts on the log that it names
        checkpoint = Checkpoint(
            run=trainer.state_dict(),
            config=cast(dict[str, Any], self.config),
            log_bytes=len(log),
            log_sha256=hashlib.sha256(log).hexdigest(),
        )
        save_tree(self.path / "state.safetensors", checkpoint)
        write_file(self.path / "weights.safetensors", encode(trainer.net.state_dict()))

    def checkpoint(self) -> Checkpoint:
        """Read the checkpoint; check it, and that configuration and log are those that it was written with.

        Returns:
            The checkpoint.

        Raises:
            FileNotFoundError: The run has no checkpoint.
            RunFileError: A file is damaged, or one of them is another run's.
        """
        file = self.path / "state.safetensors"
        if not file.is_file():
            raise FileNotFoundError(
                f"{str(self.path)!r} has no checkpoint (state.safetensors): the run never saved one"
            )
        checkpoint = load_tree(file)
        check(Checkpoint, checkpoint, file)
        found = difference(self.config, checkpoint["config"])
        if found is not None:
            field, here, there = found
            why = f"{shown(here)}, but the checkpoint was written with {shown(there)}"
            raise RunFileError(self.path / "config.json", field, why)
        size = checkpoint["log_bytes"]
        log = self.log.read_bytes()[:size] if self.log.is_file() else b""
        if hashlib.sha256(log).hexdigest() != checkpoint["log_sha256"]:
            self._parse(log)  # names the line, where it can
            if len(log) < size:
                raise RunFileError(self.log, "length", f"{len(log)} bytes, but the checkpoint covers {size}")
            raise RunFileError(self.log, "sha256", f"the first {size} bytes are not what was written")
        return cast(Checkpoint, checkpoint)

    def cut_log(self, size: int) -> None:
        """Drop what the log holds beyond a checkpoint.

        Args:
            size: Bytes to keep: the checkpoint's ``log_bytes``.
        """
        if self.log.is_file():
            os.truncate(self.log, min(size, self.log.stat().st_size))


def describe(trainer: Runner[Any]) -> Config:
    """Return everything needed to repeat a run that is before its first iteration, as JSON can hold it."""
    return {
        "format": 3,
        "task": trainer.task.name,
        "options": trainer.task.options(),
        "rule": trainer.choice.text,
        "rule_in_full": repr(trainer.choice.rule),
        "seed": trainer.task.seed,
        "log_every": trainer.log_every,
        "device": str(trainer.device),
        "devices": trainer.fabric.world_size,
        "precision": trainer.fabric.strategy.precision.precision,
        "threads": torch.get_num_threads(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on, by name."""
    try:
        own = metadata.version("tracetorch")
    except metadata.PackageNotFoundError:
        own = tt.__version__
    return {
        "tracetorch": own,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.system(),
        "machine": platform.machine(),
    }


def slug(*names: str) -> str:
    """Return names as one word that any file system takes.

    >>> slug("clicks", "eprop:kappa=0.9")
    'clicks-eprop_kappa_0.9'
    """
    return "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in name) for name in names)


def default_path(root: str | os.PathLike[str], *names: str) -> Path:
    """Return a folder in `root` that does not exist yet, and is not made: the names, then the time.

    >>> default_path("runs", "clicks", "eprop:kappa=0.9", "0").name.startswith("clicks-eprop_kappa_0.9-0-2")
    True
    """
    stem = f"{slug(*names)}-{datetime.now():%Y%m%d-%H%M%S}"
    path = Path(root) / stem
    count = 1
    while path.exists():
        count += 1
        path = Path(root) / f"{stem}-{count}"
    return path
