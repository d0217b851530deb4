"""Data-parallel training: two processes are one, a killed one loses and doubles no step, uneven lengths end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import tracetorch as tt

pytestmark = pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available() or sys.platform != "linux", reason="needs gloo and torchrun"
)
WORKER = Path(__file__).parent / "worker.py"


def launched(case: str, folder: Path, *, restarts: int = 0, **environment: str) -> str:
    """Run a case of the worker in two processes; return what they printed."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [f"--max-restarts={restarts}", "--monitor-interval=0.1", str(WORKER), case, str(folder)]
    path = os.pathsep.join([str(Path(tt.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    found = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"} | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout + found.stderr


def test_two_processes_have_the_gradients_of_one_under_every_rule(tmp_path: Path) -> None:
    launched("equal", tmp_path)


def test_uneven_numbers_of_steps(tmp_path: Path) -> None:
    launched("uneven", tmp_path)


@pytest.mark.slow
def test_a_killed_process_loses_and_doubles_no_step(tmp_path: Path) -> None:
    launched("survive", tmp_path / "whole")
    launched("survive", tmp_path / "killed", restarts=5, KILLS="3,6")
    for rank in range(2):
        ends = [torch.load(tmp_path / name / f"end-{rank}.pt", weights_only=True) for name in ("whole", "killed")]
        for part in ("net", "carried"):
            assert ends[0][part].keys() == ends[1][part].keys()
            assert all(torch.equal(v, ends[1][part][k]) for k, v in ends[0][part].items()), (rank, part)
    assert all((tmp_path / "killed" / f"killed-{step}").exists() for step in (3, 6))


@pytest.mark.slow  # processes of gloo may abort as they end
def test_sharded_layers(tmp_path: Path) -> None:
    launched("shard", tmp_path)
