"""What each process of the distributed tests runs: `python worker.py CASE FOLDER`, with torchrun's environment."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.join import Join
from torch.nn.parallel import DistributedDataParallel

import tracetorch as tt

torch.set_num_threads(1)
RULES = [name for name in tt.rules.PRESETS if name not in ("rate", "uoro")]  # each process draws signs of its own
STEPS, BATCH = 10, 4


def network(rule: str = "trace", *, recurrent: bool = False, learned: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    half_life: Any = tt.Learnable(4.0) if learned else 4.0
    fed = nn.Linear(7, 7, bias=False) if recurrent else None
    net = nn.Sequential(
        tt.Layer(nn.Linear(6, 7), tt.LIF(half_life=half_life), recurrent=fed),
        tt.Layer(nn.Linear(7, 3), tt.LI(half_life=6)),
    ).double()
    tt.set_rule(net, tt.rules.ottt(approximate=True) if rule == "ottt" else tt.rules.PRESETS[rule]())
    tt.reset(net)
    return net


def inputs(steps: int = STEPS) -> Tensor:
    return 2 * (torch.rand(steps, BATCH, 6, generator=torch.Generator().manual_seed(1)) < 0.5).double()


def loss_of(y: Tensor) -> Tensor:
    return (y * y).sum(-1).mean()


def gradients(net: nn.Module) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]


def learned(net: nn.Module, xs: Tensor, how: str) -> None:
    """Leave the gradients of a stream in the parameters: step by step, or in windows."""
    if how == "steps":
        for x in xs:
            loss_of(net(x)).backward()
    else:
        for window in xs.split(4) if how == "windows" else [xs]:
            loss_of(net(window)).backward()


def equal(folder: Path) -> None:
    """Two processes, each with half of the batch, have the gradients of one with all of it."""
    rank, size = dist.get_rank(), dist.get_world_size()
    for rule in RULES:
        for how in ("steps", "windows", "once"):
            if rule == "bptt" and how != "once":
                continue
            for recurrent in (False, True):
                alone, shared = network(rule, recurrent=recurrent), network(rule, recurrent=recurrent)
                wrapped: Callable[[nn.Module], nn.Module] = tt.Scan if how != "steps" else nn.Sequential
                learned(wrapped(alone), inputs(), how)
                learned(DistributedDataParallel(wrapped(shared)), inputs().chunk(size, 1)[rank], how)
                assert sum(float(g.abs().sum()) for g in gradients(alone)) > 0
                for a, b in zip(gradients(shared), gradients(alone), strict=True):
                    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13, msg=lambda m, c=(rule, how): f"{c}: {m}")


def uneven(folder: Path) -> None:
    """A process that has fewer steps joins in until the others are through."""
    rank = dist.get_rank()
    steps = [4, 9]
    net = network("drtrl")
    shared = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with Join([shared]):
        for x in inputs()[: steps[rank], 2 * rank : 2 * rank + 2]:
            optimizer.zero_grad()
            loss_of(shared(x)).backward()
            optimizer.step()
    twins = [network("drtrl"), network("drtrl")]
    for t in range(max(steps)):
        total = [torch.zeros_like(p) for p in twins[0].parameters()]
        for r, twin in enumerate(twins):
            twin.zero_grad()
            if t < steps[r]:
                loss_of(twin(inputs()[t, 2 * r : 2 * r + 2])).backward()
                total = [a + g for a, g in zip(total, gradients(twin), strict=True)]
        for twin in twins:
            with torch.no_grad():
                for p, g in zip(twin.parameters(), total, strict=True):
                    p -= 0.05 * g / 2
    if rank == 1:
        for a, b in zip(net.parameters(), twins[1].parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


def saved(folder: Path, step: int, content: Any) -> None:
    """Write this process's part of a checkpoint, whole or not at all, and drop the one before the last."""
    rank = dist.get_rank()
    part = folder / f".{step}-{rank}.part"
    torch.save(content, part)
    os.replace(part, folder / f"{step}-{rank}.pt")
    (folder / f"{step - 2}-{rank}.pt").unlink(missing_ok=True)


def newest(folder: Path) -> int:
    """Return the last step of which every process has written its part; -1 for none."""
    size = dist.get_world_size()
    steps = {int(f.stem.split("-")[0]) for f in folder.glob("*-0.pt")}
    return max((s for s in steps if all((folder / f"{s}-{r}.pt").is_file() for r in range(size))), default=-1)


def survive(folder: Path) -> None:
    """Train with a checkpoint a step; where told to, one process is killed in the midst of a step, once for each."""
    rank, size = dist.get_rank(), dist.get_world_size()
    net = network("trace")
    shared = DistributedDataParallel(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    start = newest(folder)
    if start >= 0:
        own = torch.load(folder / f"{start}-{rank}.pt", weights_only=True)
        net.load_state_dict(own["net"])
        optimizer.load_state_dict(own["optimizer"])
        tt.set_state(net, own["carried"])
    kills = [int(k) for k in os.environ.get("KILLS", "").split(",") if k]
    for t in range(start + 1, STEPS):
        optimizer.zero_grad()
        loss_of(shared(inputs().chunk(size, 1)[rank][t])).backward()
        killed = folder / f"killed-{t}"
        if t in kills and rank == kills.index(t) % size and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        optimizer.step()
        content = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "carried": tt.get_state(net)}
        saved(folder, t, content)
    torch.save({"net": net.state_dict(), "carried": tt.get_state(net)}, folder / f"end-{rank}.pt")


def shard(folder: Path) -> None:
    """`fully_shard` of single layers: the gradients are those of one process, or a clear error."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    rank, size = dist.get_rank(), dist.get_world_size()
    mesh = init_device_mesh("cpu", (size,))
    for rule in ("drtrl", "trace", "ottt", "sltt"):
        alone, net = network(rule, learned=False), network(rule, learned=False)
        for layer in net:
            fully_shard(layer, mesh=mesh)
        fully_shard(net, mesh=mesh)
        learned(alone, inputs(), "steps")
        learned(net, inputs().chunk(size, 1)[rank], "steps")
        for (name, a), b in zip(net.named_parameters(), gradients(alone), strict=True):
            found = torch.zeros_like(b) if a.grad is None else a.grad.full_tensor()
            torch.testing.assert_close(found, b, rtol=1e-11, atol=1e-13, msg=lambda m, c=(rule, name): f"{c}: {m}")


if __name__ == "__main__":
    faulthandler.dump_traceback_later(300, exit=True)  # a process that waits for ever says where, and ends
    # torchrun ends the peer of a process that was killed; a short timeout would only fail where a start is slow
    dist.init_process_group("gloo", timeout=timedelta(seconds=120))
    {"equal": equal, "uneven": uneven, "survive": survive, "shard": shard}[sys.argv[1]](Path(sys.argv[2]))
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # gloo may abort a process whose peer has left while it takes its sockets down
