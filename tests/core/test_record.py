"""What is recorded is what single steps show, under steps, scans and rows of unequal length."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.backends import available_backends

BACKENDS = [name for name in ("torch", "numba") if not available_backends()[name]]
NAMES = ("0.v", "0.a", "0.spikes", "0.currents", "1.v", "1.outputs")
T, B = 30, 3


def make(backend: str = "torch", rule: str = "trace") -> nn.Module:
    torch.manual_seed(0)
    hidden = tt.Layer(nn.Linear(4, 6), tt.ALIF(half_life=4, adaptation_half_life=9), recurrent=nn.Linear(6, 6))
    net = nn.Sequential(hidden, tt.Layer(nn.Linear(6, 2), tt.LI(half_life=5))).double()
    net[0].synapse.weight.data.mul_(4)
    tt.set_rule(net, tt.rules.PRESETS[rule]())
    tt.set_backend(net, backend)
    return net


def by_hand(net: nn.Module, xs: torch.Tensor) -> dict[str, torch.Tensor]:
    """The other account: read `layer.state` after each step, and the current from its parts."""
    rows: dict[str, list[torch.Tensor]] = {name: [] for name in NAMES}
    fed = torch.zeros(xs.shape[1], 6).double()
    for x in xs:
        rows["0.currents"].append(net[0].synapse(x) + net[0].recurrent(fed))
        fed = net[0](x)
        y = net[1](fed)
        for name, value in (("0.v", net[0].state.v), ("0.a", net[0].state.a), ("0.spikes", fed)):
            rows[name].append(value)
        rows["1.v"].append(net[1].state.v)
        rows["1.outputs"].append(y)
    return {name: torch.stack(values).detach() for name, values in rows.items()}


def inputs() -> torch.Tensor:
    torch.manual_seed(1)
    return (torch.rand(T, B, 4) < 0.5).double()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["scan", "last", "steps", "windows", "no_grad"])
def test_a_record_is_what_single_steps_show(way, backend) -> None:
    xs, expected = inputs(), by_hand(make(), inputs())
    net = make(backend)
    with tt.record(net, *NAMES) as seen:
        if way == "steps":
            for x in xs:
                net(x)
        elif way == "windows":
            tt.scan(net, xs[:7])
            tt.scan(net, xs[7:])
        elif way == "no_grad":
            with torch.no_grad():
                tt.scan(net, xs)
        else:
            tt.scan(net, xs, "last" if way == "last" else "all")
    net(xs[0])  # after the block nothing is recorded
    assert expected["0.spikes"].sum() > 10
    for name in NAMES:
        assert seen.steps(name) == list(range(T))
        assert torch.allclose(seen[name], expected[name], atol=1e-10), name


def test_a_record_of_rows_of_unequal_length() -> None:
    xs, lengths = inputs(), [30, 11, 19]
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[5, 1] = resets[12, 0] = True
    net = make()
    with tt.record(net, *NAMES, every=3) as seen:
        tt.scan(net, xs, lengths=lengths, resets=resets)
    for row, length in enumerate(lengths):
        one = make()
        cuts = [0, *resets[:, row].nonzero().flatten().tolist(), length]
        parts = []
        for first, end in pairwise(cuts):
            tt.reset(one)
            parts.append(by_hand(one, xs[first:end, row : row + 1]))
        for name in NAMES:
            alone = torch.cat([part[name] for part in parts])[::3, 0]
            assert seen.steps(name) == list(range(0, T, 3))
            assert torch.allclose(seen[name][: len(alone), row], alone, atol=1e-10), name
            assert seen[name][len(alone) :, row].isnan().all()


class Through(nn.Module):
    """A container that runs step by step."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


def test_a_record_of_a_network_that_runs_step_by_step() -> None:
    xs, lengths = inputs(), [30, 11, 19]
    expected = by_hand(make(), xs)
    for given in (None, lengths):
        net = Through(make())
        with tt.record(net, "net.0.v", "net.1.outputs") as seen:
            tt.scan(net, xs, lengths=given)
        for row, length in enumerate(lengths):
            steps = T if given is None else length
            for name in ("0.v", "1.outputs"):
                found = seen[f"net.{name}"][:steps, row]
                assert torch.allclose(found, expected[name][:steps, row], atol=1e-10)


def test_every_last_and_units() -> None:
    net, xs = make(), inputs()
    expected = by_hand(make(), xs)
    with tt.record(net, "0.v", every=4, last=3, units=[5, 0]) as seen:
        tt.scan(net, xs[:9])
        for x in xs[9:]:
            net(x)
    assert seen.steps("0.v") == [20, 24, 28]
    assert torch.allclose(seen["0.v"], expected["0.v"][[20, 24, 28]][:, :, [5, 0]])
    seen.clear()
    with pytest.raises(KeyError, match="not run since"):
        seen["0.v"]


def test_traces_are_those_after_each_call() -> None:
    net, xs = make(rule="drtrl"), inputs()
    key = "traces.weight.0.0"
    with tt.record(net, f"0.{key}") as seen:
        tt.scan(net, xs[:7]).sum().backward()
        first = tt.get_state(net)[f"0/{key}"]
        tt.scan(net, xs[7:]).sum().backward()
        second = tt.get_state(net)[f"0/{key}"]
    assert seen.steps(f"0.{key}") == [6, 29]
    assert torch.equal(seen[f"0.{key}"], torch.stack([first, second]))
    assert float(second.abs().max()) > 0


def test_recording_changes_nothing_and_is_not_copied() -> None:
    xs, results = inputs(), []
    for recorded in (False, True):
        net = make(rule="drtrl")
        if recorded:
            seen = tt.record(net, *NAMES)
        tt.scan(net, xs).square().sum().backward()
        results.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    other = copy.deepcopy(net)
    other(xs[0])
    assert seen.steps("0.v") == list(range(T))
    tt.reset(net)
    net(xs[0, :1])  # another batch: the ring begins again
    assert seen["0.v"].shape == (1, 1, 6)


@pytest.mark.parametrize(
    ("names", "options", "error", "message"),
    [
        ((), {}, ValueError, "name what to record"),
        (("2.v",), {}, KeyError, "names no layer"),
        (("0.u",), {}, KeyError, "has no 'u'"),
        (("1.spikes",), {}, KeyError, "has no 'spikes'"),
        (("0.v",), {"every": 0}, ValueError, "at least 1"),
        (("0.v",), {"last": 0.5}, ValueError, "at least 1"),
    ],
)
def test_what_cannot_be_recorded_is_refused(names, options, error, message) -> None:
    net = make()
    with pytest.raises(error, match=message):
        tt.record(net, *names, **options)
    assert not any(layer.core.watchers for layer in tt.layers(net).values())
