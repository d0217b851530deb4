"""The site as a person reads it: it builds without a warning, and every page opens well in a browser."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

pytestmark = pytest.mark.docs

WIDTHS = {"desk": 1280, "phone": 390}
GENERATED = (
    "tracetorch.LIF",
    "tracetorch.Layer",
    "tracetorch.rules.eprop",
    "tracetorch.plot.raster",
    "tracetorch.rl.Agent",
)
SEEN = (
    "index",
    "start/index",
    "start/you_know",
    "start/cheatsheet",
    "start/faq",
    "introduction/index",
    "introduction/plot_00_quickstart",
    "introduction/plot_03_trace",
    "introduction/plot_10_credit_through_depth",
    "tutorials/index",
    "tutorials/plot_01_clicks",
    "tutorials/plot_16_events",
    "howto/choosing_a_rule",
    "howto/own_data",
    "howto/coming_from",
    "theory/cascade",
    "theory/trace",
    "theory/exactness",
    "reference/index",
    "reference/rl",
    "reference/generated/tracetorch.LIF",
    "reference/generated/tracetorch.Layer",
    "reference/generated/tracetorch.rules.cascade",
    "results",
    "results_memory",
    "published",
    "speed",
    "symbols",
    "glossary",
)
"""Pages of every kind, for what takes long."""

WIDTH = 106
"""Letters of code in a line of the column, at a window of 1280 pixels."""

SMALLEST = 10.5
"""Pixels of the smallest letters."""

BROKEN_WORDS = """() => {
  const broken = [];
  const look = (node, from, to) => {
    const range = document.createRange();
    range.setStart(node, from);
    range.setEnd(node, to);
    const lines = new Set([...range.getClientRects()].filter((r) => r.width > 0).map((r) => Math.round(r.top)));
    if (lines.size > 1) broken.push(node.textContent.slice(from, to));
  };
  for (const part of document.querySelectorAll(".bd-article :is(h1, h2, h3), .bd-article table code span.pre")) {
    if (part.getBoundingClientRect().width < 2) continue; // hidden from the eye
    const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const words = node.textContent.matchAll(/[^\\s\\-–·]+/g);
      for (const word of words) look(node, word.index, word.index + word[0].length);
    }
  }
  return broken;
}"""
"""Return the words of titles, and the parts of names in tables, that a narrow column has broken in two."""

SMALL_LETTERS = """(smallest) => {
  const found = new Set();
  const others = "mjx-container, sup, sub, script, style, .headerlink";
  const walker = document.createTreeWalker(document.querySelector(".bd-article"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const at = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || at.closest(others) || !at.getClientRects().length) continue;
    const size = parseFloat(getComputedStyle(at).fontSize);
    if (size > 0 && size < smallest) found.add(`${size}: ${at.textContent.slice(0, 40)}`);
  }
  return [...found];
}"""
"""Return texts of the article whose letters are smaller than a number of pixels."""


class _Page(HTMLParser):
    """Gather what a page links to and what can be linked to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.append(value)
            if name in ("id", "name") and value:
                self.anchors.add(value)


def pages(site: Path) -> list[str]:
    """Every page but those of source code; of the generated reference a few."""
    found = [p.relative_to(site).with_suffix("").as_posix() for p in site.rglob("*.html")]
    ours = [p for p in found if not p.startswith(("_modules", "_static", "reference/generated"))]
    return sorted(ours) + [f"reference/generated/{name}" for name in GENERATED]


def test_links_within_the_site_lead_somewhere(site: Path) -> None:
    read = {path: _Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    lost = set()
    for path, page in read.items():
        for link in page.targets:
            target, anchor = urldefrag(link)
            if re.match(r"[a-z]+:|//", target):
                continue
            target = target.partition("?")[0]
            to = (path.parent / unquote(target)).resolve() if target else path.resolve()
            to = to / "index.html" if to.is_dir() else to
            if not to.is_file() or (
                anchor
                and to.suffix == ".html"
                and unquote(anchor) not in read[site / to.relative_to(site.resolve())].anchors
            ):
                lost.add(f"{path.relative_to(site)}: {link}")
    assert sorted(lost) == []


def test_every_picture_in_the_pages_has_a_text(site: Path) -> None:
    bare = []
    for path in site.rglob("*.html"):
        for picture in re.findall(r"<img [^>]*>", path.read_text(encoding="utf-8")):
            if not re.search(r'alt="[^"]+"', picture):
                bare.append(f"{path.relative_to(site)}: {picture}")
    assert bare == []


def test_what_the_examples_print_fits_the_column(site: Path) -> None:
    """Longer lines are cut off in a window of 1280 pixels, as those of code are."""
    wide, read = [], 0
    for path in sorted(site.glob("introduction/plot_*.html")) + sorted(site.glob("tutorials/plot_*.html")):
        text = path.read_text(encoding="utf-8")
        for output in re.findall(r'<div class="sphx-glr-script-out.*?<pre>(.*?)</pre>', text, flags=re.DOTALL):
            lines = unescape(re.sub(r"<[^>]*>", "", output)).splitlines()
            read += len(lines)
            wide += [f"{path.stem}: {line}" for line in lines if len(line) > WIDTH]
    assert read > 100
    assert wide == []


def test_headings_are_in_order(site: Path) -> None:
    """One title on each page, and no level left out below it: a screen reader lists pages by their headings."""
    wrong = []
    for path in site.rglob("*.html"):
        article = re.search(r'<article class="bd-article">(.*?)</article>', path.read_text(encoding="utf-8"), re.DOTALL)
        levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", article[1])] if article else []
        if article and (levels.count(1) != 1 or any(b > a + 1 for a, b in pairwise(levels))):
            wrong.append(f"{path.relative_to(site)}: {levels}")
    assert wrong == []


def test_the_header_and_the_page_have_what_a_reader_looks_for(site: Path) -> None:
    import tracetorch

    text = (site / "introduction/plot_03_trace.html").read_text(encoding="utf-8")
    assert f">{tracetorch.__version__}<span" in text
    picture = re.search(r'property="og:image" content="([^"]*)"', text)
    assert picture is not None
    assert "://" in picture[1] or (site / "introduction" / picture[1]).is_file()
    assert 'rel="icon"' in text or 'rel="shortcut icon"' in text
    assert "copybutton.js" in text
    assert "search" in text
    if "owner/tracetorch" in text:
        assert "edit/main/examples/introduction/plot_03_trace.py" in text
        assert "edit/main/docs/theory/trace.md" in (site / "theory/trace.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_open_without_an_error_and_fit(site: Path, address: str, browser: Any, width: str) -> None:
    wrong = []
    context = browser.new_context(viewport={"width": WIDTHS[width], "height": 900})
    for name in pages(site):
        page = context.new_page()
        page.on("console", lambda m, n=name: wrong.append(f"{n}: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda e, n=name: wrong.append(f"{n}: {e}"))
        page.on(
            "request",
            lambda r, n=name: (
                None if r.url.startswith((address, "data:", "blob:")) else wrong.append(f"{n} asks {r.url}")
            ),
        )
        page.on("response", lambda r, n=name: wrong.append(f"{n}: {r.status} {r.url}") if r.status >= 400 else None)
        page.goto(f"{address}/{name}.html", wait_until="load")
        page.wait_for_function("!window.MathJax?.startup?.promise || MathJax.startup.promise.then(() => true)")
        wide, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        if wide > room:
            wrong.append(f"{name} is {wide} pixels wide in a window of {room}")
        if page.locator("mjx-merror, .MathJax_Error").count():
            wrong.append(f"{name}: {page.locator('mjx-merror, .MathJax_Error').first.text_content()}")
        page.close()
    context.close()
    assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_are_accessible(address: str, browser: Any, width: str, scheme: str) -> None:
    """No violation that axe-core calls serious or critical: contrast, names, order, what a keyboard reaches."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    wrong = []
    context = browser.new_context(viewport={"width": WIDTHS[width], "height": 900}, color_scheme=scheme)
    for name in SEEN:
        page = context.new_page()
        page.goto(f"{address}/{name}.html", wait_until="load")
        for found in axe.Axe().run(page).response["violations"]:
            if found["impact"] in ("serious", "critical"):
                nodes = [f"{' '.join(map(str, n['target']))}: {n['html'][:160]}" for n in found["nodes"][:4]]
                wrong.append(f"{name}: {found['id']}, {found['help']}: {len(found['nodes'])} times, {nodes}")
        page.close()
    context.close()
    assert wrong == []


@pytest.mark.parametrize("width", WIDTHS)
def test_words_are_whole_and_letters_large_enough(address: str, browser: Any, width: str) -> None:
    wrong = []
    context = browser.new_context(viewport={"width": WIDTHS[width], "height": 900})
    for name in SEEN:
        page = context.new_page()
        page.goto(f"{address}/{name}.html", wait_until="load")
        wrong += [f"{name} breaks {word!r}" for word in page.evaluate(BROKEN_WORDS)]
        wrong += [f"{name} has letters of {small}" for small in page.evaluate(SMALL_LETTERS, SMALLEST)]
        page.close()
    context.close()
    assert wrong == []


def test_a_broken_word_and_small_letters_are_found(address: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/start/installation.html", wait_until="load")
    page.add_style_tag(content=".bd-article h1 { width: 6rem; } .bd-article p { font-size: 8px; }")
    assert page.evaluate(BROKEN_WORDS) == ["Installation"]
    assert page.evaluate(SMALL_LETTERS, SMALLEST)
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_navigation_is_clicked_through(address: str, browser: Any, width: str) -> None:
    context = browser.new_context(viewport={"width": WIDTHS[width], "height": 900})
    page = context.new_page()
    page.goto(f"{address}/index.html")
    for words in ("Start", "Introduction", "Tutorials", "How-to", "Theory", "Reference"):
        if width == "phone":
            page.locator("button.primary-toggle").first.click()
            page.locator("#pst-primary-sidebar-modal .nav-link, .sidebar-header-items .nav-link").filter(
                has_text=words
            ).first.click()
        else:
            page.locator(".bd-header .navbar-nav .nav-link").filter(has_text=words).first.click()
        page.wait_for_load_state("load")
        assert page.url.endswith("/index.html")
        assert words.lower().split("-")[0] in page.locator("h1").first.text_content().lower()
    page.goto(f"{address}/index.html")
    for card in range(page.locator(".sd-card").count()):
        page.goto(f"{address}/index.html")
        page.locator(".sd-card").nth(card).click()  # its link covers the card
        page.wait_for_load_state("load")
        assert page.locator("h1").count() >= 1
    context.close()


def test_a_rule_s_arguments_lead_to_its_derivation(site: Path) -> None:
    for rule, page in (("cascade", "cascade"), ("triplet_stdp", "stdp")):
        text = (site / f"reference/generated/tracetorch.rules.{rule}.html").read_text(encoding="utf-8")
        assert re.search(rf'admonition seealso">.*?href="../../theory/{page}\.html"', text, flags=re.DOTALL)


def test_another_version_can_be_chosen(address: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/howto/speed.html")
    page.wait_for_selector(".version-switcher__menu a", state="attached")
    page.locator(".bd-header .version-switcher__button").first.click()
    page.locator(".version-switcher__menu a").first.click()
    page.wait_for_load_state("load")
    assert page.url == f"{address}/howto/speed.html"
    page.close()


def test_search_finds_a_name(address: str, browser: Any) -> None:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=eligibility")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    assert page.locator("#search-results li a").count() >= 3
    page.close()
