"""Write the quickstart as a notebook that installs the library where it is missing: `python docs/_scripts/notebook.py`.

The site's other notebooks are made when it is built; this one is committed, since Colab opens those of a repository.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
SOURCE, NOTEBOOK = EXAMPLES / "introduction" / "plot_00_quickstart.py", EXAMPLES / "quickstart.ipynb"
INSTALL = """# Where the library is not installed yet, as in Colab, this installs it.
import importlib.util

if importlib.util.find_spec("tracetorch") is None:
    repository = "URL"  # the address behind the button "Code" of the repository's page
    %pip install -q "tracetorch[train] @ git+{repository}"
"""


def cell(kind: str, text: str) -> dict[str, Any]:
    """Return a cell of code or Markdown."""
    more = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": text.strip("\n").splitlines(keepends=True), **more}


def plain(text: str) -> str:
    """Return Markdown of the little reStructuredText that examples use."""
    text = re.sub(r"^(.+)\n=+$", r"# \1", text, flags=re.MULTILINE)
    text = re.sub(r"^(.+)\n-+$", r"## \1", text, flags=re.MULTILINE)
    text = re.sub(r":doc:`/?([^`]*)`", r"`\1` on the site", text)
    return text.replace("``", "`")


def notebook() -> dict[str, Any]:
    """Return the quickstart's blocks as cells."""
    head, _, rest = SOURCE.read_text(encoding="utf-8")[4:].partition('"""\n')
    cells = [cell("markdown", plain(head)), cell("code", INSTALL)]
    for block in rest.split("# %%\n"):
        words = re.match(r"(#.*\n)*", block)
        told = words.group() if words else ""
        if told:
            cells.append(cell("markdown", plain(re.sub(r"^# ?", "", told, flags=re.MULTILINE))))
        if block[len(told) :].strip():
            cells.append(cell("code", block[len(told) :]))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}


def text() -> str:
    """Return the notebook as the file has it."""
    return json.dumps(notebook(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    NOTEBOOK.write_text(text(), encoding="utf-8")
