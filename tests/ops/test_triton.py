"""The Triton kernels against the readable forms: on a GPU, and without one under Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ops.readable import F64, KAPPA, NAMES, Q, case, check, compare, expected
from torch import Tensor
from tracetorch.ops.walk import backends

import tracetorch as tt

pytest.importorskip("triton")
from tracetorch.ops import triton as kernels
from tracetorch.ops.triton.load import Variant
from tracetorch.ops.triton.load import kernels as compile_for

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
# With the variable set, Triton runs its kernels in Python, for the whole process: hence one of its own.
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in a process with TRITON_INTERPRET=1, started below")
compiled = pytest.mark.skipif(INTERPRETED, reason="Triton interprets its kernels here")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels run on the GPU itself")

SIZES = [(1, 3, 1), (63, 2, 7)]


@interpreted
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("steps", "batch", "units"), SIZES)
def test_kernels_equal_the_readable_forms(name: str, steps: int, batch: int, units: int):
    check(kernels, case(name, steps, batch, units), 1e-10)


@interpreted
@pytest.mark.parametrize("name", NAMES)
def test_many_programs_equal_the_readable_forms(name: str):
    check(kernels, case(name, 2, 1, 257), 1e-10)  # nine programs, the last with one unit


@interpreted
@pytest.mark.parametrize("name", NAMES)
def test_float32_spikes_are_the_readable_ones(name: str):
    c = case(name, 20, 2, 7, torch.float32)
    found = kernels.run_forward(c.neuron.scalar(), c.current, None, s=c.s, params=c.params, record=False)
    want = expected(c).forward
    compare(found.z, want.z, "z", 1e-6 if name == "li" else 0.0)
    check(kernels, c._replace(current=c.current[:3], signal=c.signal[:3]), 1e-4)


def check_bfloat16(name: str, steps: int, batch: int, units: int, device: str) -> None:
    c = case(name, steps, batch, units, torch.float32, device)
    current, signal = c.current.bfloat16(), c.signal.bfloat16()
    want = expected(c._replace(current=current.float(), signal=signal.float()))
    f = kernels.run_forward(
        c.neuron.scalar(),
        current,
        None,
        s=c.s,
        params=c.params,
        record=True,
        states=True,
        traced=(c.sigma, c.h, Q),
        history=True,
    )
    r = kernels.run_reverse(
        c.neuron.scalar(),
        c.s,
        current,
        params=c.params,
        signal=signal,
        carry=(c.lam, c.leaving, KAPPA),
        history=True,
        sent=True,
    )
    assert {f.z.dtype, f.drive.dtype, r.drive.dtype, r.below.dtype} == {torch.bfloat16}
    kept = (*f.last, *f.before, f.sigma, f.h, f.history, r.states, r.signal, r.start, r.leaving)
    assert {x.dtype for x in kept} == {torch.float32}
    for name in ("last", "before", "sigma", "h", "history"):
        compare(getattr(f, name), getattr(want.forward, name), name, 1e-4)
    compare(f.z.float(), want.forward.z, "z", 1e-2)
    for name in ("states", "signal", "start", "leaving"):
        compare(getattr(r, name), getattr(want.reverse, name), name, 1e-4)
    for name in ("drive", "below"):
        compare(getattr(r, name).float(), getattr(want.reverse, name), name, 1e-2)


@interpreted
@pytest.mark.parametrize("name", ["lif", "synaptic", "li"])
def test_bfloat16_currents_keep_float32_states(name: str):
    check_bfloat16(name, 9, 2, 7, "cpu")


@interpreted
def test_inputs_need_not_be_contiguous():
    c = case("lif", 9, 2, 6)

    def strided(x: Tensor) -> Tensor:
        wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), float("nan"), dtype=x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]

    same = {k: strided(getattr(c, k)) for k in ("current", "sigma", "h", "signal", "lam", "leaving")}
    check(kernels, c._replace(**same, s=tuple(strided(x) for x in c.s)), 1e-10)


@interpreted
@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (3, 0)])
def test_nothing_to_walk(steps: int, batch: int):
    c = case("alif", steps, batch, 5)
    f = kernels.run_forward(c.neuron.scalar(), c.current, None, s=c.s, params=c.params, record=True, states=True)
    assert f.z.shape == (steps, batch, 5)
    compare(f.last, c.s, "last", 0.0) if batch else None


def test_what_is_not_served_raises():
    c = case("lif", 3, 2, 5)
    scalar, given = c.neuron.scalar(), {"s": c.s, "params": c.params, "record": False}
    with pytest.raises(ValueError, match="not a synapse"):
        kernels.run_forward(scalar, c.current, (torch.eye(5), None), **given)
    with pytest.raises(ValueError, match="sums"):
        kernels.run_forward(scalar, c.current, None, **given, sums=(torch.ones(1, 3), torch.ones(1, 2, 5)))
    with pytest.raises(ValueError, match="traced="):
        kernels.run_forward(scalar, c.current, None, **given, history=True)
    with pytest.raises(TypeError, match="wanted"):
        kernels.run_forward(scalar, c.current, None, **given, wanted=True)
    back = {"params": c.params, "carry": (c.lam, c.leaving, 0.0)}
    with pytest.raises(ValueError, match="2 steps"):
        kernels.run_reverse(scalar, c.s, c.current, signal=c.signal[:2], **back)
    with pytest.raises(TypeError, match="wanted"):
        kernels.run_reverse(scalar, c.s, c.current, signal=c.signal, **back, wanted=True)
    with pytest.raises(TypeError, match="float16"):
        compile_for(scalar, torch.float16, Variant(32, 4))


@compiled
def test_a_cpu_needs_the_interpreter():
    c = case("lif", 3, 2, 5)
    with pytest.raises(RuntimeError, match="TRITON_INTERPRET"):
        kernels.run_forward(c.neuron.scalar(), c.current, None, s=c.s, params=c.params, record=False)


def test_every_step_has_kernels_of_its_own():
    variant = Variant(32, 4)
    plain = tt.LIF(half_life=5.0)
    others = [tt.LIF(half_life=5.0, surrogate=tt.surrogates.ATan(3.0)), tt.LIF(half_life=5.0, refractory=1)]
    found = [compile_for(n.scalar(), torch.float32, variant) for n in (plain, *others)]
    assert len({id(m) for m in found}) == 3
    assert compile_for(tt.LIF(half_life=7.0).scalar(), torch.float32, variant) is found[0]
    assert backends()["triton"] in ("", kernels.why_not())


@compiled
@without_gpu
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_kernels_compile_for_a_gpu_that_is_not_here(name: str, dtype: torch.dtype, tmp_path: Path, monkeypatch):
    """What the interpreter takes, the compiler need not: it makes machine code without a GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    from tracetorch.ops.triton import run

    class Absent:
        get_current_device = staticmethod(lambda: 0)
        get_current_stream = staticmethod(lambda device: 0)
        get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))

    made = []

    def compile_only(kernel, arguments, x, total):
        block, warps = run.launch_size(total)
        grid = (-(-total // block),)
        made.append(kernel.warmup(*arguments, num_warps=warps, enable_fp_fusion=False, grid=grid))

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(run, "_launch", compile_only)
    monkeypatch.setattr(run, "_check", lambda x: None)
    c = case(name, 5, 3, 64, dtype)
    scalar, carry = c.neuron.scalar(), (c.lam, c.leaving, KAPPA)
    monkeypatch.setattr(driver, "_active", Absent())
    traced = (c.sigma, c.h, Q)
    kernels.run_forward(
        scalar, c.current, None, s=c.s, params=c.params, record=True, states=True, traced=traced, history=True
    )
    kernels.run_reverse(scalar, c.s, c.current, params=c.params, signal=c.signal, carry=carry, history=True, sent=True)
    assert [bool(k.asm["cubin"]) for k in made] == [True, True, True]
    if name != "alif":  # the logistic function's exponential in double precision is a library's
        assert ["fma.rn" in k.asm["ptx"] for k in made] == [False, False, False]


@compiled
@without_gpu
def test_the_interpreter_agrees():
    """Run the tests marked `interpreted` in a process whose Triton interprets."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(Path(__file__)),
    ]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTEST_ADDOPTS": ""}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
    if "only 0-dimensional arrays can be converted" in done.stdout:
        pytest.skip("this Triton's interpreter does not work with this NumPy")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.gpu
@on_gpu
@compiled
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("steps", "batch", "units"), [*SIZES, (5, 3, 257), (1000, 2, 257), (40, 64, 1024)])
def test_gpu_kernels_equal_the_readable_forms(name: str, steps: int, batch: int, units: int):
    check(kernels, case(name, steps, batch, units, device="cuda"), 1e-10)


@pytest.mark.gpu
@on_gpu
@compiled
@pytest.mark.parametrize("name", NAMES)
def test_gpu_float32_spikes_are_the_readable_ones(name: str):
    c = case(name, 40, 64, 257, torch.float32, "cuda")
    found = kernels.run_forward(c.neuron.scalar(), c.current, None, s=c.s, params=c.params, record=False)
    compare(found.z, expected(c).forward.z, "z", 1e-6 if name == "li" else 0.0)
    check_bfloat16(name, 40, 3, 257, "cuda")
