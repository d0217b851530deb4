"""Import ``benchmarks`` from the clone alone: with the clone on the path, it would hide the installed package."""

import importlib.util
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / "benchmarks"

if HOME.is_dir():
    spec = importlib.util.spec_from_file_location(
        "benchmarks", HOME / "__init__.py", submodule_search_locations=[str(HOME)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = module
    spec.loader.exec_module(module)
else:
    collect_ignore_glob = ["*test_*.py"]  # the sdist has the tests, but not the benchmarks
