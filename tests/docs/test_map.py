"""CONTRIBUTING's map names every module of the package, and no package that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAP = ROOT / "CONTRIBUTING.md"
pytestmark = pytest.mark.skipif(not MAP.is_file(), reason="CONTRIBUTING is not shipped with the package")


def rows() -> dict[str, set[str]]:
    """What each row of the map names: the packages in its first column, and the words in code of the whole row."""
    text = MAP.read_text("utf-8")
    table = re.findall(r"^\| (`[^|]*`) \|(.*)\|$", text, flags=re.MULTILINE)
    return {first: set(re.findall(r"`([\w./]+)`", f"{first} {rest}")) for first, rest in table}


def test_every_module_is_on_the_map() -> None:
    named = {
        package.rstrip("/"): words for first, words in rows().items() for package in re.findall(r"`([^`]+)`", first)
    }
    lost = []
    for file in sorted((ROOT / "tracetorch").rglob("*.py")):
        place = file.relative_to(ROOT / "tracetorch")
        if file.stem == "__init__":
            continue
        folders = [p.as_posix() for p in place.parents if p.as_posix() in named]
        words = named[folders[0]] if folders else set().union(*(w for f, w in named.items() if f.endswith(".py")))
        if file.stem not in words and place.name != "__main__.py":
            lost.append(place.as_posix())
    assert lost == [], "name them in CONTRIBUTING.md"


def test_every_package_on_the_map_is_there() -> None:
    packages = {package for first in rows() for package in re.findall(r"`([^`]+)`", first)}
    assert len(packages) > 20
    assert [package for package in sorted(packages) if not (ROOT / "tracetorch" / package).exists()] == []
