"""Convolutions that are formed from events agree with torch's, in values and in the gradient of the kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from backends.windows import Drawing
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.backends.numba import Numba, Tuning
from tracetorch.backends.torch import Torch
from tracetorch.synapses import ConvSynapse, synapse_of

pytest.importorskip("numba")

F32, F64 = torch.float32, torch.float64
CLOSE = {F64: 1e-12, F32: 1e-5}
MODULES: dict[str, tuple[Callable[[], nn.Conv1d | nn.Conv2d], tuple[int, ...]]] = {
    "1d": (lambda: nn.Conv1d(3, 5, 4, padding=2), (3, 17)),
    "1d, stride, dilation": (lambda: nn.Conv1d(2, 9, 3, stride=2, padding=3, dilation=2, bias=False), (2, 23)),
    "1d, groups": (lambda: nn.Conv1d(4, 6, 2, groups=2), (4, 9)),
    "2d": (lambda: nn.Conv2d(2, 12, 5), (2, 11, 13)),
    "2d, one place": (lambda: nn.Conv2d(2, 3, 4), (2, 4, 4)),
    "2d, wide": (lambda: nn.Conv2d(1, 40, 3, padding=1), (1, 18, 17)),
    "2d, stride": (lambda: nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), (3, 9, 8)),
    "2d, stride beyond the kernel": (lambda: nn.Conv2d(2, 4, 2, stride=3), (2, 10, 11)),
    "2d, all different": (lambda: nn.Conv2d(2, 8, (3, 5), (2, 3), (1, 4), (3, 2)), (2, 13, 19)),
    "2d, depthwise": (lambda: nn.Conv2d(3, 6, 3, groups=3, padding=1), (3, 6, 7)),
    "2d, padded more than the kernel": (lambda: nn.Conv2d(2, 4, 2, padding=3), (2, 4, 5)),
    "2d, same and even": (lambda: nn.Conv2d(2, 3, (2, 4), padding="same"), (2, 6, 5)),
    "2d, circular": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 6, 5)),
    "2d, reflect": (lambda: nn.Conv2d(4, 4, 3, stride=2, padding=1, padding_mode="reflect", groups=2), (4, 7, 6)),
}


def close(got: Tensor, want: Tensor) -> None:
    assert got.shape == want.shape and got.dtype == want.dtype
    assert float(want.norm()) > 0
    assert float((got - want).norm()) <= CLOSE[want.dtype] * float(want.norm())


def products(module: nn.Module, x: Tensor, sparse: bool | None = True):
    return Numba().convolution(synapse_of(module), x.unsqueeze(0), sparse)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_values_and_gradients_are_those_of_torch(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    make, shape = MODULES[name]
    module, draw = make().to(dtype), Drawing(dtype)
    x = draw.spikes(19, *shape, share=0.15) * (0.5 + draw.normal(19, *shape))
    x[3] = 0
    want = module(x)
    q = draw.normal(*want.shape)
    found, synapse = products(module, x), synapse_of(module)
    assert found is not None
    close(found.current(x), want.detach())
    weight = torch.autograd.grad(want, module.weight, q)[0]
    close(found.weight_grad(synapse.features(x), q), weight)
    few = q * draw.spikes(*q.shape, share=0.3)
    leaf = x.clone().requires_grad_()
    below = torch.autograd.grad(module(leaf), leaf, few)[0]
    close(found.input_grad(few, x, None), below)
    close(found.input_grad(few, x, 2 * module.weight.detach()), 2 * below)
    assert float((found.weight_grad(synapse.features(x), q.flip(0)) - weight).norm()) > 0.1 * float(weight.norm())


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_without_an_event_there_is_the_bias_and_no_gradient(dtype: torch.dtype) -> None:
    module = nn.Conv2d(2, 5, 3).to(dtype)
    x = torch.zeros(4, 2, 6, 6, dtype=dtype)
    found = products(module, x)
    assert found is not None
    assert torch.equal(found.current(x), module.bias.detach().view(5, 1, 1).expand(4, 5, 4, 4))
    assert not found.weight_grad(x, torch.ones(4, 5, 4, 4, dtype=dtype)).any()


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    draw, module = Drawing(F32), nn.Conv2d(2, 7, 3)
    x, q = draw.spikes(50, 2, 9, 9, share=0.2), draw.normal(50, 7, 7, 7)
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found = products(module, x)
            assert found is not None
            results.append((found.current(x), found.weight_grad(x, q)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for row in results[1:] for a, b in zip(row, results[0], strict=True))


def test_inputs_and_cotangents_of_any_strides_are_taken() -> None:
    draw, module = Drawing(F64), nn.Conv2d(2, 3, 3).double()
    x = draw.spikes(6, 5, 7, 2, share=0.3).permute(0, 3, 1, 2)
    q = draw.normal(3, 3, 5, 6).permute(3, 0, 1, 2)
    found = products(module, x)
    assert found is not None
    close(found.current(x), module(x).detach())
    close(found.weight_grad(x, q), torch.autograd.grad(module(x), module.weight, q)[0])


def test_what_is_dense_or_small_or_unknown_is_left_to_the_synapse() -> None:
    draw, module, narrow = Drawing(F32), nn.Conv2d(2, 64, 3), nn.Conv2d(2, 8, 3)
    sparse, dense = draw.spikes(20, 2, 9, 9, share=0.05), draw.spikes(20, 2, 9, 9, share=0.6)

    def eventful(module: nn.Module, x: Tensor, sparse: bool | None) -> bool:
        found = products(module, x, sparse)
        assert found is not None
        return found.eventful

    assert eventful(module, sparse, None) and eventful(module, dense, True)
    assert products(module, sparse, False) is None
    assert not eventful(module, dense, None)
    assert not eventful(narrow, sparse, None)
    assert not eventful(nn.Conv2d(2, 16, 3, stride=2), sparse, None)
    assert products(module, sparse[:4], None) is None
    assert products(module, sparse.double(), True) is None
    assert products(nn.Conv2d(2, 8, 3).half(), sparse.half(), True) is None
    assert products(nn.ConvTranspose2d(2, 8, 3), sparse, True) is None
    assert products(nn.Conv3d(2, 8, 3), sparse.unsqueeze(-1), True) is None
    assert Torch().convolution(synapse_of(module), sparse.unsqueeze(0), True) is None
    tuned = Numba(replace(Tuning(), convolution=0.9)).convolution(synapse_of(module), dense.unsqueeze(0))
    assert tuned is not None and tuned.eventful

    class Other(ConvSynapse):
        def current(self, x: Tensor) -> Tensor:
            return 2 * super().current(x)

    assert Numba().convolution(Other(nn.Conv2d(2, 8, 3)), sparse.unsqueeze(0), True) is None


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.6, 1.0])
def test_credit_goes_below_by_events_or_by_the_synapse(
    stride: int, density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, module = Drawing(F64), nn.Conv2d(32, 6, 3, stride=stride, padding=1).double()
    x = draw.spikes(20, 32, 9, 9, share=0.1).requires_grad_()
    y = module(x)
    q = draw.normal(*y.shape) * draw.spikes(*y.shape, share=density)
    x, want = x.detach(), torch.autograd.grad(y, x, q)[0]
    found = products(module, x, None)
    assert found is not None
    calls: list[bool] = []
    dense = ConvSynapse.input_grad
    monkeypatch.setattr(ConvSynapse, "input_grad", lambda *args: calls.append(True) or dense(*args))
    got = found.input_grad(q, x, None).detach()
    assert float((got - want).norm()) <= 1e-12 * float(want.norm()) and (density == 0.0 or bool(want.any()))
    assert bool(calls) == (density > 0.3)


@pytest.mark.parametrize(
    ("rule", "learned"),
    [*((name, False) for name in ("trace", "sltt", "drtrl", "eprop", "traced_bptt", "bptt")), ("bptt", True)],
)
def test_a_network_learns_the_same_from_events(rule: str, learned: bool) -> None:
    xs = Drawing(F64).spikes(12, 4, 2, 9, 9, share=0.2)
    found = []
    for sparse in (True, False):
        torch.manual_seed(1)
        first = tt.LIF(half_life=tt.Learnable(4.0) if learned else 4.0, threshold=0.3)
        net = nn.Sequential(
            tt.Layer(nn.Conv2d(2, 6, 3), first),
            nn.MaxPool2d(2),
            tt.Layer(nn.Conv2d(6, 5, 2, stride=2, padding=1), tt.LIF(half_life=4.0, threshold=0.2)),
            nn.Flatten(),
            tt.Layer(nn.Linear(20, 3), tt.LI(half_life=4.0)),
        ).double()
        tt.set_rule(net, tt.rules.PRESETS[rule]())
        tt.set_backend(net, "numba", sparse=sparse)
        ys = tt.scan(net, xs)
        (ys * torch.linspace(-1, 1, ys.numel(), dtype=F64).view_as(ys)).sum().backward()
        with torch.no_grad():
            tt.reset(net)
            rates = [float(tt.scan(net[:n], xs).mean()) for n in (1, 3)]
        assert min(rates) > 0.02
        found.append([ys.detach(), *(p.grad for p in net.parameters())])
    for events, dense in zip(*found, strict=True):
        close(events, dense)
