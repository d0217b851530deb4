"""Read a network, its data and its loss from a user's script."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any


def read_script(path: str, *names: str) -> dict[str, Any]:
    """Run a script, not as the main program, and return some of the names that it defines.

    The script's folder stands first in the import path meanwhile, as it does where Python runs it.

    Args:
        path: The script.
        *names: What it must define.

    Returns:
        All that it defines.

    Raises:
        ValueError: It does not define one of the names.
        FileNotFoundError: There is no such script.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no script {path!r}")
    before = list(sys.path)
    sys.path.insert(0, str(file.resolve().parent))
    try:
        found = runpy.run_path(str(file))
    finally:
        sys.path[:] = before
    for name in names:
        if name not in found:
            raise ValueError(
                f"{path!r} defines no {name!r}: it needs {', '.join(names)} (a network or a function that makes it "
                "from a seed; inputs [T, B, ...] and targets or a function that makes them from a seed; a loss of "
                "outputs and targets)"
            )
    return found
