"""A run's folder: configuration, log, weights, state, figures."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tracetorch as tt
from tracetorch.train.checkpoint import encode, load_tree, save_tree, write_file
from tracetorch.train.runner import Runner

FORMAT = 1


class RunFolder:
    """Keep a run in a folder.

    - ``config.json``: everything needed to repeat it;
    - ``metrics.jsonl``: one JSON record a line, of kind train, eval or test;
    - ``weights.safetensors``: the network's ``state_dict``, for use elsewhere;
    - ``state.safetensors``: the checkpoint: weights, optimizer, stream state, counters, in one file that is always
      whole;
    - ``figures/``: PNG files.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name a folder; nothing is read or made.

        Args:
            path: The folder.
        """
        self.path = Path(path)

    @classmethod
    def create(cls, path: str | os.PathLike[str], config: Mapping[str, Any]) -> RunFolder:
        """Make the folder of a new run and write its configuration.

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
        if any(folder.path.iterdir()):
            raise FileExistsError(
                f"{str(path)!r} is not empty: a run overwrites nothing; give another folder, or resume the run in it"
            )
        write_file(folder.path / "config.json", (json.dumps(config, indent=2, default=repr) + "\n").encode())
        return folder

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

    @property
    def config(self) -> dict[str, Any]:
        """Return the run's configuration.

        Raises:
            ValueError: The file is no JSON object, or of a newer format.
        """
        file = self.path / "config.json"
        try:
            config = json.loads(file.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{str(file)!r} is no readable JSON: {error}") from error
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise ValueError(f"{str(file)!r} is not a configuration of format {FORMAT}: it is of another version")
        return config

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
            record: Plain values by name.
        """
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """Return the log's records; a last line that was cut off in its midst is left out."""
        if not self.log.is_file():
            return []
        lines = self.log.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def save(self, trainer: Runner[Any]) -> None:
        """Write the checkpoint and the weights, each whole or not at all.

        Args:
            trainer: The run.

        Raises:
            RuntimeError: The trainer was broken off in the midst of an iteration.
            ImportError: safetensors is not installed.
        """
        size = self.log.stat().st_size if self.log.is_file() else 0
        save_tree(self.path / "state.safetensors", {**trainer.state_dict(), "log_bytes": size})
        write_file(self.path / "weights.safetensors", encode(trainer.net.state_dict()))

    def load(self, trainer: Runner[Any]) -> dict[str, Any]:
        """Put a trainer into the state of the checkpoint; the folder is left as it is.

        Args:
            trainer: A trainer made with the run's task and rule.

        Returns:
            The checkpoint.

        Raises:
            FileNotFoundError: The run has no checkpoint.
            ValueError: The checkpoint is damaged or does not fit the trainer.
        """
        file = self.path / "state.safetensors"
        if not file.is_file():
            raise FileNotFoundError(
                f"{str(self.path)!r} has no checkpoint (state.safetensors): the run never saved one"
            )
        state: dict[str, Any] = load_tree(file)
        try:
            trainer.load_state_dict(state)
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{str(file)!r} does not fit the run's configuration: {error}") from error
        return state

    def cut_log(self, size: int) -> None:
        """Drop what the log holds beyond a checkpoint.

        Args:
            size: Bytes to keep: the checkpoint's ``log_bytes``.
        """
        if self.log.is_file():
            os.truncate(self.log, min(size, self.log.stat().st_size))


def describe(trainer: Runner[Any]) -> dict[str, Any]:
    """Return everything needed to repeat a run, as JSON can hold it.

    Args:
        trainer: The run, before its first iteration.

    Returns:
        Format, task, options, rule, seed, device, threads, the versions of what it ran on, the time of its start.
    """
    return {
        "format": FORMAT,
        "task": trainer.task.name,
        "options": trainer.task.options(),
        "rule": trainer.choice.text,
        "rule_in_full": repr(trainer.choice.rule),
        "seed": trainer.task.seed,
        "log_every": trainer.log_every,
        "device": str(trainer.device),
        "threads": torch.get_num_threads(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on.

    Returns:
        Versions by name.

    Example:
        >>> sorted(versions())
        ['machine', 'numpy', 'platform', 'python', 'torch', 'tracetorch']
    """
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

    Args:
        *names: The names.

    Returns:
        The word.

    Example:
        >>> slug("clicks", "eprop:kappa=0.9")
        'clicks-eprop_kappa_0.9'
    """
    return "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in name) for name in names)


def default_path(root: str | os.PathLike[str], *names: str) -> Path:
    """Return a folder in `root` that does not exist yet: the names, then the time.

    Args:
        root: The folder of all runs.
        *names: For example task, rule and seed.

    Returns:
        The path; nothing is made.

    Example:
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
