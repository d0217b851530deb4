"""Pages, lessons, tutorials and the package's own text avoid words that only this project used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *(page for folder in ("examples", "tracetorch") for page in sorted((ROOT / folder).rglob("*.py"))),
    )
    if page.is_file() and page.name != "changelog.md"
]
PRIVATE = {
    "anew": "again",
    "in the place of": "instead of",
    "hangs on": "depends on",
    "seam": "window boundary",
    "tremble": "noise",
    "trembles": "is noisy",
    "walks": "kernel, pass",
    "walk back": "backpropagate",
    "of one's own": "your own",
    "way back": "feedback",
    "ways back": "feedback",
    "lend": "reuse",
    "lent": "reused",
    "in place of": "instead of",
    "midst": "middle",
    "told apart": "distinguished",
    "tells apart": "distinguishes",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_words_are_the_field_s(page: Path) -> None:
    text = re.sub(r"\s*\n#?\s*", " ", page.read_text("utf-8"))
    found = {word: better for word, better in PRIVATE.items() if re.search(rf"\b{word}\b", text, flags=re.IGNORECASE)}
    assert found == {}


def test_docstrings_say_what_a_thing_is() -> None:
    """A class is not told to hold or to tell something."""
    opened = r'"""(Hold|Say|Tell|Lend|Hand) '
    files = sorted((ROOT / "tracetorch").rglob("*.py"))
    assert [f"{f.name}: {w}" for f in files for w in re.findall(opened, f.read_text("utf-8"))] == []


def test_the_glossary_has_terms_and_indented_definitions() -> None:
    page = ROOT / "docs" / "glossary.md"
    if not page.is_file():
        pytest.skip("the pages are not shipped with the package")
    lines = page.read_text("utf-8").split(":::{glossary}\n")[1].split("\n:::")[0].splitlines()
    assert [line for line in lines if line and not line.startswith("  ") and len(line) > 40] == []
    assert all(lines[i + 1].startswith("  ") for i, line in enumerate(lines) if line and not line.startswith("  "))
