"""The reference: every public name is on a page, and every picture says in words what it shows."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
HERE = importlib.util.find_spec("lightning") is not None
MODULES = (
    "",
    "rules",
    "feedback",
    "surrogates",
    "testing",
    "plot",
    "data",
    "interop",
    "export",
    "encoding",
    "rl",
    "train",
)
BESIDE = ("testing.conformance", "rl.envs", *(("interop.lightning",) if HERE else ()))


def listed() -> dict[str, object]:
    """The names that the reference's tables list, each with what it names."""
    found = {}
    for page in sorted((DOCS / "reference").glob("*.md")):
        if page.stem == "lightning" and not HERE:
            continue
        for module, body in re.findall(r"currentmodule:: (\S+)\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL):
            for name in re.findall(r"^   (\w[\w.]*)$", body, flags=re.MULTILINE):
                found[f"{module}.{name}"] = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    return found


def public(module: str) -> dict[str, object]:
    tracetorch = importlib.import_module("tracetorch")
    home = (
        tracetorch.surrogates if module == "surrogates" else importlib.import_module(f"tracetorch.{module}".rstrip("."))
    )
    own = [n for n, v in vars(home).items() if n[0] != "_" and getattr(v, "__module__", "") == home.__name__]
    return {name: vars(home)[name] for name in getattr(home, "__all__", own)}


@pytest.mark.parametrize("module", [*MODULES, *BESIDE])
def test_every_public_name_is_on_a_page(module: str) -> None:
    on_a_page = {id(value) for value in listed().values()}
    modules = ("rules", "feedback", "surrogates")  # a page each
    lost = [n for n, v in public(module).items() if id(v) not in on_a_page and not (module == "" and n in modules)]
    assert lost == [], "name them in docs/reference"


def test_no_name_has_two_pages() -> None:
    names = listed()
    assert len({id(v) for v in names.values()}) == len(names) > 150


def test_pages_differ_by_more_than_capitals() -> None:
    """On some file systems two such pages are one file; `autosummary_filename_map` gives one another name."""
    mapped = dict(re.findall(r'"(tracetorch\.[\w.]+)": "(tracetorch\.[\w.-]+)"', (DOCS / "conf.py").read_text("utf-8")))
    files = [mapped.get(name, name).lower() for name in listed()]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_every_picture_has_a_text(page: Path) -> None:
    for kind, target, options in re.findall(
        r"```\{(figure|image)\} (\S+)\n(.*?)```", page.read_text("utf-8"), re.DOTALL
    ):
        assert re.search(r"^:alt: .{20,}", options, flags=re.MULTILINE), f"{kind} {target} says nothing"
        assert (page.parent / target).is_file()


@pytest.mark.parametrize("drawing", sorted((DOCS / "_static").rglob("*.svg")), ids=lambda path: path.name)
def test_drawings_are_whole_and_small(drawing: Path) -> None:
    text = drawing.read_text("utf-8")
    assert text.rstrip().endswith("</svg>")
    assert len(text) < 300_000
    assert "http://" not in re.sub(
        r'xmlns(:\w+)?="[^"]*"|http://www\.w3\.org\S*|http://purl\.org\S*|http://creativecommons\.org\S*', "", text
    )


def test_the_picture_for_links_is_one() -> None:
    image = pytest.importorskip("matplotlib.image").imread(DOCS / "_static" / "social.png")
    assert image.shape[:2] == (630, 1200)
    assert len({tuple(pixel) for pixel in image[::7, ::7].reshape(-1, image.shape[2]).round(2).tolist()}) > 5


def test_the_newest_version_in_the_list_is_this_one() -> None:
    tracetorch = importlib.import_module("tracetorch")
    versions = json.loads((DOCS / "_static" / "versions.json").read_text("utf-8"))
    assert versions[0]["version"] == tracetorch.__version__ and versions[0]["url"] == "/"
    assert len({v["url"] for v in versions}) == len({v["version"] for v in versions}) == len(versions)


def test_the_notebook_is_the_quickstart() -> None:
    script = DOCS / "_scripts" / "notebook.py"
    spec = importlib.util.spec_from_file_location("notebook", script)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert made.NOTEBOOK.read_text("utf-8") == made.text(), "python docs/_scripts/notebook.py"


@pytest.mark.parametrize("example", sorted((DOCS.parent / "examples").rglob("plot_*.py")), ids=lambda path: path.stem)
def test_examples_import_public_names_only(example: Path) -> None:
    """A reader copies the imports of an example: they must be such as the reference promises to keep."""
    promised = {f"tracetorch.{name}".rstrip("."): public(name) for name in (*MODULES, *BESIDE)}
    private = []
    for statement in ast.walk(ast.parse(example.read_text("utf-8"))):
        if isinstance(statement, ast.ImportFrom) and str(statement.module).split(".")[0] == "tracetorch":
            names = [alias.name for alias in statement.names]
            if not HERE and statement.module == "tracetorch.interop.lightning":
                continue  # needs the package, as the example does
            known = promised.get(str(statement.module), {})
            inside = [n for n in names if n not in known and f"{statement.module}.{n}" not in promised]
            private += [f"from {statement.module} import {name}" for name in inside]
        if isinstance(statement, ast.Import):
            private += [a.name for a in statement.names if a.name.startswith("tracetorch.") and a.name not in promised]
    assert private == []
