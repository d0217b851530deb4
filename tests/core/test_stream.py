"""A stream equals the eager loop of forward, loss, backward and SGD."""

import copy

import pytest
import torch
from core.chains import built
from torch import nn
from torch.nn import functional

import tracetorch as tt

pytest.importorskip("numba")

LR = 0.05
RULES = tt.rules


def deep() -> nn.Sequential:
    """Three layers under `trace`: one state and two, a width above one block, a bias that is not there."""
    adaptive = tt.ALIF(half_life=6, adaptation_half_life=9, adaptation=0.2, refractory=1)
    return built(
        [
            tt.Layer(nn.Linear(9, 70), tt.LIF(half_life=4)),
            tt.Layer(nn.Linear(70, 7, bias=False), adaptive),
            tt.Layer(nn.Linear(7, 1), tt.LI(half_life=5)),
        ],
        RULES.trace(),
    )


def buckets() -> nn.Sequential:
    """Decays per neuron: averages by buckets, a full eligibility for the readout, random feedback."""
    return built(
        [
            tt.Layer(nn.Linear(9, 7), tt.LIF(half_life=torch.linspace(2, 9, 7))),
            tt.Layer(nn.Linear(7, 3), tt.LI(half_life=torch.tensor([2.0, 4.0, 8.0]))),
        ],
        RULES.trace(decay=0.8, buckets=3, feedback=tt.feedback.RandomFeedback()),
    )


def synaptic() -> nn.Sequential:
    """Presynaptic traces of two states, and none for the readout."""
    net = built(
        [
            tt.Layer(nn.Linear(9, 7), tt.SynapticLIF(half_life=4, synaptic_half_life=2)),
            tt.Layer(nn.Linear(7, 3), tt.LI(half_life=5, normalized=True)),
        ],
        RULES.ottt(),
    )
    tt.set_rule(net, {"1": RULES.sltt()})
    return net


def full() -> nn.Sequential:
    """Full eligibilities of one state and of two, sent below by sensitivity, and no readout."""
    return built(
        [
            tt.Layer(nn.Linear(9, 7), tt.LIF(half_life=4, reset=tt.HardReset(gradient=True, value=0.1))),
            tt.Layer(nn.Linear(7, 3), tt.ALIF(half_life=4, adaptation_half_life=6, adaptation=0.3)),
        ],
        RULES.drtrl(input="gain"),
    )


def filtered() -> nn.Sequential:
    """Eligibilities filtered as the readout will, where one trace per input stands for those of the states."""
    return built(
        [
            tt.Layer(nn.Linear(9, 7), tt.SynapticLIF(half_life=4, synaptic_half_life=2)),
            tt.Layer(nn.Linear(7, 3), tt.LI(half_life=5, normalized=True)),
        ],
        RULES.eprop(),
    )


def filtered_full() -> nn.Sequential:
    """The same where each weight has traces of its own, above a layer without a filter."""
    return built(
        [
            tt.Layer(nn.Linear(9, 7), tt.LIF(half_life=4)),
            tt.Layer(nn.Linear(7, 7), tt.ALIF(half_life=4, adaptation_half_life=6, adaptation=0.3)),
            tt.Layer(nn.Linear(7, 3), tt.LI(half_life=9)),
        ],
        RULES.eprop(),
    )


CASES = {"deep": (deep, "mse"), "buckets": (buckets, "cross_entropy"), "synaptic": (synaptic, "cross_entropy")}
CASES |= {"full": (full, "mse"), "filtered": (filtered, "cross_entropy")}
CASES |= {"filtered, full": (filtered_full, "mse")}


def stream_of(net: nn.Sequential, loss: str, batch: int, steps: int, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    outputs = net[-1].synapse.weight.shape[0]
    for t in range(steps):
        x = torch.rand(batch, 9, generator=generator, dtype=torch.float64)
        if t % 10 != 9:
            x = (x < (0.05 if t % 10 > 6 else 0.4)).double()
        if loss == "mse":
            yield x, torch.rand(batch, outputs, generator=generator, dtype=torch.float64)
        else:
            yield x, torch.randint(0, outputs, (batch,), generator=generator)


def eager(net: nn.Sequential, loss: str, x: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, float]:
    y = net(x)
    value = (functional.mse_loss if loss == "mse" else functional.cross_entropy)(y, target)
    value.backward()
    with torch.no_grad():
        for p in net.parameters():
            if p.grad is not None:
                p -= LR * p.grad
                p.grad = None
    return y.detach(), value.item()


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert a.shape == b.shape
    scale = float(b.detach().abs().max()) if b.numel() else 0.0
    assert float((a - b).detach().abs().max() if a.numel() else 0.0) <= 1e-10 * max(scale, 1e-3)


def same(a: nn.Module, b: nn.Module) -> None:
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        assert torch.isfinite(q).all(), name
        close(p, q)
    one, other = tt.get_state(a), tt.get_state(b)
    assert one.keys() == other.keys()
    for key, value in one.items():
        close(value, other[key])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_a_stream_equals_the_eager_loop_from_any_point_to_any_point(case, batch) -> None:
    build, loss = CASES[case]
    net, other = build(), build()
    rates = [0.0] * len(net)
    steps = list(stream_of(net, loss, batch, 50))  # in `full` a rounding error grows by a quarter at each
    before = [p.detach().clone() for p in net.parameters()]
    for x, target in steps[:10]:
        eager(net, loss, x, target), eager(other, loss, x, target)
    stream = tt.Stream(net, lr=LR, loss=loss)
    for x, target in steps[10:40]:
        y, value = eager(other, loss, x, target)
        z = stream(x, target)
        close(z, y)
        assert stream.loss == pytest.approx(value, rel=1e-10)
        for i, layer in enumerate(net):
            rates[i] += float(stream._program.cells[i].output.mean()) / 30
            assert layer.synapse.weight.data_ptr() == stream._parts[i].synapse.weight.data_ptr()
    spiking = [r for r, layer in zip(rates, net, strict=True) if not isinstance(layer.neuron, tt.Readout)]
    assert all(0.03 < r < 0.9 for r in spiking), rates
    assert all(not torch.equal(p, q) for p, q in zip(before, net.parameters(), strict=True) if q.requires_grad)
    stream.sync()
    same(net, other)
    for x, target in steps[40:]:
        close(eager(net, loss, x, target)[0], eager(other, loss, x, target)[0])
    same(net, other)


@pytest.mark.parametrize("case", ["deep", "full", "filtered", "filtered, full"])
def test_rows_begin_anew(case) -> None:
    build, loss = CASES[case]
    net, other = build(), build()
    stream = tt.Stream(net, lr=LR, loss=loss)
    mask = torch.tensor([True, False, True])
    for t, (x, target) in enumerate(stream_of(net, loss, 3, 20)):
        if t in (7, 8, 15):
            stream.reset(mask)
            tt.reset(other, mask)
        if t == 8:
            stream.reset(~mask)
            tt.reset(other, ~mask)
        close(stream(x, target), eager(other, loss, x, target)[0])
    stream.sync()
    same(net, other)
    stream.reset()
    tt.reset(other)
    for x, target in stream_of(net, loss, 1, 3):
        close(stream(x, target), eager(other, loss, x, target)[0])
    with pytest.raises(ValueError, match=r"one entry per row.*\[1\].*got \[3\]"):
        stream.reset(mask)


def test_a_reset_that_no_step_has_met_survives_sync() -> None:
    net, other = deep(), deep()
    mask = torch.tensor([True, False])
    for x, target in stream_of(net, "mse", 2, 5):
        eager(net, "mse", x, target), eager(other, "mse", x, target)
    tt.reset(net, mask)
    tt.reset(other, mask)
    stream = tt.Stream(net, lr=LR, loss="mse")
    stream.sync()
    for x, target in stream_of(net, "mse", 2, 3):
        close(eager(net, "mse", x, target)[0], eager(other, "mse", x, target)[0])
    same(net, other)


@pytest.mark.parametrize("case", ["filtered", "full"])
def test_a_closed_rate_term_leaves_nothing_in_a_stream(case) -> None:
    build, loss = CASES[case]
    nets = build(), build()
    term = tt.FinalRate(nets[0], 0.1)
    steps = list(stream_of(nets[0], loss, 2, 12))
    for x, target in steps[:6]:
        for one in nets:
            eager(one, loss, x, target)
    term.close()
    stream = tt.Stream(nets[0], lr=LR, loss=loss)
    for x, target in steps[6:]:
        close(stream(x, target), eager(nets[1], loss, x, target)[0])
    for p, q in zip(*(one.parameters() for one in nets), strict=True):
        close(p, q)


@pytest.mark.parametrize("case", ["synaptic", "full"])
def test_cotangents_may_be_given_and_steps_left_out(case) -> None:
    build, _ = CASES[case]
    net, other = build(), build()
    stream = tt.Stream(net, lr=LR, loss=None)
    for t, (x, target) in enumerate(stream_of(net, "mse", 2, 20)):
        y = other(x)
        close(stream.forward(x), y.detach())
        if t % 3:
            y.backward(target)
            stream.backward(target)
            with torch.no_grad():
                for p in other.parameters():
                    p -= LR * p.grad
                    p.grad = None
    stream.sync()
    same(net, other)
    with pytest.raises(RuntimeError, match="no forward to learn from"):
        stream.backward(target)
    with pytest.raises(TypeError, match="no loss"):
        stream(x, target)


def test_unlabelled_steps_may_stand_between() -> None:
    net, other = synaptic(), synaptic()
    stream = tt.Stream(net, lr=LR)
    for t, (x, target) in enumerate(stream_of(net, "cross_entropy", 1, 12)):
        if t % 2:
            close(stream(x.bool(), target), eager(other, "cross_entropy", x.bool(), target)[0])
        else:
            close(stream.forward(x), other(x).detach())
    stream.lr = 0.0
    before = [p.detach().clone() for p in net.parameters()]
    stream(x, target)
    assert all(torch.equal(p, q) for p, q in zip(before, net.parameters(), strict=True))


def test_single_precision_equals_to_its_rounding() -> None:
    net, other = (built([tt.Layer(nn.Linear(9, 3), tt.LIF(half_life=4))], RULES.sltt()).float() for _ in range(2))
    stream = tt.Stream(net, lr=LR)
    for x, target in stream_of(net, "cross_entropy", 2, 20):
        assert torch.allclose(stream(x, target), eager(other, "cross_entropy", x.float(), target)[0], atol=1e-5)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-5)


def snapshot(stream: tt.Stream) -> list[torch.Tensor]:
    stream.sync()
    return [*(p.detach().clone() for p in stream.net.parameters()), *tt.get_state(stream.net).values()]


BAD = [
    (torch.full((2, 9), float("nan")), torch.zeros(2, 1), ValueError, "input has NaN or infinity"),
    (torch.full((2, 9), float("inf")), torch.zeros(2, 1), ValueError, "input has NaN or infinity"),
    (torch.ones(2, 9), torch.full((2, 1), float("nan")), FloatingPointError, "loss.*NaN or infinity"),
    (torch.ones(2, 9), torch.full((2, 1), 1e300, dtype=torch.float64), FloatingPointError, "loss.*NaN or infinity"),
    (torch.ones(3, 9), torch.zeros(3, 1), ValueError, "batch has 3 rows, the state 2.*stream.reset"),
    (torch.ones(2, 8), torch.zeros(2, 1), ValueError, r"takes inputs \[batch, 9\], got \[2, 8\]"),
    (torch.ones(2, 9), torch.zeros(2), ValueError, r"target must have the outputs' shape \[2, 1\]"),
    (torch.ones(2, 9, device="meta"), torch.zeros(2, 1), ValueError, "on meta"),
]


@pytest.mark.parametrize(("x", "target", "error", "match"), BAD)
def test_bad_input_leaves_everything_as_it_was(x, target, error, match) -> None:
    net = deep()
    stream = tt.Stream(net, lr=LR, loss="mse")
    for good in stream_of(net, "mse", 2, 10):
        stream(*good)
    before = snapshot(stream)
    with pytest.raises(error, match=match):
        stream(x.double(), target.double())
    assert all(torch.equal(a, b) for a, b in zip(before, snapshot(stream), strict=True))
    stream(*good)


def test_classes_are_checked() -> None:
    net = synaptic()
    stream = tt.Stream(net, lr=LR)
    x = torch.ones(2, 9, dtype=torch.float64)
    for target, match in (
        (torch.tensor([0, 3]), "class numbers from 0 to 2"),
        (torch.tensor([0, -100]), "class numbers from 0 to 2"),
        (torch.tensor([0.0, 1.0]), "int64"),
        (torch.tensor([0]), r"int64 of shape \[2\]"),
    ):
        with pytest.raises(ValueError, match=match):
            stream(x, target)


def called(net: nn.Module, x: torch.Tensor) -> None:
    net(x / 2)


def scanned(net: nn.Module, x: torch.Tensor) -> None:
    tt.scan(net, torch.stack([x, x / 2]))


def without_credit(net: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        net(x)


def begun_again(net: nn.Module, x: torch.Tensor) -> None:
    tt.reset(net)


def rows_begun_again(net: nn.Module, x: torch.Tensor) -> None:
    tt.reset(net, torch.tensor([True, False]))


def rewound(net: nn.Module, x: torch.Tensor) -> None:
    before = tt.get_state(net)
    net(x)
    tt.set_state(net, before)


def failed(net: nn.Module, x: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="NaN"):
        net(x * torch.nan)


BETWEEN = [called, scanned, without_credit, begun_again, rows_begun_again, rewound, failed]


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("case", CASES)
def test_whatever_runs_the_network_between_two_steps_goes_on_from_them(case, between) -> None:
    build, loss = CASES[case]
    net, other = build(), build()
    streams = [tt.Stream(net, lr=LR, loss=loss) for _ in range(2)]
    for t, (x, target) in enumerate(stream_of(net, loss, 2, 20)):
        if t in (0, 6, 7, 12):
            between(net, x), between(other, x)
        close(streams[t % 3 == 0](x, target), eager(other, loss, x, target)[0])
    same(net, other)
    same(copy.deepcopy(net), other)


def test_a_state_that_is_read_between_forward_and_backward_changes_nothing() -> None:
    net, other = full(), full()
    stream, mask = tt.Stream(net, lr=LR, loss=None), torch.tensor([False, True])
    for t, (x, target) in enumerate(stream_of(net, "mse", 2, 12)):
        y = other(x)
        stream.forward(x)
        if t % 4 == 2:
            stream.reset(mask)
        state = tt.get_state(net)
        assert repr(net) and state.keys() == tt.get_state(net).keys()
        y.backward(target)
        stream.backward(target)
        if t % 4 == 2:
            tt.reset(other, mask)
        with torch.no_grad():
            for p in other.parameters():
                p -= LR * p.grad
                p.grad = None
    same(net, other)
    stream.forward(x)
    net(x)
    with pytest.raises(RuntimeError, match="no forward to learn from"):
        stream.backward(target)


def froze(net: nn.Module) -> None:
    net[0].synapse.bias.requires_grad_(False)


def hooked_late(net: nn.Module) -> None:
    net[1].register_forward_hook(lambda *_: None)


def hooked_gradient(net: nn.Module) -> None:
    net[0].synapse.weight.register_hook(lambda g: 0 * g)


def hooked_after(net: nn.Module) -> None:
    net[0].synapse.bias.register_post_accumulate_grad_hook(lambda p: None)


def hooked_part(net: nn.Module) -> None:
    net[0].register_forward_hook(lambda *_: None).remove()
    net[0].synapse.register_forward_pre_hook(lambda *_: None)


def hooked_network(net: nn.Module) -> None:
    net.register_full_backward_hook(lambda *_: None)


def ruled(net: nn.Module) -> None:
    tt.set_rule(net, tt.rules.sltt())


def other_forward(net: nn.Module) -> None:
    net[1].synapse.forward = lambda x: x


def other_bias(net: nn.Module) -> None:
    net[1].synapse.bias = nn.Parameter(net[1].synapse.bias.detach().clone())


def other_memory(net: nn.Module) -> None:
    net[0].neuron.beta.data = net[0].neuron.beta.detach().clone()


def other_neuron(net: nn.Module) -> None:
    net[1].neuron = tt.LI(half_life=2.0).double()


CHANGES = [froze, hooked_late, hooked_gradient, hooked_after, hooked_part, hooked_network, ruled, other_forward]
CHANGES += [other_bias, other_memory, other_neuron]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("started", [False, True])
def test_what_a_stream_would_not_follow_is_refused(started, change) -> None:
    net = synaptic()
    stream = tt.Stream(net, lr=LR)
    x, target = torch.ones(1, 9, dtype=torch.float64), torch.tensor([1])
    if started:
        stream(x, target)
    change(net)
    with pytest.raises(RuntimeError, match=r"since.*make a new tt\.Stream"):
        stream(x, target)


def test_a_learned_parameter_of_a_neuron_that_was_replaced_is_refused() -> None:
    net = built([tt.Layer(nn.Linear(9, 3), tt.LI(half_life=tt.Learnable(5.0)))], RULES.drtrl())
    stream = tt.Stream(net, lr=LR)
    x, target = torch.ones(1, 9, dtype=torch.float64), torch.tensor([1])
    stream(x, target)
    for module in net[0].neuron.modules():
        for name, value in list(module._parameters.items()):
            setattr(module, name, nn.Parameter(value.detach().clone()))
    with pytest.raises(RuntimeError, match=r"a neuron was changed.*make a new tt\.Stream"):
        stream(x, target)


@pytest.mark.parametrize("target", [torch.tensor([1]).to_sparse(), torch.tensor([1], device="meta")])
def test_class_numbers_without_memory_here_do_not_reach_the_kernel(target) -> None:
    net = synaptic()
    before = copy.deepcopy(net.state_dict())
    stream = tt.Stream(net, lr=LR)
    with pytest.raises((TypeError, NotImplementedError)):
        stream(torch.ones(1, 9, dtype=torch.float64), target)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))


def test_a_stream_goes_on_beside_hooks_of_others_and_of_its_own_that_were_removed() -> None:
    net, other, found = synaptic(), nn.Linear(2, 2), []
    x, target = torch.ones(1, 9, dtype=torch.float64), torch.tensor([1])
    weights = copy.deepcopy(net.state_dict())
    for hooked in (False, True):
        net.load_state_dict(weights)
        tt.reset(net)
        stream = tt.Stream(net, lr=LR)
        for _ in range(3):
            if hooked:
                other.register_forward_hook(lambda *_: None)
                net[0].register_forward_hook(lambda *_: None).remove()
                net[0].synapse.weight.register_hook(lambda g: 0 * g).remove()
            y = stream(x, target)
        found.append((y, stream.loss, net[0].synapse.weight.detach().clone()))
    assert found[0][1] == found[1][1] and torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][2], found[1][2]) and not torch.equal(found[0][2], weights["0.synapse.weight"])


def test_a_first_bad_input_fixes_no_batch() -> None:
    net = synaptic()
    stream = tt.Stream(net, lr=LR)
    x = torch.ones(2, 9, dtype=torch.float64)
    with pytest.raises(ValueError, match="NaN"):
        stream(x * torch.nan, torch.tensor([0, 1]))
    stream(x[:1], torch.tensor([1]))


def test_weights_that_are_given_other_memory_are_noticed() -> None:
    net = synaptic()
    stream = tt.Stream(net, lr=LR)
    x, target = torch.ones(1, 9, dtype=torch.float64), torch.tensor([1])
    stream(x, target)
    net[0].synapse.weight.data = net[0].synapse.weight.data.clone()
    with pytest.raises(RuntimeError, match="other memory"):
        stream(x, target)


def layer(synapse: nn.Module | None = None, neuron: tt.Neuron | None = None, **more) -> tt.Layer:
    return tt.Layer(synapse or nn.Linear(4, 4), neuron or tt.LIF(half_life=4), **more)


class Own(tt.Neuron):
    def step(self, s, current):
        v = torch.sort(self.beta * s.v + current).values  # an operation without a scalar form
        return s.replace(v=v), v


def counted() -> nn.Module:
    net = nn.Sequential(layer())
    tt.FinalRate(net, 0.1)
    return net


def frozen() -> nn.Module:
    net = nn.Sequential(layer())
    net[0].synapse.bias.requires_grad_(False)
    return net


def hooked() -> nn.Module:
    net = nn.Sequential(layer())
    net[0].register_forward_hook(lambda *_: None)
    return net


def own_forward() -> nn.Module:
    net = nn.Sequential(layer())
    net[0].forward = lambda x: x
    return net


def masked_gradient() -> nn.Module:
    net = nn.Sequential(layer())
    net[0].synapse.weight.register_hook(lambda g: 0 * g)
    return net


def shared() -> nn.Module:
    one = layer()
    return nn.Sequential(one, one.tied())


REFUSED = {
    "a layer alone": (layer, "nn.Sequential of tt.Layer, got Layer"),
    "a module between": (lambda: nn.Sequential(layer(), nn.ReLU()), "layer '1': it is a ReLU"),
    "convolution": (lambda: nn.Sequential(layer(nn.Conv1d(1, 1, 3))), "synapse is a Conv1d"),
    "recurrence": (
        lambda: nn.Sequential(layer(recurrent=tt.LinearInWeights(nn.Linear(4, 4)))),
        "recurrent synapse is a LinearInWeights",
    ),
    "own neuron": (lambda: nn.Sequential(layer(neuron=Own(half_life=3))), "the step of Own cannot be compiled"),
    "bptt": (lambda: nn.Sequential(layer(rule=RULES.bptt())), "'bptt' keeps one graph"),
    "rate": (lambda: nn.Sequential(layer(rule=RULES.rate())), "'rate' reads averages of a whole sequence"),
    "approximate": (
        lambda: nn.Sequential(
            layer(neuron=tt.LIF(half_life=4, reset=tt.HardReset()), rule=RULES.ottt(approximate=True))
        ),
        "'ottt' has blocks of its own",
    ),
    "rate term": (counted, "counted for a rate term"),
    "frozen": (frozen, "its bias is frozen"),
    "half": (lambda: nn.Sequential(layer().half()), "float16"),
    "device": (lambda: nn.Sequential(layer().to("meta")), "on meta"),
    "mixed": (lambda: nn.Sequential(layer(), layer().double()), "float64, those of the first layer torch.float32"),
    "hooks": (hooked, "hooks"),
    "forward": (own_forward, "a forward of its own"),
    "gradient hooks": (masked_gradient, "hooks on its gradient"),
    "shared": (shared, "share weights"),
    "sizes": (lambda: nn.Sequential(layer(), layer(nn.Linear(5, 4))), "takes 5 inputs and is given 4"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_fused_is_refused_with_its_reason(case) -> None:
    build, match = REFUSED[case]
    with pytest.raises(ValueError, match=match):
        tt.Stream(build(), lr=LR)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="lr must be finite"):
        tt.Stream(synaptic(), lr=float("nan"))
    with pytest.raises(ValueError, match="loss must be"):
        tt.Stream(synaptic(), lr=LR, loss="hinge")  # type: ignore[arg-type]
