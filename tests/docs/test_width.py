"""Code on the site fits its column: a line that is longer is cut off at a window of 1280 px."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WIDTH = 106
EXAMPLES = sorted((ROOT / "examples").glob("*/*.py"))
PAGES = sorted((ROOT / "docs").rglob("*.md"))
pytestmark = pytest.mark.skipif(not PAGES, reason="the pages are not shipped with the package")


def wide_code(source: str) -> list[str]:
    """The lines of code of a lesson or tutorial that are too long; its text is wrapped by the browser."""
    text = ast.parse(source).body[0].end_lineno or 0
    return [line for line in source.splitlines()[text:] if len(line) > WIDTH and not line.startswith("#")]


def wide_blocks(page: str) -> list[str]:
    blocks = re.findall(r"^```(?:python|sh|text|pycon)\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if len(line) > WIDTH]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_code_of_examples_fits_the_column(example: Path) -> None:
    assert wide_code(example.read_text("utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT / "docs").as_posix())
def test_blocks_of_pages_fit_the_column(page: Path) -> None:
    assert wide_blocks(page.read_text("utf-8")) == []


def test_a_long_line_is_found() -> None:
    long = f"print({'a' * WIDTH!r})"
    assert wide_code(f'"""Title."""\n# {long}\nx = 1\n{long}\n') == [long]
    assert wide_blocks(f"{long}\n```python\n{long}\n```\n") == [long]
