"""Weight credits: how much of a layer's past its weights are credited with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightCredit:
    """Say what stands for the dependence of the layer's state on its weights.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.trace().weight
        Factor(uniform=False, decay=None, buckets=4)
    """


@dataclass(frozen=True)
class Graph(WeightCredit):
    """Keep the graph itself: nothing is traced, memory grows with time.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.bptt().weight
        Graph()
    """


@dataclass(frozen=True)
class NoTrace(WeightCredit):
    """Credit nothing before the window.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.sltt().weight
        NoTrace()
    """


@dataclass(frozen=True)
class Pre(WeightCredit):
    r"""Trace each input: :math:`\hat E \leftarrow \bar A \hat E + \bar B x`, exact where A and B are constant.

    Args:
        detach_reset: leave the reset's own derivative out of A, by the rule's definition.
        approximate: take the mean blocks where a layer's are not constant, instead of raising.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.ottt().weight
        Pre(detach_reset=True, approximate=False)
    """

    detach_reset: bool = False
    approximate: bool = False


@dataclass(frozen=True)
class Full(WeightCredit):
    r"""Trace each weight: :math:`E \leftarrow A E + B \otimes x`, exact within a layer, always.

    Where A and B are constant the same trace is kept as one per input, which costs less and gives the same numbers.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.drtrl().weight
        Full()
    """


@dataclass(frozen=True)
class Factor(WeightCredit):
    r"""Average input and sensitivity apart: :math:`\bar h \otimes \bar x`.

    Args:
        uniform: weigh all steps since the reset alike, instead of with a decay.
        decay: `q`, the averages' decay on the output's side, per step; None takes the readout's.
        buckets: number of decays with which inputs are averaged where a layer's units have decays of their own.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.rate().weight.uniform
        True
    """

    uniform: bool = False
    decay: float | None = None
    buckets: int = 4
