"""Every adapter agrees with autograd through the plain module, in values and in each of its derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.synapses import Synapse, synapse_of

F64 = torch.float64
BATCH = 3
MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Linear": (lambda: nn.Linear(5, 4), (5,)),
    "Linear with positions": (lambda: nn.Linear(5, 4, bias=False), (2, 3, 5)),
    "Conv1d": (lambda: nn.Conv1d(2, 4, 3, stride=2, padding=2, dilation=2), (2, 9)),
    "Conv1d groups": (lambda: nn.Conv1d(4, 6, 2, groups=2, bias=False), (4, 5)),
    "Conv2d": (lambda: nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 5, 6)),
    "Conv2d depthwise": (lambda: nn.Conv2d(3, 6, 2, groups=3), (3, 4, 4)),
    "Conv2d same": (lambda: nn.Conv2d(2, 3, 3, padding="same"), (2, 4, 3)),
    "Conv2d same, even": (lambda: nn.Conv2d(2, 3, (2, 4), padding="same"), (2, 5, 4)),
    "Conv2d same, even and dilated": (lambda: nn.Conv2d(2, 3, (2, 3), padding="same", dilation=(3, 2)), (2, 5, 6)),
    "Conv2d valid": (lambda: nn.Conv2d(2, 3, 2, padding="valid"), (2, 4, 4)),
    "Conv2d circular": (lambda: nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode="circular"), (2, 4, 5)),
    "Conv2d reflect, strided": (lambda: nn.Conv2d(2, 4, 3, 2, 1, padding_mode="reflect", groups=2), (2, 4, 5)),
    "Conv1d replicate, same, even": (lambda: nn.Conv1d(2, 3, 4, padding="same", padding_mode="replicate"), (2, 6)),
    "Conv3d": (lambda: nn.Conv3d(2, 4, (2, 3, 2), stride=(1, 2, 1), padding=(0, 1, 1), groups=2), (2, 3, 4, 3)),
    "Conv3d dilated, no bias": (lambda: nn.Conv3d(1, 2, 2, dilation=(1, 2, 1), bias=False), (1, 3, 4, 3)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(3, 4, 3, stride=2, padding=1, output_padding=1), (3, 4)),
    "ConvTranspose1d padded more than it is wide": (lambda: nn.ConvTranspose1d(2, 3, 2, stride=2, padding=2), (2, 5)),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), groups=2, dilation=(1, 3)),
        (4, 3, 2),
    ),
    "ConvTranspose2d no bias": (lambda: nn.ConvTranspose2d(2, 3, 2, bias=False), (2, 3, 3)),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(2, 2, 2, stride=(2, 1, 1), groups=2, padding=1), (2, 3, 3, 4)),
    "declared Conv2d": (lambda: tt.LinearInWeights(nn.Conv2d(2, 3, 2, bias=False)), (2, 3, 3)),
}


@pytest.fixture(params=MODULES)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, Synapse, Tensor]:
    torch.manual_seed(0)
    make, shape = MODULES[request.param]
    module = make().double()
    return module, synapse_of(module), torch.randn(BATCH, *shape, dtype=F64)


def close(a: Tensor, b: Tensor) -> None:
    assert a.shape == b.shape
    assert float(b.norm()) > 0
    assert float((a - b).norm()) <= 1e-12 * float(b.norm())


def per_sample(module: nn.Module, x: Tensor, q: Tensor) -> Tensor:
    """The gradient of each sample's `<q, I>` by the first parameter, by autograd."""
    weight = next(module.parameters())
    rows = [torch.autograd.grad((module(x[b : b + 1]) * q[b : b + 1]).sum(), weight)[0] for b in range(len(x))]
    return torch.stack(rows)


def test_values_and_shapes(pair: tuple[nn.Module, Synapse, Tensor]) -> None:
    module, synapse, x = pair
    want = module(x).detach()
    close(synapse.current(x).detach(), want)
    assert synapse.out_units(x) == want.shape[1:]
    assert synapse.like(x).shape == want.shape
    assert synapse_of(module.bfloat16()).like(x.bfloat16()).dtype == torch.float32
    bias = synapse.bias()
    assert bias is None or torch.broadcast_to(bias, want.shape).shape == want.shape


def test_gradients_are_autograds(pair: tuple[nn.Module, Synapse, Tensor]) -> None:
    module, synapse, x = pair
    leaf = x.clone().requires_grad_()
    out = module(leaf)
    q = torch.randn_like(out)
    weight = next(module.parameters())
    want_x, want_w = torch.autograd.grad(out, (leaf, weight), q)
    close(synapse.input_grad(q, x, None), want_x)
    close(synapse.weight_grad(synapse.features(x), q)[0], want_w)
    fed = synapse.feedback_weight()
    if fed is not None:
        other = torch.randn_like(weight)
        swapped = torch.func.functional_call(module, {"weight": other}, (leaf,))
        (want,) = torch.autograd.grad(swapped, leaf, q)
        close(synapse.input_grad(q, x, other), want)
        with pytest.raises(AssertionError):
            close(synapse.input_grad(q, x, other), want_x)  # the feedback is what is used


def test_the_unfolded_features_give_each_samples_gradient(pair: tuple[nn.Module, Synapse, Tensor]) -> None:
    module, synapse, x = pair
    q = torch.randn_like(module(x))
    patches = synapse.patches(synapse.features(x)).unsqueeze(0)
    trace = synapse.outer(synapse.units(q).unsqueeze(0), patches)  # [B, G, O, L, K]: before the sum over positions
    want = per_sample(module, x, q)
    for b in range(BATCH):
        close(synapse.fold(trace[b].sum(-2))[0], want[b])
    close(synapse.contract(torch.ones_like(q), trace)[0], want.sum(0))
    other = torch.randn_like(q)
    close(synapse.contract(other, trace)[0], per_sample(module, x, q * other).sum(0))


def test_outer_sums_over_time(pair: tuple[nn.Module, Synapse, Tensor]) -> None:
    module, synapse, x = pair
    xs, steps = torch.stack([x, 2 * x - 1, x**2]), 3
    q = torch.randn(steps, *module(x).shape, dtype=F64)
    patches = torch.stack([synapse.patches(synapse.features(row)) for row in xs])
    units = torch.stack([synapse.units(row) for row in q])
    trace = synapse.outer(units, patches)
    want = sum(per_sample(module, xs[t], q[t]).sum(0) for t in range(steps))
    close(synapse.contract(torch.ones_like(q[0]), trace)[0], want)


@pytest.mark.parametrize("name", MODULES)
def test_an_input_of_another_form_is_refused(name: str) -> None:
    make, shape = MODULES[name]
    module = make()
    if isinstance(module, tt.LinearInWeights):
        pytest.skip("the module itself says what it takes")
    with pytest.raises(ValueError, match="takes inputs"):
        synapse_of(module).check(torch.zeros(BATCH, shape[0] + 1, *[n + 1 for n in shape[1:]]))
    with pytest.raises(ValueError, match="takes inputs"):
        synapse_of(module).check(torch.zeros(shape[0] + 1))
