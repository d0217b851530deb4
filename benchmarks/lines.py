"""Rows as JSON lines: appended whole, read without a last line that was cut short, stamped with how they came about."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from tracetorch.train.folder import versions
from tracetorch.train.schema import plain


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file; a last line that was cut short is dropped from the file too.

    Raises:
        ValueError: Another line is damaged.
    """
    if not path.is_file():
        return []
    content = path.read_bytes()
    whole, newline, torn = content.rpartition(b"\n")
    if torn:
        with path.open("r+b") as file:
            file.truncate(len(whole) + len(newline))
    rows = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}: repair it or take it out") from error
    return rows


def append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows in one write, and see them to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(plain({**row, **stamp()})) + "\n" for row in rows)
    with path.open("ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def stamp() -> dict[str, Any]:
    """Return what every row says of how it came about: command, date, versions, threads."""
    spec = sys.modules["__main__"].__spec__
    words = ["python", "-m", spec.name, *sys.argv[1:]] if spec is not None else ["python", *sys.argv]
    date = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"command": " ".join(words), "date": date, "versions": versions(), "threads": torch.get_num_threads()}


def latest(rows: Iterable[Mapping[str, Any]], *key: str) -> list[Mapping[str, Any]]:
    """Return the last row of each key, in the order of the keys' first rows, without rows that lack a part of it."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if all(name in row for name in key):
            found[json.dumps([row[name] for name in key], sort_keys=True)] = row
    return list(found.values())
