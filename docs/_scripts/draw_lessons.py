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


def missing() -> Drawing:
    """Return the path from an early spike through the upper membrane to a late error, which most rules drop."""
    drawing = Drawing(
        760,
        290,
        "Time goes to the right. The lower layer's spike at step k charges the upper membrane, which fades slowly and "
        "fires at step t, where the error is. The error reaches the lower layer at step t; the path back along the "
        "upper membrane to step k is dropped.",
    )
    drawing.text((24, 70), "upper layer", size=14, anchor="start")
    drawing.text((24, 200), "lower layer", size=14, anchor="start")
    steps = [140 + 96 * i for i in range(6)]
    for i, x in enumerate(steps):
        fires = i in (1, 5)
        drawing.box((x, 50), (60, 40), "fires" if i == 5 else "v", colour=FORWARD if i else GREY, font=13)
        drawing.box((x, 180), (60, 40), "spike" if fires else "", colour=FORWARD if fires else GREY, font=13)
        drawing.text((x + 30, 244), {1: "step k", 5: "step t"}.get(i, ""), size=13)
        if 1 <= i < 5:
            drawing.arrow([(x + 60, 62), (x + 94, 62)], colour=TRACE)
            drawing.text((x + 78, 44), "× β", size=12)
            drawing.arrow([(x + 94, 78), (x + 62, 78)], colour=GREY, dashed=True)
    drawing.arrow([(steps[1] + 18, 180), (steps[1] + 18, 92)], colour=FORWARD)
    drawing.arrow([(steps[1] + 42, 92), (steps[1] + 42, 178)], colour=GREY, dashed=True)
    drawing.cross((steps[1] + 42, 134))
    drawing.text((steps[1] + 60, 134), "dropped: back through the upper memory", size=13, anchor="start")
    drawing.arrow([(steps[5] + 30, 16), (steps[5] + 30, 48)], colour=CREDIT)
    drawing.text((steps[5] + 20, 24), "error", size=13, anchor="end")
    drawing.arrow([(steps[5] + 30, 92), (steps[5] + 30, 178)], colour=CREDIT)
    drawing.text((steps[5] + 40, 152), "credit: now", size=13, anchor="start")
    drawing.text(
        (24, 276),
        "The early spike caused the late error, and gets no credit for it.",
        size=13,
        anchor="start",
        bold=True,
    )
    return drawing


def queue() -> Drawing:
    """Return a queue of the last values beside a trace, which is one value that fades."""
    drawing = Drawing(
        760,
        210,
        "Left: a queue stores the last n inputs, a new one enters and the oldest leaves. Right: a trace stores one "
        "number, which is multiplied by beta at each step before the new input is added.",
    )
    drawing.text((190, 22), "a queue: n numbers", size=15, bold=True)
    drawing.text((34, 100), "x_{t}", size=15)
    drawing.arrow([(50, 100), (76, 100)], colour=FORWARD)
    for i, name in enumerate(("x_{t}", "x_{t−1}", "x_{t−2}", "…", "x_{t−n+1}")):
        drawing.box((78 + 52 * i, 80), (48, 40), name, colour=FORWARD, font=12)
    drawing.arrow([(334, 100), (366, 100)], colour=GREY, dashed=True)
    drawing.text((206, 154), "the oldest is forgotten at once", size=13)
    drawing.text((206, 182), "mean = sum / n", size=14)
    drawing.text((580, 22), "a trace: one number", size=15, bold=True)
    drawing.text((436, 100), "x_{t}", size=15)
    drawing.arrow([(452, 100), (498, 100)], colour=FORWARD)
    drawing.box((500, 82), (36, 36), "+", colour=FORWARD, font=18)
    drawing.arrow([(536, 100), (700, 100)], colour=TRACE)
    drawing.text((722, 100), "x̂_{t}", size=15)
    drawing.arrow([(640, 100), (640, 62), (518, 62), (518, 80)], colour=TRACE)
    drawing.box((546, 46), (66, 30), "× β", colour=TRACE)
    drawing.text((580, 154), "everything is forgotten slowly", size=13)
    drawing.text((580, 182), "x̂_{t} = β x̂_{t−1} + x_{t}", size=14)
    return drawing


def orders() -> Drawing:
    """Return the triangle of pairs of times twice: summed by columns, from the end, and by rows, as they happen."""
    drawing = Drawing(
        760,
        300,
        "Two triangles of pairs of times, input k to the right and error t downwards. Left, BPTT sums each column from "
        "the last step back and stores all steps. Right, a trace sums each row as it happens and stores one number.",
    )
    for left, head, colour in (
        (110, "BPTT: columns, from the end", CREDIT),
        (490, "trace: rows, as they happen", TRACE),
    ):
        drawing.text((left + 90, 22), head, size=15, bold=True)
        for t in range(5):
            for k in range(t + 1):
                drawing.box((left + 36 * k, 66 + 36 * t), (30, 30), "", colour=colour)
        drawing.text((left + 90, 50), "input at step k →", size=12)
        drawing.text((left - 56, 158), "error at", size=12)
        drawing.text((left - 56, 174), "step t ↓", size=12)
    for k in range(5):
        drawing.arrow([(125 + 36 * k, 246), (125 + 36 * k, 74 + 36 * k)], colour=CREDIT)
        drawing.arrow([(496, 81 + 36 * k), (514 + 36 * k, 81 + 36 * k)], colour=TRACE)
    drawing.text((200, 272), "starts when the sequence is over: all steps stored", size=13)
    drawing.text((580, 272), "one number per input: x̂_{t} = β x̂_{t−1} + x_{t}", size=13)
    return drawing


def decide() -> Drawing:
    """Return the questions that lead to a rule."""
    drawing = Drawing(
        760,
        300,
        "Three questions. If the whole graph fits in memory and learning may wait for the end, take bptt. If not, and "
        "there is one hidden layer under a readout, take eprop. If not, and memory or time is short, take trace. "
        "Otherwise take cascade, the default.",
    )
    questions = (
        ("Does the graph of a whole sequence fit in memory,", "and may learning wait for its end?", "bptt()"),
        ("Is there one hidden layer,", "under a leaky readout?", "eprop()"),
        ("Is the network wide, and memory or time short?", "(Depth and order count less.)", "trace(), ottt()"),
    )
    for i, (first, second, rule) in enumerate(questions):
        y = 16 + 74 * i
        drawing.box((30, y), (420, 52), (first, second), colour=GREY, font=13)
        drawing.arrow([(450, y + 26), (548, y + 26)], colour=FORWARD)
        drawing.text((496, y + 14), "yes", size=13)
        drawing.box((550, y), (180, 52), rule, colour=FORWARD)
        drawing.arrow([(240, y + 52), (240, y + 72)])
        drawing.text((262, y + 62), "no", size=13)
    drawing.box((30, 238), (420, 46), "cascade(), the default", colour=TRACE)
    drawing.text((550, 261), "near BPTT at depth", size=13, anchor="start")
    return drawing


if __name__ == "__main__":
    queue().save(FIGURES / "queue.svg")
    orders().save(FIGURES / "orders.svg")
    decide().save(FIGURES / "decide.svg")
    cells().save(FIGURES / "cells.svg")
    cascade().save(FIGURES / "rule_cascade.svg")
    missing().save(FIGURES / "missing.svg")
