"""Learn from reward on a stream of experience: no replay, no rollouts, flat memory.

`ActorCritic`, `Q`, `QRC`, `AVG` and `RewardEProp` learn at every step; `Reflect` accumulates REINFORCE's gradient over
whole episodes. The network is any module of `tt.Layer`s and ordinary modules, with any rule that gives gradients at
each step. Environments follow gymnasium's interface; the package itself (the extra ``rl``) is needed for its
environments only.
"""

from tracetorch.rl.actor_critic import ActorCritic
from tracetorch.rl.agent import Agent
from tracetorch.rl.avg import AVG
from tracetorch.rl.eprop import RewardEProp
from tracetorch.rl.init import sparse_, sparse_init
from tracetorch.rl.look_ahead import LookAhead, twin
from tracetorch.rl.normalize import ErrorScale, RewardScale, RunningNorm, UnitNorm
from tracetorch.rl.policy import Categorical, Gaussian, Policy
from tracetorch.rl.predict import Predictor
from tracetorch.rl.q import Q
from tracetorch.rl.qrc import QRC
from tracetorch.rl.reflect import Reflect
from tracetorch.rl.senses import Senses
from tracetorch.rl.step import AdaptiveObGD, FixedStep, ObGD, OptimizerStep, Step
from tracetorch.rl.three_factor import ThreeFactor
from tracetorch.rl.trace import ParameterTrace
from tracetorch.rl.vector import Ended, Rows

__all__ = [
    "AVG",
    "QRC",
    "ActorCritic",
    "AdaptiveObGD",
    "Agent",
    "Categorical",
    "Ended",
    "ErrorScale",
    "FixedStep",
    "Gaussian",
    "LookAhead",
    "ObGD",
    "OptimizerStep",
    "ParameterTrace",
    "Policy",
    "Predictor",
    "Q",
    "Reflect",
    "RewardEProp",
    "RewardScale",
    "Rows",
    "RunningNorm",
    "Senses",
    "Step",
    "ThreeFactor",
    "UnitNorm",
    "sparse_",
    "sparse_init",
    "twin",
]
