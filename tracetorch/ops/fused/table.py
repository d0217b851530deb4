"""Layout of what the kernels of online learning work on: columns of the table, rows of a unit's memory.

A table has one row of 64-bit integers per layer, with addresses and sizes, and one for the loss. What belongs to U
units of one sample lies in one block, `[ROWS, U]`, at distances that the compiler knows.
"""

from __future__ import annotations

from typing import NamedTuple

COLUMNS = 14
WEIGHT, BIAS, BACK, SPACE, FLAT, TRACE, LARGE, SMALL, NUMBERS, BUCKETS, BATCH, UNITS, INPUTS, DECAYS = range(COLUMNS)
"""Columns: addresses of weight `[N, K]`, bias `[N]` (0 for none), feedback `[N, K]`, blocks, outputs and their
cotangents `[2, B, N]`, traces per input, traces per weight (those of the states, then the filter's), sums of weights,
numbers and buckets `[N]`; then B, N, K and the number of decays."""

FORWARD, LEARN, ADVANCE, CHECK = 1, 2, 4, 8
"""Parts of a step, as bits: values, credit with the update, carrying state and traces on, and a look for what is not
finite before all else where a layer runs alone."""

GIVEN, CROSS_ENTROPY, SQUARED = 0, 1, 2
"""Losses: cotangents that are given, cross-entropy with class numbers, mean squared error."""

DONE, NOT_FINITE, LOSS_NOT_FINITE, NO_CLASS = 0, 1, 2, 3
"""How a step ended."""


class Rows(NamedTuple):
    """Say in which rows of a block what lies; the last is the number of rows.

    Args:
        current: input currents; credit of the weights by the present input, when credit is given.
        output: outputs.
        psi: surrogates.
        signal: what is sent below.
        send: what scales it.
        counter: counters.
        counter_next: counters after the step.
        h: decayed sum of sensitivities.
        h_next: the same after the step.
        check: zero where all is finite.
        filtered: eligibility of biases behind the output filter.
        state: states.
        state_next: states after the step.
        sigma: sensitivities of the states.
        sigma_next: the same after the step.
        by_state: D; credit of the weights by their traces, when credit is given.
        drive: B.
        bias: eligibility of biases where traces are full.
        transition: A.
        parameter: parameters.
        total: number of rows.
    """

    current: int
    output: int
    psi: int
    signal: int
    send: int
    counter: int
    counter_next: int
    h: int
    h_next: int
    check: int
    filtered: int
    state: int
    state_next: int
    sigma: int
    sigma_next: int
    by_state: int
    drive: int
    bias: int
    transition: int
    parameter: int
    total: int


def rows(states: int, parameters: int) -> Rows:
    """Return the rows of a block for a neuron of so many states and parameters."""
    each = [11 + i * states for i in range(8)]
    parameter = each[7] + states * states
    return Rows._make([*range(11), *each, parameter, parameter + parameters])


def end_row(loss: int, batch: int, outputs: int) -> list[int]:
    """Return the table's last row: which loss there is, and the sizes of what it is of."""
    row = [0] * COLUMNS
    row[WEIGHT], row[BATCH], row[UNITS] = loss, batch, outputs
    return row
