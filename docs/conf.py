"""How Sphinx builds the documentation: `sphinx-build -W docs docs/_build/html`.

Environment: `TRACETORCH_SHORT=1` shortens every example, `TRACETORCH_DATA` names the folder with recordings,
`TRACETORCH_ONLINE=1` reads the inventories of other projects from the net rather than the small ones beside this file.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "_scripts")]
os.environ.setdefault("MPLBACKEND", "Agg")

import site_setup  # noqa: E402 - found by the line above

import tracetorch  # noqa: E402 - the clone beside this folder, whatever is installed

project = "traceTorch"
author = "The traceTorch authors"
copyright = author  # noqa: A001 - the name that Sphinx reads
version = release = tracetorch.__version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = [
    "_build",
    "_scripts",
    "_templates",
    "sg_execution_times.rst",
    "**/sg_execution_times.rst",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
default_role = "py:obj"  # `name` in a docstring links where it is a public name, and is code elsewhere

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

# -- reference ---------------------------------------------------------------------------------------------------------

autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_filename_map = {  # file systems that do not tell capitals apart
    "tracetorch.scan": "tracetorch.scan-function",
    "tracetorch.record": "tracetorch.record-function",
    "tracetorch.testing.audit": "tracetorch.testing.audit-function",
    "tracetorch.testing.agreement": "tracetorch.testing.agreement-function",
    "tracetorch.export.step": "tracetorch.export.step-function",
    "tracetorch.export.window": "tracetorch.export.window-function",
    "tracetorch.export.difference": "tracetorch.export.difference-function",
    "tracetorch.rules.rtrl": "tracetorch.rules.rtrl-function",
    "tracetorch.rules.FACTS": "tracetorch.rules.FACTS-table",
}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
add_module_names = False
viewcode_line_numbers = False

# -- other projects' pages ---------------------------------------------------------------------------------------------

_PROJECTS = {
    "python": "https://docs.python.org/3/",
    "torch": "https://docs.pytorch.org/docs/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
}
_ONLINE = bool(os.environ.get("TRACETORCH_ONLINE"))
# The small inventories hold the names that these pages use: a build needs no net, and gives the same links everywhere.
intersphinx_mapping = {
    name: (address, (None, f"_inventories/{name}.inv") if _ONLINE else f"_inventories/{name}.inv")
    for name, address in _PROJECTS.items()
}
intersphinx_timeout = 10
intersphinx_disabled_reftypes = ["std:doc"]

# -- examples ----------------------------------------------------------------------------------------------------------

SHORT = bool(os.environ.get("TRACETORCH_SHORT"))
_GALLERIES = [name for name in ("introduction", "tutorials") if (ROOT / "examples" / name).is_dir()]
sphinx_gallery_conf = {
    "examples_dirs": [f"../examples/{name}" for name in _GALLERIES],
    "gallery_dirs": _GALLERIES,
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("tracetorch",),
    "reference_url": {"tracetorch": None},
    "backreferences_dir": "_backreferences",
    "inspect_global_variables": False,
    "matplotlib_animations": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1,
    "abort_on_example_error": False,
    "capture_repr": (),  # what is worth showing is printed or drawn
    "reset_modules": ("matplotlib", "site_setup.seed"),
    "image_scrapers": ("site_setup.own_figures", "matplotlib"),
    "image_srcset": ["2x"],  # for sharp screens
    "thumbnail_size": (480, 320),
    "write_computation_times": False,
}
suppress_warnings = [
    "config.cache",  # the gallery's settings hold what cannot be pickled
    "ref.python",  # two public classes of one name in two packages: data.Window and export.Window
]
warnings.filterwarnings("ignore", message="Matplotlib is currently using agg", category=UserWarning)

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

# -- pages -------------------------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "traceTorch"
html_short_title = "traceTorch"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_js_files = ["scroll.js"]
html_favicon = "_static/favicon.svg"
html_baseurl = os.environ.get("TRACETORCH_SITE", "")
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None  # two builds of one commit are equal
html_context: dict[str, str] = {"default_mode": "auto"}
html_theme_options: dict[str, object] = {
    "logo": {
        "text": "traceTorch",
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo-dark.svg",
        "alt_text": "traceTorch, to the first page",
    },
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "navbar_start": ["navbar-logo", "version"],
    "switcher": {"json_url": "_static/versions.json", "version_match": version},
    "navbar_end": ["theme-switcher", "navbar-icon-links"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "back_to_top_button": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "secondary_sidebar_items": ["page-toc", "edit-this-page"],
}
html_sidebars = {"index": []}

# The forge sets GITHUB_REPOSITORY to owner/name in its workflows; elsewhere there is no page to edit.
_REPOSITORY = os.environ.get("GITHUB_REPOSITORY", "")
if _REPOSITORY.count("/") == 1:
    _owner, _name = _REPOSITORY.split("/")
    html_context |= {"github_user": _owner, "github_repo": _name, "github_version": "main", "doc_path": "docs"}
    html_theme_options["use_edit_page_button"] = True
    html_theme_options["icon_links"] = [
        {"name": "Repository", "url": f"https://github.com/{_REPOSITORY}", "icon": "fa-brands fa-github"}
    ]

# -- mathematics without another host ----------------------------------------------------------------------------------

mathjax_path = site_setup.MATHJAX
mathjax3_config = {"svg": {"fontCache": "local"}, "options": {"enableMenu": False}}

# -- links -------------------------------------------------------------------------------------------------------------

# `sphinx-build -b linkcheck -D plot_gallery=0` asks other hosts; links within the site are tests/docs's.
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_workers = 4
linkcheck_rate_limit_timeout = 60.0
linkcheck_report_timeouts_as_broken = False  # a slow host is not a lost page
linkcheck_ignore = [r"https://doi\.org/.*"]  # publishers turn away what is not a browser
if _REPOSITORY:  # a page to edit is there once the commit is
    linkcheck_ignore.append(rf"https://github\.com/{_REPOSITORY}/edit/.*")
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]  # made by a script in the browser
linkcheck_exclude_documents = [r".*/generated/.*"]  # hundreds of links to the same few pages
linkcheck_allow_unauthorized = True


setup = site_setup.setup
