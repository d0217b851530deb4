"""Exported networks run in onnxruntime as in torch, over many steps; weights of eight bits."""

import numpy as np
import pytest
import torch
from export.networks import NETWORKS, make
from torch import nn

import tracetorch as tt

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxscript", reason="the package onnxscript is not installed")
ort = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")


def session(module, x, tmp_path):
    file = tmp_path / "net.onnx"
    tt.export.to_onnx(module, x, file)
    onnx.checker.check_model(str(file))
    return ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def run(runtime, module, xs):
    """Run steps in the runtime, the state fed back by its names."""
    state = {name: v.numpy() for name, v in zip(module.names, module.zeros(xs[0]), strict=True)}
    known = {i.name for i in runtime.get_inputs()}
    ys = []
    for x in xs:
        names = [o.name for o in runtime.get_outputs()]
        feed = {k: v for k, v in {"x": x.numpy(), **state}.items() if k in known}
        values = dict(zip(names, runtime.run(None, feed), strict=True))
        ys.append(values["y"])
        state = {name: values[f"next/{name}"] for name in module.names}
    return torch.from_numpy(np.stack(ys)), state


def assert_equal(found, expected):
    """To 1e-6 of the largest output, or of one."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("name", NETWORKS)
def test_onnxruntime_equals_torch_over_many_steps(name, tmp_path):
    net, xs = make(name, steps=300, batch=3)
    module = tt.export.step(net)
    runtime = session(module, xs[0, :1], tmp_path)
    found, state = run(runtime, module, xs)
    with torch.no_grad():
        expected = torch.stack([net(x) for x in xs])
    assert_equal(found, expected)
    saved = module.restored(tt.get_state(net))
    for key, value in zip(module.names, saved, strict=True):
        np.testing.assert_allclose(state[key], value.numpy(), rtol=1e-5, atol=5e-6, err_msg=key)


@pytest.mark.parametrize("name", ["dense", "recurrent", "convolutional"])
def test_spikes_are_equal_in_onnxruntime(name, tmp_path):
    net, xs = make(name, steps=300, batch=3)
    spiking = nn.Sequential(*list(net)[:-1])
    module = tt.export.step(spiking)
    found, _ = run(session(module, xs[0], tmp_path), module, xs)
    with torch.no_grad():
        expected = torch.stack([spiking(x) for x in xs])
    assert 0.01 < expected.mean() < 0.9
    assert torch.equal(found, expected)


def test_a_window_in_onnxruntime(tmp_path):
    net, xs = make("recurrent", steps=10)
    module = tt.export.window(net, 10)
    runtime = session(module, xs, tmp_path)
    state = {name: v.numpy() for name, v in zip(module.names, module.zeros(xs), strict=True)}
    ys = runtime.run(["y"], {"x": xs.numpy(), **state})[0]
    with torch.no_grad():
        assert_equal(torch.from_numpy(ys), tt.scan(net, xs))


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = (tt.Layer(nn.Linear(6, n), tt.LI(half_life=3)) for n in (2, 3))

    def forward(self, x):
        return {"a": self.a(x), "b": self.b(x)}


def test_several_outputs_have_numbers(tmp_path):
    x = torch.rand(4, 6)
    runtime = session(tt.export.step(TwoHeads()), x, tmp_path)
    names = [o.name for o in runtime.get_outputs()]
    assert names == ["y.0", "y.1", "next/a/v", "next/b/v"]


@pytest.mark.parametrize("name", ["dense", "recurrent", "convolutional", "changed"])
def test_eight_bits_in_onnxruntime(name, tmp_path):
    net, xs = make(name, steps=100)
    module = tt.export.step(net)
    small = tt.export.int8(module)
    found, _ = run(session(small, xs[0], tmp_path), small, xs)
    state = small.zeros(xs[0])
    for x, y in zip(xs, found, strict=True):
        expected, state = small(x, state)
        assert_equal(y, expected)


def test_a_file_with_eight_bits_is_a_quarter_as_large(tmp_path):
    net = nn.Sequential(tt.Layer(nn.Linear(300, 400), tt.LIF(half_life=5)))
    module, x = tt.export.step(net), torch.rand(2, 300)
    tt.export.to_onnx(module, x, tmp_path / "large.onnx")
    tt.export.to_onnx(tt.export.int8(module), x, tmp_path / "small.onnx")
    sizes = [sum(f.stat().st_size for f in tmp_path.glob(f"{n}.onnx*")) for n in ("large", "small")]
    assert sizes[1] < 0.3 * sizes[0]
