"""Rows as JSON lines: appended whole, read without a last line that was cut short, stamped with how they came about."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from tracetorch.train.folder import versions
from tracetorch.train.schema import plain

Row = Mapping[str, Any]


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


def append(path: Path, rows: Iterable[Row]) -> None:
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
    words = [Path(word).name if Path(word).is_absolute() else word for word in words]  # where it lies is no setting
    date = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"command": " ".join(words), "date": date, "versions": versions(), "threads": torch.get_num_threads()}


def latest(rows: Iterable[Row], *key: str) -> list[Row]:
    """Return the last row of each key, in the order of the keys' first rows, without rows that lack a part of it."""
    return list({text_of(row, *key): row for row in rows if all(name in row for name in key)}.values())


def text_of(row: Row, *key: str) -> str:
    """Return a part of a row as text, the same before and after it was written."""
    return json.dumps([plain(row.get(name)) for name in key], sort_keys=True)


def parser(doc: str | None, rows: Path) -> argparse.ArgumentParser:
    """Return a parser with the options that each command has which fills a file of rows."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=rows, help="file of JSON lines to which rows are appended")
    parser.add_argument("--table", action="store_true", help="print the tables of the file's rows, run nothing")
    return parser


def complete(
    path: Path, key: Sequence[str], jobs: Iterable[Sequence[Any]], run: Callable[..., Row | Iterable[Row]]
) -> None:
    """Run the jobs, values of a key, that no row of a file has; append what each yields when it is done."""
    done = {text_of(row, *key) for row in read(path)}
    for job in jobs:
        if text_of(dict(zip(key, job, strict=True)), *key) not in done:
            found = run(*job)
            append(path, [found] if isinstance(found, Mapping) else list(found))
            print(*job, flush=True)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
