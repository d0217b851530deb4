"""Steps by the compiled program equal the engine's torch path for every rule and neuron, with recurrence."""

from dataclasses import dataclass

import pytest
import torch
from steps.chains import LEARNED, NEURONS, close, inputs, learn, loss_of, recurrent

import tracetorch as tt
from tracetorch.traces import Context, Trace, Untraced, WeightCredit

pytest.importorskip("numba")

RULES = {
    "sltt": tt.rules.sltt(),
    "tbptt": tt.rules.tbptt(),
    "ottt": tt.rules.ottt(),
    "eprop": tt.rules.eprop(),
    "drtrl": tt.rules.drtrl(),
    "drtrl by sensitivity": tt.rules.drtrl(input="gain"),
    "traced_bptt": tt.rules.traced_bptt(),
    "trace": tt.rules.trace(buckets=3),
    "cascade": tt.rules.cascade(),
    "cascade in one pair": tt.rules.cascade(pairs=1),
    "cascade in pairs": tt.rules.cascade(pairs=4),
}
IMPOSSIBLE = {("ottt", n) for n in NEURONS if n not in ("lif", "lif, learned", "synaptic", "li")}
SEVERAL = {(r, n) for r in RULES if "cascade" in r for n in ("lif, learned per unit", "lif, per unit", "diagonal")}
"""Rules and neurons with several filters above a layer, which the program leaves to the engine."""


def pair(neuron: str, rule: str, readout=lambda: tt.LI(half_life=LEARNED(5.0))):
    nets = [recurrent(neuron, RULES[rule], readout()) for _ in range(2)]
    for net, backend in zip(nets, ("numba", "torch"), strict=True):
        tt.set_backend(net, backend)
    return nets


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("rule", RULES)
def test_steps_equal_the_engine(rule, neuron) -> None:
    if (rule, neuron) in IMPOSSIBLE:
        with pytest.raises(ValueError, match="rule"):
            pair(neuron, rule)[0](inputs(1, 3)[0])
        return
    net, other = pair(neuron, rule)
    fired: list[float] = []
    other[0].register_forward_hook(lambda _, __, z: fired.append(float(z.detach().mean())))
    total: dict[str, float] = {}
    for t, x in enumerate(inputs(14, 3)):
        if t == 6:
            for one in (net, other):
                tt.reset(one, torch.tensor([True, False, True]))
        found, expected = learn(net, x), learn(other, x)
        close(found, expected)
        for name, value in expected.items():
            total[name] = total.get(name, 0.0) + float(value.abs().sum())
        first = "cascade" in rule and t == 0  # shows which layers feed which
        assert first or (rule, neuron) in SEVERAL or all(layer.core.stepper is not None for layer in net)
        if t in (0, 6, 13):
            close(tt.get_state(net), tt.get_state(other))
    quiet = {name for name, value in total.items() if not value > 0}  # what acts through the state alone
    assert not quiet or (rule in ("sltt", "tbptt") and all(".neuron." in name for name in quiet))
    assert set(total) == {"output", "input"} | {n for n, p in net.named_parameters() if p.requires_grad}
    assert neuron == "li" or 0.03 < sum(fired) / len(fired) < 0.9


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize(
    ("rule", "neuron"), [("eprop", "lif, learned"), ("trace", "lif, learned per unit"), ("cascade", "own")]
)
def test_batches_of_any_size(rule, neuron, batch) -> None:
    net, other = pair(neuron, rule, tt.Mean)
    for x in inputs(8, batch):
        close(learn(net, x), learn(other, x))
    close(tt.get_state(net), tt.get_state(other))


@pytest.mark.parametrize("rule", ["sltt", "ottt", "trace"])
def test_a_late_backward_meets_the_numbers_of_its_step(rule) -> None:
    grads = []
    for net in pair("lif, learned", rule):
        total = sum(loss_of(net(x)) for x in inputs(6, 3))
        total.backward()
        grads.append({n: p.grad for n, p in net.named_parameters() if p.grad is not None})
    close(*grads)


@pytest.mark.parametrize("rule", ["eprop", "trace", "cascade"])
def test_the_engine_goes_on_from_a_step_and_back(rule) -> None:
    net, other = pair("lif, learned", rule)
    for t, x in enumerate(inputs(12, 3)):
        tt.set_backend(net, "numba" if t % 4 < 2 else "torch")
        close(learn(net, x), learn(other, x))
    close(tt.get_state(net), tt.get_state(other))


def test_a_parameter_that_is_frozen_on_the_way_learns_no_more() -> None:
    net, other = pair("lif, learned", "drtrl")
    for t, x in enumerate(inputs(9, 3)):
        for one in (net, other):
            if t in (3, 6):
                for p in one[0].neuron.parameters():
                    p.requires_grad_(t == 6)
        found, expected = learn(net, x), learn(other, x)
        close(found, expected)
        assert any(name.startswith("0.neuron") for name in found) == (not 3 <= t < 6)


@dataclass(frozen=True)
class Unknown(Untraced):
    """A trace that is in no table."""


class OwnCredit(WeightCredit):
    """Make traces that are in no table."""

    def trace(self, context: Context) -> Trace:
        return Unknown(context.input)


def test_what_no_kernel_knows_runs_on_the_engine_and_in_no_stream() -> None:
    rule = tt.Rule(name="own", weight=OwnCredit(), input="psi", window="step")
    nets = [recurrent("lif", one, tt.LI(half_life=5.0)) for one in (rule, tt.rules.sltt())]
    for net in nets:
        tt.set_backend(net, "numba")
    for x in inputs(3, 3):
        close(*(learn(net, x) for net in nets))
    assert [[layer.core.stepper is not None for layer in net] for net in nets] == [[False] * 3, [True] * 3]
    with pytest.raises(ValueError, match="trace of the kind Unknown"):
        tt.Stream(nets[0], lr=0.1)
