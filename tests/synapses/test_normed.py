"""A synapse with batch normalisation of its currents, against an autograd network of torch's own modules."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt

STEPS, BATCH = 10, 4
SPLITS = ([1] * STEPS, [STEPS], [3, 7])
EXACT = [tt.rules.traced_bptt(), tt.rules.drtrl(), tt.rules.eprop(), tt.rules.cascade()]
KINDS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(7, 5, bias=False), lambda: nn.BatchNorm1d(5), (7,)),
    "strided": (lambda: nn.Conv1d(3, 5, 3, stride=2, bias=False), lambda: nn.BatchNorm1d(5), (3, 9)),
    "groups": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), lambda: nn.BatchNorm2d(6), (4, 4, 5)),
    "padded": (lambda: nn.Conv2d(2, 4, (2, 3), padding="same", bias=False), lambda: nn.BatchNorm2d(4), (2, 4, 4)),
    "transposed": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=False),
        lambda: nn.BatchNorm2d(6),
        (4, 2, 2),
    ),
}


def layer_of(kind: str, neuron: tt.Neuron | None = None) -> tuple[tt.Layer, Tensor]:
    torch.manual_seed(1)
    synapse, norm, shape = KINDS[kind]
    normed = tt.BatchNormed(synapse(), norm()).double()
    with torch.no_grad():
        normed.norm.weight.uniform_(0.5, 1.5)
        normed.norm.bias.uniform_(0, 0.5)
        normed.norm.running_mean.normal_()
        normed.norm.running_var.uniform_(0.5, 2)
    layer = tt.Layer(normed, neuron or tt.ALIF(half_life=4, adaptation_half_life=9)).double()
    return layer, (torch.rand(STEPS, BATCH, *shape, dtype=torch.float64) < 0.4).double()


def stepped(net: Sequence[tt.Layer], xs: Tensor, cut: bool = False) -> Tensor:
    """Run layers as plain autograd modules, with torch's own norm; `cut` detaches the norm's statistics."""
    states: list[object] = [None] * len(net)
    found = []
    for x in xs:
        for i, layer in enumerate(net):
            x = currents(layer.synapse, x, cut)
            neuron = layer.neuron
            state = neuron.pack(neuron.zeros(x)) if states[i] is None else states[i]
            states[i], x = neuron.step(state, x)
        found.append(x)
    return torch.stack(found)


def currents(synapse: nn.Module, x: Tensor, cut: bool) -> Tensor:
    if not (cut and isinstance(synapse, tt.BatchNormed)):
        return synapse(x)
    c, norm = synapse.synapse(x), synapse.norm
    axes = [0, *range(2, c.dim())]
    shape = [1, -1, *[1] * (c.dim() - 2)]
    var, mean = torch.var_mean(c.detach(), axes, correction=0, keepdim=True)
    return norm.weight.reshape(shape) * (c - mean) / (var + norm.eps).sqrt() + norm.bias.reshape(shape)


def learned(net: nn.Module, xs: Tensor, weight: Tensor, split: Sequence[int]) -> Tensor:
    """Run a network by its rule, a backward after each part, and return the outputs."""
    found, at = [], 0
    tt.reset(net)
    for size in split:
        z = net(xs[at]).unsqueeze(0) if size == 1 else tt.scan(net, xs[at : at + size])
        (z * weight[at : at + size]).sum().backward()
        found.append(z.detach())
        at += size
    return torch.cat(found)


def errors(a: nn.Module, b: nn.Module) -> list[float]:
    named = zip(a.parameters(), b.parameters(), strict=True)
    return [float((p.grad - q.grad).norm() / q.grad.norm()) for p, q in named]


def compared(kind: str, rule: tt.Rule, split: Sequence[int], *, train: bool = True) -> tuple[list[float], nn.Module]:
    layer, xs = layer_of(kind)
    layer.train(train)
    other = copy.deepcopy(layer)
    z = stepped([other], xs)
    assert 0.05 < float(z.detach().mean()) < 0.6
    weight = torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(2))
    (z * weight).sum().backward()
    tt.set_rule(layer, rule)
    assert torch.equal(learned(layer, xs, weight, split), z.detach())
    for mine, theirs in zip(layer.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)  # running averages move once per step
    return errors(layer, other), layer


@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", SPLITS, ids=["steps", "scan", "windows"])
def test_one_layer_is_exact_in_steps_windows_and_scans(kind: str, split: list[int], train: bool) -> None:
    for rule in EXACT:
        assert max(compared(kind, rule, split, train=train)[0]) < 1e-10, rule.name
    if len(split) == 1:
        assert max(compared(kind, tt.rules.bptt(), split, train=train)[0]) < 1e-10


def test_a_neuron_with_constant_blocks_takes_a_full_trace_too() -> None:
    layer, xs = layer_of("groups", tt.LIF(half_life=4))
    other = copy.deepcopy(layer)
    z = stepped([other], xs)
    weight = torch.randn(z.shape, dtype=z.dtype)
    (z * weight).sum().backward()
    tt.set_rule(layer, tt.rules.drtrl())
    learned(layer, xs, weight, [1] * STEPS)
    assert max(errors(layer, other)) < 1e-10


def test_controls_a_rule_without_trace_and_statistics_without_gradient_are_not_exact() -> None:
    assert max(compared("groups", tt.rules.sltt(), [1] * STEPS)[0]) > 0.05
    layer, xs = layer_of("groups")
    cut = copy.deepcopy(layer)
    z = stepped([cut], xs, cut=True)
    weight = torch.randn(z.shape, dtype=z.dtype)
    (z * weight).sum().backward()
    tt.set_rule(layer, tt.rules.drtrl())
    learned(layer, xs, weight, [STEPS])
    assert max(errors(layer, cut)) > 0.05


def deep(residual: bool = False) -> tuple[nn.Module, list[tt.Layer], Tensor]:
    first, xs = layer_of("groups")
    norm = nn.BatchNorm2d(3)
    second = tt.Layer(
        tt.BatchNormed(nn.Conv2d(6, 3, 3, bias=False), norm), tt.ALIF(half_life=3, adaptation_half_life=6)
    ).double()
    with torch.no_grad():
        norm.bias.fill_(0.5)
    chain = [first, second]
    if not residual:
        return nn.Sequential(*chain), chain, xs

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(chain)

        def forward(self, x: Tensor) -> Tensor:
            return self.layers[1](self.layers[0](x))

    return Steps(), chain, xs


@pytest.mark.parametrize("residual", [False, True], ids=["layer by layer", "open window"])
@pytest.mark.parametrize("rule", [tt.rules.bptt(), tt.rules.traced_bptt(), tt.rules.tbptt()], ids=lambda r: r.name)
def test_two_layers_in_one_window_are_autograd(rule: tt.Rule, residual: bool) -> None:
    net, chain, xs = deep(residual)
    other = copy.deepcopy(chain)
    z = stepped(other, xs)
    assert 0.02 < float(z.detach().mean()) < 0.6
    weight = torch.randn(z.shape, dtype=z.dtype)
    (z * weight).sum().backward()
    tt.set_rule(net, rule)
    learned(net, xs, weight, [STEPS])
    assert max(errors(net, nn.ModuleList(other))) < 1e-10


def test_below_a_memoryless_layer_steps_are_exact() -> None:
    """Credit below goes through the statistics of the present step, which is all where no memory stands above."""

    class Relu(tt.Neuron):
        state = ("v",)

        def step(self, s, current):  # type: ignore[no-untyped-def]
            return s.replace(v=0 * s.v), torch.relu(current)

    net, chain, xs = deep()
    chain[1].neuron = Relu().double()
    other = copy.deepcopy(chain)
    z = stepped(other, xs)
    weight = torch.randn(z.shape, dtype=z.dtype)
    (z * weight).sum().backward()
    tt.set_rule(net, tt.rules.drtrl())
    learned(net, xs, weight, [1] * STEPS)
    assert max(errors(net, nn.ModuleList(other))) < 1e-10


@pytest.mark.parametrize("rule", [tt.rules.drtrl(), tt.rules.cascade(), tt.rules.eprop()], ids=lambda r: r.name)
@pytest.mark.parametrize("residual", [False, True], ids=["layer by layer", "open window"])
def test_deep_networks_run_alike_in_steps_and_scans(rule: tt.Rule, residual: bool) -> None:
    found = []
    for split in SPLITS:
        net, chain, xs = deep(residual)
        net = net if residual else nn.Sequential(net, nn.Flatten(), tt.Layer(nn.Linear(18, 2), tt.LI(half_life=5)))
        net = net.double()
        torch.manual_seed(4)
        for p in net.parameters():
            if p.dim() == 2:
                p.data.normal_()
        tt.set_rule(net, rule)
        tt.reset(net)
        z = stepped(copy.deepcopy(chain), xs) if residual else tt.scan(copy.deepcopy(net), xs).detach()
        learned(net, xs, torch.randn(z.shape, dtype=z.dtype), split)
        found.append([p.grad.clone() for p in net.parameters()])
    for other in found[1:]:
        for mine, theirs in zip(found[0], other, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_one_loss_at_the_end_is_exact() -> None:
    layer, xs = layer_of("groups")
    other = copy.deepcopy(layer)
    z = stepped([other], xs)[-1]
    weight = torch.randn(z.shape, dtype=z.dtype)
    (z * weight).sum().backward()
    tt.set_rule(layer, tt.rules.drtrl())
    inputs = xs.clone().requires_grad_()
    (tt.scan(layer, inputs, out="last") * weight).sum().backward()
    assert max(errors(layer, other)) < 1e-10


def test_real_time_recurrent_learning_is_exact_with_a_recurrent_synapse() -> None:
    torch.manual_seed(0)
    synapse = tt.BatchNormed(nn.Linear(7, 5, bias=False), nn.BatchNorm1d(5))
    layer = tt.Layer(synapse, tt.LIF(half_life=4), recurrent=nn.Linear(5, 5, bias=False)).double()
    with torch.no_grad():
        synapse.norm.bias.fill_(0.3)
    other, xs = copy.deepcopy(layer), layer_of("linear")[1]
    neuron, state, z, found = other.neuron, None, 0, []
    for x in xs:
        c = other.synapse(x) + (0 if state is None else other.recurrent(z))
        state, z = neuron.step(neuron.pack(neuron.zeros(c)) if state is None else state, c)
        found.append(z)
    z = torch.stack(found)
    assert 0.05 < float(z.detach().mean()) < 0.6
    weight = torch.randn(z.shape, dtype=z.dtype)
    (z * weight).sum().backward()
    tt.set_rule(layer, tt.rules.rtrl())
    learned(layer, xs, weight, [1] * STEPS)
    assert max(errors(layer, other)) < 1e-10


def test_the_first_layer_gets_the_cotangent_of_its_input_at_the_present_step() -> None:
    layer, xs = layer_of("groups")
    tt.set_rule(layer, tt.rules.drtrl())
    x = xs[0].clone().requires_grad_()
    weight = torch.randn(layer(x).shape, dtype=x.dtype)
    tt.reset(layer)
    (layer(x) * weight).sum().backward()
    leaf = xs[0].clone().requires_grad_()
    (stepped([copy.deepcopy(layer)], leaf.unsqueeze(0))[0] * weight).sum().backward()
    torch.testing.assert_close(x.grad, leaf.grad, rtol=1e-10, atol=1e-14)


def test_a_trace_stores_the_derivatives_of_the_weights_at_its_step() -> None:
    """Traces advance at the next call, after the optimizer: they take the statistics and weights of their own step."""
    layer, xs = layer_of("groups")
    ahead, tt_rule = copy.deepcopy(layer), tt.rules.drtrl()
    for net in (layer, ahead):
        tt.set_rule(net, tt_rule)
        net(xs[0])
    before = tt.get_state(ahead)  # advances the traces now
    with torch.no_grad():
        for net in (layer, ahead):
            for p in net.parameters():
                p.mul_(1.3)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), tt.get_state(layer).values(), strict=True))
    tt.set_state(ahead, before)
    for net in (layer, ahead):
        net(xs[1]).sum().backward()
    assert max(errors(layer, ahead)) < 1e-12


@pytest.mark.parametrize("name", ["ottt", "trace", "rate", "s_tllr", "stdp", "pp_prop"])
def test_rules_that_pair_inputs_with_units_are_refused(name: str) -> None:
    layer, xs = layer_of("linear")
    tt.set_rule(layer, getattr(tt.rules, name)())
    with pytest.raises(ValueError, match=r"behind a norm over the batch .*drtrl"):
        layer(xs[0])


def test_pairs_are_refused_by_name_and_auto_takes_the_full_trace() -> None:
    layer, xs = layer_of("linear")
    tt.set_rule(layer, tt.rules.cascade(pairs=2))
    with pytest.raises(ValueError, match="behind a norm"):
        layer(xs[0])
    tt.set_rule(layer, tt.rules.cascade(budget=0))
    layer(xs[0])
    assert "full" in repr(layer)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: tt.BatchNormed(nn.Linear(2, 3), nn.BatchNorm1d(3)), "bias=False"),
        (lambda: tt.BatchNormed(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(4)), r"BatchNorm1d\(3\)"),
        (lambda: tt.BatchNormed(nn.Conv2d(2, 3, 1, bias=False), nn.BatchNorm1d(3)), r"BatchNorm2d\(3\)"),
        (lambda: tt.BatchNormed(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3, affine=False)), "affine=True"),
        (lambda: tt.BatchNormed(nn.Linear(2, 3, bias=False), nn.LayerNorm(3)), "got LayerNorm"),
        (lambda: tt.BatchNormed(nn.Identity(), nn.BatchNorm1d(3)), "got Identity"),
        (
            lambda: tt.Layer(
                nn.Linear(2, 3),
                tt.LIF(half_life=2),
                recurrent=tt.BatchNormed(nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3)),
            ),
            "a recurrent synapse is plain",
        ),
        (
            lambda: tt.Layer(tt.BatchNormed(nn.Linear(2, 6, bias=False), nn.BatchNorm1d(6)), tt.RTU(3)),
            "one current per unit",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], object], match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        make()


def test_a_single_value_per_channel_is_refused_and_nothing_moves() -> None:
    layer, xs = layer_of("linear")
    mean = layer.synapse.norm.running_mean.clone()
    with pytest.raises(ValueError, match="more than one value per channel"):
        layer(xs[0, :1])
    with pytest.raises(ValueError, match="NaN"):
        layer(xs[0] * float("nan"))
    assert torch.equal(layer.synapse.norm.running_mean, mean)
    assert layer.state is None


def test_a_reset_row_begins_again() -> None:
    layer, xs = layer_of("linear")
    tt.set_rule(layer, tt.rules.drtrl())
    mask = torch.tensor([True, False, False, True])
    for x in xs[:5]:
        layer(x)
    tt.reset(layer, mask)
    layer(xs[5]).sum().backward()
    norm, neuron, state = copy.deepcopy(layer.synapse), layer.neuron, None
    norm.zero_grad()
    for t, x in enumerate(xs[:6]):
        c = norm(x)
        state = neuron.pack(neuron.zeros(c)) if state is None else state
        if t == 5:
            state = type(state)(*(torch.where(mask.unsqueeze(1), torch.zeros_like(v), v) for v in state))
        state, out = neuron.step(state, c)
    out.sum().backward()
    assert max(errors(layer.synapse, norm)) < 1e-10


def test_ragged_windows_are_refused_in_training_and_exact_in_evaluation() -> None:
    layer, xs = layer_of("linear")
    lengths = torch.tensor([10, 7, 4, 10])
    with pytest.raises(ValueError, match="over the rows of a step"):
        tt.scan(layer, xs, lengths=lengths)
    assert layer.state is None
    layer.eval()
    whole = tt.scan(layer, xs).detach()
    tt.reset(layer)
    valid = torch.arange(STEPS).unsqueeze(1) < lengths
    assert torch.equal(tt.scan(layer, xs, lengths=lengths), whole * valid.unsqueeze(2))


def test_state_checkpoints_copies_and_pickles_carry_it() -> None:
    layer, xs = layer_of("groups")
    tt.set_rule(layer, tt.rules.drtrl())
    layer(xs[0])
    copies = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    fresh, _ = layer_of("groups")
    fresh.load_state_dict(layer.state_dict())
    tt.set_rule(fresh, tt.rules.drtrl())
    tt.set_state(fresh, tt.get_state(layer))
    layer(xs[1]).sum().backward()
    for other in (*copies, fresh):
        other(xs[1]).sum().backward()
        assert max(errors(other, layer)) < 1e-12


def test_folded_gives_the_same_spikes_in_evaluation() -> None:
    for kind in KINDS:
        layer, xs = layer_of(kind)
        layer.eval()
        plain = tt.Layer(layer.synapse.folded(), layer.neuron).double()
        with torch.no_grad():
            assert torch.equal(tt.scan(layer, xs), tt.scan(plain, xs))


def test_calibration_scales_the_norm() -> None:
    from tracetorch.testing import calibrate

    layer, xs = layer_of("groups")
    calibrate(layer, xs)
    tt.reset(layer)
    with torch.no_grad():
        assert 0.02 < float(tt.scan(layer, xs).mean()) < 0.6


def test_random_feedback_replaces_the_weight_behind_the_norm() -> None:
    layer, xs = layer_of("groups")
    tt.set_rule(layer, tt.rules.drtrl(feedback=tt.feedback.RandomFeedback()))
    x = xs[0].clone().requires_grad_()
    z = layer(x)
    weight = torch.randn_like(z)
    (z * weight).sum().backward()
    other = copy.deepcopy(layer)
    # the norm's own derivative, times the feedback matrix instead of the weight
    leaf = xs[0].clone()
    c = other.synapse.synapse(leaf).detach().requires_grad_()
    state = other.neuron.pack(other.neuron.zeros(c))
    (other.neuron.step(state, other.synapse.norm(c))[1] * weight).sum().backward()
    expected = nn.grad.conv2d_input(leaf.shape, layer.feedback.detach(), c.grad, padding=1, groups=2)
    torch.testing.assert_close(x.grad, expected, rtol=1e-10, atol=1e-14)
