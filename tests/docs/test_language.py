"""Pages, lessons and tutorials avoid words that only this project used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.py")))
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
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_words_are_the_field_s(page: Path) -> None:
    text = re.sub(r"\s*\n#?\s*", " ", page.read_text("utf-8"))
    found = {word: better for word, better in PRIVATE.items() if re.search(rf"\b{word}\b", text, flags=re.IGNORECASE)}
    assert found == {}
