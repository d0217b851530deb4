"""Learn from reward on a stream of experience: no replay, no rollouts, flat memory.

`ActorCritic`, `Sarsa`, `Q` and `RewardEProp` learn at every step; `Reflect` gathers REINFORCE's gradient over whole
episodes, `FactoredReflect` an approximation of it that is as small as the network's outputs. The network is any module
of `tt.Layer`s and ordinary modules, with any rule that gives gradients at each step. Environments follow gymnasium's
interface; the package itself (``pip install 'tracetorch[rl]'``) is needed for its environments only.
"""

from tracetorch.rl.actor_critic import ActorCritic, Beside
from tracetorch.rl.agent import Agent
from tracetorch.rl.baselines import Baseline, NoBaseline, RunningReward, TDError, VariableLengthWarning
from tracetorch.rl.eprop import RewardEProp
from tracetorch.rl.factored import FactoredReflect
from tracetorch.rl.gru import WindowedGRU
from tracetorch.rl.init import sparse_, sparse_init
from tracetorch.rl.normalize import RewardScale, RunningNorm
from tracetorch.rl.obgd import AdamStep, FixedStep, ObGD, OptimizerStep, Step
from tracetorch.rl.per_row import RowTraces
from tracetorch.rl.policy import Categorical, Gaussian, Policy
from tracetorch.rl.q import Q
from tracetorch.rl.reflect import Reflect
from tracetorch.rl.sarsa import ActionValues, Sarsa
from tracetorch.rl.senses import Senses
from tracetorch.rl.streams import Carrying, LookAhead, reset, restore, snapshot, twin
from tracetorch.rl.trace import FlatParameters, ParameterTrace
from tracetorch.rl.vector import Ended, Rows

__all__ = [
    "ActionValues",
    "ActorCritic",
    "AdamStep",
    "Agent",
    "Baseline",
    "Beside",
    "Carrying",
    "Categorical",
    "Ended",
    "FactoredReflect",
    "FixedStep",
    "FlatParameters",
    "Gaussian",
    "LookAhead",
    "NoBaseline",
    "ObGD",
    "OptimizerStep",
    "ParameterTrace",
    "Policy",
    "Q",
    "Reflect",
    "RewardEProp",
    "RewardScale",
    "RowTraces",
    "Rows",
    "RunningNorm",
    "RunningReward",
    "Sarsa",
    "Senses",
    "Step",
    "TDError",
    "VariableLengthWarning",
    "WindowedGRU",
    "reset",
    "restore",
    "snapshot",
    "sparse_",
    "sparse_init",
    "twin",
]
