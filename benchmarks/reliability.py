"""Figures of docs/reliability.md: kills, a long stream, drift against double precision.

`python -m benchmarks.reliability kills|soak|drift [--help]`. Fuzzing and damaged files are tests with a number:
`TRACETORCH_FUZZ=100000 pytest tests/core/test_fuzz.py`, `TRACETORCH_FUZZ=5000 pytest tests/train/test_damage.py`.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

import tracetorch as tt

RUN = [sys.executable, "-m", "tracetorch", "train"]
SMALL = ["digits", "--no-figures", "--json", "--set", "hidden=8", "--set", "batch_size=4", "--set", "eval_every=100"]


SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def hears() -> None:
    """Let a process hear SIGINT, which a shell has its background jobs ignore, and SIGHUP, which nohup does."""
    for number in SIGNALS[1:]:
        signal.signal(number, signal.SIG_DFL)


def kills(number: int, steps: int) -> None:
    """End runs by signals at random moments, resume each until it ends, and compare it with one that nothing ended."""
    from tracetorch.train import RunFolder
    from tracetorch.train.checkpoint import load_tree

    draw = random.Random(0)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def end(folder: Path) -> tuple[object, list[object]]:
        state = load_tree(folder / "state.safetensors")["run"]["weights"]
        log = [{k: v for k, v in r.items() if k not in ("seconds", "memory_mb")} for r in RunFolder(folder).records()]
        return {k: v.tolist() for k, v in state.items()}, log

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        words = [*RUN, *SMALL, "--steps", str(steps), "--checkpoint-every", "0.2s"]
        started = time.monotonic()
        subprocess.run([*words, "--run", str(root / "whole")], env=environment, check=True, capture_output=True)
        longest, whole = time.monotonic() - started, end(root / "whole")
        done = runs = survived = resumes = 0
        ended: dict[str, int] = dict.fromkeys([s.name for s in SIGNALS], 0)
        while done < number:
            folder, first = root / f"run{runs}", True
            while True:
                command = [*words, "--run", str(folder)] if first else [*RUN, "--resume", str(folder), *SMALL[1:3]]
                process = subprocess.Popen(
                    command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=hears
                )
                try:
                    process.wait(timeout=draw.uniform(0.2, 0.7) * longest if done < number else None)
                except subprocess.TimeoutExpired:
                    with_what = SIGNALS[done % len(SIGNALS)]
                    process.send_signal(with_what)
                    process.wait()
                    done += 1
                    ended[with_what.name] += 1
                    first = not (folder / "state.safetensors").is_file()
                    resumes += not first
                    if first and folder.is_dir():  # killed before its first checkpoint: nothing there to resume
                        folder = root / f"run{runs}-{done}"
                    continue
                if process.returncode:
                    raise SystemExit(process.stderr.read().decode())
                break
            runs += 1
            survived += end(folder) == whole
            print(
                f"{done} signals {ended}, {resumes} resumes; {survived} of {runs} runs equal the undisturbed",
                flush=True,
            )


def soak(steps: int, every: int) -> None:
    """Train a small network on a stream, and compare state and traces with those of double precision now and then."""
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(8, 16), tt.LIF(half_life=20)), tt.Layer(nn.Linear(16, 3), tt.LI(half_life=20))
    )
    with torch.no_grad():
        net[0].synapse.weight.abs_()
    twin = copy.deepcopy(net).double()
    stream = tt.Stream(net, lr=0.0, loss="mse")
    generator, target, spent = torch.Generator().manual_seed(1), torch.zeros(1, 3), 0.0
    for done in range(every, steps + 1, every):
        xs = (torch.rand(1000, 1, 8, generator=generator) < 0.2).float()
        started = time.perf_counter()
        for _ in range(every // 1000):
            for x in xs:
                stream(x, target)
        spent += time.perf_counter() - started
        stream.sync()
        tt.reset(twin)  # of 1000 steps, 50 half-lives, what follows from inputs and decays alone keeps nothing older
        double = tt.Stream(twin, lr=0.0, loss="mse")
        for x in xs.double():
            double(x, target.double())
        double.sync()
        single, expected = tt.get_state(net), tt.get_state(twin)
        names = ["0/sigma", "1/sigma", *(f"0/traces.other.{k}" for k in ("h_weight", "x_weight", "x.0"))]
        found = {
            "steps": done,
            "us_per_step": round(1e6 * spent / done, 2),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "off_double": max(_off(single[k], expected[k]) for k in names),
        }
        print(json.dumps(found), flush=True)


def drift(half_life: float, steps: int) -> None:
    """Compare the gradients of a hidden layer in single and in double precision, of the same decays, after long."""
    for name in ("trace", "eprop", "drtrl", "cascade"):
        for how in ("steps", "windows of 1000"):
            torch.manual_seed(0)
            net = nn.Sequential(
                tt.Layer(nn.Linear(8, 16), tt.LIF(half_life=20)), tt.Layer(nn.Linear(16, 3), tt.LI(half_life=half_life))
            )
            with torch.no_grad():
                net[0].synapse.weight.mul_(64).round_().div_(64).abs_()
                net[0].synapse.bias.zero_()
            nets = [net, copy.deepcopy(net).double()]
            xs = (torch.rand(steps, 1, 8, generator=torch.Generator().manual_seed(1)) < 0.2).float()
            grads = []
            for one in nets:
                tt.set_rule(one, tt.rules.PRESETS[name]())
                tt.reset(one)
                window = xs.to(one[0].synapse.weight.dtype)
                if how == "steps":
                    for x in window[:-1]:
                        one(x)
                else:
                    for part in window[:-1].split(1000):
                        tt.scan(one, part, out="last")
                one(window[-1]).sum().backward()
                grads.append(one[0].synapse.weight.grad)
            print(f"{name}, half-life {half_life:g}, {steps} steps, {how}: {_off(*grads):.1e}", flush=True)


def _off(a: Tensor, b: Tensor) -> float:
    b = b.double()
    return float((a.double() - b).norm() / b.norm().clamp(min=1e-12))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("kills")
    one.add_argument("--number", type=int, default=40)
    one.add_argument("--steps", type=int, default=600)
    one = commands.add_parser("soak")
    one.add_argument("--steps", type=int, default=10**7)
    one.add_argument("--every", type=int, default=10**6)
    one = commands.add_parser("drift")
    one.add_argument("--half-life", type=float, default=1e5)
    one.add_argument("--steps", type=int, default=20_000)
    arguments = vars(parser.parse_args())
    torch.set_num_threads(1)
    {"kills": kills, "soak": soak, "drift": drift}[arguments.pop("command")](**arguments)
