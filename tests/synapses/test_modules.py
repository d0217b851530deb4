"""Ordinary PyTorch around a synapse: right values and gradients in each iteration, or an error that says what to do."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import tracetorch as tt
from tracetorch.backends.numba import why_not

F64 = torch.float64
INPUTS, UNITS = 5, 8
RULE = tt.rules.drtrl()  # exact for one layer


class Masked(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return nn.functional.linear(x, self.weight.tril(), self.bias)


class Dale(nn.Linear):
    """Not even linear in its weight: excitatory and inhibitory inputs keep their signs."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__(inputs, units)
        self.register_buffer("sign", 1.0 - 2.0 * (torch.arange(inputs) % 3 == 2))
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return nn.functional.linear(x, self.weight.abs() * self.sign, self.bias)


class Abs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, weight: Tensor) -> Tensor:
        self.calls += 1
        return 0.2 * weight.abs()


def linear(bias: bool = True) -> nn.Linear:
    return nn.Linear(INPUTS, UNITS, bias=bias)


def frozen() -> nn.Linear:
    module = linear()
    module.weight.requires_grad_(False)
    return module


def pruned() -> nn.Module:
    return prune.random_unstructured(linear(), "weight", 0.3)


def pruned_twice() -> nn.Module:
    return prune.random_unstructured(prune.l1_unstructured(pruned(), "weight", 0.2), "bias", 0.25)


def hook_normed() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own: this form is deprecated
        return torch.nn.utils.weight_norm(linear())


def spectral() -> nn.Module:
    return parametrizations.spectral_norm(linear()).eval()  # in training the weight is another one at each call


def parametrized() -> nn.Module:
    return parametrize.register_parametrization(linear(), "weight", Abs())


def declared_frozen() -> nn.Module:
    module = Dale(INPUTS, UNITS)
    module.bias.requires_grad_(False)
    return tt.LinearInWeights(module)


SYNAPSES: dict[str, Callable[[], nn.Module]] = {
    "plain": linear,
    "no bias": lambda: linear(bias=False),
    "frozen weight": frozen,
    "pruned": pruned,
    "pruned twice, and its bias": pruned_twice,
    "weight_norm by a hook": hook_normed,
    "weight_norm": lambda: parametrizations.weight_norm(linear()),
    "spectral_norm": spectral,
    "orthogonal": lambda: parametrizations.orthogonal(linear()),
    "parametrized": parametrized,
    "declared, its own forward": lambda: tt.LinearInWeights(Masked(INPUTS, UNITS)),
    "declared, Dale's law": lambda: tt.LinearInWeights(Dale(INPUTS, UNITS)),
    "declared, a frozen bias": declared_frozen,
    "declared, pruned": lambda: tt.LinearInWeights(pruned()),
    "declared, parametrized": lambda: tt.LinearInWeights(parametrized()),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(4)
    module = SYNAPSES[name]().double()
    with torch.no_grad():
        if isinstance(module, nn.Linear) and "parametrizations" not in module._modules:
            for p in module.parameters():
                p.mul_(2.0)
    return module


def inputs(steps: int = 7, batch: int = 3) -> Tensor:
    return 6.0 * torch.rand(steps, batch, INPUTS, dtype=F64, generator=torch.Generator().manual_seed(1))


def descend(module: nn.Module, iterations: int, loss: Callable[[], Tensor | None]) -> list[dict[str, Tensor | None]]:
    """Three steps of plain descent, so that weights of the iteration before would be noticed."""
    found = []
    for _ in range(iterations):
        module.zero_grad()
        total = loss()
        if total is not None:
            total.backward()
        found.append({n: None if p.grad is None else p.grad.clone() for n, p in module.named_parameters()})
        with torch.no_grad():
            for p in module.parameters():
                if p.grad is not None:
                    p.sub_(0.01 * p.grad)
    return found


def by_autograd(module: nn.Module, xs: Tensor) -> list[dict[str, Tensor | None]]:
    neuron = tt.LIF(half_life=4).double()

    def loss() -> Tensor:
        state = neuron.pack(neuron.zeros(torch.zeros(xs.shape[1], UNITS, dtype=F64)))
        total, spikes = torch.zeros((), dtype=F64), []
        for x in xs:
            state, z = neuron.step(state, module(x))
            total = total + (z * torch.linspace(-1, 2, UNITS, dtype=F64)).sum()
            spikes.append(z.detach())
        assert 0.05 < float(torch.stack(spikes).mean()) < 0.95
        return total

    return descend(module, 3, loss)


def by_layer(module: nn.Module, xs: Tensor, splits: list[int]) -> list[dict[str, Tensor | None]]:
    net = tt.Layer(module, tt.LIF(half_life=4), rule=RULE).double()

    def loss() -> None:
        tt.reset(net)
        for part in xs.split(splits):
            ys = net(part[0]).unsqueeze(0) if len(part) == 1 else tt.scan(net, part)
            (ys * torch.linspace(-1, 2, UNITS, dtype=F64)).sum().backward()

    return descend(module, 3, loss)


@pytest.mark.parametrize("splits", [[1] * 7, [3, 1, 3]], ids=["steps", "windows"])
@pytest.mark.parametrize("name", SYNAPSES)
def test_gradients_are_autograds_in_each_iteration(name: str, splits: list[int]) -> None:
    wants = by_autograd(made(name), inputs())
    gots = by_layer(made(name), inputs(), splits)
    for got, want in zip(gots, wants, strict=True):
        assert got.keys() == want.keys()
        for key, value in want.items():
            if value is None:
                assert got[key] is None, key
            else:
                assert got[key] is not None and float(value.norm()) > 0, key
                assert float((got[key] - value).norm()) <= 1e-10 * float(value.norm()), key
    first, second = wants[0], wants[1]
    assert any(v is not None and not torch.allclose(v, second[k]) for k, v in first.items())  # weights did move


def test_a_parametrization_is_computed_once_a_call_and_not_in_the_backward() -> None:
    layer = tt.Layer(parametrized(), tt.LIF(half_life=4), rule=RULE)
    count = layer.synapse.parametrizations.weight[0]
    for call in (lambda: layer(torch.ones(2, INPUTS)), lambda: tt.scan(layer, torch.ones(6, 2, INPUTS))):
        before = count.calls
        call().sum().backward()
        assert count.calls == before + 1


REFUSED: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "own forward": (lambda: Masked(3, 3), TypeError, "tt.LinearInWeights.*tt.register_synapse"),
    "own _conv_forward": (
        lambda: type("Odd", (nn.Conv2d,), {"_conv_forward": lambda self, x, w, b: x})(1, 1, 1),
        TypeError,
        "_conv_forward.*tt.register_synapse",
    ),
    "quantisation-aware": (
        lambda: type("QAT", (nn.ConvTranspose1d,), {"forward": lambda self, x: x})(1, 1, 1),
        TypeError,
        "its own forward",
    ),
    "container": (lambda: nn.Sequential(nn.Linear(3, 3)), TypeError, "tt.LinearInWeights"),
    "compiled": (lambda: torch.compile(nn.Linear(3, 3), backend="eager"), TypeError, "OptimizedModule"),
    "LazyLinear": (lambda: nn.LazyLinear(3), ValueError, "first input"),
    "LazyConv2d": (lambda: nn.LazyConv2d(3, 2), ValueError, "first input"),
    "declared lazy": (lambda: tt.LinearInWeights(nn.LazyLinear(3)), ValueError, "first input"),
    "declared without parameters": (lambda: tt.LinearInWeights(nn.ReLU()), ValueError, "no parameters"),
    "a neuron": (lambda: tt.LIF(half_life=3), TypeError, "synapse"),
    "spectral_norm by a hook": (
        lambda: torch.nn.utils.spectral_norm(nn.Linear(3, 3)),
        TypeError,
        "parametrizations.spectral_norm",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_traced_is_refused_with_the_cure(name: str) -> None:
    make, error, words = REFUSED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = make()
    with pytest.raises(error, match=words):
        tt.Layer(module, tt.LIF(half_life=3))


def test_dynamic_quantisation_is_refused_at_the_next_call() -> None:
    net = nn.Sequential(tt.Layer(nn.Linear(3, 3), tt.LIF(half_life=3)))
    net[0]._modules["synapse"] = torch.ao.nn.quantized.dynamic.Linear(3, 3)  # as quantize_dynamic replaces it
    with pytest.raises(TypeError, match=r"quantized\.dynamic.*Linear"):
        net(torch.ones(2, 3))


def test_a_materialised_lazy_module_serves() -> None:
    module = nn.LazyLinear(3)
    module(torch.ones(1, 4))
    assert tt.Layer(module, tt.LIF(half_life=3))(torch.ones(2, 4)).shape == (2, 3)


def test_the_meta_device_holds_no_values() -> None:
    rule = tt.rules.drtrl(feedback=tt.feedback.RandomFeedback())
    layer = tt.Layer(nn.Linear(4, 3, device="meta"), tt.LIF(half_life=3), rule=rule)
    with pytest.raises(RuntimeError, match="to_empty"):
        layer(torch.ones(2, 4, device="meta"))
    real = tt.Layer(nn.Linear(4, 3), tt.LIF(half_life=3), rule=rule)
    layer.to_empty(device="cpu").load_state_dict(real.state_dict())
    assert torch.equal(layer(torch.ones(2, 4)), real(torch.ones(2, 4)))


HOOKS: dict[str, Callable[[nn.Module], object]] = {
    "forward": lambda m: m.register_forward_hook(lambda *_: None),
    "forward pre": lambda m: m.register_forward_pre_hook(lambda *_: None),
    "full backward": lambda m: m.register_full_backward_hook(lambda *_: None),
    "full backward pre": lambda m: m.register_full_backward_pre_hook(lambda *_: None),
    "another forward": lambda m: setattr(m, "forward", lambda x: x),
}


@pytest.mark.parametrize("units", [3, 80])  # the wide one is stepped by compiled kernels
@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_that_would_not_be_called_is_refused(name: str, units: int) -> None:
    layer = tt.Layer(nn.Linear(units, units), tt.LIF(half_life=3))
    layer(torch.ones(2, units))
    HOOKS[name](layer.synapse)
    with pytest.raises(TypeError, match=r"which a layer does not call.*(register|tt\.LinearInWeights)"):
        layer(torch.ones(2, units))


PARTS: dict[str, Callable[[int], nn.Module]] = {
    "synapse": lambda n: nn.Linear(n, n),
    "neuron": lambda _: tt.LIF(half_life=9),
    "recurrent": lambda n: nn.Linear(n, n),
}


@pytest.mark.parametrize("units", [3, 80])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_replaced_is_followed_after_a_reset(part: str, units: int) -> None:
    torch.manual_seed(0)
    x = 3.0 * torch.rand(2, units)
    layer = tt.Layer(nn.Linear(units, units), tt.LIF(half_life=3), rule=tt.rules.eprop(kappa=0.0))
    layer(x)
    before, other = layer.synapse, PARTS[part](units)
    setattr(layer, part, other)
    with pytest.raises(RuntimeError, match=r"replaced.*tt\.reset"):
        layer(x)
    tt.reset(layer)
    fresh = tt.Layer(layer.synapse, layer.neuron, recurrent=layer.recurrent, rule=layer.rule)
    values = []
    for one in (layer, fresh):
        one.zero_grad()
        for _ in range(4):
            y = one(x)
            y.sum().backward()
        values.append([y.detach(), *[p.grad.clone() for p in one.parameters() if p.grad is not None]])
    assert len(values[0]) == len(values[1]) == 1 + len(list(layer.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*values, strict=True))
    if part == "synapse":
        assert before.weight.grad is None


def test_a_replaced_synapse_may_have_another_size_and_the_feedback_follows() -> None:
    rule = tt.rules.drtrl(feedback=tt.feedback.RandomFeedback())
    layer = tt.Layer(nn.Linear(4, 3), tt.LIF(half_life=3), rule=rule)
    layer.synapse = nn.Linear(6, 2)
    assert layer(torch.ones(1, 6)).shape == (1, 2) and layer.feedback.shape == (2, 6)
    layer.neuron = nn.ReLU()
    tt.reset(layer)
    with pytest.raises(TypeError, match=r"tt\.Neuron"):
        layer(torch.ones(1, 6))


@pytest.mark.skipif(bool(why_not()), reason="needs compiled kernels")
@pytest.mark.parametrize("part", ["synapse", "neuron", "recurrent", "weight"])
def test_a_stream_does_not_run_on_with_what_was_replaced(part: str) -> None:
    net = nn.Sequential(tt.Layer(nn.Linear(3, 3), tt.LIF(half_life=3)), tt.Layer(nn.Linear(3, 2), tt.LI(half_life=3)))
    stream = tt.Stream(net, lr=0.1)
    stream(torch.ones(1, 3), torch.tensor([1]))
    if part == "weight":
        net[0].synapse.weight = nn.Parameter(torch.ones(3, 3))
    else:
        setattr(net[0], part, PARTS[part](3))
    with pytest.raises(RuntimeError, match="replaced"):
        stream(torch.ones(1, 3), torch.tensor([1]))


def test_copies_look_at_their_own_modules() -> None:
    layer = tt.Layer(nn.Linear(3, 3), tt.LIF(half_life=3))
    layer(torch.ones(1, 3)).sum().backward()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        twin(torch.ones(1, 3)).sum().backward()
        assert twin.synapses[0].module is twin.synapse is not layer.synapse


def test_a_weight_of_another_dtype_takes_its_bias_along() -> None:
    layer = tt.Layer(nn.Linear(3, 3), tt.LIF(half_life=3))
    layer.synapse.weight = nn.Parameter(torch.ones(3, 3, dtype=F64))
    with pytest.raises(TypeError, match=r"float32.*float64.*module\.to\(dtype\)"):
        layer(torch.ones(1, 3))
    alone = tt.Layer(nn.Linear(3, 3, bias=False), tt.LIF(half_life=3), rule=RULE)
    alone.synapse.weight = nn.Parameter(torch.ones(3, 3, dtype=F64))
    for _ in range(3):
        alone(torch.ones(1, 3)).sum().backward()
    assert alone.state.v.dtype == alone.synapse.weight.grad.dtype == F64


@pytest.mark.parametrize("rule", ["bptt", "sltt"])
def test_weights_tied_between_modules_add_their_gradients(rule: str) -> None:
    torch.manual_seed(0)
    xs = 6.0 * torch.rand(6, 2, 4, dtype=F64)
    apart = [tt.Layer(nn.Linear(4, 4), tt.LIF(half_life=3)) for _ in range(2)]
    with torch.no_grad():
        for p in apart[0].synapse.parameters():
            p.mul_(3.0)
    apart[1].synapse.load_state_dict(apart[0].synapse.state_dict())
    tied = copy.deepcopy(apart)
    tied[1].synapse.weight = tied[0].synapse.weight
    for pair in (apart, tied):
        net = nn.Sequential(*pair).double()
        tt.set_rule(net, getattr(tt.rules, rule)())
        tt.scan(net, xs).sum().backward()
    grads = [layer.synapse.weight.grad for layer in apart]
    assert all(float(g.norm()) > 0 for g in grads)
    torch.testing.assert_close(tied[0].synapse.weight.grad, grads[0] + grads[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, F64])
@pytest.mark.parametrize("make", [lambda: tt.LinearInWeights(Dale(5, 4)), lambda: linear()], ids=["declared", "plain"])
@pytest.mark.parametrize("rule", ["trace", "drtrl", "ottt"])
def test_a_synapse_moves_to_another_dtype(rule: str, make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    layer = tt.Layer(make(), tt.LIF(half_life=3), rule=getattr(tt.rules, rule)()).to(dtype)
    x = torch.ones(2, 5, dtype=dtype, requires_grad=True)
    for _ in range(3):
        layer(x).sum().backward()
    assert {p.grad.dtype for p in layer.parameters()} == {dtype} and x.grad.dtype == dtype


def test_a_declared_recurrent_synapse_is_the_plain_one() -> None:
    torch.manual_seed(2)
    synapse, recurrent, xs = linear().double(), nn.Linear(UNITS, UNITS, bias=False).double(), inputs()
    found = []
    for wrap in (lambda m: m, tt.LinearInWeights):
        layer = tt.Layer(
            wrap(copy.deepcopy(synapse)),
            tt.LIF(half_life=4).double(),
            recurrent=wrap(copy.deepcopy(recurrent)),
            rule=tt.rules.eprop(kappa=0.0),
        )
        for part in xs.split([3, 1, 3]):
            ys = tt.scan(layer, part)
            ys.sum().backward()
        found.append([ys.detach(), *[p.grad for p in layer.parameters()]])
    for a, b in zip(*found, strict=True):
        assert float(a.norm()) > 0
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_fixed_feedback_needs_one_weight() -> None:
    layer = tt.Layer(tt.LinearInWeights(linear()), tt.LIF(half_life=3))
    with pytest.raises(ValueError, match="Symmetric"):
        tt.set_rule(layer, tt.rules.drtrl(feedback=tt.feedback.RandomFeedback()))
    assert layer.rule.name == "cascade"


def test_only_modules_and_adapters_are_registered() -> None:
    from tracetorch.synapses import LinearSynapse

    with pytest.raises(TypeError, match=r"nn\.Module"):
        tt.register_synapse(int, LinearSynapse)  # type: ignore[type-var, arg-type]
    with pytest.raises(TypeError, match="Synapse"):
        tt.register_synapse(Masked, nn.Linear)  # type: ignore[arg-type]
    assert type(tt.Layer(type("Same", (nn.Linear,), {})(3, 3), tt.LIF(half_life=3)).synapses[0]) is LinearSynapse


@pytest.mark.parametrize(
    ("synapse", "message"),
    [
        (nn.Linear, r"got <class .*Linear'>; write Linear\(\.\.\.\)"),
        (None, r"got None; write nn.Linear\(n_in, n_out\)"),
        (torch.relu, "a synapse is a module such as"),
        (nn.ReLU(), r"wrap a module that is linear in its weights in tt.LinearInWeights"),
        (tt.LIF(half_life=3), "got tracetorch.neurons.lif.LIF"),
    ],
)
def test_what_is_no_synapse_is_refused_with_the_remedy(synapse: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        tt.Layer(synapse, tt.LIF(half_life=3))  # type: ignore[arg-type]


@pytest.mark.parametrize("module", [nn.Linear, torch.relu, None])
def test_only_a_module_is_declared(module: object) -> None:
    with pytest.raises(TypeError, match=r"LinearInWeights takes an nn\.Module"):
        tt.LinearInWeights(module)  # type: ignore[arg-type]


class Halved(nn.Linear):
    """Gives another weight to whoever asks for it by name."""

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        return value * 0.5 if name == "weight" else value


def test_a_weight_that_is_looked_up_in_another_way_is_refused() -> None:
    with pytest.raises(TypeError, match="has its own __getattr__"):
        tt.Layer(Halved(3, 4), tt.LIF(half_life=4))


def test_a_forward_that_is_replaced_for_a_whole_class_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, forward = tt.Layer(nn.Linear(3, 4), tt.LIF(half_life=4)), nn.Linear.forward
    layer(torch.ones(2, 3))
    with monkeypatch.context() as patched:
        patched.setattr(nn.Linear, "forward", lambda self, x: 2 * forward(self, x))
        with pytest.raises(TypeError, match="was replaced after the layer was made"):
            layer(torch.ones(2, 3))
        with pytest.raises(TypeError, match="has its own forward"):
            tt.Layer(nn.Linear(3, 4), tt.LIF(half_life=4))
    layer(torch.ones(2, 3))


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("rule", ["drtrl", "ottt", "cascade", "trace", "eprop", "traced_bptt"])
def test_looking_at_a_layer_does_not_change_a_weight_that_changes_in_training(
    rule: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])
    monkeypatch.setattr("tracetorch.steps.single.LEAST", 0)
    found = []
    for looks in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(
            tt.Layer(nn.Linear(4, 6), tt.LIF(half_life=4)), tt.Layer(nn.Linear(6, 2), tt.LI(half_life=6))
        ).double()
        tt.set_rule(net, tt.rules.PRESETS[rule]())
        tt.set_backend(net, backend)
        tt.reset(net)
        xs = 3 * torch.rand(8, 3, 4, dtype=torch.float64)
        net(xs[0]).sum().backward()
        nn.utils.parametrizations.spectral_norm(net[0].synapse)  # type: ignore[arg-type]
        vectors = []
        for x in xs[1:]:
            net.zero_grad()
            y = net(x)
            y.square().sum().backward()
            if looks:
                tt.set_state(net, tt.get_state(net))
                net[0].prepare_rule(net[0].rule)  # type: ignore[operator]
                tt.testing.firing_rates(net, xs)
            vectors.append([v.clone() for v in net[0].synapse.parametrizations.weight[0].buffers()])  # type: ignore[union-attr, index]
        found.append([y, *vectors[-1], net[0].synapse.parametrizations.weight.original.grad])  # type: ignore[union-attr]
        assert not torch.equal(vectors[0][0], vectors[-1][0]), "steps in training do change it"
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("hook", [nn.utils.weight_norm, lambda m: prune.random_unstructured(m, "weight", amount=0.3)])
def test_firing_is_measured_where_hooks_make_the_weight(hook: Any) -> None:
    net = nn.Sequential(tt.Layer(nn.Linear(4, 6), tt.LIF(half_life=4)))
    hook(net[0].synapse)
    xs = 3 * torch.rand(8, 3, 4)
    net(xs[0])
    expected = tt.testing.firing_rates(net, xs)["0"].rates
    tt.reset(net)
    with torch.no_grad():
        torch.testing.assert_close(tt.scan(net, xs).double().mean((0, 1)), expected)
    assert expected.any()
