"""The house rules, read from the source: imports point downwards, files and signatures stay small."""

from __future__ import annotations

import ast
import importlib.resources
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tracetorch"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# From the ground up: a unit imports from floors below its own, and from itself. "tracetorch" is the
# package's face, its __init__, which gathers everything up to the shell.
FLOORS = (
    {"ops", "modules"},
    {"neurons", "synapses"},
    {"backends"},
    {"traces", "feedback"},
    {"rules"},
    {"engine"},
    {"entry", "trees", "aligned"},
    {"order", "steps"},
    {"layer", "folding", "dropout"},
    {"linking"},
    {"first"},
    {"network", "undo", "ragged"},
    {"scan", "intervals", "rates", "stream", "firing", "record", "operations", "direct"},
    {"local"},
    {"tracetorch"},
    {"encoding", "data", "plot", "rl", "testing"},
    {"interop"},
    {"train", "export"},
    {"cli"},
    {"__main__"},
)
FLOOR = {unit: number for number, units in enumerate(FLOORS) for unit in units}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
TEXT = {".py", ".md", ".toml", ".cff", ".yml", ".txt", ".ipynb"}
REQUIRED = {"torch", "numpy", "typing_extensions", "tracetorch"}


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in SOURCES}
# Text that a loader executes and compiles: it stands outside the rules for modules.
TEMPLATES = {"tracetorch.backends.triton.kernels"}
TEMPLATES |= {
    f"tracetorch.backends.numba.{name}" for name in ("convolve", "events", "kernels", "pools", "raw", "vectors")
}
_STEPS = ("rows", "places", "forward", "credit", "carry", "layer", "drive", "units", "update")
TEMPLATES |= {f"tracetorch.backends.numba.steps.{name}" for name in _STEPS}

# Subclasses of another package's classes, which users of that package import.
ADAPTERS = {"tracetorch.interop.lightning"}


def unit_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "tracetorch"


def statements(node: ast.AST, *, inside: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports under a node; those `inside` functions and those for type checkers too, or not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test) and not inside:
            continue
        elif inside or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(child, inside=inside)


def imported(file: Path, *, inside: bool = True) -> Iterator[str]:
    """The modules that a file imports, a submodule named after `from package import` included."""
    for statement in statements(ast.parse(file.read_text()), inside=inside):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        else:
            assert statement.level == 0, f"{file} has a relative import in line {statement.lineno}"
            module = statement.module or ""
            deeper = [f"{module}.{alias.name}" for alias in statement.names]
            yield from (name if name in MODULES else module for name in deeper)


def nodes(file: Path, *kinds: type[ast.AST]) -> Iterator[Any]:
    """The nodes of some kinds in a file's syntax tree."""
    return (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, kinds))


def test_every_unit_has_a_floor():
    assert {unit_of(module) for module in MODULES} <= set(FLOOR)


def test_imports_point_downwards():
    upwards = [
        f"{name} (floor {FLOOR[unit_of(name)]}) imports {other} (floor {FLOOR[unit_of(other)]})"
        for name, file in MODULES.items()
        for other in imported(file)
        if other.split(".")[0] == "tracetorch" and unit_of(other) != unit_of(name)
        if FLOOR[unit_of(other)] >= FLOOR[unit_of(name)]
    ]
    assert upwards == []


def test_modules_import_each_other_in_no_circle():
    graph = {name: {m for m in imported(file) if m in MODULES} for name, file in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in graph[module] - {module}:
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_optional_dependencies_wait_inside_functions():
    known = REQUIRED | set(sys.stdlib_module_names)
    early = [
        f"{name} imports {other} at its top"
        for name, file in MODULES.items()
        if unit_of(name) not in ("cli", "__main__") and name not in TEMPLATES and name not in ADAPTERS
        for other in imported(file, inside=False)
        if other.split(".")[0] not in known
    ]
    assert early == []


def test_files_are_at_most_400_lines():
    lengths = {name: len(file.read_text().splitlines()) for name, file in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_functions_take_at_most_seven_arguments():
    many = []
    for name, function in ((n, f) for n, file in MODULES.items() for f in nodes(file, *FUNCTIONS)):
        a = function.args
        names = [arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
        count = len(names) - (names[:1] in (["self"], ["cls"], ["ctx"]))
        options = unit_of(name) == "cli" or (unit_of(name) == "neurons" and function.name == "__init__")
        if count > 7 and not options and name not in TEMPLATES:  # an option of the command, or of a neuron, by its name
            many.append(f"{name}:{function.lineno} {function.name} takes {count}")
    assert many == []


def test_only_the_command_line_prints():
    found = [
        f"{name}:{call.lineno}"
        for name, file in MODULES.items()
        for call in nodes(file, ast.Call)
        if getattr(call.func, "id", "") == "print" and unit_of(name) != "cli"
    ]
    assert found == []


def test_only_testing_asserts():
    found = [
        f"{n}:{x.lineno}" for n, file in MODULES.items() for x in nodes(file, ast.Assert) if unit_of(n) != "testing"
    ]
    assert found == []


def test_no_except_is_broad():
    found = [
        f"{name}:{handler.lineno}"
        for name, file in MODULES.items()
        for handler in nodes(file, ast.ExceptHandler)
        if handler.type is None or re.search(r"\b(Base)?Exception\b", ast.unparse(handler.type))
    ]
    assert found == []


def test_types_are_shipped():
    assert importlib.resources.files("tracetorch").joinpath("py.typed").is_file()


def test_no_file_names_a_place_on_one_machine():
    place = re.compile(r"(?<![\w.:/])/(?:work|root|home|Users|mnt)/")
    folders = ("tracetorch", "tests", "docs", "examples", "benchmarks", ".ci", ".github")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if file.is_file()]
    files += [file for file in ROOT.iterdir() if file.is_file()]
    texts = [file for file in files if file.suffix in TEXT or file.parent.name == ".ci"]
    assert len(texts) > len(MODULES)
    found = [file.relative_to(ROOT).as_posix() for file in texts if place.search(file.read_text(encoding="utf-8"))]
    assert found == []


FIRST_USE = """
import sys, torch, tracetorch as tt
from torch import nn

net = nn.Sequential(tt.Layer(nn.Linear(3, 4), tt.LIF(half_life=5)), tt.Layer(nn.Linear(4, 2), tt.LI(half_life=5)))
for rule in (tt.rules.cascade(), tt.rules.eprop(), tt.rules.bptt()):
    tt.set_rule(net, rule)
    tt.reset(net)
    tt.scan(net, torch.ones(4, 1, 3)).sum().backward()
    tt.reset(net)
    net(torch.ones(1, 3)).sum().backward()
print(*(name for name in ("torch._dynamo", "sympy", "matplotlib", "triton") if name in sys.modules))
"""


def test_first_use_imports_nothing_that_it_does_not_need() -> None:
    """torch's compiler takes two seconds to import, and SymPy half a second."""
    done = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not done.stdout.strip(), f"imported without need: {done.stdout}"
