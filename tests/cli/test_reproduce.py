"""The command that runs the tables of a clone."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tracetorch.cli.app import app

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="the benchmarks are not shipped with the package")
def test_options_and_help_go_to_the_clone_and_its_exit_status_comes_back(monkeypatch, capfd) -> None:
    monkeypatch.chdir(ROOT)
    assert CliRunner().invoke(app, ["reproduce", "adding", "--help"]).exit_code == 0
    assert "--held-out" in capfd.readouterr().out
    assert CliRunner().invoke(app, ["reproduce", "nothing"]).exit_code == 2


def test_elsewhere_it_says_where_to_run_it(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["reproduce", "adding"])
    assert result.exit_code == 2
    assert "root of a clone" in result.stderr
