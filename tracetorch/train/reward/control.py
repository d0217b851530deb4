"""Control problems of gymnasium, streamed: pole, double pendulum, pendulum."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

import tracetorch as tt
from tracetorch import rl
from tracetorch.encoding import PopulationCode
from tracetorch.rl.envs import Environment, gym
from tracetorch.train.reward.base import RewardTask
from tracetorch.train.tasks.base import option
from tracetorch.train.tasks.kinds import Count, Probability, Rate, Span


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlTask(RewardTask):
    """A problem of gymnasium with a short observation, and a spiking network for it.

    The network is one layer of LIF neurons under leaky integrators, the policy's head and the value; both layers share
    it. Observations are currents, or activities of a population code.
    """

    environment_name: ClassVar[str]
    components: ClassVar[int]

    half_life: Span = option(0.5, "half-life of the hidden neurons, steps; the shortest where they are spread")
    longest: Rate = option(0.0, "longest half-life, where those of the hidden neurons are spread evenly in logarithm")
    bias: Rate = option(0.0, "first biases of the hidden layer lie evenly within plus and minus this")
    readout_half_life: Span = option(0.5, "half-life of the readout, steps")
    units: Count = option(0, "units of a population code per component of the observation; 0 for currents")
    reach: Span = option(2.0, "range of the population code, standard deviations of the observation to either side")
    gain: Rate = option(1.0, "factor on the first weights of the hidden layer")

    def environment(self, *, render: bool = False) -> Environment:
        """Make gymnasium's environment."""
        return gym(self.environment_name, render_mode="rgb_array") if render else gym(self.environment_name)

    @property
    def size(self) -> int:
        """Number of components of what is shown."""
        return self.components if self.keep is None else len(self.keep)

    @property
    def inputs(self) -> int:
        """Number of the network's inputs."""
        return self.size * (self.units or 1)

    def senses(self) -> rl.Senses:
        """Bring observations and rewards to unit scale; code observations where that is asked for."""
        senses = super().senses()
        if self.units:
            senses.encoder = PopulationCode([-self.reach] * self.size, [self.reach] * self.size, units=self.units)
        return senses

    @abstractmethod
    def policy(self) -> rl.Policy:
        """Make the policy."""

    def network(self) -> nn.Module:
        """Build LIF neurons under leaky integrators, sparse, with small first outputs."""
        first = nn.Linear(self.inputs, self.hidden)
        spread = torch.linspace(math.log(self.half_life), math.log(self.longest or self.half_life), self.hidden).exp()
        hidden = tt.Layer(first, tt.LIF(half_life=spread if self.longest else self.half_life))
        last = nn.Linear(self.hidden, self.policy().outputs + 1)
        net = nn.Sequential(hidden, tt.Layer(last, tt.LI(half_life=self.readout_half_life, normalized=True)))
        rl.sparse_init(net)
        with torch.no_grad():
            first.weight.mul_(self.gain)
            first.bias.uniform_(-self.bias, self.bias)
            last.weight.mul_(0.1)
        return net


@dataclass(frozen=True, kw_only=True, eq=False)
class CartPole(ControlTask):
    """Balance a pole on a cart: 1 for each step, 500 at most. It needs no memory, unless velocities are hidden."""

    name: ClassVar[str] = "cartpole"
    summary: ClassVar[str] = "balance a pole on a cart, from reward, in one stream (CartPole-v1)"
    environment_name: ClassVar[str] = "CartPole-v1"
    components: ClassVar[int] = 4
    goal: ClassVar[float] = 475.0
    # A velocity is the difference of a fast and a slow memory of a place, so half-lives must differ.
    presets = {
        "masked": {
            "hide_velocities": True,
            "half_life": 0.1,
            "longest": 10.0,
            "readout_half_life": 0.1,
            "bias": 1.0,
            "gain": 2.0,
            "gamma": 0.98,
            "lam": 0.9,
            "kappa": 1.5,
        }
    }

    gamma: Probability = option(0.995, "discount per step")
    hide_velocities: bool = option(False, "show the cart's and the pole's place only")

    @property
    def keep(self) -> Sequence[int] | None:
        """The components of the observation that are shown; None for all."""
        return (0, 2) if self.hide_velocities else None

    def policy(self) -> rl.Policy:
        """Choose left or right."""
        return rl.Categorical(2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Acrobot(ControlTask):
    """Swing a double pendulum up by its middle joint: -1 for each step until it is up, 500 at most."""

    name: ClassVar[str] = "acrobot"
    summary: ClassVar[str] = "swing up a double pendulum, from reward, in one stream (Acrobot-v1)"
    environment_name: ClassVar[str] = "Acrobot-v1"
    components: ClassVar[int] = 6
    goal: ClassVar[float] = -100.0

    def policy(self) -> rl.Policy:
        """Choose a torque of -1, 0 or 1."""
        return rl.Categorical(3)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pendulum(ControlTask):
    """Swing a pendulum up and hold it, by a torque in [-2, 2]: minus the squared error at each of 200 steps."""

    name: ClassVar[str] = "pendulum"
    summary: ClassVar[str] = "swing up a pendulum and hold it, a continuous action, in one stream (Pendulum-v1)"
    environment_name: ClassVar[str] = "Pendulum-v1"
    components: ClassVar[int] = 3
    goal: ClassVar[float] = -200.0

    gamma: Probability = option(0.98, "discount per step")
    kappa: Span = option(1.5, "strictness of the bounded step (ObGD)")
    readout_half_life: Span = option(0.35, "half-life of the readout, steps")

    def policy(self) -> rl.Policy:
        """Draw a torque."""
        return rl.Gaussian(1, scale=2.0)
