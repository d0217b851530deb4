"""Rows of unequal length, pauses and resets inside a scan equal each sequence alone, under every rule."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.backends import available_backends

RULES = [*sorted(set(tt.rules.PRESETS) - {"uoro"}), "cascade with pairs"]  # uoro draws for each group of rows
BACKENDS = [name for name in ("torch", "numba") if not available_backends()[name]]
T, B = 12, 5
LENGTHS = torch.tensor([12, 4, 9, 4, 7])


def bfloat16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def dense() -> nn.Module:
    hidden = tt.Layer(nn.Linear(6, 8), tt.LIF(half_life=4))
    return nn.Sequential(hidden, tt.Layer(nn.Linear(8, 3), tt.LI(half_life=5)))


def recurrent() -> nn.Module:
    hidden = tt.Layer(nn.Linear(6, 8), tt.LIF(half_life=4), recurrent=nn.Linear(8, 8))
    return nn.Sequential(hidden, tt.Layer(nn.Linear(8, 3), tt.LI(half_life=5)))


def adaptive() -> nn.Module:
    first = tt.Layer(nn.Linear(6, 8), tt.SynapticLIF(half_life=4, synaptic_half_life=tt.Learnable(3.0)))
    second = tt.Layer(nn.Linear(8, 8), tt.ALIF(half_life=4, adaptation_half_life=9))
    return nn.Sequential(first, nn.Identity(), second, tt.Layer(nn.Linear(8, 3), tt.LI(half_life=5)))


class Skip(nn.Module):
    """A container that a scan runs step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = tt.Layer(nn.Linear(6, 6), tt.LIF(half_life=4))

    def forward(self, x):
        return x + self.inner(x)


def conv() -> nn.Module:
    hidden = tt.Layer(nn.Conv1d(2, 3, 2), tt.LIF(half_life=4))
    flat = [nn.Unflatten(1, (2, 3)), hidden, nn.Flatten()]
    return nn.Sequential(*flat, tt.Layer(nn.Linear(6, 3), tt.LI(half_life=5)))


def stepped() -> nn.Module:
    return nn.Sequential(Skip(), tt.Layer(nn.Linear(6, 3), tt.LI(half_life=5)))


NETS = {"dense": dense, "recurrent": recurrent, "adaptive": adaptive, "conv": conv, "stepped": stepped}


def make(kind: str, rule: str, backend: str = "torch") -> nn.Module:
    torch.manual_seed(1)
    net = NETS[kind]().double()
    for layer in tt.layers(net).values():
        layer.synapse.weight.data.mul_(3)
        layer.synapse.bias.data.add_(0.2)  # so that a padded step would change a state
    chosen = tt.rules.cascade(pairs=40) if rule == "cascade with pairs" else tt.rules.PRESETS[rule]()
    if rule == "eprop" and kind == "stepped":
        chosen = tt.rules.eprop(kappa=0.8)
    if rule == "ottt" and kind == "adaptive":
        chosen = tt.rules.ottt(approximate=True)
    tt.set_rule(net, chosen)
    tt.set_backend(net, backend)
    return net


def impossible(kind: str, rule: str) -> bool:
    """Whether the rule cannot be run on the network at all, however its windows are given."""
    return kind == "stepped" and rule == "rate"


def grads(net: nn.Module) -> dict[str, torch.Tensor]:
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in net.named_parameters()}


def equal(found: dict, expected: dict, tolerance: float = 1e-10) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(float(value.abs().max()), 1.0) if value.numel() else 1.0
        assert found[name].shape == value.shape, name
        assert float((found[name] - value).abs().max() if value.numel() else 0) <= tolerance * scale, name


def row_of(state: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """One row of a saved state; what tests compare, by where the batch stands in it."""
    before = ("h", "h_weight")
    found = {}
    for key, value in state.items():
        if "activity" in key or "bucket" in key or "pairs.length" in key or key.endswith("keep"):
            continue
        behind = key.endswith("sigma") or ("other." in key and key.rpartition("other.")[2] not in before)
        axis = 2 if "pairs.h" in key else int(behind)
        found[key] = value.select(axis, row)
    return found


def without_pairs(flat: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All but pairs, of which a longer row has more; the gradients of the next window compare them."""
    return {k: v for k, v in flat.items() if ".pairs." not in k}


def data() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return (torch.rand(T, B, 6) < 0.5).double(), torch.randn(T, B, 3).double()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("rule", RULES)
def test_rows_of_unequal_length_are_each_row_alone(rule, kind, backend) -> None:
    if impossible(kind, rule):
        pytest.skip("the rule averages a sequence, which a network that runs step by step has not")
    xs, ws = data()
    net = make(kind, rule, backend)
    ys = tt.scan(net, xs, lengths=LENGTHS)
    (ys * ws).sum().backward()
    state = tt.get_state(net)
    total = dict.fromkeys(grads(net), 0)
    spikes = 0.0
    for row, length in enumerate(LENGTHS.tolist()):
        one = make(kind, rule, backend)
        y = tt.scan(one, xs[:length, row : row + 1])
        (y * ws[:length, row : row + 1]).sum().backward()
        assert torch.allclose(ys[:length, row], y[:, 0], atol=1e-12)
        assert not ys[length:, row].any()
        total = {n: g + total[n] for n, g in grads(one).items()}
        alone = row_of(tt.get_state(one), 0)
        together = row_of(state, row)
        equal(*(without_pairs(x) for x in (together, alone)))
        spikes += float(y.abs().sum())
    equal(grads(net), total)
    assert spikes > 0
    assert all(float(g.abs().max()) > 0 for n, g in total.items() if n.endswith("synapse.weight"))


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("rule", RULES)
def test_the_last_outputs_are_those_of_each_row_alone(rule, kind) -> None:
    if impossible(kind, rule):
        pytest.skip("the rule averages a sequence, which a network that runs step by step has not")
    xs, ws = data()
    net = make(kind, rule)
    y = tt.scan(net, xs, "last", lengths=LENGTHS)
    (y * ws[0]).sum().backward()
    total = dict.fromkeys(grads(net), 0)
    for row, length in enumerate(LENGTHS.tolist()):
        one = make(kind, rule)
        alone = tt.scan(one, xs[:length, row : row + 1], "last")
        (alone * ws[0, row]).sum().backward()
        assert torch.allclose(y[row], alone[0], atol=1e-12)
        total = {n: g + total[n] for n, g in grads(one).items()}
    equal(grads(net), total)


def cut(net: nn.Module, xs: torch.Tensor, ws: torch.Tensor, resets: torch.Tensor) -> torch.Tensor:
    """The other account: cut the scan wherever a row is reset, and reset it with a mask between the parts."""
    times = [0, *(t for t in range(1, len(xs)) if bool(resets[t].any())), len(xs)]
    out = []
    for first, end in pairwise(times):
        if bool(resets[first].any()):
            tt.reset(net, resets[first])
        y = tt.scan(net, xs[first:end])
        (y * ws[first:end]).sum().backward()
        out.append(y.detach())
    return torch.cat(out)


CUT = [rule for rule in RULES if rule not in ("tbptt", "traced_bptt", "bptt", "rate")]
"""Rules under which a cut changes no gradient."""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("rule", CUT)
def test_resets_inside_a_scan_equal_a_scan_cut_at_each(rule, kind, backend) -> None:
    xs, ws = data()
    torch.manual_seed(3)
    resets = torch.rand(T, B) < 0.15
    before, after = (torch.rand(2, 3, B, 6) < 0.5).double()
    results = []
    for way in ("inside", "cut"):
        net = make(kind, rule, backend)
        (tt.scan(net, before) * ws[:3]).sum().backward()
        if way == "inside":
            ys = tt.scan(net, xs, resets=resets)
            (ys * ws).sum().backward()
        else:
            ys = cut(net, xs, ws, resets)
        state = tt.get_state(net)
        (tt.scan(net, after) * ws[-3:]).sum().backward()
        results.append((ys.detach(), grads(net), state))
    (ys, found, state), (expected_ys, expected, expected_state) = results
    assert resets.sum() > 5
    assert torch.allclose(ys, expected_ys, atol=1e-12)
    if "activity" in " ".join(state):  # mean blocks are measured over other steps
        return
    equal(found, expected)
    for row in range(B):
        equal(*(without_pairs(row_of(x, row)) for x in (state, expected_state)))


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("rule", ["bptt", "tbptt", "traced_bptt", "rate"])
def test_no_credit_crosses_a_reset_inside_a_window(rule, kind) -> None:
    """Against each sequence alone, and with the reset left out as the control."""
    if impossible(kind, rule):
        pytest.skip("the rule averages a sequence, which a network that runs step by step has not")
    xs, ws = data()
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[5, :3] = resets[8, 0] = resets[1, 4] = True
    net = make(kind, rule)
    (tt.scan(net, xs, resets=resets) * ws).sum().backward()
    total = dict.fromkeys(grads(net), 0)
    for row in range(B):
        times = [0, *resets[:, row].nonzero().flatten().tolist(), T]
        for first, end in pairwise(times):
            one = make(kind, rule)
            (tt.scan(one, xs[first:end, row : row + 1]) * ws[first:end, row : row + 1]).sum().backward()
            total = {n: g + total[n] for n, g in grads(one).items()}
    equal(grads(net), total)
    control = make(kind, rule)
    (tt.scan(control, xs) * ws).sum().backward()
    with pytest.raises(AssertionError):
        equal(grads(control), total, 1e-3)


@pytest.mark.parametrize("rule", [r for r in RULES if r != "rate"])
def test_rows_go_on_from_where_they_stood(rule) -> None:
    """Windows before and after, a mask with pauses, and one backward at the end where the rule keeps its graph."""
    xs, ws = data()
    torch.manual_seed(4)
    first, second, last = torch.rand(T, B) < 0.7, torch.rand(T, B) < 0.5, torch.ones(T, B).bool()
    second[:, 2] = False  # a row that does not run at all
    masks = (first, second, last)
    inputs = (xs, xs.flip(0), xs.roll(3, 0))
    net = make("recurrent", rule)
    losses = []
    for x, mask in zip(inputs, masks, strict=True):
        losses.append((tt.scan(net, x, mask=mask) * ws).sum())
        if rule != "bptt":
            losses.pop().backward()
    if losses:
        sum(losses).backward()
    state = tt.get_state(net)
    total = dict.fromkeys(grads(net), 0)
    for row in range(B):
        one = make("recurrent", rule)
        losses = []
        for x, mask in zip(inputs, masks, strict=True):
            valid = mask[:, row]
            if bool(valid.any()):
                losses.append((tt.scan(one, x[valid, row : row + 1]) * ws[valid, row : row + 1]).sum())
                if rule != "bptt":
                    losses.pop().backward()
        if losses:
            sum(losses).backward()
        total = {n: g + total[n] for n, g in grads(one).items()}
        alone, together = row_of(tt.get_state(one), 0), row_of(state, row)
        equal(*(without_pairs(x) for x in (together, alone)))
    equal(grads(net), total)


def test_a_row_that_never_ran_begins_like_after_a_reset() -> None:
    xs, ws = data()
    net = make("dense", "drtrl")
    tt.scan(net, xs, lengths=[T, 0, 3, 0, 5]).sum().backward()
    net.zero_grad()
    (tt.scan(net, xs) * ws).sum().backward()
    found = grads(net)
    total = dict.fromkeys(found, 0)
    for row, length in enumerate([T, 0, 3, 0, 5]):
        one = make("dense", "drtrl")
        if length:
            tt.scan(one, xs[:length, row : row + 1])
        (tt.scan(one, xs[:, row : row + 1]) * ws[:, row : row + 1]).sum().backward()
        total = {n: g + total[n] for n, g in grads(one).items()}
    equal(found, total)


def test_a_reset_after_the_last_step_waits_for_the_next_window() -> None:
    xs, _ = data()
    mask, resets = torch.ones(T, B).bool(), torch.zeros(T, B).bool()
    mask[6:, 1], resets[8, 1] = False, True
    net, other = make("dense", "trace"), make("dense", "trace")
    tt.scan(net, xs, mask=mask, resets=resets)
    tt.scan(other, xs, mask=mask)
    tt.reset(other, torch.arange(B) == 1)
    assert torch.equal(tt.scan(net, xs), tt.scan(other, xs))


def test_dropped_outputs_and_padding_that_is_not_a_number() -> None:
    xs, _ = data()
    padded = xs.clone()
    for row, length in enumerate(LENGTHS.tolist()):
        padded[length:, row] = float("nan")
    ys = tt.scan(make("dense", "trace"), padded, lengths=LENGTHS)
    assert torch.equal(ys, tt.scan(make("dense", "trace"), xs, lengths=LENGTHS))


@pytest.mark.parametrize("enforce", [True, False])
def test_packed_sequences_in_and_out(enforce) -> None:
    xs, _ = data()
    lengths = LENGTHS.sort(descending=True).values if enforce else LENGTHS
    packed = nn.utils.rnn.pack_padded_sequence(xs, lengths, enforce_sorted=enforce)
    ys = tt.scan(make("dense", "trace"), packed)
    expected = tt.scan(make("dense", "trace"), xs, lengths=lengths)
    assert isinstance(ys, nn.utils.rnn.PackedSequence)
    assert torch.equal(ys.batch_sizes, packed.batch_sizes)
    padded, found = nn.utils.rnn.pad_packed_sequence(ys)
    assert torch.equal(padded, expected)
    assert torch.equal(found, lengths)
    last = tt.scan(make("dense", "trace"), packed, "last")
    assert torch.equal(last, expected[lengths - 1, torch.arange(B)])


def test_the_batch_first() -> None:
    xs, _ = data()
    resets = torch.rand(T, B) < 0.2
    mask = torch.rand(T, B) < 0.8
    expected = tt.scan(make("dense", "trace"), xs, mask=mask, resets=resets)
    found = tt.scan(make("dense", "trace"), xs.transpose(0, 1), mask=mask.T, resets=resets.T, batch_first=True)
    assert torch.equal(found, expected.transpose(0, 1))
    last = tt.scan(make("dense", "trace"), xs.transpose(0, 1), "last", batch_first=True)
    assert torch.equal(last, tt.scan(make("dense", "trace"), xs, "last"))


def test_a_rate_term_counts_each_row_alone() -> None:
    xs, _ = data()
    for rule in ("trace", "eprop", "drtrl"):
        net = make("dense", rule)
        term = tt.FinalRate(net, target=0.1)
        tt.scan(net, xs, lengths=LENGTHS)
        value = term()
        value.backward()
        total, sum_of = dict.fromkeys(grads(net), 0), 0.0
        for row, length in enumerate(LENGTHS.tolist()):
            one = make("dense", rule)
            own = tt.FinalRate(one, target=0.1)
            tt.scan(one, xs[:length, row : row + 1])
            loss = own() / B
            loss.backward()
            sum_of += float(loss)
            total = {n: g + total[n] for n, g in grads(one).items()}
        assert abs(float(value) - sum_of) < 1e-12
        equal(grads(net), total)
        assert float(total["0.synapse.weight"].abs().max()) > 0


def test_a_running_rate_is_refused() -> None:
    xs, _ = data()
    net = make("dense", "trace")
    term = tt.RunningRate(net, target=0.1)
    tt.scan(net, xs, lengths=LENGTHS)
    with pytest.raises(RuntimeError, match="unequal length"):
        term()


def test_a_failure_leaves_everything_as_it_was() -> None:
    xs, _ = data()
    net = make("dense", "drtrl")
    tt.scan(net, xs)
    before = copy.deepcopy(tt.get_state(net))
    bad = xs.clone()
    bad[-1, 0] = float("inf")
    with pytest.raises(ValueError, match="NaN or infinity"):
        tt.scan(net, bad, lengths=LENGTHS)
    after = tt.get_state(net)
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("rule", ["trace", "drtrl", "ottt"])
def test_a_state_that_is_read_late_is_that_of_the_weights_and_inputs_of_its_window(rule) -> None:
    xs, ws = data()
    net, now = make("adaptive", rule), make("adaptive", rule)
    given = xs.clone()
    (tt.scan(net, given, lengths=LENGTHS) * ws).sum().backward()
    (tt.scan(now, xs, lengths=LENGTHS) * ws).sum().backward()
    expected = tt.get_state(now)
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    given.zero_()
    weights = copy.deepcopy(net.state_dict())
    equal(tt.get_state(net), expected, 0)
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert all(p.requires_grad for p in net.parameters())
    other = make("adaptive", rule)
    other.load_state_dict(weights)
    tt.scan(other, xs, lengths=LENGTHS)
    moved = tt.get_state(other)
    with pytest.raises(AssertionError):  # the weights have moved far enough to be seen
        equal(moved, expected, 1e-3)


def train(net: nn.Module) -> None:
    net.train()


def decay(net: nn.Module) -> None:
    net[-1].neuron.beta.mul_(0.5)


def convert(net: nn.Module) -> None:
    net.float()
    net.double()


LATE = {"mode": train, "decay": decay, "conversion": convert}


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode, bfloat16])
@pytest.mark.parametrize("change", LATE)
def test_a_state_that_is_read_late_is_that_of_the_network_of_its_window(change, context) -> None:
    xs, ws = data()
    nets = [make("adaptive", "drtrl") for _ in range(2)]
    for net in nets:
        net[1] = nn.Dropout(0.5)
        net.eval()
        (tt.scan(net, xs, lengths=LENGTHS) * ws).sum().backward()
    states = []
    for net, late in zip(nets, (False, True), strict=True):
        states += [] if late else [tt.get_state(net)]
        LATE[change](net)
        with context():
            states += [tt.get_state(net)] if late else []
        assert net.training == (change == "mode")
    equal(states[1], states[0], 1e-6 if change == "conversion" else 1e-12)


def surrogate(net: nn.Module) -> None:
    net[0].neuron.surrogate = tt.surrogates.ATan(scale=7.0)


def weight(net: nn.Module) -> None:
    net[0].synapse.weight = nn.Parameter(net[0].synapse.weight.detach() / 2)


def hook(net: nn.Module) -> None:
    net[0].register_forward_hook(lambda *_: None)


@pytest.mark.parametrize("change", [surrogate, weight, hook])
def test_a_window_that_cannot_be_run_again_says_so(change) -> None:
    xs, _ = data()
    net = make("dense", "drtrl")
    tt.scan(net, xs, lengths=LENGTHS)
    change(net)
    with pytest.raises(RuntimeError, match="was replaced, or hooks were registered"):
        net(xs[0])
    tt.reset(net)
    net(xs[0])


def test_what_follows_a_ragged_scan_finds_its_state() -> None:
    xs, _ = data()

    def state(change) -> dict[str, torch.Tensor]:
        net = make("adaptive", "drtrl")
        tt.scan(net, xs, lengths=LENGTHS)
        return change(net) or tt.get_state(net)

    expected = state(lambda net: None)
    assert int(expected["0/steps"].sum()) == int(LENGTHS.sum())
    equal(state(lambda net: tt.get_state(copy.deepcopy(net))), expected)
    equal(state(lambda net: tt.get_state(net.to(torch.float64))), expected)
    twice = state(lambda net: [tt.get_state(net), tt.get_state(net)][1])
    equal(twice, expected)

    def ruled(net) -> None:
        tt.set_rule(net, tt.rules.sltt())

    assert torch.equal(state(ruled)["0/s.0"], expected["0/s.0"])
    mask = torch.tensor([True, False, False, True, False])

    def masked(net) -> None:
        tt.reset(net, mask)

    assert torch.equal(state(masked)["0/keep"] > 0, ~mask)

    def stepped_on(net) -> None:
        net(xs[0])

    assert torch.equal(state(stepped_on)["0/steps"], expected["0/steps"] + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": [1, 2]}, "for each row"),
        ({"lengths": [1.0] * B}, "whole number"),
        ({"lengths": [T + 1] * B}, "between 0"),
        ({"lengths": [-1] * B}, "between 0"),
        ({"lengths": [0] * B}, "no row has a valid step"),
        ({"lengths": [1] * B, "mask": torch.ones(T, B)}, "one of them"),
        ({"mask": torch.ones(B, T)}, "each step and row"),
        ({"mask": torch.full((T, B), 0.5)}, "0 and 1"),
        ({"resets": torch.ones(B)}, "each step and row"),
    ],
)
def test_what_does_not_fit_is_refused(options, message) -> None:
    xs, _ = data()
    with pytest.raises(ValueError, match=message):
        tt.scan(make("dense", "trace"), xs, **options)
