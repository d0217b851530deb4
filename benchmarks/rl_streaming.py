"""Agents that learn from each step once: python -m benchmarks.rl_streaming EXPERIMENT [AGENT ...]

Experiments, with their agents:

- `breakout`: MinAtar; `q` is stream Q(lambda), `qrc` QRC(lambda), each with its paper's network and settings.
- `cartpole`: gymnasium; `q`, `q-adaptive` (the adaptive bounded step) and `qrc`, all on one small network.
- `pendulum`: gymnasium; `avg` is AVG, `ac` stream AC(lambda).
- `repeat-previous`, `repeat-first`: POPGym; `chain`: a cue, 8 steps of distractors, a question. AC(lambda) over
  recurrent trace units with exact traces (`rtu`), with one-step credit (`sltt`), with units that do not learn
  (`frozen`), and with units that are reset before each step (`reset`), so that nothing is remembered.

Printed for each seed: the mean return of the last 100 episodes, which are learned from while they are counted, and of
the 100 consecutive ones that were best.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import deque
from collections.abc import Callable

import torch
from torch import nn

import tracetorch as tt
from tracetorch import rl
from tracetorch.rl.envs import Environment, Episodes, MemoryChain, MinAtar, gym

WINDOW = 100


def senses(size: int, gamma: float) -> rl.Senses:
    return rl.Senses(norm=rl.RunningNorm(size), rewards=rl.RewardScale(gamma))


def exploring(steps: int) -> Callable[[int], float]:
    """Epsilon from 1 to 0.01 over the first fifth of a run, as both papers have it."""
    return lambda done: max(0.01, 1.0 - 0.99 * done / (0.2 * steps))


def planes(env: MinAtar) -> nn.Module:
    net = nn.Sequential(
        nn.Unflatten(1, env.shape),
        nn.Conv2d(env.shape[0], 16, 3),
        nn.LayerNorm([16, 8, 8], elementwise_affine=False),
        nn.LeakyReLU(),
        nn.Flatten(),
        nn.Linear(1024, 128),
        nn.LayerNorm(128, elementwise_affine=False),
        nn.LeakyReLU(),
        nn.Linear(128, env.actions),
    )
    rl.sparse_init(net)
    return net


def breakout(agent: str, steps: int) -> tuple[rl.Agent, Environment]:
    env = MinAtar("breakout")
    options = {"epsilon": exploring(steps), "senses": senses(env.size, 0.99)}
    if agent == "q":
        return rl.Q(planes(env), step=rl.ObGD(1.0, 2.0), **options), env  # type: ignore[arg-type]
    return rl.QRC(planes(env), planes(env), **options), env  # type: ignore[arg-type]


def dense(inputs: int, outputs: int) -> nn.Module:
    parts: list[nn.Module] = []
    for _ in range(2):
        parts += [nn.Linear(inputs, 64), nn.LayerNorm(64, elementwise_affine=False), nn.LeakyReLU()]
        inputs = 64
    net = nn.Sequential(*parts, nn.Linear(64, outputs))
    rl.sparse_init(net)
    return net


def cartpole(agent: str, steps: int) -> tuple[rl.Agent, Environment]:
    options = {"epsilon": exploring(steps), "senses": senses(4, 0.99)}
    if agent == "qrc":
        step = rl.FixedStep(1e-3)
        return rl.QRC(dense(4, 2), dense(4, 2), step=step, **options), gym("CartPole-v1")  # type: ignore[arg-type]
    step = rl.ObGD(1.0, 2.0) if agent == "q" else rl.AdaptiveObGD(1.0, 2.0)
    return rl.Q(dense(4, 2), step=step, **options), gym("CartPole-v1")  # type: ignore[arg-type]


def unit_norm(inputs: int, outputs: int) -> nn.Module:
    """Two hidden layers of 64 and rows of length 1 under the last layer; orthogonal first weights, as the paper's."""
    first, second, last = nn.Linear(inputs, 64), nn.Linear(64, 64), nn.Linear(64, outputs)
    for layer in (first, second, last):
        nn.init.orthogonal_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, nn.LeakyReLU(), second, nn.LeakyReLU(), rl.UnitNorm(), last)


def adam(net: nn.Module, lr: float) -> rl.OptimizerStep:
    return rl.OptimizerStep(lambda p: torch.optim.Adam(p, lr=lr, betas=(0.0, 0.999)), net)


def pendulum(agent: str, steps: int) -> tuple[rl.Agent, Environment]:
    env = gym("Pendulum-v1")
    if agent == "ac":
        net = dense(3, 3)
        return rl.ActorCritic(net, rl.Gaussian(1, scale=2.0), step=rl.ObGD(1.0, 3.0), senses=senses(3, 0.99)), env
    actor, critic = unit_norm(3, 2), unit_norm(4, 1)
    return (
        rl.AVG(
            actor,
            critic,
            scale=2.0,
            gamma=0.97,
            entropy=0.02,
            steps=(adam(actor, 1e-3), adam(critic, 5e-3)),
            # rows of length 1 under the last layer: rewards of -16 a step are values that it takes long to grow to
            senses=senses(3, 0.97),
        ),
        env,
    )


def units(agent: str, env: Environment, inputs: int, actions: int, hidden: int) -> tuple[rl.Agent, Environment]:
    rule = tt.rules.sltt() if agent == "sltt" else tt.rules.drtrl()
    layer = tt.Layer(nn.Linear(inputs, 2 * hidden), tt.RTU(hidden, r_max=0.98), rule=rule)
    last = nn.Linear(hidden, actions + 1)
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
    if agent == "frozen":
        layer.requires_grad_(False)
    net = nn.Sequential(layer, last)
    step = rl.OptimizerStep(lambda p: torch.optim.Adam(p, lr=5e-3), net)
    learner = rl.ActorCritic(net, rl.Categorical(actions), lam=0.8, gamma=0.9, step=step)
    if agent == "reset":
        learner.without_memory()
    return learner, env


def repeat_previous(agent: str, steps: int) -> tuple[rl.Agent, Environment]:
    return units(agent, gym("popgym:popgym-RepeatPreviousEasy-v0"), 4, 4, 16)


def repeat_first(agent: str, steps: int) -> tuple[rl.Agent, Environment]:
    return units(agent, gym("popgym:popgym-RepeatFirstEasy-v0"), 4, 4, 16)


def chain(agent: str, steps: int) -> tuple[rl.Agent, Environment]:
    return units(agent, MemoryChain(8), 4, 2, 8)


MEMORY = ("rtu", "sltt", "frozen", "reset")
EXPERIMENTS: dict[str, tuple[Callable[[str, int], tuple[rl.Agent, Environment]], tuple[str, ...], int]] = {
    "breakout": (breakout, ("q", "qrc"), 200_000),
    "cartpole": (cartpole, ("q", "q-adaptive", "qrc"), 100_000),
    "pendulum": (pendulum, ("avg", "ac"), 50_000),
    "repeat-previous": (repeat_previous, MEMORY, 200_000),
    "repeat-first": (repeat_first, MEMORY, 200_000),
    "chain": (chain, MEMORY, 100_000),
}


def score(experiment: str, agent: str, steps: int, seed: int) -> tuple[float, float]:
    """Return the mean return of the last 100 episodes, and of the best 100 in a row."""
    torch.manual_seed(seed)
    learner, env = EXPERIMENTS[experiment][0](agent, steps)
    learner.seed(seed)
    rows = rl.Rows(learner, [Episodes(env, seed=seed)])
    returns: deque[float] = deque(maxlen=WINDOW)
    best = -float("inf")
    for _ in range(steps):
        for ended in rows.step():
            returns.append(ended.total)
            if len(returns) == WINDOW:
                best = max(best, statistics.fmean(returns))
    return statistics.fmean(returns), best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("agents", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    _, agents, steps = EXPERIMENTS[arguments.experiment]
    steps = arguments.steps or steps
    for agent in arguments.agents or agents:
        if agent not in agents:
            parser.error(f"{arguments.experiment} has the agents {', '.join(agents)}, got {agent!r}")
        scores = []
        for seed in range(arguments.seeds):
            began = time.perf_counter()
            scores.append(score(arguments.experiment, agent, steps, seed))
            last, best = scores[-1]
            seconds = time.perf_counter() - began
            print(
                f"{arguments.experiment} {agent} seed {seed}: {last:.3f} best {best:.3f} ({seconds:.0f} s)", flush=True
            )
        lasts = [last for last, _ in scores]
        print(f"{arguments.experiment} {agent}: mean {statistics.fmean(lasts):.3f} worst {min(lasts):.3f}", flush=True)


if __name__ == "__main__":
    main()
