"""Audits of several rules: what is exact, what is not, what does not fire, what it costs."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch import plot
from tracetorch.testing import PeakBytes, audit, gradient_audit, require_alive
from tracetorch.testing.rules_audit import parts
from tracetorch.train.schema import plain

T, B, INPUTS, UNITS, CLASSES = 12, 4, 8, 10, 3
CE = nn.functional.cross_entropy


def net(seed: int, hidden: int = 2) -> nn.Sequential:
    """Layers that fire, under a readout without memory."""
    torch.manual_seed(seed)
    sizes = [INPUTS, *[UNITS] * hidden]
    stack = [tt.Layer(nn.Linear(i, o), tt.LIF(half_life=5)) for i, o in pairwise(sizes)]
    made = nn.Sequential(*stack, nn.Linear(UNITS, CLASSES))
    tt.init_firing(made, batch(seed)[0], 0.25)
    return made


def batch(seed: int) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return torch.rand(T, B, INPUTS, generator=source), torch.randint(CLASSES, (B,), generator=source)


def test_two_layers_are_exact_by_cascade_and_not_by_sltt() -> None:
    require_alive(net(0), batch(0)[0])
    rules = {"cascade": tt.rules.cascade(), "sltt": tt.rules.sltt()}
    found = audit(net, batch, CE, rules=rules, seeds=range(3))
    assert found.layers == ("0", "1", "2")
    for layer in found.layers:
        assert all(a.relative_error < 1e-10 for a in found.agreements["cascade"][layer])
    assert all(a.cosine < 0.99 and a.norm_ratio < 0.5 for a in found.agreements["sltt"]["0"])


def test_a_layer_is_its_weights_and_bias_of_the_audit_of_one_rule() -> None:
    one, (xs, targets) = net(1, hidden=3), batch(1)
    rule = tt.rules.drtrl()
    layers = audit(one, (xs, targets), CE, rules={"drtrl": rule}, window=5).agreements["drtrl"]
    single = gradient_audit(one, xs, lambda ys, _: CE(ys[-1], targets), rule, window=5, out="last")
    rows = [single.rows[f"0.synapse.{name}"] for name in ("weight", "bias")]
    low, high = sorted(row.cosine for row in rows)
    assert low - 1e-12 <= layers["0"][0].cosine <= high + 1e-12
    assert layers["0"][0].cosine < 0.99


def test_losses_at_every_step_add_up() -> None:
    one, (xs, targets) = net(2), batch(2)
    steps = torch.stack([(targets + t) % CLASSES for t in range(T)])
    rules = {"drtrl": tt.rules.drtrl(), "traced_bptt": tt.rules.traced_bptt()}
    found = audit(one, (xs, steps), CE, rules=rules, window=4, out="all").agreements
    single = gradient_audit(
        one,
        xs,
        lambda ys, at: torch.stack([CE(y, t) for y, t in zip(ys, steps[at], strict=True)]).sum(),
        tt.rules.traced_bptt(),
        window=4,
    )
    assert found["traced_bptt"]["2"][0].relative_error < 1e-10
    assert found["traced_bptt"]["0"][0].cosine == pytest.approx(
        gradient_cosine(single, "0.synapse.weight", "0.synapse.bias"), abs=0.02
    )
    assert found["drtrl"]["0"][0].cosine < found["traced_bptt"]["0"][0].cosine < 0.99999


def gradient_cosine(single: tt.testing.Audit, *names: str) -> float:
    return min(single.rows[name].cosine for name in names)


def test_silent_and_saturated_units_are_counted_and_listed() -> None:
    one = net(0)
    with torch.no_grad():
        one[0].synapse.bias[[3, 7]] = -1e3
        one[0].synapse.bias[5] = 1e3
    found = audit(one, batch(0), CE, rules={"sltt": tt.rules.sltt()})
    assert (found.firing["0"][0].silent, found.firing["0"][0].saturated) == ((3, 7), (5,))
    assert "2 of 10 units silent (3, 7); 1 of 10 units saturated (5)" in str(found)
    assert found.as_dict()["firing"]["0"][0]["silent"] == (3, 7)


def test_a_rule_that_refuses_the_network_is_told_beside_the_others() -> None:
    one = nn.Sequential(
        tt.Layer(nn.Linear(INPUTS, UNITS), tt.LIF(half_life=torch.linspace(3, 9, UNITS))), nn.Linear(10, 3)
    )
    found = audit(one, batch(0), CE, rules={"ottt": tt.rules.ottt(), "drtrl": tt.rules.drtrl()}, seeds=(0, 1))
    assert set(found.agreements) == set(found.costs) == {"drtrl"}
    assert "ottt: refused: " in str(found)


def test_seeds_repeat_and_spread() -> None:
    rules = {"random": tt.rules.drtrl(feedback=tt.feedback.RandomFeedback())}
    first, again = (audit(net, batch, CE, rules=rules, seeds=(0, 1)) for _ in range(2))
    cosines = [[a.cosine for a in found.agreements["random"]["0"]] for found in (first, again)]
    assert cosines[0] == cosines[1]
    assert cosines[0][0] != cosines[0][1]


def test_the_network_and_the_random_state_are_left_alone() -> None:
    one, data = net(0), batch(0)
    before = {name: value.clone() for name, value in one.state_dict().items()}
    state = torch.random.get_rng_state()
    audit(one, data, CE, rules={"trace": tt.rules.trace()})
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in one.state_dict().items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in one.parameters())
    assert one[0].rule == net(0)[0].rule


def test_memory_is_flat_in_single_steps_and_grows_with_a_graph() -> None:
    def peaks(steps: int) -> dict[str, int]:
        xs = torch.rand(steps, B, INPUTS, generator=torch.Generator().manual_seed(0))
        rules = {"drtrl": tt.rules.drtrl(), "bptt": tt.rules.bptt()}
        found = audit(net(0), (xs, batch(0)[1]), CE, rules=rules, window=1)
        return {name: costs[0].peak_bytes for name, costs in found.costs.items()}

    short, long = peaks(10), peaks(100)
    assert long["drtrl"] - short["drtrl"] < 0.2 * short["drtrl"]
    assert long["bptt"] > 4 * short["bptt"]


def test_learned_decays_have_a_line_of_their_own() -> None:
    layer = tt.Layer(nn.Linear(INPUTS, UNITS), tt.LIF(half_life=tt.Learnable(5.0)))
    assert set(parts(nn.Sequential(layer, nn.Linear(UNITS, CLASSES)))) == {"0", "0.neuron", "1"}
    assert set(parts(layer)) == {"", "neuron"}


def test_the_table_of_a_single_layer_and_json() -> None:
    layer = tt.Layer(nn.Linear(INPUTS, CLASSES), tt.LI(half_life=5))
    found = audit(layer, batch(0), CE, rules={"drtrl": tt.rules.drtrl()})
    assert "+1.000 ×1.00" in str(found)
    assert json.loads(json.dumps(plain(found.as_dict())))["rules"]["drtrl"]["layers"][""][0]["cosine"] > 0.999999
    x, y = found.cosines("drtrl")
    assert plot.cosines({"drtrl": (x, y)}).axes[0].get_xlabel() == "layers above"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rules": {}}, "at least one rule"),
        ({"seeds": ()}, "at least one rule and one seed"),
        ({"window": 0}, "positive number of time steps"),
        ({"out": "nope"}, "'last' or 'all', got 'nope'"),
        ({"out": "all"}, r"targets are \[time, batch"),
    ],
)
def test_what_cannot_be_audited_is_told(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        audit(net(0), batch(0), CE, **{"rules": {"sltt": tt.rules.sltt()}, **change})


def test_what_has_no_gradient_is_told() -> None:
    with pytest.raises(ValueError, match="no parameter"):
        audit(net(0).requires_grad_(False), batch(0), CE, rules={"sltt": tt.rules.sltt()})
    with pytest.raises(ValueError, match=r"\[time, batch, \.\.\.\]"):
        audit(net(0), (torch.rand(8), torch.tensor([1])), CE)


def test_peak_bytes_count_tensors_once_and_forget_the_freed() -> None:
    x = torch.ones(1000)
    with PeakBytes([x]) as meter:
        _ = x.split(10)
        y = x.view(10, 100) + 1.0
        del y
        z = x + 1.0
    assert meter.peak == z.nbytes
    with PeakBytes() as meter:
        kept = [torch.zeros(100) for _ in range(5)]
    assert meter.peak == 5 * kept[0].nbytes
