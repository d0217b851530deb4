"""The table of the memory chain: a run of stacked units, and what the command adds and prints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import memory_units


def test_the_command_adds_what_is_missing_and_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = tmp_path / "rows.jsonl"
    words = ["--rows", str(rows), "--nets", "2 LRU, cascade", "--seeds", "0", "--steps", "80"]
    threads = torch.get_num_threads()
    try:
        memory_units.main(words)
        memory_units.main(words)
    finally:
        torch.set_num_threads(threads)
    assert len(rows.read_text().splitlines()) == 1
    assert "| 2 LRU, cascade |" in capsys.readouterr().out
