"""The GPU backend is the readable one: on a GPU, and without one under Triton's interpreter."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from backends.windows import EXPECTED_RATE, Shape, Window, assert_same, true_gradients, window
from conformance.neurons import kind
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.backends import Pull, Save, available_backends
from tracetorch.backends.torch import Torch
from tracetorch.neurons.lowering import Lowered
from tracetorch.testing.conformance.kind import Kind

pytest.importorskip("triton")
from tracetorch.backends.triton import Triton, compile, launch, scan, support, tape  # noqa: A004

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
GPU = torch.cuda.is_available()
DEVICE = "cpu" if INTERPRETED or not GPU else "cuda"
# With the variable set, Triton runs its kernels in Python, for the whole process: hence one of its own.
executed = pytest.mark.skipif(not INTERPRETED and not GPU, reason="runs with TRITON_INTERPRET=1, started below")
compiled = pytest.mark.skipif(INTERPRETED, reason="Triton interprets its kernels here")
absent_gpu = pytest.mark.skipif(GPU, reason="the kernels run on the GPU itself")

F32, F64 = torch.float32, torch.float64
CLOSE = {F64: {"rtol": 1e-11, "atol": 1e-11}, F32: {"rtol": 2e-4, "atol": 2e-4}}
NEURONS = (
    "LIF soft",
    "LIF hard",
    "LIF hard, gradient",
    "LIF refractory hard, gradient",
    "LIF per unit",
    "ALIF hard, gradient",
    "ALIF refractory not decayed",
    "SynapticLIF hard, gradient",
    "LI normalized",
    "Mean",
)
THREE = "Resonator (a user's)"  # three states, a counter, parameters of two kinds
FUNCTIONS = "every function"
GRID = (
    Shape(steps=1, unit=(1,), filters=0),
    Shape(steps=1, unit=(65,), filters=3),
    Shape(steps=12, unit=(1,), filters=3),
    Shape(steps=12, unit=(65,), filters=1),
    Shape(steps=12, unit=(2, 5, 3), filters=0),
)


class Functions(tt.Neuron):
    """A neuron whose step calls every function that a step may call."""

    state = ("v", "a")
    counters = ("n",)

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        a = torch.tanh(s.a) + torch.expm1(-s.v.abs()) + torch.log1p(current.abs()) / (1 + current * current)
        v = torch.sin(s.v) * torch.exp(-a.abs()) + torch.cos(s.a) * torch.sqrt(1 + current.abs())
        v = self.beta * v + torch.log(2 + a.abs()) + torch.pow(1.5 + a.abs(), self.beta) / 7
        free = torch.logical_not(torch.logical_and(s.n > 0, s.n < 3)).to(v.dtype)
        z = self.surrogate(v - self.threshold) * free
        n = torch.floor(0.6 * s.n) + 2 * z.detach()
        return s.replace(v=v - z, a=torch.where(a > 1, 0.5 * a, a.clamp(min=-1.0)), n=n), z


def given(name: str) -> Kind:
    if name == FUNCTIONS:
        return Kind(name, lambda unit: Functions(half_life=tt.Learnable(3.0), threshold=tt.Learnable(1.4)))
    return kind(name)


@pytest.fixture(autouse=True)
def _nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill memory that is not initialised with NaN."""
    new_empty = Tensor.new_empty
    monkeypatch.setattr(Tensor, "new_empty", lambda self, *a, **k: new_empty(self, *a, **k).fill_(math.nan))


def moved(x: Any) -> Any:
    """A window on the device that the kernels run on."""
    if isinstance(x, Tensor):
        return x.to(DEVICE)
    if isinstance(x, tuple):
        return tuple(map(moved, x))
    return replace(x, **{k: moved(v) for k, v in vars(x).items()}) if hasattr(x, "__dataclass_fields__") else x


def drawn(name: str, shape: Shape, dtype: torch.dtype = F64) -> Window:
    w = window(given(name).make(shape.unit), shape, dtype)
    w.scan.neuron.to(DEVICE)
    return moved(w)


def pulls(w: Window) -> list[Pull]:
    return [
        Pull(parameters=w.names, below=True),
        Pull(linked=False, parameters=w.names, below=True),
        Pull(constant=w.constant, parameters=w.names[:1]),
        Pull(),
    ]


def compare(w: Window, pulls: list[Pull], *, spikes: bool, close: dict[str, Any] | None = None) -> None:
    close = CLOSE[w.scan.s[0].dtype] if close is None else close
    assert Triton().why_not(w.scan) == ""
    with torch.no_grad():
        got, want = Triton().forward(w.scan, w.save), Torch().forward(w.scan, w.save)
    if spikes:
        assert EXPECTED_RATE[0] < float(want.z.mean()) < EXPECTED_RATE[1]
        torch.testing.assert_close(got.z, want.z, rtol=0, atol=0)
    assert_same(got, want, close)
    assert got.tape is not None and want.tape is not None
    torch.testing.assert_close(got.tape.currents(), want.tape.currents(), rtol=0, atol=0)
    last = replace(w.cotangents, z=w.cotangents.z[-1:], raw=None)
    for c, pull in [*((w.cotangents, pull) for pull in pulls), (last, pulls[0])]:  # any number of times
        assert_same(got.tape.reverse(c, pull), want.tape.reverse(c, pull), close)


@executed
@pytest.mark.parametrize("name", [*NEURONS, THREE, FUNCTIONS])
@pytest.mark.parametrize("filters", [0, 1, 3])
def test_every_neuron_is_scanned_as_by_torch(name: str, filters: int) -> None:
    w = drawn(name, Shape(steps=12, filters=filters))
    if name == FUNCTIONS:
        program = w.scan.neuron.lowered()
        assert isinstance(program, Lowered) and len({line.op for line in program.lines}) > 20
    compare(w, pulls(w)[:2], spikes=given(name).spikes)


@executed
@pytest.mark.parametrize("name", ["LIF soft", THREE])
@pytest.mark.parametrize("shape", GRID, ids=str)
def test_every_shape_is_scanned_as_by_torch(name: str, shape: Shape) -> None:
    w = drawn(name, shape)
    compare(w, pulls(w), spikes=shape.steps > 1 and shape.unit != (1,))


@executed
@pytest.mark.parametrize("name", ["LIF soft", "ALIF hard, gradient", "SynapticLIF hard, gradient"])
def test_float32_agrees_to_its_precision(name: str) -> None:
    w = drawn(name, Shape(steps=12), F32)
    compare(w, pulls(w), spikes=True)


@executed
@pytest.mark.parametrize("name", ["LIF soft", THREE])
def test_gradients_are_those_of_autograd(name: str) -> None:
    w = drawn(name, Shape(steps=12))
    found = Triton().forward(w.scan, Save(tape=True)).tape
    assert found is not None
    assert_same(found.reverse(w.cotangents, Pull(parameters=w.names)), true_gradients(w), CLOSE[F64])


@executed
@pytest.mark.parametrize("rule", ["trace", "cascade", "eprop", "tbptt"])
def test_a_network_has_the_gradients_of_torch(rule: str) -> None:
    def gradients(backend: str) -> list[Tensor]:
        torch.manual_seed(0)
        net = nn.Sequential(
            tt.Layer(nn.Linear(9, 17), tt.LIF(half_life=tt.Learnable(5.0), threshold=0.6)),
            tt.Layer(nn.Linear(17, 13), tt.ALIF(half_life=tt.Learnable(4.0), adaptation_half_life=9.0, threshold=0.6)),
            tt.Layer(nn.Linear(13, 3), tt.LI(half_life=tt.Learnable(8.0))),
        ).to(DEVICE, F64)
        tt.set_rule(net, tt.rules.PRESETS[rule]())
        tt.set_backend(net, backend)
        tt.reset(net)
        xs = 2 * (torch.rand(2, 8, 3, 9, dtype=F64) < 0.4).to(DEVICE, F64)
        for part in xs:
            out = tt.scan(net, part)
            out.square().sum().backward()
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        assert len(grads) > 6 and all(float(g.abs().max()) > 1e-6 for g in grads)  # of layers that fire
        return [out.detach(), *grads]

    torch.testing.assert_close(gradients("triton"), gradients("torch"), **CLOSE[F64])


@executed
def test_another_window_is_told_apart() -> None:
    """Negative control: the comparison sees one input, one cotangent and one coefficient."""
    w = drawn("LIF soft", Shape(steps=12))
    got = Triton().forward(w.scan, w.save)
    drive = w.scan.drive.clone()
    drive[3, 1, 4] += 1
    with pytest.raises(AssertionError):
        assert_same(Triton().forward(replace(w.scan, drive=drive), w.save), got, CLOSE[F64])
    assert got.tape is not None and w.cotangents.filter is not None and w.cotangents.raw is not None
    c, want = w.cotangents, got.tape.reverse(w.cotangents, Pull())
    z, raw = c.z.clone(), w.cotangents.raw.clone()
    z[0, 0, 0] += 1e-3
    raw[-1, 2, 3] += 1e-3
    above = replace(w.cotangents.filter, a=w.cotangents.filter.a * (1 + 1e-6))
    for changed in (replace(c, z=z), replace(c, raw=raw), replace(c, filter=above)):
        with pytest.raises(AssertionError):
            assert_same(got.tape.reverse(changed, Pull()), want, CLOSE[F64])


@executed
def test_the_last_sensitivity_alone() -> None:
    w = drawn("ALIF hard, gradient", Shape(steps=5))
    assert w.save.sensitivity is not None
    last = Save(sensitivity=replace(w.save.sensitivity, history=False))
    got = Triton().forward(w.scan, last)
    assert got.tape is None and got.sensitivity is not None and got.sensitivity.shape[0] == 1
    assert_same(replace(got, tape=None), replace(Torch().forward(w.scan, last), tape=None), CLOSE[F64])


@executed
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("unit", [(17,), (2, 3)])
def test_outputs_are_written_where_they_are_wanted(contiguous: bool, unit: tuple[int, ...]) -> None:
    w = drawn("LIF soft", Shape(steps=5, unit=unit))
    out = torch.full((5, *w.scan.s[0].shape), math.nan, dtype=F64, device=DEVICE)
    out = out if contiguous else out.transpose(0, 1).contiguous().transpose(0, 1)
    found = Triton().forward(replace(w.scan, out=out), Save())
    assert found.z is out and found.tape is None
    torch.testing.assert_close(out, Torch().forward(w.scan, Save()).z, rtol=0, atol=0)


@executed
def test_what_was_passed_is_read_as_it_is_and_not_written() -> None:
    w = drawn("LIF refractory hard, gradient", Shape(steps=5, unit=(6,)))

    def strided(x: Tensor) -> Tensor:
        wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), math.nan, dtype=x.dtype, device=x.device)
        wide[..., ::2] = x
        return wide[..., ::2]

    scan = replace(w.scan, s=tuple(map(strided, w.scan.s)), drive=strided(w.scan.drive))
    c = replace(w.cotangents, z=strided(w.cotangents.z), s=strided(w.cotangents.s))
    passed = (*scan.s, scan.drive, c.z, c.s)
    copies = [x.clone() for x in passed]
    got, want = Triton().forward(scan, w.save), Torch().forward(w.scan, w.save)
    assert_same(got, want, CLOSE[F64])
    assert got.tape is not None and want.tape is not None
    assert_same(got.tape.reverse(c, Pull()), want.tape.reverse(w.cotangents, Pull()), CLOSE[F64])
    for x, copy in zip(passed, copies, strict=True):
        torch.testing.assert_close(x, copy, rtol=0, atol=0)


@executed
def test_narrow_currents_keep_the_dtype_of_the_states() -> None:
    w = drawn("LIF soft", Shape(steps=9, unit=(7,)), F32)  # its currents are exact in bfloat16
    narrow = replace(w.scan, drive=w.scan.drive.bfloat16())
    got, want = Triton().forward(narrow, w.save), Torch().forward(w.scan, w.save)
    assert_same(got, want, CLOSE[F32])
    assert got.tape is not None and want.tape is not None
    assert_same(got.tape.reverse(w.cotangents, Pull()), want.tape.reverse(w.cotangents, Pull()), CLOSE[F32])


@executed
@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (3, 0)])
def test_nothing_to_scan(steps: int, batch: int) -> None:
    w = drawn("LIF soft", Shape(steps=3, batch=2, unit=(5,)))
    scan = replace(w.scan, s=tuple(x[:batch] for x in w.scan.s), drive=w.scan.drive[:steps, :batch])
    found = Triton().forward(scan, Save(tape=True))
    assert found.z.shape == (steps, batch, 5) and found.s[0].shape == (batch, 5)
    torch.testing.assert_close(found.s, scan.s) if batch else None


class Sorted(tt.Neuron):
    """An operation that has no scalar form."""

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        v = torch.sort(self.beta * s.v + current, dim=-1).values
        return s.replace(v=v), v


def refused() -> dict[str, tuple[Callable[[Window], Any], str]]:
    return {
        "events": (lambda w: replace(w.scan, product=SimpleNamespace()), "events"),
        "recurrence": (lambda w: replace(w.scan, recurrent=SimpleNamespace()), "recurrent"),
        "neuron": (lambda w: replace(w.scan, neuron=Sorted(half_life=3.0).double()), "Sorted"),
        "states": (lambda w: replace(w.scan, s=tuple(x.half() for x in w.scan.s)), "float16"),
        "output": (lambda w: replace(w.scan, out=w.scan.drive.float()), "outputs"),
        "parameters": (lambda w: replace(w.scan, s=tuple(x.float() for x in w.scan.s)), "drive is torch.float64"),
    }


@executed
@pytest.mark.parametrize("what", refused())
def test_what_is_not_served_is_refused_with_the_reason(what: str) -> None:
    change, reason = refused()[what]
    w = drawn("LIF soft", Shape(steps=3))
    assert reason in Triton().why_not(change(w))
    assert Triton().why_not(w.scan) == ""


@executed
def test_too_many_units_are_refused() -> None:
    w = drawn("LIF soft", Shape(steps=3))
    wide = torch.zeros(1, 1, dtype=F64, device=DEVICE).expand(2**15, 2**15 + 1)
    assert "split the batch" in Triton().why_not(replace(w.scan, s=(wide,), drive=wide[None]))


@executed
def test_cotangents_that_do_not_fit_raise() -> None:
    w = drawn("LIF soft", Shape(steps=3))
    found = Triton().forward(w.scan, w.save).tape
    assert found is not None
    with pytest.raises(ValueError, match="fed=None"):
        found.reverse(replace(w.cotangents, fed=w.scan.s[0]), Pull())
    with pytest.raises(ValueError, match="level of zeros"):
        found.reverse(replace(w.cotangents, level=None), Pull())


def test_whether_it_pays_is_the_devices_question() -> None:
    w = window(given("LIF soft").make((17,)), Shape(steps=3))
    assert not Triton().pays(w.scan)
    assert Triton().events(w.scan.drive, torch.zeros(9, 17), True) is None
    assert available_backends()["triton"] == support.why_not()


@compiled
@absent_gpu
def test_a_cpu_needs_the_interpreter() -> None:
    w = window(given("LIF soft").make((17,)), Shape(steps=3))
    assert "TRITON_INTERPRET" in Triton().why_not(w.scan)


def test_kernels_are_shared_by_what_they_compute() -> None:
    def kernel(neuron: tt.Neuron, variant: Any) -> Any:
        return compile.kernel(neuron.lowered(), F32, 32, variant)

    plain = kernel(tt.LIF(half_life=5.0), compile.Forward())
    assert kernel(tt.LIF(half_life=7.0), compile.Forward()) is plain
    others = [
        kernel(tt.LIF(half_life=5.0, surrogate=tt.surrogates.ATan(3.0)), compile.Forward()),
        kernel(tt.LIF(half_life=5.0, refractory=1), compile.Forward()),
        kernel(tt.LIF(half_life=5.0), compile.Forward(traced=True)),
    ]
    assert len({id(k) for k in (plain, *others)}) == 4


@compiled
@absent_gpu
@pytest.mark.parametrize(
    ("name", "dtype"),
    [("LIF soft", F32), ("LIF refractory hard, gradient", F64), ("Mean", F32), (THREE, F64), (FUNCTIONS, F32)],
)
def test_kernels_compile_for_a_gpu_that_is_not_here(name: str, dtype: torch.dtype, tmp_path: Path, monkeypatch) -> None:
    """What the interpreter takes, the compiler need not: it makes machine code without a GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    class Absent:
        get_current_device = staticmethod(lambda: 0)
        get_current_stream = staticmethod(lambda device: 0)
        get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))

    made = []

    def compile_only(kernel: Any, arguments: Any, like: Tensor, total: int) -> None:
        block, warps = launch.launch_size(total)
        grid = (-(-total // block),)
        made.append(kernel.warmup(*arguments, num_warps=warps, enable_fp_fusion=False, grid=grid))

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(scan, "launch", compile_only)
    monkeypatch.setattr(tape, "launch", compile_only)
    few, many = (window(given(name).make((64,)), Shape(steps=5, unit=(64,), filters=m), dtype) for m in (0, 3))
    monkeypatch.setattr(driver, "_active", Absent())
    Triton().forward(few.scan, Save())
    for w, some in ((few, pulls(few)[:1]), (many, pulls(many))):
        found = Triton().forward(w.scan, w.save).tape
        assert found is not None
        for pull in some:
            found.reverse(w.cotangents, pull)
    assert [bool(k.asm["cubin"]) for k in made] == [True] * 10
    if name not in (THREE, FUNCTIONS):  # the device library's functions fuse
        assert not any("fma.rn" in k.asm["ptx"] for k in made)


@pytest.mark.gpu
@pytest.mark.skipif(not GPU, reason="needs a CUDA device")
@compiled
@pytest.mark.parametrize("name", ["LIF soft", "ALIF hard, gradient", THREE])
@pytest.mark.parametrize(("steps", "batch", "units"), [(1000, 2, 257), (40, 64, 1024)])
def test_long_and_wide_windows_on_a_gpu(name: str, steps: int, batch: int, units: int) -> None:
    w = drawn(name, Shape(steps=steps, batch=batch, unit=(units,)))
    compare(w, pulls(w), spikes=True, close={"rtol": 1e-9, "atol": 1e-9})


@compiled
@absent_gpu
def test_the_interpreter_agrees() -> None:
    """Run the tests marked `executed` in a process whose Triton interprets."""
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(Path(__file__))],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    if "only 0-dimensional arrays can be converted" in done.stdout:
        pytest.skip("this Triton's interpreter does not work with this NumPy")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
