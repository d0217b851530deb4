"""Virtual environments for the rivals, made once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.measure import Place
from benchmarks.rows import Library

_MARK = "tracetorch-bench.json"
"""A file that tells what a finished environment holds."""


def default_folder() -> Path:
    """Return the folder of environments in the user's cache."""
    if os.name == "nt":
        cache = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tracetorch" / "benchmarks"


def requirements(library: Library) -> list[str]:
    """Return what pip installs for a library: its packages, torch in the release that this process runs."""
    return [p.format(torch=torch.__version__.partition("+")[0]) for p in library.packages]


def place(library: Library, folder: Path, *, log: Callable[[str], None]) -> Place:
    """Make a library's environment, or find it as it was made before.

    Args:
        library: The library.
        folder: Where environments are.
        log: Called with a line on what goes on.

    Returns:
        Where the library runs, or why it cannot.
    """
    packages = requirements(library)
    wanted = {"packages": packages, "python": list(sys.version_info[:2])}
    digest = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:8]
    home = folder / f"{library.name.lower()}-{digest}"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (home / _MARK).is_file():
        problem = _make(library, home, python, packages, log)
        if problem:
            return Place(library, "", problem=problem)
        (home / _MARK).write_text(json.dumps(wanted) + "\n")
    return Place(library, str(python))


def _make(library: Library, home: Path, python: Path, packages: list[str], log: Callable[[str], None]) -> str:
    """Make an environment; return why it could not be made, or nothing."""
    log(f"making the environment of {library.name}: {', '.join(packages)}")
    if home.exists():
        shutil.rmtree(home)  # one that was broken off
    home.parent.mkdir(parents=True, exist_ok=True)
    steps = (
        [sys.executable, "-m", "venv", str(home)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
    )
    for command in steps:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            return f"its environment could not be made: {lines[-1][:300] if lines else 'no reason given'}"
    return ""
