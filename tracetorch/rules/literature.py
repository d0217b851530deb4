"""More named rules of the literature: `presets` has the table of all."""

from __future__ import annotations

from tracetorch.feedback import Feedback, RandomFeedback, Symmetric
from tracetorch.rules.above import ReadoutMemory
from tracetorch.rules.next import NextMemory
from tracetorch.rules.rule import Rule
from tracetorch.traces import Full, RankOne, Rtrl, Smoothed, SnAp, Timing


def ostl(*, feedback: Feedback | None = None) -> Rule:
    r"""Trace each weight's effect on every unit of its layer, and send signals of the present step below.

    .. math:: e_t = \frac{dz_t}{dW}, \qquad \Delta W = \sum_t L_t\, e_t, \qquad
        L^\mathrm{below}_t = W^\top (\psi_t \odot L_t)

    The derivative is total within the layer, dense recurrence included. In feed-forward layers it is `drtrl`. Exact
    within a layer; drops the memory of upper layers.

    Source: T. Bohnstingl et al., "Online Spatio-Temporal Learning in Deep Neural Networks" (2020),
    https://arxiv.org/abs/2007.12723.

    Args:
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.ostl().weight
        Rtrl()
    """
    return Rule(name="ostl", weight=Rtrl(), input="psi", window="step", feedback=feedback or Symmetric())


def otpe(*, kappa: float | None = None, feedback: Feedback | None = None) -> Rule:
    r"""Trace each weight's effect on its own unit, filtered as the membrane of the next layer will.

    .. math:: \Delta W = \sum_t L_t \odot \sum_{s \le t} \beta_\mathrm{next}^{t-s}\, e_s, \qquad
        L^\mathrm{below}_t = W^\top (\psi_t \odot L_t)

    `e` is the eligibility of `drtrl`. Exact for a layer that feeds a leaky readout, as `eprop`, and for two layers with
    a loss on the spikes of the upper one, whose neurons leak with one decay and a soft, detached reset. Else it drops
    the memory of all layers above the next one; `cascade` accounts for them. The source's program sends a mean of past
    :math:`\psi` below, which layers from the third on receive.

    Source: T. Summe, C. Schaefer, S. Joshi, "Estimating Post-Synaptic Effects for Online Training of Feed-Forward SNNs"
    (2023), https://arxiv.org/abs/2311.16151.

    Args:
        kappa: decay of the filter per step; None takes that of the layer which follows.
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.otpe().above
        NextMemory(kappa=None, hops=0)
    """
    above = NextMemory(kappa)
    return Rule(name="otpe", weight=Full(), input="psi", window="step", feedback=feedback or Symmetric(), above=above)


def pp_prop(*, decay: float = 0.99, feedback: Feedback | None = None) -> Rule:
    r"""Smooth each layer's input and its sensitivity, and credit their product: ES-D-RTRL.

    .. math:: \hat x_t = \alpha \hat x_{t-1} + x_t, \quad f_t = \alpha A_t f_{t-1} + (1 - \alpha) B_t, \quad
        \Delta W = \sum_t L_t \odot (\alpha D_t \cdot f_{t-1} + (1 - \alpha) \psi_t) \otimes \hat x_t

    With `decay=0` it is `sltt`. Else it drops the covariance in time of input and sensitivity, and what the decay
    forgets; its size depends on the decay. Readouts, biases and neuron parameters are credited exactly.

    Source: C. Wang et al., "Model-agnostic linear-memory online learning in spiking neural networks" (2024),
    https://doi.org/10.1101/2024.09.24.614728, whose code calls it `ES_D_RTRL` and `pp_prop`.

    Args:
        decay: decay of both, per step; the source's experiments have 0.99.
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.pp_prop(decay=0.9).weight
        Smoothed(decay=0.9)
    """
    return Rule(name="pp_prop", weight=Smoothed(decay), input="psi", window="step", feedback=feedback or Symmetric())


def rflo(*, feedback: Feedback | None = None) -> Rule:
    r"""Trace each weight's effect on its own unit, and send signals back through fixed random weights.

    .. math:: E_t = A_t E_{t-1} + B_t \otimes x_t, \qquad e_t = D_t E_{t-1} + \psi_t \otimes x_t, \qquad
        \Delta W = \sum_t L_t \odot e_t

    For a leaky rate unit, :math:`h_t = (1 - 1/\tau) h_{t-1} + \phi(I_t) / \tau`, this is the published
    :math:`e_t = (1 - 1/\tau) e_{t-1} + \phi'(I_t) \otimes x_t / \tau`; for others it is `drtrl` with random feedback.
    Exact within a layer, given its learning signal. Drops paths through recurrent outputs and upper layers' memory.

    Source: J. Murray, "Local online learning in recurrent networks with random feedback" (2019),
    https://doi.org/10.7554/eLife.43299.

    Args:
        feedback: the matrix through which credit reaches the layer below; fixed and random by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.rflo().feedback
        RandomFeedback(scale=1.0)
    """
    return Rule(name="rflo", weight=Full(), input="psi", window="step", feedback=feedback or RandomFeedback())


def rtrl(*, kappa: float | None = None, feedback: Feedback | None = None) -> Rule:
    r"""Trace each weight's effect on every unit of its layer, filtered as the readout will: exact, for small layers.

    .. math:: \frac{dI_t}{dW} = \mathbb 1 \otimes x_t + R\, e_{t-1}, \quad
        e_t = D_t E_{t-1} + \psi_t \frac{dI_t}{dW}, \quad E_t = A_t E_{t-1} + B_t \frac{dI_t}{dW}, \quad
        \Delta W = \sum_t L_t \sum_{s \le t} \kappa^{t-s} e_s

    Exact for a layer with dense recurrence, alone or under a leaky readout: the reference for those. Drops the memory
    of layers above the next. Its cost grows with the units times the weights.

    Source: R. Williams, D. Zipser, "A learning algorithm for continually running fully recurrent neural networks"
    (1989), https://doi.org/10.1162/neco.1989.1.2.270.

    Args:
        kappa: decay of the output filter per step; None takes that of the leaky readout which follows a layer directly.
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.rtrl().above
        ReadoutMemory(kappa=None, hops=0)
    """
    above = ReadoutMemory(kappa)
    return Rule(name="rtrl", weight=Rtrl(), input="psi", window="step", feedback=feedback or Symmetric(), above=above)


def s_tllr(
    *,
    lambda_pre: float = 0.75,
    lambda_post: float = 0.2,
    alpha_pre: float = 1.0,
    alpha_post: float = -1.0,
    feedback: Feedback | None = None,
) -> Rule:
    r"""Credit inputs before a unit's activity and after it, as plasticity by spike timing does.

    .. math:: \hat x_t = \lambda_\mathrm{pre} \hat x_{t-1} + x_t, \quad u_t = \lambda_\mathrm{post} u_{t-1} + \psi_t, \\
        \Delta W = \sum_t L_t (\alpha_\mathrm{pre} \psi_t \otimes \hat x_t + \alpha_\mathrm{post} u_{t-1} \otimes x_t)

    With `alpha_post=0` and the membrane's decay for `lambda_pre` it is `ottt`, and as exact; the other term is not part
    of any gradient. Readouts, biases and neuron parameters are credited exactly.

    Source: M. Apolinario, K. Roy, "S-TLLR: STDP-inspired Temporal Local Learning Rule for Spiking Neural Networks"
    (2023), https://arxiv.org/abs/2306.15220.

    Args:
        lambda_pre: decay per step of the inputs' trace.
        lambda_post: decay per step of the trace of surrogate derivatives.
        alpha_pre: weight of the causal term.
        alpha_post: weight of the acausal term.
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.s_tllr(alpha_post=0.0).weight.alpha_post
        0.0
    """
    weight = Timing(lambda_pre, lambda_post, alpha_pre, alpha_post)
    return Rule(name="s_tllr", weight=weight, input="psi", window="step", feedback=feedback or Symmetric())


def snap1(*, feedback: Feedback | None = None) -> Rule:
    r"""Trace each weight's effect on its own unit, with the unit's recurrent weight to itself: SnAp-1.

    .. math:: e_t = D_t E_{t-1} + \psi_t (x_t + R_{ii} e_{t-1}), \qquad
        E_t = A_t E_{t-1} + B_t (x_t + R_{ii} e_{t-1}), \qquad \Delta W = \sum_t L_t\, e_t

    That is `drtrl` with the diagonal of the recurrent weights, and `drtrl` itself where there are none. Exact within a
    layer whose recurrent weights are diagonal. Drops the paths through other units and the memory of upper layers.

    Source: J. Menick et al., "A Practical Sparse Approximation for Real Time Recurrent Learning" (2020),
    https://arxiv.org/abs/2006.07232.

    Args:
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.snap1().weight
        SnAp()
    """
    return Rule(name="snap1", weight=SnAp(), input="psi", window="step", feedback=feedback or Symmetric())


def uoro(*, seed: int = 0, kappa: float | None = None, feedback: Feedback | None = None) -> Rule:
    r"""Trace each weight's effect on every unit of its layer by a random estimate of rank one: UORO.

    .. math:: \tilde h_t = \rho_0 J_t \tilde h_{t-1} + \rho_1 \nu, \qquad
        \tilde W_t = \tilde W_{t-1} / \rho_0 + \nu^\top H_t / \rho_1, \qquad
        \Delta W = \sum_t \Big\langle \frac{\partial \mathcal L_t}{\partial h_{t-1}}, \tilde h_{t-1} \Big\rangle
        \tilde W_{t-1} + \text{the step's own}

    `h` has the states and outputs of the layer, `J` and `H` are their derivatives by those of the step before and by
    the weights, and the signs :math:`\nu` are drawn at each call. Its mean is the gradient of `rtrl`, in a memory of
    one number per weight and row; its variance grows with the units. Inside a window credit is exact, so longer windows
    have less of it. A layer without recurrent weights has full eligibilities, as under `rtrl`. Drops the memory of
    layers above the next.

    Source: C. Tallec, Y. Ollivier, "Unbiased Online Recurrent Optimization" (2018), https://arxiv.org/abs/1702.05043.

    Args:
        seed: seed of the generator of the signs; a checkpoint needs the state of `rule.weight.generator`.
        kappa: decay of the output filter per step; None takes that of the leaky readout which follows a layer directly.
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.uoro(seed=3).weight.seed
        3
    """
    above = ReadoutMemory(kappa)
    return Rule(
        name="uoro", weight=RankOne(seed), input="psi", window="step", feedback=feedback or Symmetric(), above=above
    )
