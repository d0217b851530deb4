"""Named rules of plasticity by spike timing: a learning signal of one gives the classical windows."""

from __future__ import annotations

from tracetorch.feedback import Feedback, Symmetric
from tracetorch.rules.rule import Rule
from tracetorch.traces import SpikeTimes


def stdp(
    *,
    tau_plus: float = 20.0,
    tau_minus: float = 20.0,
    a_plus: float = 1.0,
    a_minus: float = 1.05,
    feedback: Feedback | None = None,
) -> Rule:
    r"""Strengthen a synapse whose input spikes before the unit does, and weaken it where it spikes after: STDP.

    .. math:: \Delta W = \sum_t L_t \odot \Big( A_+ z_t \otimes \sum_{s \le t} e^{-(t-s)/\tau_+} x_s -
        A_- \sum_{s < t} e^{-(t-s)/\tau_-} z_s \otimes x_t \Big)

    `z` are the unit's spikes; an input of the present step counts as before them. Every pair counts. This sum is what
    `.grad` has, so a loss of `-z.sum()`, whose learning signal is -1, makes an optimizer's step :math:`\eta` times the
    classical change, and `-(reward * z).sum()` modulates it; `tt.rl.ThreeFactor` does so with a later reward.
    Biases and neuron parameters have a gradient of zero, and a readout's own is exact. It is no gradient: in
    a network of several layers take `tt.LocalOutputs`, which gives each its own signal.

    Source: G. Bi, M. Poo, "Synaptic Modifications in Cultured Hippocampal Neurons" (1998),
    https://doi.org/10.1523/JNEUROSCI.18-24-10464.1998; S. Song, K. Miller, L. Abbott, "Competitive Hebbian learning
    through spike-timing-dependent synaptic plasticity" (2000), https://doi.org/10.1038/78829, whose ratio of sizes and
    time constants, at steps of 1 ms, are the defaults.

    Args:
        tau_plus: time constant of inputs before an output, in steps.
        tau_minus: time constant of outputs before an input, in steps.
        a_plus: size of the change by an input before an output.
        a_minus: size of the change by an output before an input.
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import torch, tracetorch as tt
        >>> layer = tt.Layer(torch.nn.Linear(1, 1, bias=False), tt.IF(threshold=0.5), rule=tt.rules.stdp())
        >>> _ = torch.nn.init.ones_(layer.synapse.weight)
        >>> (-layer(torch.ones(1, 1)).sum()).backward()
        >>> layer.synapse.weight.grad  # a pair at no distance: minus A_+
        tensor([[-1.]])
    """
    weight = SpikeTimes(tau_plus=tau_plus, tau_minus=tau_minus, pair_plus=a_plus, pair_minus=a_minus)
    return Rule(name="stdp", weight=weight, input="psi", window="step", feedback=feedback or Symmetric())


def triplet_stdp(
    *,
    tau: tuple[float, float, float, float] = (16.8, 33.7, 101.0, 125.0),
    pair: tuple[float, float] = (5e-10, 7e-3),
    triplet: tuple[float, float] = (6.2e-3, 2.3e-4),
    feedback: Feedback | None = None,
) -> Rule:
    r"""Let spike timing change a synapse by pairs and by triplets of spikes, all to all: triplet STDP.

    .. math:: \Delta W = \sum_t L_t \odot \big( z_t (A_2^+ + A_3^+ o'_t) \otimes r_t -
        o_t \otimes x_t (A_2^- + A_3^- r'_t) \big)

    :math:`r` is the trace of inputs with :math:`\tau_+`, this step's included; of earlier steps alone are :math:`r'`,
    the trace of inputs with :math:`\tau_x`, and :math:`o` and :math:`o'`, those of outputs with :math:`\tau_-` and
    :math:`\tau_y`. The learning signal is used as by `stdp`.

    Source: J. Pfister, W. Gerstner, "Triplets of Spikes in a Model of Spike Timing-Dependent Plasticity" (2006),
    https://doi.org/10.1523/JNEUROSCI.1425-06.2006, whose numbers for visual cortex, at steps of 1 ms, are the defaults.

    Args:
        tau: :math:`\tau_+, \tau_-, \tau_x, \tau_y` in steps.
        pair: :math:`A_2^+, A_2^-`.
        triplet: :math:`A_3^+, A_3^-`.
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.triplet_stdp().weight.tau_y
        125.0
    """
    plus, minus, x, y = tau
    weight = SpikeTimes(
        tau_plus=plus,
        tau_minus=minus,
        tau_x=x,
        tau_y=y,
        pair_plus=pair[0],
        pair_minus=pair[1],
        triplet_plus=triplet[0],
        triplet_minus=triplet[1],
    )
    return Rule(name="triplet_stdp", weight=weight, input="psi", window="step", feedback=feedback or Symmetric())
