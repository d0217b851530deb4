"""Figures: what is drawn, what is refused, and that matplotlib's global state is left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from tracetorch import plot
from tracetorch.plot.psychometric import wilson
from tracetorch.plot.style import line_styles, rule_styles

LOG = [{"kind": "train", "iteration": i, "loss": 1 / i, "accuracy": 1 - 1 / i} for i in range(1, 9)]
LOG += [{"kind": "eval", "iteration": 4, "accuracy": 0.7}, {"kind": "eval", "iteration": 8, "accuracy": 0.8}]
POINTS = torch.tensor([[1.0, 0.9, 1.0, 20.0], [-1.0, 0.1, 0.0, 20.0], [0.0, 0.5, 0.5, 0.0]])


def every_figure() -> dict[str, Figure]:
    curve = ([0, 10, 20], np.array([[0.5, 0.7, 0.9], [0.4, 0.8, 0.8]]))
    return {
        "raster": plot.raster({"input": torch.rand(50, 8) < 0.1, "hidden": torch.rand(50, 3, 2, 2) < 0.05}),
        "traces": plot.traces({"v": torch.randn(30, 20), "out": torch.randn(30, 1)}, thresholds={"v": 1.0}),
        "learning": plot.learning_curve(LOG, title="run"),
        "curves": plot.curves({"accuracy": {"trace": curve, "sltt": curve}}, x_label="iteration"),
        "psychometric": plot.psychometric(POINTS),
        "half_lives": plot.half_lives({"0": (torch.full((9,), 10.0), torch.rand(9) + 1), "1": (10.0, 20.0)}),
        "comparison": plot.comparison({"accuracy": {"a": [0.5, 0.6], "b": 0.7}, "seconds": {"a": [1.0]}}),
    }


@pytest.mark.parametrize("name", sorted(every_figure()))
def test_every_figure_is_saved(name: str, tmp_path: Path) -> None:
    path = plot.save(every_figure()[name], tmp_path / "deep" / f"{name}.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in path.parent.iterdir()] == [f"{name}.png"]


def test_global_settings_are_left_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    for name, figure in every_figure().items():
        plot.save(figure, tmp_path / f"{name}.svg")
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def test_raster_marks_every_spike() -> None:
    spikes = torch.rand(40, 7) < 0.2
    (axes,) = plot.raster(spikes, seconds_per_step=0.5).axes
    marks = axes.collections[0].get_offsets()
    assert len(marks) == int(spikes.sum())
    steps, units = spikes.nonzero(as_tuple=True)
    assert np.allclose(np.asarray(marks), np.stack([steps * 0.5, units], axis=1))
    assert axes.get_xlabel() == "time (s)"


def test_silent_layer_is_drawn() -> None:
    assert "0.0 %" in plot.raster(torch.zeros(10, 3)).axes[0].get_title(loc="right")


def test_traces_draws_no_more_units_than_asked() -> None:
    assert len(plot.traces(torch.randn(10, 9), units=4).axes[0].lines) == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.bool, torch.int8])
def test_any_tensor_is_taken(dtype: torch.dtype) -> None:
    values = torch.ones(5, 2, requires_grad=True).to(dtype)
    plot.traces(values)
    plot.raster(values)


def test_learning_curve_needs_something() -> None:
    with pytest.raises(ValueError, match="none of the 1 records"):
        plot.learning_curve([{"kind": "train", "iteration": 1}])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot.raster({}), "empty mapping"),
        (lambda: plot.raster(torch.ones(5)), "must be \\[time steps, units\\]"),
        (lambda: plot.raster(torch.ones(0, 5)), "must be \\[time steps, units\\]"),
        (lambda: plot.traces(torch.ones(5, 2), units=0), "units must be at least 1, got 0"),
        (lambda: plot.traces({}), "empty mapping"),
        (lambda: plot.curves({}), "at least one curve"),
        (lambda: plot.curves({"a": {"b": ([1, 2], [1.0])}}), "curve 'b'"),
        (lambda: plot.psychometric(torch.ones(3, 3)), "must be \\[points, 4\\]"),
        (lambda: plot.psychometric(torch.zeros(3, 4)), "no stimulus with trials"),
        (lambda: plot.half_lives({}), "at least one layer"),
        (lambda: plot.comparison({}), "at least one measure"),
    ],
)
def test_what_cannot_be_drawn_is_told(draw, message) -> None:
    with pytest.raises(ValueError, match=message):
        draw()


def test_wilson_interval_holds_the_share() -> None:
    share, trials = np.linspace(0, 1, 11), np.full(11, 25.0)
    low, high = wilson(share, trials)
    assert np.all((low >= 0) & (low <= share + 1e-12) & (share <= high + 1e-12) & (high <= 1))
    # scipy.stats.binomtest(5, 25).proportion_ci(method="wilson")
    low, high = wilson(np.array([0.2]), np.array([25.0]))
    assert low[0] == pytest.approx(0.08861, abs=1e-4)
    assert high[0] == pytest.approx(0.39133, abs=1e-4)


def test_series_can_be_told_apart() -> None:
    styles = line_styles(21)
    assert len({(style["color"], str(style["linestyle"]), style["marker"]) for style in styles}) == 21


def test_each_rule_has_one_look() -> None:
    names = ["trace", "cascade", "eprop", "drtrl", "ottt", "traced_bptt", "tbptt", "sltt", "rate", "bptt", "frozen"]
    styles = rule_styles(names)
    assert len({(style["color"], style["marker"]) for style in styles}) == len(names)
    assert len({style["marker"] for style in styles}) == len(names)
    assert rule_styles(["GRU", "bptt()"])[1] == styles[names.index("bptt")]
    assert rule_styles(["GRU", "trace:decay=0.9"])[0]["color"] != styles[0]["color"]
    variants = rule_styles(["cascade", "cascade(pairs=1)", "cascade(pairs=10)"])
    assert len({style["marker"] for style in variants}) == 3
    assert len({style["color"] for style in variants}) == 1


def test_colours_differ_for_every_eye() -> None:
    """Adjacent lightness in grey must differ somewhere, and each colour must stand out on white."""
    luminance = []
    for colour in plot.COLOURS:
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        luminance.append(0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2)
    assert all(1.05 / (value + 0.05) > 1.9 for value in luminance)
    assert len({round(value, 2) for value in luminance}) >= 6


def test_missing_matplotlib_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.figure'] = None\n"
        "from tracetorch import plot\n"
        "try: plot.raster([[1, 0]])\n"
        "except ImportError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "pip install matplotlib" in said


def test_cosines_have_a_mean_a_bar_and_no_point_where_there_is_no_gradient() -> None:
    figure = plot.cosines({"a": ([2, 4], [[1.0, 0.5], [0.8, np.nan]]), "b": ([2, 4, 6], [0.1, -0.4, np.nan])})
    a, b = figure.axes[0].lines
    assert a.get_ydata() == pytest.approx([0.9, 0.5])
    assert b.get_ydata() == pytest.approx([0.1, -0.4])
    assert figure.axes[0].get_ylim()[0] < -0.4
    for wrong in ({}, {"a": ([1, 2], [0.5])}):
        with pytest.raises(ValueError, match="cosine"):
            plot.cosines(wrong)
