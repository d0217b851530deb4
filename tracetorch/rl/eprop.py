"""Reward-based e-prop: actor and critic read out of one network, eligibility filtered by the discount."""

from __future__ import annotations

from torch import nn

from tracetorch.feedback import Feedback
from tracetorch.network import set_rule
from tracetorch.rl.actor_critic import ActorCritic
from tracetorch.rl.policy import Policy
from tracetorch.rl.senses import Senses
from tracetorch.rl.step import Step
from tracetorch.rules import eprop


class RewardEProp(ActorCritic):
    r"""Reward-based e-prop: derivatives of policy and value times the layers' eligibility, filtered by the discount.

    .. math:: L_j = \sum_k B^\pi_{jk}(\mathbf 1_{a=k} - \pi_k) + c_V B^V_j, \qquad
        z = \gamma z + L_j\,\bar e_{ji}, \qquad \Delta W_{ji} = \eta\,\delta\,z

    This is `ActorCritic` with the rule `eprop` and lambda one, so that the paper's filter :math:`\mathcal F_\gamma` and
    the trace over parameters are the same thing. The feedback :math:`B` is the readouts' transpose, or fixed and
    random. The network is a recurrent or plain spiking layer, then a leaky readout of the policy's head and the value.

    Args:
        net: the network, `[B, *in] -> [B, n + 1]`; its rule is set here.
        policy: what the head's n numbers mean.
        gamma: the discount per step.
        value_weight: weight of the value's gradient, c_V.
        feedback: the matrix through which credit reaches the layer below; `tt.feedback.Symmetric()` by default, or
            `tt.feedback.RandomFeedback()`.
        step: how to move along the trace.
        senses: what is between environment and network.

    Source: G. Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking neurons" (2020),
    https://doi.org/10.1038/s41467-020-17236-y.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(
        ...     tt.Layer(torch.nn.Linear(4, 16), tt.ALIF(half_life=5, adaptation_half_life=50, adaptation=0.2)),
        ...     tt.Layer(torch.nn.Linear(16, 3), tt.LI(half_life=5)),
        ... )
        >>> agent = tt.rl.RewardEProp(net, tt.rl.Categorical(2), feedback=tt.feedback.RandomFeedback())
        >>> agent.act([0.1, 0.2, 0.3, 0.4]) in (0, 1), agent.lam
        (True, 1.0)
    """

    def __init__(
        self,
        net: nn.Module,
        policy: Policy,
        *,
        gamma: float = 0.99,
        value_weight: float = 1.0,
        feedback: Feedback | None = None,
        step: Step | None = None,
        senses: Senses | None = None,
    ) -> None:
        set_rule(net, eprop(feedback=feedback))
        super().__init__(net, policy, gamma=gamma, lam=1.0, step=step, senses=senses)
        self.value_weight = value_weight
