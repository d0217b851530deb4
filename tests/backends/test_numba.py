"""The compiled CPU backend is the readable one, and both are automatic differentiation."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from backends.windows import (
    EXPECTED_RATE,
    Shape,
    Window,
    assert_same,
    inputs_of,
    neuron,
    passed,
    true_gradients,
    true_sensitivity,
    window,
    with_inputs,
)
from conformance.neurons import kind
from torch import Tensor

from tracetorch.backends import Outputs, Pull, Save, ScanBackend
from tracetorch.backends.numba import Numba, arrays
from tracetorch.backends.torch import Torch

pytest.importorskip("numba")

F32, F64 = torch.float32, torch.float64
CLOSE = {F64: {"rtol": 1e-11, "atol": 1e-11}, F32: {"rtol": 2e-4, "atol": 2e-4}}
NEURONS = (
    "LIF soft",
    "LIF hard, gradient",
    "LIF refractory hard, gradient",
    "LIF normalized not decayed",
    "LIF per unit, gradient",
    "ALIF refractory not decayed",
    "ALIF hard, gradient",
    "SynapticLIF per unit",
    "LI normalized",
    "Mean",
    "DiagonalRecurrent ALIF",
    "Adaptive (a user's)",
    "Resonator (a user's)",
    "Memoryless (a user's)",
)
THREE = "Resonator (a user's)"  # three states, a counter, parameters of two kinds
FULL = Shape(events=True, recurrent=True, filters=2)
GRID = (
    Shape(steps=1),
    Shape(steps=2, filters=3, recurrent=True),
    Shape(unit=(1,), batch=1, recurrent=True),
    Shape(unit=(65,), filters=0, events=True),
    Shape(unit=(300,), batch=2, filters=3, events=True, recurrent=True),
    Shape(unit=(2, 5, 3), filters=1),
    Shape(filters=0, recurrent=True),
    Shape(steps=2, unit=(64,), filters=1, events=True),
)


@pytest.fixture(autouse=True)
def _nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill memory that is not initialised with NaN."""
    new_empty, empty_like, empty = Tensor.new_empty, torch.empty_like, arrays.empty

    def fill(x: Tensor) -> Tensor:
        return x.fill_(math.nan) if x.is_floating_point() else x

    monkeypatch.setattr(Tensor, "new_empty", lambda self, *a, **k: fill(new_empty(self, *a, **k)))
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: fill(empty_like(*a, **k)))
    for module in ("scan", "tape"):
        monkeypatch.setattr(f"tracetorch.backends.numba.{module}.empty", lambda *a: fill(empty(*a)))


@pytest.fixture(params=["torch", "numba"])
def backend(request: pytest.FixtureRequest) -> ScanBackend:
    return Torch() if request.param == "torch" else Numba()


def forward(backend: ScanBackend, w: Window) -> Outputs:
    scan = w.plain if backend.name == "torch" else w.scan
    assert backend.why_not(scan) == ""
    with torch.no_grad():
        return backend.forward(scan, w.save)


def pulls(w: Window) -> list[Pull]:
    return [
        Pull(parameters=w.names, below=True),
        Pull(linked=False, parameters=w.names[:1]),
        Pull(constant=w.constant, parameters=w.names[:1]),
    ]


def compare(w: Window, *, spikes: bool, pull: Pull | None = None) -> None:
    close = CLOSE[w.scan.s[0].dtype]
    got, want = forward(Numba(), w), forward(Torch(), w)
    if spikes:
        assert EXPECTED_RATE[0] < float(want.z.mean()) < EXPECTED_RATE[1]
    torch.testing.assert_close(got.z, want.z, rtol=0 if spikes else 1e-5, atol=0 if spikes else 1e-5)
    assert got.finite
    assert_same(got, want, close)
    assert got.tape is not None and want.tape is not None
    torch.testing.assert_close(got.tape.currents(), want.tape.currents(), **close)
    for one in pulls(w)[:1] if pull is None else [pull]:
        assert_same(got.tape.reverse(w.cotangents, one), want.tape.reverse(w.cotangents, one), close)
        again = got.tape.reverse(w.cotangents, one)  # any number of times
        assert_same(again, want.tape.reverse(w.cotangents, one), close)


@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_is_scanned_as_by_torch(name: str) -> None:
    compare(window(neuron(name, FULL.unit), FULL), spikes=kind(name).spikes)


@pytest.mark.parametrize(
    ("name", "shape"), [*(("LIF soft", shape) for shape in GRID), (THREE, GRID[1]), (THREE, GRID[4]), (THREE, GRID[5])]
)
def test_every_shape_is_scanned_as_by_torch(name: str, shape: Shape) -> None:
    spiking = kind(name).spikes and shape.steps > 2 and shape.unit != (1,)
    compare(window(neuron(name, shape.unit), shape), spikes=spiking)


@pytest.mark.parametrize("name", ["LIF soft", THREE])
@pytest.mark.parametrize("number", [1, 2], ids=["unlinked", "constant"])
@pytest.mark.parametrize("recurrent", [False, True])
def test_every_pull_is_that_of_torch(name: str, number: int, recurrent: bool) -> None:
    w = window(neuron(name, (17,)), Shape(recurrent=recurrent))
    compare(w, spikes=True, pull=pulls(w)[number])


@pytest.mark.parametrize("name", ["LRU", "RTU", "MinGRU"])
@pytest.mark.parametrize(
    "shape", [Shape(filters=2), Shape(unit=(300,), filters=0), Shape(unit=(2, 5, 3)), Shape(steps=1)]
)
def test_several_currents_are_scanned_as_by_torch(name: str, shape: Shape) -> None:
    w = window(neuron(name, shape.unit), shape)
    compare(w, spikes=False)
    compare(w, spikes=False, pull=pulls(w)[1])


@pytest.mark.parametrize("name", ["LRU", "RTU", "MinGRU"])
def test_gradients_by_several_currents_are_those_of_autograd(backend: ScanBackend, name: str) -> None:
    w = window(neuron(name, (17,)), Shape(steps=12, filters=2))
    tape = forward(backend, w).tape
    assert tape is not None
    assert_same(tape.reverse(w.cotangents, Pull(parameters=w.names)), true_gradients(w), CLOSE[F64])


def test_several_currents_are_not_formed_from_inputs_or_outputs() -> None:
    w = window(neuron("MinGRU", (17,)), Shape())
    fed = replace(w.scan, recurrent=window(neuron("LIF soft", (17,)), FULL).scan.recurrent, z=w.scan.s[0])
    assert "one current per unit" in Numba().why_not(fed)


@pytest.mark.parametrize("name", ["LIF soft", "ALIF hard, gradient"])
def test_float32_agrees_to_its_precision(name: str) -> None:
    compare(window(neuron(name, FULL.unit), FULL, F32), spikes=True)


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("name", ["LIF soft", "SynapticLIF hard, gradient", THREE])
def test_gradients_are_those_of_autograd(backend: ScanBackend, name: str, detached: bool) -> None:
    w = window(neuron(name, FULL.unit), replace(FULL, steps=12))
    if detached:  # recurrent spikes carry no credit
        w = replace(w, cotangents=replace(w.cotangents, fed=None))
    tape = forward(backend, w).tape
    assert tape is not None
    assert_same(tape.reverse(w.cotangents, Pull(parameters=w.names)), true_gradients(w), CLOSE[F64])


@pytest.mark.parametrize("name", ["LIF soft", "SynapticLIF hard, gradient", THREE])
@pytest.mark.parametrize("filters", [0, 1, 3])
def test_sensitivities_are_those_of_autograd(backend: ScanBackend, name: str, filters: int) -> None:
    w = window(neuron(name, (17,)), Shape(filters=filters, recurrent=filters == 1))
    found = forward(backend, w)
    assert found.tape is not None and w.save.sensitivity is not None and found.sensitivity is not None
    gain, sigma = true_sensitivity(w, found.tape.currents())
    gain, level = passed(w.save.sensitivity.filter, gain, w.save.sensitivity.level)
    torch.testing.assert_close(found.sensitivity, gain, **CLOSE[F64])
    torch.testing.assert_close(found.sigma, sigma, **CLOSE[F64])
    torch.testing.assert_close(found.level, level, **CLOSE[F64])
    last = backend.forward(w.plain, replace(w.save, sensitivity=replace(w.save.sensitivity, history=False)))
    torch.testing.assert_close(last.sensitivity, gain[-1:], **CLOSE[F64])


def test_another_window_is_told_apart() -> None:
    """Negative control: the comparison sees one input, one cotangent and one filter coefficient."""
    w = window(neuron("LIF soft", FULL.unit), FULL)
    found = forward(Numba(), w)
    assert found.tape is not None
    xs = inputs_of(w.scan)
    xs[3, 1, 4] += 1
    with pytest.raises(AssertionError):
        assert_same(Numba().forward(with_inputs(w.scan, xs), w.save), found, CLOSE[F64])
    pull, c = Pull(parameters=w.names), w.cotangents
    want, z = found.tape.reverse(c, pull), c.z.clone()
    z[0, 0, 0] += 1e-3
    other = replace(c.filter, a=c.filter.a * (1 + 1e-6)) if c.filter is not None else None
    for changed in (replace(c, z=z), replace(c, filter=other), replace(c, fed=None)):
        with pytest.raises(AssertionError):
            assert_same(found.tape.reverse(changed, pull), want, CLOSE[F64])


def test_shares_of_the_batch_are_computed_by_threads() -> None:
    w = window(neuron("LIF soft", (17,)), Shape(batch=7, events=True, recurrent=True))
    want = forward(Numba(), w)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        got = forward(Numba(), w)
        assert got.tape is not None and want.tape is not None
        assert_same(got, want, {"rtol": 0, "atol": 0})
        pull = Pull(parameters=w.names)
        here = got.tape.reverse(w.cotangents, pull)
    finally:
        torch.set_num_threads(before)
    assert_same(here, want.tape.reverse(w.cotangents, pull), {"rtol": 0, "atol": 0})


@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("unit", [(17,), (2, 3)])
def test_outputs_are_written_where_they_are_wanted(contiguous: bool, unit: tuple[int, ...]) -> None:
    w = window(neuron("LIF soft", unit), Shape(unit=unit))
    out = torch.full((37, *w.scan.s[0].shape), math.nan, dtype=F64)
    out = out if contiguous else out.transpose(0, 1).contiguous().transpose(0, 1)
    found = Numba().forward(replace(w.scan, out=out), Save())
    assert found.z is out and found.tape is None
    torch.testing.assert_close(out, Torch().forward(w.plain, Save()).z, rtol=0, atol=0)


def test_inputs_that_a_caller_gave_are_not_written() -> None:
    w = window(neuron("LIF soft", FULL.unit), FULL)
    given = [*w.scan.s, inputs_of(w.scan), w.cotangents.z, w.cotangents.s, w.cotangents.level]
    copies = [x.clone() for x in given if x is not None]
    tape = forward(Numba(), w).tape
    assert tape is not None
    tape.reverse(w.cotangents, Pull(parameters=w.names, below=True))
    for x, copy in zip(given, copies, strict=True):
        torch.testing.assert_close(x, copy, rtol=0, atol=0)


def test_views_that_are_not_contiguous_are_read_as_they_are() -> None:
    w = window(neuron("LIF soft", (17,)), Shape())

    def turned(x: Tensor) -> Tensor:
        return x.transpose(0, -1).contiguous().transpose(0, -1)

    scan = replace(w.scan, s=tuple(map(turned, w.scan.s)), drive=turned(w.scan.drive))
    c = replace(w.cotangents, z=turned(w.cotangents.z), s=turned(w.cotangents.s))
    got, want = Numba().forward(scan, w.save), forward(Torch(), w)
    assert_same(got, want, CLOSE[F64])
    assert got.tape is not None and want.tape is not None
    assert_same(got.tape.reverse(c, Pull()), want.tape.reverse(w.cotangents, Pull()), CLOSE[F64])
