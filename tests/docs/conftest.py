"""The site, built once, served to a browser."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built pages: that of TRACETORCH_BUILT, or built now with short examples and no warning."""
    if built := os.environ.get("TRACETORCH_BUILT"):
        return Path(built)
    for name in (
        "sphinx",
        "myst_parser",
        "pydata_sphinx_theme",
        "sphinx_gallery",
        "sphinx_design",
        "sphinx_copybutton",
    ):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install '.[docs]'")
    target = tmp_path_factory.mktemp("site")
    # As the forge sets it, so that the link to edit a page is there too.
    env = {"GITHUB_REPOSITORY": "owner/tracetorch", **os.environ, "TRACETORCH_SHORT": "1"}
    env["OMP_NUM_THREADS"] = env.get("OMP_NUM_THREADS", "1")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(target)]
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    assert run.returncode == 0, f"{run.stdout[-3000:]}\n{run.stderr[-6000:]}"
    return target


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The address of a server of the pages."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium that is installed on the machine."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[docs]'")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()
