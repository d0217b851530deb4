"""The copying table: what a run yields, that its units are what it says, what the table makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import tracetorch as tt
from benchmarks import copying
from tracetorch.testing import agreement, rule_gradients
from tracetorch.testing.oracle import bptt


@pytest.mark.parametrize("unit", copying.NETS)
def test_a_run_scores_every_unit(unit: str) -> None:
    row = copying.run(unit, 3, 0, 2)
    assert row["unit"] == unit and 0 <= row["accuracy"] <= 1


@pytest.mark.parametrize(
    ("unit", "rule", "splits"),
    [
        *((unit, tt.rules.drtrl(), [10, 10, 5]) for unit in ("LRU", "RTU", "MinGRU")),
        (copying.WHOLE, tt.rules.cascade(), [25]),
    ],
)
def test_recurrent_units_have_the_gradient_of_bptt(unit: str, rule: tt.rules.Rule, splits: list[int]) -> None:
    torch.manual_seed(0)
    net = copying.NETS[unit](3, 2).double()
    xs, target = torch.randn(25, 2, 3).double(), torch.randn(25, 2, 2).double()

    def loss(ys: torch.Tensor, steps: slice) -> torch.Tensor:
        return ((ys - target[steps]) ** 2).sum()

    assert isinstance(net, nn.Sequential)
    want = bptt(net, xs, loss)
    got = rule_gradients(net, xs, loss, rule, splits=splits)
    assert all(agreement(got.grads[n], g).relative_error < 1e-10 for n, g in want.grads.items())


def test_the_command_adds_what_is_missing_and_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = tmp_path / "rows.jsonl"
    words = ["--rows", str(rows), "--units", "MinGRU", "--seeds", "0", "--delays", "2", "--steps", "1"]
    threads = torch.get_num_threads()
    try:
        copying.main(words)
        copying.main(words)
    finally:
        torch.set_num_threads(threads)
    (row,) = map(json.loads, rows.read_text().splitlines())
    assert row["delay"] == 2
    printed = capsys.readouterr().out
    assert "| unit, rule | delay 2 |" in printed and f"{100 * row['accuracy']:.1f}" in printed
