"""Where the time of a reward-learning step goes: python -m benchmarks.rl_step

Medians over the steps of CartPole with 64 hidden neurons: the environment, the network's forward, looking ahead, the
backward pass, and what the agent does besides; the last four are the learning step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from tracetorch.train.choice import read_choice
from tracetorch.train.tasks import make


class Meter:
    """Add up the time spent in some functions, in the step that goes on."""

    def __init__(self) -> None:
        self.now: dict[str, float] = {}
        self.steps: list[dict[str, float]] = []

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.now[name] = self.now.get(name, 0.0) + time.perf_counter() - began

        return timed

    def close(self) -> None:
        self.steps.append(self.now)
        self.now = {}


def measure(task: str, rule: str, steps: int, options: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """Return how the network is run, and medians in microseconds: of environment, network, the rest, the whole step."""
    (env,) = (stream := make(task, options).stream(read_choice(rule).rule)).envs
    agent, meter = stream.agent, Meter()
    agent.body.forward = meter.wrap("forward", agent.body.forward)
    agent.body.ahead = meter.wrap("look-ahead", agent.body.ahead)
    agent.body.credit = meter.wrap("backward", agent.body.credit)
    act, learn, step = meter.wrap("act", agent.act), meter.wrap("learn", agent.learn), meter.wrap("env", env.step)
    for _ in range(steps):
        action = act(env.observation)
        reward, after, terminated, truncated = step(action)
        learn(reward, after, terminated=terminated, truncated=truncated)
        meter.close()
    late = [s for s in meter.steps[steps // 4 :] if "look-ahead" in s]
    found = {
        name: 1e6 * statistics.median(s[name] for s in late) for name in ("env", "forward", "look-ahead", "backward")
    }
    parts = ("forward", "look-ahead", "backward")
    found["own"] = 1e6 * statistics.median(s["act"] + s["learn"] - sum(s[p] for p in parts) for s in late)
    found["learning step"] = 1e6 * statistics.median(s["act"] + s["learn"] for s in late)
    return type(agent.body).__name__, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="cartpole")
    parser.add_argument("--rules", default="eprop,trace,sltt")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--autograd", action="store_true", help="not by compiled kernels, where they would fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for rule in arguments.rules.split(","):
        options = {"hidden": arguments.hidden, "compiled": not arguments.autograd}
        body, row = measure(arguments.task, rule, arguments.steps, options)
        print(f"{rule:12}{body:14}" + "  ".join(f"{name} {value:.0f} us" for name, value in row.items()))


if __name__ == "__main__":
    main()
