"""Named rules: presets composed of the parts, with what each is exact for and what it drops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tracetorch.feedback import Feedback, Symmetric
from tracetorch.rules.above import ReadoutMemory
from tracetorch.rules.chains import AllMemory
from tracetorch.rules.literature import ostl, otpe, pp_prop, rflo, rtrl, s_tllr, snap1, uoro
from tracetorch.rules.plasticity import stdp, triplet_stdp
from tracetorch.rules.rule import Rule
from tracetorch.traces import Auto, Factor, Full, Graph, NoTrace, Pairs, Pre, WeightCredit
from tracetorch.traces.storage import BUDGET


def bptt() -> Rule:
    r"""Backpropagate through the whole sequence: the reference that every other rule is measured by.

    .. math:: \lambda_{t-1} = D_t L_t + A_t^\top \lambda_t, \qquad q_t = \psi_t L_t + B_t \cdot \lambda_t, \qquad
        \frac{d\mathcal L}{dW} = \sum_t q_t \otimes x_t

    Exact always. Memory grows with time; one backward per sequence.

    Source: P. Werbos, "Backpropagation through time: what it does and how to do it" (1990),
    https://doi.org/10.1109/5.58337.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.bptt().window
        'all'
    """
    return Rule(name="bptt", weight=Graph(), input="window", window="all")


def tbptt() -> Rule:
    """Backpropagate through one call or scan and credit nothing before it.

    Drops everything before the window.

    Source: R. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories" (1990), https://doi.org/10.1162/neco.1990.2.4.490.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.tbptt().weight
        NoTrace()
    """
    return Rule(name="tbptt", weight=NoTrace(), input="window", window="call")


def sltt(*, feedback: Feedback | None = None) -> Rule:
    r"""Credit the present step alone.

    .. math:: \Delta W = \sum_t L_t \psi_t \otimes x_t

    Drops all credit through time. No trace at all.

    Source: Q. Meng et al., "Towards Memory- and Time-Efficient Backpropagation for Training Spiking Neural Networks"
    (2023), https://arxiv.org/abs/2302.14311.

    Args:
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.sltt().input
        'psi'
    """
    return Rule(name="sltt", weight=NoTrace(), input="psi", window="step", feedback=feedback or Symmetric())


def ottt(*, approximate: bool = False, feedback: Feedback | None = None) -> Rule:
    r"""Trace each input with the membrane's decay.

    .. math:: \hat x_t = \beta \hat x_{t-1} + x_t, \qquad \Delta W = \sum_t L_t \psi_t \otimes \hat x_t

    Exact for one layer with shared decays and a soft, detached reset. Between layers it drops what a lower layer's past
    does to an upper one's state. Biases and neuron parameters are credited by their own traces, exactly, also where the
    weights' trace is approximate or leaves the reset's derivative out.

    Source: M. Xiao et al., "Online Training Through Time for Spiking Neural Networks" (2022),
    https://arxiv.org/abs/2210.04195.

    Args:
        approximate: accept layers whose structure one trace per input cannot represent (decays per neuron, adaptation,
            hard reset), with mean decays; they raise otherwise.
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.ottt().weight
        Pre(detach_reset=True, approximate=False)
    """
    weight = Pre(detach_reset=True, approximate=approximate)
    return Rule(name="ottt", weight=weight, input="psi", window="step", feedback=feedback or Symmetric())


def traced_bptt() -> Rule:
    """Backpropagate through one call or scan, and let traces account for all before it.

    Exact for one layer at any window, and for any depth where the window begins at a reset. At depth 2 and more it
    drops what a lower layer did before the window to an upper one.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.traced_bptt().window
        'call'
    """
    return Rule(name="traced_bptt", weight=Full(), input="window", window="call")


def eprop(*, kappa: float | None = None, hops: int = 0, feedback: Feedback | None = None) -> Rule:
    r"""Trace each weight's effect on its own unit, filtered as the readout will.

    .. math:: E_t = A_t E_{t-1} + B_t \otimes x_t, \quad e_t = D_t E_{t-1} + \psi_t \otimes x_t, \quad
        \bar e_t = \kappa \bar e_{t-1} + e_t, \quad \Delta W = \sum_t L_t \bar e_t

    Exact for a layer that feeds a leaky readout directly. Drops the paths through recurrent spikes and, in depth,
    through the upper layers' memory.

    Source: G. Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking neurons" (2020),
    https://doi.org/10.1038/s41467-020-17236-y.

    Args:
        kappa: decay of the output filter per step; None takes that of the leaky readout which follows a layer directly,
            and 0 elsewhere.
        hops: number of hops through dense recurrence. Each sends the averaged sensitivity back through the recurrent
            weights and passes the layer's own mean response once more; none is e-prop.
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.eprop(kappa=0.9).above
        ReadoutMemory(kappa=0.9, hops=0)
    """
    above = ReadoutMemory(kappa, hops)
    return Rule(name="eprop", weight=Full(), input="psi", window="step", feedback=feedback or Symmetric(), above=above)


def cascade(
    *,
    pairs: int | Literal["auto"] | None = "auto",
    budget: int = BUDGET,
    buckets: int = 4,
    hops: int = 0,
    feedback: Feedback | None = None,
) -> Rule:
    r"""Trace each weight's effect on its own unit, filtered as all layers above remember it: the default.

    .. math:: \Delta W = \sum_t L_t \odot \frac{F(e)_t}{n_t}, \qquad
        L^{\text{below}}_t = W^\top \Big( \frac{F(g)_t}{n_t} \odot L_t \Big), \qquad n_t = F(1)_t

    `F` is the chain of the mean responses of all layers above, the readout's included; `e` the eligibility and `g` the
    sensitivity to a constant current. Exact for a layer that feeds a leaky readout, and for two layers of any neurons
    below, leaky integrate-and-fire with a soft detached reset above, under a readout without memory. Else it drops the
    covariance in time of the slopes above with the eligibilities below. Credit from the layers above
    is treated as a gradient with respect to what they remember of the output; credit that bypasses them, from a head or
    another loss, as one with respect to the present output.

    Inside a scan nothing is stored: signals are filtered backwards in time. What a window inherits from the one before
    it is stored in full, or in a bounded number of pairs, which drops some of its covariance in time; `print(net)`
    shows which.

    Source: T. Summe et al., "Estimating Post-Synaptic Effects for Online Training of Feed-Forward SNNs" (2023),
    https://arxiv.org/abs/2311.16151, for the filter of one layer above; B. Millidge, "Generalising E-prop to Deep
    Networks" (2025), https://arxiv.org/abs/2512.24506, for a recursion over depth.

    Args:
        pairs: number of pairs at most instead of a full eligibility; None for the full one; `auto` for the full one in
            a layer where it takes no more than `budget`, and 10 pairs in others.
        budget: numbers per row of the batch and layer up to which `auto` takes a full eligibility.
        buckets: number of filters at most for the units of one layer above that have their own decays: with fewer
            different ones each has its filter, with more they are grouped by their time constants; 1 takes their mean.
        hops: number of hops through dense recurrence, as in `eprop`; without, paths through recurrent spikes are left
            out.
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.cascade(pairs=10).weight
        Pairs(pairs=10)
    """
    weight: WeightCredit = Auto(budget)
    if pairs != "auto":
        weight = Full() if pairs is None else Pairs(pairs)
    return Rule(
        name="cascade",
        weight=weight,
        input="cascade",
        window="step",
        feedback=feedback or Symmetric(),
        above=AllMemory(buckets, hops),
    )


def drtrl(*, input: Literal["psi", "gain"] = "psi", feedback: Feedback | None = None) -> Rule:  # noqa: A002
    r"""Trace each weight's effect on its own unit: real-time recurrent learning with a diagonal Jacobian.

    .. math:: E_t = A_t E_{t-1} + B_t \otimes x_t, \qquad \Delta W = \sum_t L_t\,(D_t E_{t-1} + \psi_t \otimes x_t)

    Exact within a layer, for every neuron. Drops dense recurrence and, in depth, the upper layers' memory.

    Source: R. Williams, D. Zipser, "A learning algorithm for continually running fully recurrent neural networks"
    (1989), https://doi.org/10.1162/neco.1989.1.2.270; N. Zucchet et al., "Online learning of long-range dependencies"
    (2023), https://arxiv.org/abs/2305.15947.

    Args:
        input: what is sent below: `psi`, the surrogate alone, or `gain`, the sensitivity to a constant current.
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.drtrl(input="gain").input
        'gain'
    """
    return Rule(name="drtrl", weight=Full(), input=input, window="step", feedback=feedback or Symmetric())


def trace(*, decay: float | None = None, buckets: int = 4, feedback: Feedback | None = None) -> Rule:
    r"""Average each layer's input and its sensitivity, and credit their product: two vectors per layer.

    .. math:: \bar x_t = \frac{1-a}{1-a^n} \sum_k a^{t-k} x_k, \quad
        \bar h_t = \frac{1-q}{1-q^n} \sum_k q^{t-k} g_k, \quad \Delta W = (\bar h_t \odot L_t) \otimes \bar x_t

    `g` is the traced sensitivity of the output to a constant current. A cotangent on a layer's output is treated as one
    on its running mean. One backward per loss event, any number of steps before it. Exact for constant input; biases
    and neuron parameters are exact for any input. Drops the covariance in time of input and sensitivity.

    Args:
        decay: `q` per step; None takes the one decay of the next leaky readout in the network, or 0 where there is
            none, such as under an `nn.Linear` head.
        buckets: number of decays with which inputs are averaged where units have their own decays.
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.trace().weight
        Factor(uniform=False, decay=None, buckets=4)
    """
    weight = Factor(decay=decay, buckets=buckets)
    return Rule(name="trace", weight=weight, input="trace", window="step", feedback=feedback or Symmetric())


def rate(*, feedback: Feedback | None = None) -> Rule:
    r"""Credit the firing rates over a whole sequence: `trace` with uniform averages.

    .. math:: \Delta W = \Big(\bar h \odot \sum_t L_t\Big) \otimes \bar x

    Exact for constant input and one scan of the whole sequence.

    Source: Q. Meng et al., "Training High-Performance Low-Latency Spiking Neural Networks by Differentiation on Spike
    Representation" (2022), https://arxiv.org/abs/2205.00459.

    Args:
        feedback: the matrix through which credit reaches the layer below; symmetric by default.

    Returns:
        The rule.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.rate().window
        'sequence'
    """
    return Rule(
        name="rate",
        weight=Factor(uniform=True),
        input="trace",
        window="sequence",
        feedback=feedback or Symmetric(),
    )


LITERATURE = (ostl, otpe, pp_prop, rflo, rtrl, s_tllr, snap1, stdp, triplet_stdp, uoro)

PRESETS: dict[str, Callable[..., Rule]] = {
    f.__name__: f for f in (trace, cascade, eprop, drtrl, ottt, traced_bptt, tbptt, sltt, rate, bptt, *LITERATURE)
}
"""Presets by name."""


@dataclass(frozen=True)
class Facts:
    """What a rule is exact for, what it drops, and the memory that it takes.

    Args:
        exact: conditions under which its gradient is that of BPTT.
        drops: what it leaves out elsewhere.
        memory: numbers stored per layer, in the sizes T (steps), B (batch), S (states), I (inputs) and O (units).

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.FACTS["eprop"].memory
        'B·(S + 1)·I·O'
    """

    exact: str
    drops: str
    memory: str


FACTS: dict[str, Facts] = {
    "bptt": Facts("always", "nothing", "T·B·(I + S·O)"),
    "tbptt": Facts("one window from a reset", "everything before the window", "window·B·(I + S·O)"),
    "sltt": Facts("neurons without memory", "all credit through time", "B·(I + S·O)"),
    "ottt": Facts("one layer, shared decays, soft detached reset", "memory of upper layers", "B·S·I"),
    "traced_bptt": Facts(
        "one layer; any depth from a reset", "lower layers before the window", "window·B·(I + S·O) + trace"
    ),
    "eprop": Facts(
        "a layer that feeds a leaky readout",
        "recurrent spikes' paths, memory of upper layers",
        "B·(S + 1)·I·O",
    ),
    "cascade": Facts(
        "a layer that feeds a leaky readout; two layers under a readout without memory",
        "covariance of slopes above with eligibilities below",
        "B·(S + states above)·I·O",
    ),
    "ostl": Facts("within a layer, dense recurrence too", "memory of upper layers", "B·(S + 1)·O·I·O"),
    "rtrl": Facts(
        "a layer, recurrent or not, alone or under a leaky readout", "memory of upper layers", "B·(S + 2)·O·I·O"
    ),
    "uoro": Facts("in the mean, as rtrl", "its own noise, memory of upper layers", "B·I·O"),
    "snap1": Facts("within a layer, diagonal recurrence", "paths through other units, upper layers", "B·(S + 1)·I·O"),
    "otpe": Facts(
        "a layer that feeds a leaky readout; two layers of spikes, the upper with one leaking state",
        "recurrent spikes' paths, memory of layers above the next",
        "B·(S + 1)·I·O",
    ),
    "pp_prop": Facts("with decay 0, neurons without memory", "input-sensitivity covariance", "B·(I + S·O)"),
    "rflo": Facts("within a layer, every neuron", "dense recurrence, memory of upper layers, symmetry", "B·S·I·O"),
    "s_tllr": Facts("as ottt, without the acausal term", "the neuron's own memory, that of upper layers", "B·(I + O)"),
    "stdp": Facts("its pairs of spikes; no gradient", "every derivative", "B·(I + O)"),
    "triplet_stdp": Facts("its pairs and triplets of spikes; no gradient", "every derivative", "2·B·(I + O)"),
    "drtrl": Facts("within a layer, every neuron", "dense recurrence, memory of upper layers", "B·S·I·O"),
    "trace": Facts("constant input; biases and neuron parameters always", "input-sensitivity covariance", "B·(I + O)"),
    "rate": Facts("constant input, one scan of the sequence", "input-sensitivity covariance", "B·(I + O)"),
}
"""What each preset is exact for; `docs/theory` has the derivations."""
