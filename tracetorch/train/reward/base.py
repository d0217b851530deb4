"""What a task with rewards is: its environment, its agent, and the controls that tell what the traces are worth."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import nn

import tracetorch as tt
from tracetorch import rl
from tracetorch.rl.envs import Environment, Episodes
from tracetorch.train.reward.gru import GRU, GRUBody
from tracetorch.train.tasks.base import Problem, option
from tracetorch.train.tasks.kinds import Count, OneOf, Positive, Probability, Rate, Size, Span
from tracetorch.train.tasks.seeds import derived_seed

CONTROLS = ("none", "lambda0", "no-bound", "reset-state", "truncated", "gru")


@dataclass(frozen=True, kw_only=True, eq=False)
class RewardTask(Problem):
    """An environment to learn in from one stream, by an actor-critic with eligibility traces.

    An iteration is `chunk` steps of the environment; `steps` counts these. Scores are of the episodes
    while they are learned from, each once.

    The option `control` takes something away: ``lambda0`` the trace over parameters (lambda is 0), ``no-bound`` the
    bound of the step (a fixed step of `fixed_lr`), ``reset-state`` the network's memory (reset at every step),
    ``truncated`` the layers' traces (the rule ``sltt``); ``gru`` puts a GRU in the network's place, with
    backpropagation truncated to what fits into the memory that the network's traces take.

    Attributes:
        goal: Mean return of 100 episodes that counts as solved.
    """

    metric: ClassVar[str] = "return"
    scored_on: ClassVar[str] = "last 100 episodes"
    default_rule: ClassVar[str] = "drtrl"
    goal: ClassVar[float] = float("inf")

    steps: Count = option(500_000, "steps of the environment")
    eval_every: Positive = option(20, "iterations between two points of the learning curve")
    chunk: Size = option(500, "steps of the environment in one iteration")
    rows: Size = option(1, "environments side by side, each with its own traces; 1 is one stream")
    control: Annotated[str, OneOf(*CONTROLS)] = option(
        "none", f"take something away, to see what it is worth: {', '.join(CONTROLS)}"
    )

    compiled: bool = option(True, "run the network by compiled kernels where they fit; equal to rounding")

    hidden: Size = option(64, "hidden neurons")
    gamma: Probability = option(0.99, "discount per step")
    lam: Probability = option(0.8, "decay of the eligibility trace over parameters, lambda")
    entropy: Rate = option(0.01, "weight of the policy's entropy")
    kappa: Span = option(3.0, "strictness of the bounded step (ObGD)")
    lr: Rate = option(1.0, "largest step size")
    fixed_lr: Rate = option(1e-3, "step size of the control no-bound")

    def __post_init__(self) -> None:
        """Check the options that have a choice or a range."""
        super().__post_init__()
        if self.chunk < self.rows:
            raise ValueError(f"rows is at most chunk ({self.chunk}), got {self.rows}")

    @property
    def iterations(self) -> int:
        """Return how many iterations of `chunk` steps the run has, the last one perhaps shorter."""
        return -(-self.steps // self.chunk)

    @abstractmethod
    def environment(self, *, render: bool = False) -> Environment:
        """Make the environment, which gives frames where it can if `render`."""

    @property
    def keep(self) -> Sequence[int] | None:
        """The components of the observation that are shown; None for all."""
        return None

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of components of what is shown."""

    @abstractmethod
    def policy(self) -> rl.Policy:
        """Make the policy."""

    def senses(self) -> rl.Senses:
        """Make what is between environment and network: observations and rewards at unit scale."""
        return rl.Senses(
            rows=self.rows, norm=rl.RunningNorm(self.size), rewards=rl.RewardScale(self.gamma, rows=self.rows)
        )

    def step(self, net: nn.Module) -> rl.Step:
        """Make the step along the trace.

        Args:
            net: The network, with its rule.

        Returns:
            The step.
        """
        return rl.FixedStep(self.fixed_lr) if self.control == "no-bound" else rl.ObGD(self.lr, self.kappa)

    def agent(self, rule: tt.Rule, device: torch.device | str = "cpu") -> rl.Agent:
        """Make the agent, as the control has it, with layers credited by a rule, on a device."""
        net = self.build()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, "feedback"))
            tt.set_rule(net, tt.rules.sltt() if self.control == "truncated" else rule)
            if self.control == "gru":
                net = GRU(self.inputs, self.hidden, self.policy().outputs + 1, window=self._window(net))
        net.to(device)
        agent = rl.ActorCritic(
            net,
            self.policy(),
            gamma=self.gamma,
            lam=0.0 if self.control == "lambda0" else self.lam,
            entropy=self.entropy,
            step=self.step(net),
            senses=self.senses(),
        )
        agent.seed(derived_seed(self.seed, "actions"))
        if isinstance(net, GRU):
            agent.body = GRUBody(net)
        elif self.compiled and self.rows == 1:
            with contextlib.suppress(ValueError, RuntimeError):  # it says what does not fit; autograd takes everything
                agent.compile()
        if self.control == "reset-state":
            agent.without_memory()
        return agent

    def _window(self, net: nn.Module) -> int:
        """Return how many steps of a GRU take no more memory than what the network carries, state and traces."""
        for _ in range(2):
            net(torch.zeros(1, self.inputs))
        numbers = sum(value.numel() for value in tt.get_state(net).values())
        tt.reset(net)
        return GRU.window_for(numbers, self.inputs, self.hidden)

    @property
    def inputs(self) -> int:
        """Number of the network's inputs: of what the senses make of an observation."""
        return self.size

    def stream(self, rule: tt.Rule, device: torch.device | str = "cpu") -> rl.Rows:
        """Make the agent, with its network on a device, and its environments; return what steps them together."""
        envs = [
            Episodes(self.environment(), seed=derived_seed(self.seed, "episodes", row) % 2**31, keep=self.keep)
            for row in range(self.rows)
        ]
        return rl.Rows(self.agent(rule, device), envs)
