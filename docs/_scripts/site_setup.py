"""What `docs/conf.py` connects to Sphinx: small corrections, each for one reason."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import inspect
import json
import pkgutil
import random
import re
import shutil
import sys
import typing
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from docstrings import described, is_internal
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

ROOT = Path(__file__).parents[2]
MATHJAX = "mathjax/tex-svg.js"
COMPUTES = re.compile(
    r"print\(|gradient_audit|rule_gradients|tt\.(scan|rules|reset|set_rule)|\bmistakes\(|\baccuracy\("
)
"""What a cell of an example does beside drawing: such a cell is not folded."""
PUBLIC = (
    "tracetorch",
    *(f"tracetorch.{m}" for m in "rules feedback testing plot data encoding rl train".split()),  # noqa: SIM905
    "tracetorch.neurons",
    "tracetorch.testing.conformance",
    "tracetorch.rl.envs",
)


def seed(gallery_conf: dict[str, Any], filename: str | None) -> None:
    """Set seeds and the default type as in a new process: a page does not depend on those built before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global generator is what is meant
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32)  # some examples compute in double precision


def own_figures(block: tuple[str, str, int], block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Show the figure that a block of an example made without pyplot, as `tracetorch.plot` does, and named `figure`."""
    from matplotlib.figure import Figure
    from sphinx_gallery.scrapers import figure_rst

    figure = block_vars["example_globals"].get("figure")
    if not isinstance(figure, Figure) or hasattr(figure, "number"):  # pyplot numbers its own
        return ""
    del block_vars["example_globals"]["figure"]  # once
    path = next(block_vars["image_path_iterator"])
    sizes = {0: path, **{size: f"{path[:-4]}_{size:g}x.png" for size in gallery_conf["image_srcset"]}}
    for size, file in sizes.items():
        figure.savefig(file, dpi=(size or 1) * figure.dpi)
    return str(figure_rst([path], gallery_conf["src_dir"], srcsetpaths=[sizes]))


def place_versions(app: Sphinx, error: Exception | None) -> None:
    """Begin the addresses in the list of versions with the path at which the site is served."""
    if error is not None or app.builder.format != "html":
        return
    at, file = urlsplit(app.config.html_baseurl).path.rstrip("/"), Path(app.outdir) / "_static/versions.json"
    versions = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps([{**v, "url": at + v["url"]} for v in versions]), encoding="utf-8")


def describe_for_others(app: Sphinx, pagename: str, template: str, context: dict[str, Any], tree: object) -> None:
    """Name the picture and the words that other sites show for a link to a page."""
    base = app.config.html_baseurl.rstrip("/")
    picture = f"{base}/_static/social.png" if base else context["pathto"]("_static/social.png", 1)
    title = re.sub(r"<[^>]*>", "", context.get("title") or "") or app.config.html_title
    tags = [f'<meta property="og:image" content="{picture}">', '<meta property="og:image:width" content="1200">']
    tags += [
        '<meta property="og:image:height" content="630">',
        '<meta name="twitter:card" content="summary_large_image">',
    ]
    if "og:title" not in (context.get("metatags") or ""):
        tags.append(f'<meta property="og:title" content="{escape(unescape(title))}">')
    context["metatags"] = "\n".join([context.get("metatags") or "", *tags])


def name_repository(app: Sphinx, docname: str, source: list[str]) -> None:
    """Write the repository's address into the pages, where the forge names it."""
    context = app.config.html_context
    if "github_repo" not in context:
        return
    name = f"{context['github_user']}/{context['github_repo']}"
    source[0] = re.sub(
        r" +# URL: behind .*", "", source[0].replace("git clone URL", f"git clone https://github.com/{name}")
    )
    colab = f"https://colab.research.google.com/github/{name}/blob/main/examples/quickstart.ipynb"
    if docname == "introduction/plot_00_quickstart":
        source[0] = source[0].replace("notebook for Colab.", f"notebook for Colab: `open it there <{colab}>`__.")


def copy_mathjax(app: Sphinx) -> None:
    """Put MathJax's one file beside the pages, so that no page asks another host for it."""
    if app.builder.format != "html":
        return
    files = importlib.metadata.files("sphinx-mathjax-offline") or []
    source = next(Path(str(f.locate())) for f in files if f.name == Path(MATHJAX).name)
    target = Path(app.outdir) / "_static" / MATHJAX
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def name_controls(app: Sphinx, error: Exception | None) -> None:
    """Name what theme and gallery leave without a name: the sidebar's toggles, and thumbnails."""
    if error is not None or app.builder.format != "html":
        return
    toggle = '<summary><span class="toctree-toggle"'
    thumbnail = r'<img alt="" (src="[^"]*_thumb\.png" />\s*<p><a [^>]*><span class="doc">([^<]*)</span>)'
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        named = text.replace(toggle, toggle.replace("<summary>", '<summary aria-label="Pages below this one">'))
        named = re.sub(thumbnail, r'<img alt="Figure of the page: \2" \1', named)
        if named != text:
            page.write_text(named, encoding="utf-8")


def fold_drawing(app: Sphinx, error: Exception | None) -> None:
    """Fold the cells of examples that only draw, and let a narrow screen scroll their figures."""
    if error is not None or app.builder.format != "html":
        return
    figure = r'(?<!"tt-wide">)<img [^>]*class = "sphx-glr-single-img"/>'
    cell = r'(?<!</summary>)<div class="highlight-Python notranslate">(?:(?!</pre>).)*</pre></div>\s*</div>'
    for page in [p for folder in ("introduction", "tutorials") for p in Path(app.outdir, folder).glob("plot_*.html")]:
        text = page.read_text(encoding="utf-8")

        def folded(found: re.Match[str]) -> str:
            code = re.sub(r"<[^>]*>", "", found.group())
            if not re.match(r"\s*figure\b", code) or COMPUTES.search(code):
                return found.group()
            return f'<details class="tt-drawing"><summary>Code of the figure</summary>{found.group()}</details>'

        text = re.sub(cell, folded, text, flags=re.DOTALL)
        page.write_text(re.sub(figure, r'<div class="tt-wide">\g<0></div>', text), encoding="utf-8")


def public_names() -> set[object]:
    """Return every public class."""
    modules = [importlib.import_module(name) for name in PUBLIC]
    return {vars(m)[n] for m in modules for n in m.__all__ if inspect.isclass(vars(m).get(n))}


def describe_data(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Take what is written below a table where it is defined, in place of the docstring of its type."""
    if what != "data":
        return
    own = name.rpartition(".")[2]
    for module in [m for n, m in sys.modules.items() if n.startswith("tracetorch.") and vars(m).get(own) is obj]:
        written = ModuleAnalyzer.for_module(module.__name__).find_attr_docs().get(("", own))
        if written:
            lines[:] = written
            return
    lines.clear()


def lead_to_theory(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Lead from a rule's arguments to the page with its derivation."""
    package, _, rule = name.rpartition(".")
    page = "stdp" if rule == "triplet_stdp" else rule
    if what == "function" and package == "tracetorch.rules" and (ROOT / f"docs/theory/{page}.md").is_file():
        lines += ["", f".. seealso:: :doc:`/theory/{page}`: derivation, what is exact, what is dropped, what it costs."]


def owner_of(member: object) -> type | None:
    """Return the class whose body defines a method or property; None for anything else."""
    function = getattr(member, "fget", None) or inspect.unwrap(getattr(member, "__func__", member))  # type: ignore[arg-type]
    name = getattr(function, "__qualname__", "").rpartition(".")[0]
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        owner = pkgutil.resolve_name(f"{function.__module__}:{name}") if name else None
        return owner if inspect.isclass(owner) else None
    return None


def inherit_sections(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Add the arguments of the method that one overrides, where its own docstring is short."""
    owner, own = owner_of(obj) if what == "method" else None, name.rpartition(".")[2]
    if owner is not None and own in vars(owner):
        lines[:] = [*described(owner, own).splitlines(), ""]


def skip_internal(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out the methods that no user calls."""
    owner = owner_of(obj)
    return True if owner is not None and name in vars(owner) and is_internal(owner, name) else None


def name_public_bases(app: Sphinx, name: str, obj: type, options: object, bases: list[type]) -> None:
    """Name the nearest base that has a page here, or that is another library's."""
    public = public_names()
    near = (b for b in obj.__mro__[1:] if b in public or not b.__module__.startswith("tracetorch"))
    bases[:] = [next(near, object)]


def annotate_arguments(app: Sphinx) -> None:
    """Let a class's arguments have the types that `__init__` takes, not those of the attributes of the same name."""
    for cls in public_names():
        assert inspect.isclass(cls)  # noqa: S101 - what public_names returns
        if "__dataclass_fields__" in vars(cls) or (inspect.isabstract(cls) and "__init__" not in vars(cls)):
            continue
        with contextlib.suppress(NameError, AttributeError, TypeError):
            hints = typing.get_type_hints(cls.__init__)
            cls.__annotations__ = {**vars(cls).get("__annotations__", {}), **hints}


def written_by_hand(pagename: str) -> str | None:
    """Return the file in the repository that a generated page is made of; None for a page that is its own source."""
    folder, _, page = pagename.rpartition("/")
    if folder in ("introduction", "tutorials"):
        return f"examples/{folder}/{'GALLERY_HEADER.rst' if page == 'index' else page + '.py'}"
    if folder != "reference/generated":
        return None
    try:
        file = inspect.getsourcefile(pkgutil.resolve_name(page.partition("-")[0]))
        return Path(str(file)).relative_to(ROOT).as_posix()
    except (TypeError, ValueError):  # a value, which does not know where it was written
        return "docs/reference/index.md"


def lead_edits_to_sources(app: Sphinx, pagename: str, template: str, context: dict[str, Any], tree: object) -> None:
    """Let the link to edit a page lead to what a person wrote, where the page itself is generated."""
    find, source = context.get("get_edit_provider_and_url"), written_by_hand(pagename)
    if find is None or source is None:
        return

    def found() -> tuple[str, str]:
        provider, url = find()
        return provider, url.replace(f"/docs/{pagename}{context['page_source_suffix']}", f"/{source}")

    context["get_edit_provider_and_url"] = found


def lead_back_from_sources(app: Sphinx, pagename: str, template: str, context: dict[str, Any], tree: object) -> None:
    """Let a source's links back lead to the name of their page: the names of one file are in more than one package."""
    if pagename.startswith("_modules/"):
        page_and_name = r"(reference/generated/((?:\w+\.)+(\w+))(?:-\w+)?\.html#)(?:\w+\.)+?\3(?=[\".])"
        context["body"] = re.sub(page_and_name, r"\1\2", context["body"])


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.connect("builder-inited", copy_mathjax)
    app.connect("source-read", name_repository)
    app.connect("builder-inited", annotate_arguments)
    app.connect("build-finished", name_controls)
    app.connect("build-finished", fold_drawing, priority=900)  # after the gallery has linked the names in the code
    app.connect("build-finished", place_versions)
    app.connect("html-page-context", describe_for_others)
    app.connect("html-page-context", lead_edits_to_sources, priority=900)  # after the theme has made its link
    app.connect("html-page-context", lead_back_from_sources)
    app.connect("autodoc-process-bases", name_public_bases)
    app.connect("autodoc-process-docstring", inherit_sections, priority=90)
    app.connect("autodoc-process-docstring", lead_to_theory, priority=90)
    app.connect("autodoc-skip-member", skip_internal)
    app.connect("autodoc-process-docstring", describe_data, priority=100)  # before it is read as Google's style
