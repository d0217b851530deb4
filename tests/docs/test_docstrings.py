"""Docstrings of public names: arguments, shapes, what is returned, an example; signatures that hide nothing."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tracetorch as tt

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "_scripts" / "docstrings.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="the pages are not shipped with the package")


def load(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"tracetorch_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


docstrings = load(SCRIPT) if SCRIPT.is_file() else None
reference = load(Path(__file__).with_name("test_reference.py"))
PUBLIC = {name: value for name, value in reference.listed().items() if callable(value) and inspect.getmodule(value)}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
METHODS = {
    f"{name}.{own}": (cls, own)
    for name, cls in CLASSES.items()
    for own, member in vars(cls).items()
    if own[0] != "_" and callable(getattr(cls, own)) and not inspect.isclass(member)
    if own not in getattr(cls, "__dataclass_fields__", {}) and not docstrings.is_internal(cls, own)
}


def arguments(function: Callable[..., Any]) -> dict[str, str]:
    """The arguments of a function or of a class's constructor, each with its annotation as text."""
    if dataclasses.is_dataclass(function):
        own = vars(function).get("__annotations__", {})
        return {f.name: str(f.type) for f in dataclasses.fields(function) if f.init and f.name in own}
    if getattr(function, "_is_protocol", False):
        return {}
    if inspect.isclass(function) and ("__init__" not in vars(function) and not hasattr(function, "_fields")):
        return {}
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:
        return {}
    return {p.name: str(p.annotation) for p in parameters if p.name not in ("self", "cls")}


def entries(doc: str) -> dict[str, str]:
    """The entries of the sections on arguments and attributes; those that one line in prose names, with that line."""
    found: dict[str, str] = {}
    for section in re.findall(r"^(?:Args|Attributes):\n((?:(?:    .*)?\n?)*)", doc, flags=re.MULTILINE):
        for name, text in re.findall(r"^    \*{0,2}(\w+):(.*(?:\n     .*)*)", section, flags=re.MULTILINE):
            found[name] = text
    if not docstrings.SECTION.search(doc):
        found |= dict.fromkeys(re.findall(r"`(\w+)`", doc), doc)
    return found


def of_attributes(cls: object) -> dict[str, str]:
    """The fields of a class that a docstring below each describes."""
    body = ast.parse(inspect.cleandoc(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined, arg-type]
    return {
        a.target.id: b.value.value
        for a, b in itertools.pairwise(body)
        if isinstance(a, ast.AnnAssign) and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)
    }


def has_shape(annotation: str) -> bool:
    """Whether a value is one tensor or several, and no table of them."""
    return bool(re.search(r"\bTensor\b", annotation)) and not re.search(r"dict|Mapping|Callable|Optimizer", annotation)


def lacking(doc: str, function: Callable[..., Any], extra: dict[str, str] | None = None) -> Iterator[str]:
    known = {**(extra or {}), **entries(doc)}
    for name, annotation in arguments(function).items():
        if name not in known:
            yield f"argument {name}"
        elif has_shape(annotation) and "[" not in known[name]:
            yield f"shape of {name}"
    returned = "" if inspect.isclass(function) else str(inspect.signature(function).return_annotation)
    if returned in ("", "None", "Self", "<class 'inspect._empty'>"):
        return
    section = re.search(r"^(?:Returns|Yields):\n((?:    .*\n?)*)", doc, flags=re.MULTILINE)
    if section is None and not re.match(r"(Return|Whether|Yield|Make|Draw)", doc):
        yield "what is returned"
    elif has_shape(returned) and "[" not in (section[1] if section else doc):
        yield "shape of what is returned"


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_have_arguments_shapes_and_an_example(name: str) -> None:
    value = PUBLIC[name]
    doc = inspect.cleandoc(vars(value).get("__doc__") or "") if inspect.isclass(value) else inspect.getdoc(value) or ""
    extra = of_attributes(value) if dataclasses.is_dataclass(value) else {}
    missing = list(lacking(doc, value, extra))  # type: ignore[arg-type]
    assert missing + ([] if ">>> " in doc else ["example"]) == []


@pytest.mark.parametrize("name", METHODS)
def test_public_methods_have_arguments_and_shapes(name: str) -> None:
    cls, own = METHODS[name]
    doc = docstrings.described(cls, own)
    assert doc
    assert list(lacking(doc, getattr(cls, own))) == []


def test_internal_methods_exist() -> None:
    names = {base.__name__: base for cls in CLASSES.values() for base in inspect.getmro(cls)}  # type: ignore[arg-type]
    gone = [f"{c}.{m}" for c, methods in docstrings.INTERNAL.items() for m in methods if m not in vars(names[c])]
    assert gone == []


def programs() -> Iterator[tuple[str, str]]:
    """The code that readers see: pages, lessons, tutorials and the examples of docstrings."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE):
            yield page.name, block
    for page in sorted((ROOT / "examples").rglob("*.py")):
        yield page.name, page.read_text("utf-8")
    for name, value in PUBLIC.items():
        lines = re.findall(r"^\s*(?:>>>|\.\.\.) ?(.*)$", value.__doc__ or "", flags=re.MULTILINE)
        yield name, "\n".join(lines)


def test_signatures_show_the_arguments_that_examples_use() -> None:
    hidden, calls = [], 0
    for place, code in programs():
        try:
            tree = ast.parse(code)
        except SyntaxError:
            continue
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            chain = ast.unparse(call.func)
            if not re.fullmatch(r"tt(\.\w+)+", chain):
                continue
            try:
                parameters = inspect.signature(functools.reduce(getattr, chain.split(".")[1:], tt)).parameters  # type: ignore[arg-type]
            except (AttributeError, ImportError, ValueError, TypeError):
                continue
            calls += 1
            hidden += [f"{place}: {chain}({k.arg}=)" for k in call.keywords if k.arg and k.arg not in parameters]
    assert calls > 500
    assert hidden == []
