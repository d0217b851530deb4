"""The CPU backend's sums over events, what it refuses, and how its kernels are cached and run."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from backends.windows import Drawing, Shape, inputs_of, neuron, packed, window, with_inputs
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.backends import Product, Pull, Save
from tracetorch.backends.numba import Numba, Tuning, backend, why_not
from tracetorch.backends.torch import Torch
from tracetorch.synapses import synapse_of

pytest.importorskip("numba")

F32, F64 = torch.float32, torch.float64
CLOSE = {F64: {"rtol": 1e-12, "atol": 1e-12}, F32: {"rtol": 1e-4, "atol": 1e-4}}


def assert_close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, **CLOSE[want.dtype])


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize(("rows", "inputs", "units"), [(1, 1, 1), (300, 70, 130), (129, 65, 3), (7, 200, 64)])
def test_outer_products_are_summed_as_by_torch(rows: int, inputs: int, units: int, dtype: torch.dtype) -> None:
    draw = Drawing(dtype)
    x, q = draw.spikes(rows, inputs, share=0.2) * 1.5, draw.normal(rows, units)
    assert_close(packed(x.unsqueeze(0)).outer_sum(q), q.t() @ x)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize(("steps", "inputs", "units"), [(1, 1, 1), (21, 150, 70), (5, 64, 64)])
def test_full_eligibilities_advance_as_by_torch(
    steps: int, inputs: int, units: int, contiguous: bool, dtype: torch.dtype
) -> None:
    draw = Drawing(dtype)
    x, q = draw.spikes(steps, 3, inputs, share=0.2), draw.normal(steps, 3, units)
    start, got = draw.normal(3, units), draw.normal(3, units, inputs)
    got = got if contiguous else got.transpose(1, 2).contiguous().transpose(1, 2)
    want = got.clone()
    packed(x).advance_full(q, start, got)
    want.mul_(start.unsqueeze(-1)).add_(torch.einsum("tbn,tbk->bnk", q, x))
    assert_close(got, want)


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("N", [1, 17, 100])
def test_credit_of_averages_goes_back_as_by_torch(N: int, groups: int, sent: bool) -> None:
    draw = Drawing(F64)
    T, B = 11, 3
    bucket = torch.arange(N) % groups if groups > 1 else torch.empty(0, dtype=torch.int64)
    gain = (draw.normal(T, B, N), 1 + draw.normal(T, B).abs())
    weight = 1 + draw.normal(T, groups, B).abs()
    arguments = (draw.normal(T, B, N), gain, weight, bucket, torch.linspace(0.2, 0.9, N, dtype=F64))
    got, want = Numba().credit_back(*arguments, sent=sent), Torch().credit_back(*arguments, sent=sent)
    assert_close(got[0], want[0])
    assert_close(got[1], want[1])
    if sent:
        assert_close(got[2], want[2])


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_weighted_sums_of_inputs_are_formed_with_the_scan(dtype: torch.dtype) -> None:
    w, draw = window(neuron("LIF soft", (17,)), Shape(events=True), dtype), Drawing(dtype)
    weights, start = draw.normal(2, 37), draw.normal(2, 3, inputs_of(w.scan).shape[2])
    before = start.clone()
    found = Numba().forward(w.scan, Save(sums=(weights, start))).sums
    assert found is not None
    assert_close(found, start + torch.einsum("rt,tbk->rbk", weights, inputs_of(w.scan)))
    assert_close(start, before)
    assert Numba().forward(w.plain, Save(sums=(weights, start))).sums is None


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_inputs_that_are_not_finite_are_found(value: float) -> None:
    w = window(neuron("LIF soft", (17,)), Shape(events=True))
    assert Numba().forward(w.scan, Save()).finite
    xs = inputs_of(w.scan)
    xs[5, 2, 3] = value
    assert not Numba().forward(with_inputs(w.scan, xs), Save()).finite


def test_dense_products_are_left_to_torch() -> None:
    draw, weight, tuning = Drawing(F32), torch.zeros(5, 40), Tuning()
    sparse, dense = draw.spikes(20, 4, 40, share=0.1), draw.spikes(20, 4, 40, share=0.6)
    assert Numba().events(sparse, weight)
    assert not Numba().events(dense, weight)
    assert Numba().events(dense, weight, True)
    assert not Numba().events(sparse, weight, False)
    assert Numba(replace(tuning, dense=0.9)).events(dense, weight)
    assert not Numba().events(sparse[:1], weight)
    assert Numba(replace(tuning, few=0)).events(sparse[:1], weight)
    assert not Numba().events(sparse.double(), weight, True)
    assert not Numba().events(sparse.view(20, 4, 4, 10), weight, True)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (37, 3, 70), (2, 64, 16), (5, 0, 9), (3, 2, 0)])
def test_events_are_the_inputs_and_stay_what_they_were(
    shape: tuple[int, int, int], share: float, dtype: torch.dtype
) -> None:
    draw = Drawing(dtype)
    x = draw.spikes(*shape, share=share) * draw.normal(*shape)
    x = x.transpose(0, 1).contiguous().transpose(0, 1)
    before, events = x.clone(), packed(x)
    x.fill_(7)
    torch.testing.assert_close(events.dense(), before, rtol=0, atol=0)


def test_small_windows_do_not_pay() -> None:
    w = window(neuron("LIF soft", (17,)), Shape())
    assert not Numba().pays(w.scan)
    assert Numba(replace(Tuning(), small=0)).pays(w.scan)


class Sorted(tt.Neuron):
    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        v = torch.sort(self.beta * s.v + current, dim=-1).values
        return s.replace(v=v), v


def product(units: int, inputs: int, dtype: torch.dtype = F64) -> Product:
    """A product of 17 inputs with a weight of other sizes."""
    return Product(packed(torch.zeros(37, 3, 17, dtype=F64)), torch.zeros(units, inputs, dtype=dtype), None)


class TwoCurrents(tt.Neuron):
    currents = ("a", "b")

    def step(self, s: Any, current: Any) -> tuple[Any, Tensor]:
        v = self.beta * s.v + current.a - current.b
        return s.replace(v=v), self.surrogate(v - self.threshold)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: replace(s, s=(s.s[0].half(),)), "float16"),
        (lambda s: replace(s, s=(s.s[0].to("meta"),)), "meta"),
        (lambda s: replace(s, s=(s.s[0].float(),)), "drive is torch.float64"),
        (lambda s: replace(s, neuron=Sorted(half_life=3.0)), "sort"),
        (lambda s: replace(s, neuron=TwoCurrents(half_life=3.0), product=product(17, 17)), "one current"),
        (lambda s: replace(s, neuron=tt.LIF(beta=torch.full((4,), 0.5))), r"beta is \[4\] for units \[17\]"),
        (lambda s: replace(s, out=s.drive.float()), "float32"),
        (lambda s: replace(s, recurrent=synapse_of(nn.Conv1d(1, 1, 3, padding=1).double())), "dense recurrent"),
        (lambda s: replace(s, recurrent=synapse_of(nn.Linear(17, 17))), "recurrent weights are torch.float32"),
        (lambda s: replace(s, recurrent=synapse_of(nn.Linear(9, 17).double())), r"\[17, 9\]"),
        (lambda s: replace(s, recurrent=synapse_of(nn.Linear(17, 17).double())), "outputs before the window"),
        (lambda s: replace(s, product=product(17, 17, F32)), "one dtype"),
        (lambda s: replace(s, product=product(5, 17)), r"\[5\], not \[17\]"),
        (lambda s: replace(s, product=product(17, 4)), "4 inputs, not 17"),
    ],
)
def test_what_is_refused_is_refused_with_the_reason(change: Any, reason: str) -> None:
    scan = window(neuron("LIF soft", (17,)), Shape()).scan
    assert Numba().why_not(scan) == ""
    with pytest.raises(RuntimeError, match=reason):
        raise RuntimeError(Numba().why_not(change(scan)))


def test_narrower_currents_are_served_as_torch_promotes_them() -> None:
    w = window(neuron("LIF soft", (17,)), Shape(filters=0), F32)
    scan = replace(w.scan, drive=w.scan.drive.bfloat16())
    assert Numba().why_not(scan) == ""
    got, want = Numba().forward(scan, Save()), Torch().forward(scan, Save())
    assert_close(got.z, want.z.detach())
    assert got.z.dtype == want.z.dtype


def test_a_tape_keeps_the_parameters_of_its_window() -> None:
    w = window(neuron("LIF fixed", (17,)), Shape())
    tape = Numba().forward(w.scan, w.save).tape
    assert tape is not None
    before = tape.reverse(w.cotangents, Pull())
    w.scan.neuron.beta.mul_(0.5)
    assert_close(tape.reverse(w.cotangents, Pull()).current, before.current)


def test_contradictory_cotangents_raise() -> None:
    w = window(neuron("LIF soft", (17,)), Shape())
    tape = Numba().forward(w.scan, w.save).tape
    assert tape is not None
    with pytest.raises(ValueError, match="fed=None"):
        tape.reverse(replace(w.cotangents, fed=w.scan.s[0]), Pull())
    with pytest.raises(ValueError, match="level of zeros"):
        tape.reverse(replace(w.cotangents, level=None), Pull())


def test_an_empty_batch_is_served() -> None:
    w = window(neuron("LIF soft", (17,)), Shape(batch=0))
    found = Numba().forward(w.scan, w.save)
    assert found.z.shape == (37, 0, 17) and found.tape is not None
    assert found.tape.reverse(w.cotangents, Pull(below=True)).current.shape == (37, 0, 17)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_kernels_run_in_a_forked_process() -> None:
    w = window(neuron("LIF soft", (17,)), Shape(batch=5))
    served, threads = Numba(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        want = served.forward(w.scan, Save()).z
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(served.forward(w.scan, Save()).z, want) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("runtime", ["torch's", "none", "another process's"])
def test_kernels_give_the_same_on_any_threads(monkeypatch: pytest.MonkeyPatch, runtime: str) -> None:
    from tracetorch.backends.numba import workers

    found = workers.openmp()
    other = None if found is None or runtime == "none" else (-1, found[1])
    w = window(neuron("LIF soft", (17,)), Shape(batch=5))
    threads = torch.get_num_threads()
    want = Numba().forward(w.scan, Save()).z
    torch.set_num_threads(2)
    try:
        if runtime != "torch's":
            monkeypatch.setattr(workers, "openmp", lambda: other)
        assert want.any() and torch.equal(Numba().forward(w.scan, Save()).z, want)
    finally:
        torch.set_num_threads(threads)


def test_two_threads_may_run_kernels_at_once() -> None:
    w = window(neuron("LIF soft", (17,)), Shape(batch=5))
    served, threads = Numba(), torch.get_num_threads()
    want = served.forward(w.scan, Save()).z
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(4) as pool:
            outs = list(pool.map(lambda _: served.forward(w.scan, Save()).z, range(40)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(z, want) for z in outs)


def test_a_kernel_refuses_arrays_that_are_not_contiguous() -> None:
    from tracetorch.backends.numba.compile import event_kernel

    x, out = torch.ones(6, 4, dtype=torch.float64), torch.empty(1, 6, 64, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"contiguous arrays; strides \(1, 4\)"):
        event_kernel(torch.float64, "lay_out")(Numba().workers, 1, (4, 6, 64), x.t(), out)


def test_kernels_are_compiled_without_a_cache_where_none_can_be_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from numba.core.caching import CompileResultCacheImpl

    from tracetorch.backends.numba import compile as loader
    from tracetorch.backends.numba import launch

    monkeypatch.setattr(CompileResultCacheImpl, "_locator_classes", [])
    launch._notice_no_cache.cache_clear()
    loader.event_kernel.cache_clear()
    draw = Drawing(F64)
    x, q = draw.spikes(5, 9, share=0.3), draw.normal(5, 4)
    with caplog.at_level(logging.INFO, "tracetorch"):
        assert_close(packed(x.unsqueeze(0)).outer_sum(q), q.t() @ x)
    loader.event_kernel.cache_clear()
    messages = [r.getMessage() for r in caplog.records]
    assert sum("cannot be cached" in m for m in messages) == 1  # one notice, not one for each kernel
    assert sum(m.startswith("compiled kernel ") for m in messages) == 3


def test_the_process_has_one_backend() -> None:
    assert why_not() == "" and backend() is backend()
