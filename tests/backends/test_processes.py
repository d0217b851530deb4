"""Compiled kernels in processes as users have them: without a folder to write to, forked, in several threads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tracetorch as tt

pytestmark = [
    pytest.mark.skipif(bool(tt.available_backends()["numba"]), reason="needs numba"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]

COMMON = """
import logging, os, sys, threading
import torch, tracetorch as tt
from torch import nn
torch.set_num_threads(2)

def made(backend="numba"):
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(40, 90), tt.LIF(half_life=4)), tt.Layer(nn.Linear(90, 3), tt.LI(half_life=6))
    ).double()
    tt.set_backend(net, backend)
    return net

def trained(net):
    xs = (torch.rand(12, 8, 40, generator=torch.Generator().manual_seed(1)) < 0.3).double()
    for x in xs[:4]:
        net(x).square().sum().backward()
    tt.scan(net, xs[4:]).square().sum().backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])
"""


def ran(script: str, *, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    here = Path(tt.__file__).parents[1] if path is None else path
    return subprocess.run(
        [sys.executable, "-c", COMMON + script],
        env=os.environ | {"PYTHONPATH": str(here), "PYTHONDONTWRITEBYTECODE": "1"} | environment,
        cwd=here,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_nothing_can_be_written_anywhere(tmp_path: Path) -> None:
    """As in a container whose file system is read-only: a file stands where each cache folder would be made."""
    package = tmp_path / "tracetorch"
    shutil.copytree(Path(tt.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [package, *(f for f in package.rglob("*") if f.is_dir())]:
        (folder / "__pycache__").touch()
    blocked = tmp_path / "file"
    blocked.touch()
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), str(blocked / "below"))
    found = ran(
        "assert os.path.samefile(os.path.dirname(os.path.dirname(tt.__file__)), os.getcwd())\n"
        "assert torch.allclose(trained(made()), trained(made('torch')))\n",
        path=tmp_path,
        **nowhere,
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr.count("cannot be cached") == 1, found.stderr
    assert "NUMBA_CACHE_DIR" in found.stderr and found.stderr.count("\n") == 1, found.stderr


FORKS = {
    "fork": """
pid = os.fork()
if pid == 0:
    os._exit(0 if torch.allclose(trained(made()), expected) else 3)
assert os.waitpid(pid, 0)[1] == 0
""",
    "pool": """
import multiprocessing
def work(_):
    return trained(made()).tolist()
with multiprocessing.get_context("fork").Pool(2) as pool:
    for found in pool.map(work, range(4)):
        assert torch.allclose(torch.tensor(found, dtype=torch.float64), expected)
""",
    "DataLoader": """
class Answers(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, i): return trained(made())
for found in torch.utils.data.DataLoader(Answers(), batch_size=None, num_workers=2, multiprocessing_context="fork"):
    assert torch.allclose(found, expected)
""",
}


@pytest.mark.parametrize("how", FORKS)
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_forked_process_runs_networks_after_its_parent_did(how: str, threads: str) -> None:
    script = f"torch.set_num_threads({threads})\nexpected = trained(made())\n" + FORKS[how]
    found = ran(script + "assert torch.allclose(trained(made()), expected)\n")
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("layer", ["default", "workqueue", "omp"])
def test_threads_run_networks_at_the_same_time(layer: str) -> None:
    found = ran(
        "expected, found = trained(made()), []\n"
        "nets = [[made() for _ in range(5)] for _ in range(4)]\n"  # here: threads share the generator of random numbers
        "def work(mine): found.extend(map(trained, mine))\n"
        "threads = [threading.Thread(target=work, args=(mine,)) for mine in nets]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert len(found) == 20 and all(torch.allclose(f, expected) for f in found)\n",
        NUMBA_THREADING_LAYER=layer,
    )
    assert found.returncode == 0, found.stderr
