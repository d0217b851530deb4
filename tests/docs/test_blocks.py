"""The pages in Markdown: their Python runs as printed, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from itertools import zip_longest
from pathlib import Path

import pytest
import torch
from conformance.table import CASES

DOCS = Path(__file__).parents[2] / "docs"
pytestmark = pytest.mark.skipif(not (DOCS / "howto").is_dir(), reason="the pages are not shipped with the package")
FOLDERS = ("start", "howto", "theory", "project")
PAGES = sorted(page for folder in (*FOLDERS, ".") for page in (DOCS / folder).glob("*.md"))
OPTIONAL = {"snntorch", "spikingjelly", "norse", "nir", "onnxruntime", "lightning", "tonic", "safetensors", "numba"}
OPTIONAL |= {"neurobench"}
"""What a block may import that need not be installed: such a block is left out where it is not."""
GALLERIES = {"introduction", "tutorials", "reference"}


def blocks(text: str) -> list[tuple[int, str, str]]:
    """The Python of a page: the line that a block begins at, the block, and the output that is shown under it."""
    form = r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?"
    found = re.finditer(form, text, flags=re.DOTALL | re.MULTILINE)
    return [(text[: m.start(1)].count("\n"), m.group(1), m.group(2) or "") for m in found]


def absent(block: str) -> set[str]:
    named = re.findall(r"^(?:import|from) (\w+)", block, flags=re.MULTILINE)
    wanted = OPTIONAL & set(named) | ({"numba"} if "tt.Stream(" in block else set())
    return {name for name in wanted if importlib.util.find_spec(name) is None}


def alike(got: str, shown: str) -> bool:
    """The same words, and numbers that are as near as another machine's rounding and a flipped spike allow."""
    pairs = list(zip_longest(*(re.findall(r"[-+]?\d[\d.]*(?:e[-+]\d+)?|[^\s\d]+", text) for text in (got, shown))))
    for a, b in pairs:
        try:
            x, y = float(a), float(b)
        except (TypeError, ValueError):
            if a != b:
                return False
        else:
            if abs(x - y) > max(0.1, 0.25 * abs(y)):
                return False
    return len(pairs) > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_the_blocks_run_as_printed(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for line, block, shown in blocks(page.read_text(encoding="utf-8")):
            if absent(block):
                continue
            exec(compile("\n" * line + block, str(page), "exec", dont_inherit=True), names)
            got = capsys.readouterr().out
            assert not shown or alike(got, shown), got


def test_there_are_pages() -> None:
    assert {page.parent.name for page in PAGES} == {*FOLDERS, "docs"}
    assert sum(len(blocks(page.read_text(encoding="utf-8"))) for page in PAGES) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lost = []
    for target in re.findall(r"\{doc\}`(?:[^`<]*<)?/?([^`>]+)>?`", text):
        folder = DOCS if f"{{doc}}`/{target}" in text or f"</{target}>" in text else page.parent
        if target.split("/")[0] not in GALLERIES and not (folder / f"{target}.md").is_file():
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_a_page_is_read_in_five_minutes(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert len(prose.split()) < 1300


def test_every_claim_is_in_the_table_with_its_number_of_cases() -> None:
    page = (DOCS / "theory" / "exactness.md").read_text(encoding="utf-8")
    assert f"{len(CASES):,} of them" in page
    counts = Counter((case.claim, case.negative) for case in CASES)
    named = set(re.findall(r"`([^`]+)`", page))
    assert {claim for claim, _ in counts} <= named
    for claim, number in re.findall(r"`([^`]+)` \((\d+)\)", page):
        assert int(number) in (counts[claim, False], counts[claim, True]), claim
