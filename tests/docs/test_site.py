"""The site as a person reads it: it builds without a warning, and every page opens well in a browser."""

from __future__ import annotations

import re
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
    "introduction/index",
    "introduction/plot_03_trace",
    "introduction/plot_10_credit_through_depth",
    "tutorials/index",
    "tutorials/plot_01_clicks",
    "howto/choosing_a_rule",
    "howto/coming_from",
    "theory/trace",
    "theory/exactness",
    "reference/index",
    "reference/rl",
    "reference/generated/tracetorch.LIF",
    "results",
    "speed",
    "symbols",
    "glossary",
)
"""Pages of every kind, for what takes long."""


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
