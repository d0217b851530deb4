"""Draw what lessons explain: `python docs/_scripts/draw_lessons.py`."""

from __future__ import annotations

from pathlib import Path

from svg import CREDIT, FORWARD, GREY, TRACE, Drawing

FIGURES = Path(__file__).parents[1] / "_static" / "figures"


def cells() -> Drawing:
    """Return the circuit of a leaky membrane, the LIF cell and the LSTM cell, side by side."""
    drawing = Drawing(
        760,
        330,
        "Left: a current charges a capacitor C with a leak R. Middle: the LIF cell multiplies its membrane by beta, "
        "adds the input, compares with a threshold and subtracts what fired. Right: the LSTM cell multiplies its cell "
        "by a forget gate, adds a gated input, and puts out a gated tanh; its gates depend on input and output.",
    )
    drawing.text((110, 22), "the circuit", size=15, bold=True)
    drawing.text((36, 92), "I", size=16)
    drawing.arrow([(48, 92), (98, 92)], colour=FORWARD)
    drawing.arrow([(98, 92), (180, 92)], colour=FORWARD, head=False)
    drawing.text((194, 92), "V", size=16)
    drawing.arrow([(80, 92), (80, 140)], colour=FORWARD, head=False)
    drawing.arrow([(60, 140), (100, 140)], colour=FORWARD, head=False, width=3)
    drawing.arrow([(60, 152), (100, 152)], colour=FORWARD, head=False, width=3)
    drawing.arrow([(80, 152), (80, 206)], colour=FORWARD, head=False)
    drawing.text((112, 147), "C", size=15, anchor="start")
    drawing.arrow([(158, 92), (158, 124)], colour=FORWARD, head=False)
    drawing.box((146, 124), (24, 46), "", colour=FORWARD)
    drawing.arrow([(158, 170), (158, 206)], colour=FORWARD, head=False)
    drawing.text((178, 147), "R", size=15, anchor="start")
    drawing.arrow([(60, 206), (180, 206)], colour=FORWARD, head=False, width=3)
    drawing.text((110, 244), "τ dV/dt = −V + R I", size=14)
    drawing.text((110, 292), "a leak", size=13)

    drawing.text((355, 22), "LIF", size=15, bold=True)
    drawing.text((250, 140), "W x_{t}", size=15)
    drawing.arrow([(276, 140), (312, 140)], colour=FORWARD)
    drawing.box((314, 122), (36, 36), "+", colour=FORWARD, font=18)
    drawing.arrow([(350, 140), (392, 140)], colour=FORWARD)
    drawing.text((362, 128), "v_{t}", size=14)
    drawing.box((394, 120), (52, 40), "v > θ", colour=FORWARD)
    drawing.arrow([(446, 140), (476, 140)], colour=FORWARD)
    drawing.text((466, 124), "z_{t}", size=14)
    drawing.arrow([(376, 140), (376, 78), (332, 78), (332, 120)], colour=TRACE)
    drawing.box((312, 44), (88, 30), "× β", colour=TRACE)
    drawing.arrow([(420, 160), (420, 206), (332, 206), (332, 160)], colour=CREDIT, dashed=True)
    drawing.text((376, 222), "− θ: the reset", size=13)
    drawing.text((355, 262), "v_{t} = β (v_{t−1} − θ z_{t−1}) + W x_{t}", size=13)
    drawing.text((355, 292), "the leak is a number", size=13)

    drawing.text((630, 22), "LSTM", size=15, bold=True)
    drawing.text((512, 140), "i_{t} ⊙ g_{t}", size=15)
    drawing.arrow([(544, 140), (580, 140)], colour=FORWARD)
    drawing.box((582, 122), (36, 36), "+", colour=FORWARD, font=18)
    drawing.arrow([(618, 140), (656, 140)], colour=FORWARD)
    drawing.text((629, 128), "c_{t}", size=14)
    drawing.box((658, 120), (66, 40), "o_{t} tanh", colour=FORWARD)
    drawing.arrow([(724, 140), (750, 140)], colour=FORWARD)
    drawing.text((740, 124), "h_{t}", size=14)
    drawing.arrow([(644, 140), (644, 78), (600, 78), (600, 120)], colour=TRACE)
    drawing.box((580, 44), (88, 30), "× f_{t}", colour=TRACE)
    drawing.arrow([(744, 140), (744, 206), (530, 206), (530, 160)], colour=GREY, dashed=True)
    drawing.text((637, 222), "i, f, g, o are computed from x_{t} and h_{t−1}", size=12)
    drawing.text((630, 262), "c_{t} = f_{t} c_{t−1} + i_{t} g_{t}", size=13)
    drawing.text((630, 292), "the leak is computed at every step", size=13)
    return drawing


def cascade() -> Drawing:
    """Return a stack of layers with the filters that `cascade` puts on each layer's eligibility."""
    drawing = Drawing(
        760,
        356,
        "Three layers, one above the other, and a readout. The eligibility of each layer goes through one filter for "
        "every layer above it: the readout's for the top layer, two filters for the layer below, three for the lowest.",
    )
    rows = (
        ("readout, memory κ", ()),
        ("layer 3, memory β_{3}", ("κ",)),
        ("layer 2, memory β_{2}", ("β_{3}", "κ")),
        ("layer 1, memory β_{1}", ("β_{2}", "β_{3}", "κ")),
    )
    for i, (name, filters) in enumerate(rows):
        y = 30 + 72 * i
        drawing.box((30, y), (170, 42), name, colour=FORWARD)
        if i < 3:
            drawing.arrow([(80, y + 72), (80, y + 44)], colour=FORWARD)
            drawing.arrow([(150, y + 42), (150, y + 70)], colour=CREDIT, dashed=True)
        if not filters:
            drawing.text((238, y + 21), "exact trace of its own weights", size=14, anchor="start")
            continue
        drawing.box((240, y), (52, 42), "e", colour=TRACE, font=16)
        drawing.arrow([(200, y + 21), (238, y + 21)], colour=TRACE, dashed=True)
        x = 292
        for decay in filters:
            drawing.arrow([(x, y + 21), (x + 26, y + 21)], colour=TRACE)
            drawing.box((x + 28, y), (80, 42), f"filter {decay}", colour=TRACE)
            x += 108
        drawing.arrow([(x, y + 21), (x + 26, y + 21)], colour=CREDIT)
        drawing.text((x + 34, y + 21), "× error = ΔW", size=14, anchor="start")
    drawing.text((40, 318), "x_{t}", size=15)
    drawing.arrow([(80, 318), (80, 290)], colour=FORWARD)
    drawing.text(
        (110, 318),
        "Blue: spikes go up. Orange, dashed: the error goes down. Green: carried forward.",
        size=13,
        anchor="start",
    )
    drawing.text(
        (16, 343),
        "cascade() filters each eligibility as the layers above will filter the spike.",
        size=13,
        anchor="start",
        bold=True,
    )
    return drawing


if __name__ == "__main__":
    cells().save(FIGURES / "cells.svg")
    cascade().save(FIGURES / "rule_cascade.svg")
