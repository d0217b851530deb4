"""Layout of what the step program works on: columns of a layer's row of the table, and rows of a block of units.

A table has one row of 64-bit integers per layer, with addresses and sizes. What a layer carries and what its credit
needs of one step lies in one piece of memory, from its address on:

1. blocks of U units, `[B, chunks, rows, U]`; `places` says what is in which row;
2. the order of pairs, if there are any, in 64-bit integers;
3. traces per input, `[T, B, K]`, then those per last output, `[T, B, N]`: one per state (presynaptic), decay or pair;
4. sums per sample, `[M + G, B]`: the filter's response to ones, the weights of the averages of inputs;
5. the numbers of the step: the filter's a by rows, b, d and p, then G decays;
6. the inputs of the step, `[B, K]`, and the last outputs, `[B, N]`, where they are fed back.

Traces per weight, `[S + M, B, N, K]`, lie apart and are carried on in place.
"""

from __future__ import annotations

from dataclasses import dataclass

COLUMNS = 64
(
    STEP,
    WEIGHT,
    BIAS,
    BACK,
    RECURRENT,
    RECURRENT_BIAS,
    LARGE,
    LARGE_FED,
    NUMBERS,
    BUCKETS,
    VALUES,
    TO_WEIGHT,
    TO_BIAS,
    TO_RECURRENT,
    TO_RECURRENT_BIAS,
    TO_LEARNED,
    BLOCK,
    OUTPUT,
    COTANGENT,
    SPACE,
    TRACE,
    TRACE_FED,
    SMALL,
    NOW,
    HELD,
    FED,
    SCRATCH,
    EVENTS,
    EVENTS_FED,
) = range(29)
"""Columns with addresses: of the neuron's compiled step, weight `[N, K]`, bias `[N]` (0 for none), feedback,
recurrent weight `[N, N]` and bias (0 for none), traces per weight, numbers, buckets `[N]`, and of the addresses and
strides of the parameters' values, `[P, 2]`; where credit is added; block, outputs and their cotangents; then places in
the block; memory for the while of a call, `[U + max(G B (K + N), (S + M) max(U, K, N))]`, and for lists of events."""

(
    BATCH,
    UNITS,
    INPUTS,
    WIDTH,
    CHUNKS,
    ROWS,
    STATES,
    COUNTERS,
    PARAMETERS,
    LEARNED,
    FILTERS,
    GROUPS,
    KIND,
    SENSITIVE,
    NORMALIZED,
    IN_B,
    IN_D,
    IN_A,
    IN_STATE,
    IN_STATE_NEXT,
    IN_COUNT,
    IN_COUNT_NEXT,
    IN_PARAM,
    IN_SIGNAL,
    IN_SEND,
    IN_CREDIT,
    IN_PLAIN,
    IN_SIGMA,
    IN_SIGMA_NEXT,
    IN_LEVEL,
    IN_LEVEL_NEXT,
    IN_OWN,
    IN_PAIR,
    PAIRS,
    ORDER,
) = range(29, 64)
"""Columns with sizes, what the layer's trace is, the rows of a block; number of pairs, and where their order is."""

SOURCES = (WEIGHT, BIAS, RECURRENT, RECURRENT_BIAS)
TARGETS = (TO_WEIGHT, TO_BIAS, TO_RECURRENT, TO_RECURRENT_BIAS)
"""Columns of weights and biases, and of what their credit is added to."""

COUNT, NEW, INTO, FROM, PLACE = range(5)
"""Order of pairs: their number, that of this step, the two that it merges, -1 for none; from the last on the pairs by
age with free places behind them, `[P]`, and then for how many steps each stands, `[P]`."""

BEGIN, GIVE, LOSS, VALUE = 0, 1, 2, 3
"""Columns of the table's last row: addresses of the kernels, the kind of loss, the address of its value."""

NONE, PRE, FULL, AVERAGED, PAIRED = range(5)
"""Kinds of traces."""

FORWARD, ADVANCE, TRACES, CHECK, LEARN, FRESH = 1, 2, 4, 8, 16, 32
"""Parts of a step, as bits: values, carrying states on, carrying traces on, a look for what is not finite before all
else, credit, and setting to zero of what credit is added to."""

GIVEN, CROSS_ENTROPY, SQUARED = 0, 1, 2
"""Losses: cotangents that are given, cross-entropy with class numbers, mean squared error."""

DONE, NOT_FINITE, LOSS_NOT_FINITE, NO_CLASS = 0, 1, 2, 3
"""How a step ended."""

CURRENT, OUT, CHECKED, PSI = 0, 1, 2, 3
"""The first rows of a block; PSI is followed by the rows of Q."""


@dataclass(frozen=True)
class Sizes:
    """Numbers that say how many rows a block has.

    There are S states, C counters, the parameters that the step reads, L of which learn, M states of the filter, and
    places for pairs.
    """

    states: int
    counters: int
    parameters: int
    learned: int
    filters: int
    pairs: int = 0

    def places(self) -> dict[str, int]:
        """Return the first row of each kind, in order; the last entry is the number of rows.

        What the neuron's own kernel touches comes first, so that it depends on nothing else. `own` are eligibilities:
        of the bias, then those of the learned parameters, by state and filter state; `pair` likewise, pair by pair.
        """
        s, c, m, one = self.states, self.counters, self.filters, 1
        counts = {"current": one, "out": one, "checked": one, "psi": one + self.learned, "b": s * (one + self.learned)}
        counts |= {"d": s, "a": s * s, "state": s, "state_next": s, "count": c, "count_next": c}
        counts |= {"param": self.parameters, "signal": one, "send": one, "credit": one, "plain": one}
        counts |= {"sigma": s, "sigma_next": s, "level": m, "level_next": m}
        counts |= {"own": (one + self.learned) * (s + m), "pair": self.pairs * (s + m), "rows": 0}
        found, total = {}, 0
        for name, count in counts.items():
            found[name] = total
            total += count
        return found


PLACES = {
    IN_B: "b",
    IN_D: "d",
    IN_A: "a",
    IN_STATE: "state",
    IN_STATE_NEXT: "state_next",
    IN_COUNT: "count",
    IN_COUNT_NEXT: "count_next",
    IN_PARAM: "param",
    IN_SIGNAL: "signal",
    IN_SEND: "send",
    IN_CREDIT: "credit",
    IN_PLAIN: "plain",
    IN_SIGMA: "sigma",
    IN_SIGMA_NEXT: "sigma_next",
    IN_LEVEL: "level",
    IN_LEVEL_NEXT: "level_next",
    IN_OWN: "own",
    IN_PAIR: "pair",
    ROWS: "rows",
}
"""Which column has which of `Sizes.places`."""

WIDTHS = (16, 32, 64)
"""Numbers of units that are computed at once."""


def width(units: int) -> int:
    """Return how many units are computed at once in a layer of so many."""
    return next((w for w in WIDTHS if units <= w), WIDTHS[-1])
