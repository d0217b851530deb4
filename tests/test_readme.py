"""The README: its Python runs as printed, and its table leaves no rule out."""

from __future__ import annotations

import re
from pathlib import Path

import torch

import tracetorch as tt

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_examples_run_as_printed():
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for block in blocks:
            exec(compile(block, "README.md", "exec"), names)  # one after the other, as a reader would
        layer, y = names["layer"], names["y"]
        assert layer(torch.ones(2, 40)).shape == (2, 128)
        assert names["ys"].shape == (100, 32, 2)
        assert (names["last"].argmax(1) == y).float().mean() > 0.9  # and the first one learns


def test_the_table_has_every_rule():
    assert set(re.findall(r"^\| `(\w+)\(\)`", TEXT, flags=re.MULTILINE)) == set(tt.rules.PRESETS)


def test_the_command_that_ci_runs_is_there_once():
    assert len(re.findall(r"^pip install .*&& pytest.*$", TEXT, flags=re.MULTILINE)) == 1


def test_links_and_pictures_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", TEXT)
    paths = [a or b for a, b in targets if "://" not in (a or b)]
    assert len(paths) > 10
    assert [path for path in paths if not (Path(__file__).parents[1] / path).exists()] == []
    assert all(re.search(r'alt="[^"]{20,}"', tag) for tag in re.findall(r"<img [^>]*>", TEXT))
