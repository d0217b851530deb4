"""Draw the data's way through a layer under each rule: `python docs/_scripts/draw_rules.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from svg import CREDIT, FORWARD, GREY, TRACE, Drawing

FIGURES = Path(__file__).parents[1] / "_static" / "figures"


@dataclass(frozen=True)
class Step:
    """Say what a rule that learns at one instant carries, and how it uses it.

    Args:
        rule: the rule's name.
        credit: the gradient of the weights.
        below: what goes to the layer below.
        kept: what is carried, in words.
        left: lines of the trace of the input's side.
        right: lines of the trace of the unit's side.
        wide: lines of a trace of each weight, in the place of both.
    """

    rule: str
    credit: str
    below: str
    kept: str
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()


STEPS = (
    Step(
        "trace",
        "ΔW = Σ_{t} (h̄_{t} ⊙ L_{t}) ⊗ x̄_{t}",
        "h̄_{t} L_{t}",
        "two running averages: one number per input, a few per unit",
        left=("x̄_{t}: average of x",),
        right=("g_{t}: sensitivity", "h̄_{t}: average of g"),
    ),
    Step(
        "rate",
        "ΔW = (h̄ ⊙ Σ_{t} L_{t}) ⊗ x̄",
        "h̄ L_{t}",
        "two averages over the whole sequence: one number per input, a few per unit",
        left=("x̄: mean of x",),
        right=("g_{t}: sensitivity", "h̄: mean of g"),
    ),
    Step(
        "eprop",
        "ΔW = Σ_{t} L_{t} ē_{t}",
        "ψ_{t} L_{t}",
        "an eligibility of each weight, and its filtered form",
        wide=(
            "E_{t} = A_{t} E_{t−1} + B_{t} ⊗ x_{t}",
            "e_{t} = D_{t} E_{t−1} + ψ_{t} ⊗ x_{t}",
            "ē_{t} = κ ē_{t−1} + e_{t}",
        ),
    ),
    Step(
        "drtrl",
        "ΔW = Σ_{t} L_{t} e_{t}",
        "ψ_{t} L_{t}, or g_{t} L_{t}",
        "an eligibility of each weight",
        wide=("E_{t} = A_{t} E_{t−1} + B_{t} ⊗ x_{t}", "e_{t} = D_{t} E_{t−1} + ψ_{t} ⊗ x_{t}"),
    ),
    Step(
        "ottt",
        "ΔW = Σ_{t} L_{t} ψ_{t} ⊗ x̂_{t}",
        "ψ_{t} L_{t}",
        "one trace per input",
        left=("x̂_{t} = β x̂_{t−1} + x_{t}",),
    ),
    Step("sltt", "ΔW = Σ_{t} L_{t} ψ_{t} ⊗ x_{t}", "ψ_{t} L_{t}", "nothing"),
)


def forward(drawing: Drawing) -> None:
    """Draw the forward row: input, synapse, neuron with its state, output, what lies above."""
    drawing.text((48, 92), "x_{t}", size=17)
    drawing.arrow([(68, 92), (128, 92)], colour=FORWARD)
    drawing.box((130, 66), (110, 52), ("synapse", "W"), colour=FORWARD)
    drawing.arrow([(240, 92), (338, 92)], colour=FORWARD)
    drawing.text((289, 78), "I_{t}", size=15)
    drawing.box((340, 66), (120, 52), ("neuron", "step"), colour=FORWARD)
    drawing.arrow([(430, 66), (430, 38), (370, 38), (370, 64)], colour=FORWARD)
    drawing.text((442, 34), "state s, to the next step", size=13, anchor="start")
    drawing.arrow([(460, 92), (568, 92)], colour=FORWARD)
    drawing.text((514, 78), "z_{t}", size=15)
    drawing.box((570, 66), (140, 52), ("layers above,", "loss of this step"))


def loop(drawing: Drawing, corner: tuple[float, float], width: float) -> None:
    """Draw the arrow with which a trace goes on to the next step."""
    x, y = corner[0] + width - 54, corner[1]
    drawing.arrow([(x + 36, y), (x + 36, y - 15), (x, y - 15), (x, y - 2)], colour=TRACE)


def step_figure(step: Step) -> Drawing:
    """Return the drawing of a rule that learns at one instant."""
    told = "; ".join((*step.left, *step.right, *step.wide)) or "nothing"
    plain = f"Carried: {told}. Credit: {step.credit}. To the layer below: {step.below}."
    drawing = Drawing(760, 352, f"A layer under {step.rule}. {plain}".replace("_{", " ").replace("}", ""))
    forward(drawing)
    if step.wide:
        height = 22 * len(step.wide) + 14
        top = 226 - height
        drawing.box((150, top), (300, height), step.wide, colour=TRACE)
        loop(drawing, (150, top), 300)
        drawing.arrow([(98, 92), (98, top + height / 2), (148, top + height / 2)], colour=TRACE, dashed=True)
        drawing.arrow([(480, 92), (480, top + height / 2), (452, top + height / 2)], colour=TRACE, dashed=True)
        drawing.arrow([(300, 226), (300, 254)], colour=TRACE)
    for lines, x, tap, width in ((step.left, 120, 98, 170), (step.right, 330, 400, 160)):
        if lines:
            height = 22 * len(lines) + 14
            drawing.box((x, 226 - height), (width, height), lines, colour=TRACE)
            loop(drawing, (x, 226 - height), width)
            if tap < x:
                drawing.arrow(
                    [(tap, 92), (tap, 226 - height / 2), (x - 2, 226 - height / 2)], colour=TRACE, dashed=True
                )
            else:
                drawing.arrow([(x + 30, 118), (x + 30, 226 - height - 2)], colour=TRACE, dashed=True)
            drawing.arrow([(x + width / 2, 226), (x + width / 2, 254)], colour=TRACE)
    if not step.left and not step.wide:
        drawing.arrow([(98, 92), (98, 240), (200, 240), (200, 254)], colour=GREY, dashed=True)
        drawing.text((112, 170), "x_{t}", size=13, anchor="start")
    if not step.right and not step.wide:
        drawing.arrow([(400, 118), (400, 254)], colour=GREY, dashed=True)
        drawing.text((412, 190), "ψ_{t}, the slope of now", size=13, anchor="start")
    drawing.box((150, 256), (320, 44), step.credit, colour=CREDIT, font=15)
    drawing.arrow([(640, 118), (640, 278), (474, 278)], colour=CREDIT)
    drawing.text((652, 200), "L_{t}", size=16, anchor="start")
    drawing.arrow([(150, 278), (52, 278)], colour=CREDIT)
    drawing.text((96, 262), step.below if len(step.below) < 14 else "ψ_{t} L_{t}", size=13)
    drawing.text((96, 296), "to the layer below", size=11.5)
    drawing.text((16, 334), f"{step.rule}() keeps {step.kept}.", size=13, anchor="start", bold=True)
    return drawing


def column(
    drawing: Drawing, x: float, when: str, *, colour: str = FORWARD, loss: bool = True, source: bool = True
) -> None:
    """Draw one step of an unrolled layer."""
    if source:
        drawing.text((x + 50, 262), f"x_{{{when}}}", size=16)
        drawing.arrow([(x + 50, 246), (x + 50, 222)], colour=colour)
    drawing.box((x, 180), (100, 40), "synapse W", colour=colour, font=13)
    drawing.arrow([(x + 50, 180), (x + 50, 146)], colour=colour)
    drawing.box((x, 104), (100, 40), "step", colour=colour, font=13)
    drawing.arrow([(x + 50, 104), (x + 50, 72)], colour=colour)
    if loss:
        drawing.box((x, 36), (100, 34), f"loss {when}", font=13)
    else:
        drawing.text((x + 50, 58), f"z_{{{when}}}", size=15)


def window_figure(rule: str, told: str, *, before: str) -> Drawing:
    """Return the drawing of a rule that backpropagates through steps.

    Args:
        rule: the rule's name.
        told: what it keeps.
        before: what is there of the steps before the window: `graph`, `trace` or `nothing`.

    Returns:
        The drawing.
    """
    label = f"A layer under {rule}, unrolled over steps, with credit going back from each step to the one before. "
    drawing = Drawing(760, 330, label + f"Before the window: {before}. It keeps {told}.")
    xs = (40, 230, 420, 610)
    for i, (x, when) in enumerate(zip(xs, ("t−3", "t−2", "t−1", "t"), strict=True)):
        early = i < 2 and before != "graph"
        column(
            drawing, x, when, colour=GREY if early else FORWARD, loss=not early, source=before != "trace" or not early
        )
        if i:
            crossing = i == 2 and before != "graph"
            drawing.arrow([(xs[i - 1] + 100, 116), (x - 2, 116)], colour=GREY if early else FORWARD)
            if not early and not crossing:
                drawing.arrow([(x, 132), (xs[i - 1] + 102, 132)], colour=CREDIT, dashed=True)
        if not early:
            drawing.arrow([(x + 74, 70), (x + 74, 102)], colour=CREDIT, dashed=True)
            drawing.arrow([(x + 74, 146), (x + 74, 178)], colour=CREDIT, dashed=True)
    if before != "graph":
        drawing.arrow([(375, 20), (375, 290)], colour=GREY, dashed=True, head=False, width=1.5)
        drawing.text((386, 20), "the window", size=13, anchor="start")
    if before == "nothing":
        drawing.arrow([(418, 132), (384, 132)], colour=CREDIT, dashed=True, head=False)
        drawing.cross((375, 132))
    if before == "trace":
        drawing.box((40, 234), (322, 40), "E: what every earlier step left in the state", colour=TRACE, font=13)
        for x in xs[:2]:
            drawing.arrow([(x + 50, 220), (x + 50, 232)], colour=TRACE)
        drawing.arrow([(418, 132), (400, 132), (400, 254), (366, 254)], colour=CREDIT, dashed=True)
    drawing.text((16, 312), f"{rule}() keeps {told}.", size=13, anchor="start", bold=True)
    return drawing


def trace_against_graph() -> Drawing:
    """Return the drawing of the two ways to know what a past input did."""
    drawing = Drawing(
        760,
        420,
        "Above: the graph of BPTT keeps every step and goes back through all of them when the loss comes. "
        "Below: a trace is carried forward with the state, one step replaces the last, and the loss meets it at once.",
    )
    drawing.text((16, 22), "The graph: keep every step, go back at the end", size=14, anchor="start", bold=True)
    drawing.text((16, 236), "The trace: carry what is needed forward", size=14, anchor="start", bold=True)
    xs = [40 + 150 * i for i in range(5)]
    for i, x in enumerate(xs):
        when = "t" if i == 4 else f"t−{4 - i}"
        drawing.box((x, 74), (92, 44), f"step {when}", colour=FORWARD, font=13)
        drawing.text((x + 46, 158), f"x_{{{when}}}", size=14)
        drawing.arrow([(x + 46, 146), (x + 46, 120)], colour=FORWARD)
        if i:
            drawing.arrow([(xs[i - 1] + 92, 86), (x - 2, 86)], colour=FORWARD)
            drawing.arrow([(x, 106), (xs[i - 1] + 94, 106)], colour=CREDIT, dashed=True)
        drawing.arrow([(x + 20, 118), (x + 20, 180)], colour=CREDIT, dashed=True, width=1.5)
        last = i == 4
        drawing.box((x, 262), (92, 40), f"step {when}", colour=FORWARD if last else GREY, font=13)
        drawing.box((x, 326), (92, 40), f"E_{{{when}}}", colour=TRACE if last else GREY, font=14)
        drawing.arrow([(x + 46, 302), (x + 46, 324)], colour=TRACE if last else GREY)
        if i:
            colour = FORWARD if last else GREY
            drawing.arrow([(xs[i - 1] + 92, 282), (x - 2, 282)], colour=colour)
            drawing.arrow([(xs[i - 1] + 92, 346), (x - 2, 346)], colour=TRACE if last else GREY)
    drawing.box((xs[4], 36), (92, 26), "loss", font=13)
    drawing.arrow([(xs[4] + 70, 62), (xs[4] + 70, 73)], colour=CREDIT)
    drawing.text((380, 192), "gradient of W: a sum over all steps, when the whole sequence is over", size=13)
    drawing.text(
        (16, 392), "Grey: forgotten. In memory are the last state and the last trace;", size=13, anchor="start"
    )
    drawing.text((16, 411), "gradient of W at this step: L_{t} times what E_{t} holds.", size=13, anchor="start")
    return drawing


if __name__ == "__main__":
    for step in STEPS:
        step_figure(step).save(FIGURES / f"rule_{step.rule}.svg")
    window_figure("bptt", "every step since the reset, until the sequence is over", before="graph").save(
        FIGURES / "rule_bptt.svg"
    )
    window_figure("tbptt", "the steps of one window; nothing of those before", before="nothing").save(
        FIGURES / "rule_tbptt.svg"
    )
    window_figure("traced_bptt", "the steps of one window, and traces of all before it", before="trace").save(
        FIGURES / "rule_traced_bptt.svg"
    )
    trace_against_graph().save(FIGURES / "trace_against_graph.svg")
