"""Data-parallel training: two processes are one, a killed one loses and doubles no step, uneven lengths end."""

from __future__ import annotations

import os
import signal
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
    """Run a case of the worker in two processes; return what they printed.

    They print into a file and have their names from no server: a process that is left over holds no pipe that the test
    waits for, and no look-up of the machine's name delays a start. Each start has a store of its own: in one that
    torchrun shares among restarts, gloo finds addresses of processes that were killed, and fails or waits for ever.
    """
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    command += ["--nproc-per-node=2", f"--max-restarts={restarts}", "--monitor-interval=0.1"]
    command += [str(WORKER), case, str(folder)]
    path = os.pathsep.join([str(Path(tt.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    own = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    own["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    said = folder / "said.txt"
    with said.open("w") as out:
        process = subprocess.Popen(
            command, env=os.environ | own | environment, stdout=out, stderr=out, start_new_session=True
        )
        try:
            code = process.wait(timeout=400)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)  # it ends its workers, which have sessions of their own
            code = process.wait(timeout=60)
    assert code == 0, said.read_text()
    return said.read_text()


def test_two_processes_have_the_gradients_of_one_under_every_rule(tmp_path: Path) -> None:
    launched("equal", tmp_path)


def test_uneven_numbers_of_steps(tmp_path: Path) -> None:
    launched("uneven", tmp_path)


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
