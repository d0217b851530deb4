"""Read a task, or a network with its data and its loss, from a user's script."""

from __future__ import annotations

import hashlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any


def is_script(word: str) -> bool:
    """Return whether a word of the command line names something in a script, ``path.py:name``."""
    return ".py:" in word


def read_script(path: str, *names: str) -> dict[str, Any]:
    """Run a script, not as the main program, and return what it defines; the names must be among it.

    The script's folder stands first in the import path meanwhile, as it does where Python runs it.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no script {path!r}")
    place = str(file.resolve())
    # A dataclass looks up its annotations in the module of this name.
    name = f"_script_{file.stem}_{hashlib.sha256(place.encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path!r} is no Python script")
    module = module_from_spec(spec)
    before = list(sys.path)
    sys.path.insert(0, str(file.resolve().parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    found = vars(module)
    for needed in names:
        if needed not in found:
            raise ValueError(f"{path!r} defines no {needed!r}: it needs {', '.join(names)}")
    return found
