"""Firing-rate terms meet the unfiltered eligibility, in every split."""

import pytest
import torch
from torch import nn

import tracetorch as tt


def make() -> nn.Sequential:
    torch.manual_seed(0)
    neuron = tt.LIF(half_life=tt.Learnable(torch.tensor(4.0)))
    return nn.Sequential(tt.Layer(nn.Linear(5, 7), neuron), tt.Layer(nn.Linear(7, 2), tt.LI(half_life=6))).double()


def backpropagated(xs: torch.Tensor, term) -> list[torch.Tensor]:
    """Gradient of a term of the spikes, by BPTT in plain autograd."""
    model = make()
    layer = model[0]
    s, zs = layer.neuron.pack((torch.zeros(3, 7).double(),)), []
    for x in xs:
        s, z = layer.neuron.step(s, layer.synapse(x))
        zs.append(z)
    term(torch.stack(zs)).backward()
    return [p.grad for p in layer.parameters()]


@pytest.mark.parametrize("rule", ["eprop", "drtrl", "ottt", "traced_bptt", "bptt"])
@pytest.mark.parametrize("split", [[12], [5, 7], [1] * 12])
def test_the_final_rate_is_that_of_bptt_in_every_split(rule, split) -> None:
    xs = torch.rand(12, 3, 5).double() * 2
    wanted = backpropagated(xs, lambda z: 0.5 * 3.0 * (z.mean(0) - 0.1).square().sum() / 3)
    assert all(w.abs().max() > 1e-4 for w in wanted)
    model = make()
    tt.set_rule(model, tt.rules.PRESETS[rule]())
    term = tt.FinalRate(model, target=0.1, strength=3.0)
    t = 0
    for k in split:
        tt.scan(model, xs[t : t + k]) if k > 1 else model(xs[t])
        t += k
    term().backward()
    for p, want in zip(model[0].parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, want, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("split", [[12], [5, 7], [1] * 12])
def test_the_running_rate_meets_the_current_eligibility(split) -> None:
    xs = torch.rand(12, 3, 5).double() * 2
    decay = 0.5 ** (1 / 8.0)

    def term(z: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(()).double()
        for t in range(12):
            weights = decay ** torch.arange(t, -1, -1).double()
            rate = torch.einsum("t,tbn->bn", weights / weights.sum(), z[: t + 1].detach())
            total = total + ((rate - 0.1) * z[t]).sum()
        return 3.0 * total / 3

    wanted = backpropagated(xs, term)
    model = make()
    tt.set_rule(model, tt.rules.eprop())
    rate = tt.RunningRate(model, target=0.1, strength=3.0, half_life=8.0)
    t = 0
    for k in split:
        _ = tt.scan(model, xs[t : t + k]) if k > 1 else model(xs[t])
        rate().backward()
        t += k
    for p, want in zip(model[0].parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, want, rtol=1e-10, atol=1e-13)


def test_the_two_forms_differ_and_the_filter_would_be_wrong() -> None:
    xs = torch.rand(12, 3, 5).double() * 2
    grads = []
    for kind in (tt.FinalRate, tt.RunningRate):
        model = make()
        tt.set_rule(model, tt.rules.eprop())
        rate = kind(model, target=0.1)
        tt.scan(model, xs)
        rate().backward()
        grads.append(model[0].synapse.weight.grad)
    assert (grads[0] - grads[1]).norm() / grads[0].norm() > 0.1


@pytest.mark.parametrize("rule", ["trace", "rate", "sltt", "tbptt"])
def test_every_rule_takes_a_rate_term(rule) -> None:
    model = make()
    tt.set_rule(model, tt.rules.PRESETS[rule]())
    terms = [tt.FinalRate(model, target=0.1), tt.RunningRate(model, target=0.1)]
    ys = tt.scan(model, torch.rand(12, 3, 5).double() * 2)
    (ys.sum() + sum(t() for t in terms)).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_reset_row_counts_anew() -> None:
    xs = torch.rand(8, 3, 5).double() * 2
    model = make()
    tt.set_rule(model, tt.rules.eprop())
    rate = tt.FinalRate(model, target=0.1)
    tt.scan(model, xs[:4])
    tt.reset(model, torch.tensor([False, True, False]))
    tt.scan(model, xs[4:])
    count, steps, _ = model[0].core.spikes
    assert steps.tolist() == [8, 4, 8]
    single = make()
    alone = tt.FinalRate(single, target=0.1)
    tt.scan(single, xs[4:, 1:2])
    assert torch.equal(count[1], single[0].core.spikes[0][0])
    assert rate().isfinite() and alone().isfinite()


@pytest.mark.parametrize("rule", ["trace", "eprop", "drtrl", "ottt", "traced_bptt"])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_term_that_is_closed_in_the_middle_leaves_the_network_as_if_there_had_been_none(
    rule: str, steps: int
) -> None:
    xs = torch.rand(8, 3, 5).double() * 2
    found = []
    for counts in (True, False):
        model = make()
        tt.set_rule(model, tt.rules.PRESETS[rule]())
        term = tt.FinalRate(model, target=0.1) if counts else None
        tt.scan(model, xs[:4])
        if term is not None:
            term.close()
        for part in xs[4:].split(steps):
            tt.scan(model, part).square().sum().backward()
        found.append([p.grad.clone() for p in model.parameters()])
    for one, other in zip(*found, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_wrong_values_say_so() -> None:
    with pytest.raises(ValueError, match="no spiking layer"):
        tt.FinalRate(nn.Sequential(tt.Layer(nn.Linear(2, 2), tt.LI(half_life=3))), target=0.1)
    with pytest.raises(ValueError, match=r"\[0, 1\], got 20"):
        tt.FinalRate(make(), target=20)
    with pytest.raises(RuntimeError, match="no forward has run"):
        tt.FinalRate(make(), target=0.1)()


@pytest.mark.parametrize("term", [tt.FinalRate, tt.RunningRate])
def test_a_sequence_that_has_begun_without_a_term_is_refused(term) -> None:
    model = make()
    tt.scan(model, torch.rand(4, 3, 5).double())
    with pytest.raises(ValueError, match=r"after tt\.reset\(net\)"):
        term(model, target=0.1)
    assert not any(layer.core.counted for layer in tt.layers(model).values())
    tt.reset(model)
    term(model, target=0.1)


def test_a_running_rate_resumes_bit_for_bit() -> None:
    xs = torch.rand(8, 3, 5).double() * 2
    whole, parts = [], []
    for found, resumed in ((whole, False), (parts, True)):
        model = make()
        tt.reset(model)
        rate = tt.RunningRate(model, target=0.1, half_life=4.0)
        for t, x in enumerate(xs):
            if resumed and t == 5:
                carried, rates = tt.get_state(model), rate.state_dict()
                tt.reset(model)
                tt.set_state(model, carried)
                rate = tt.RunningRate(model, target=0.1, half_life=4.0)
                rate.load_state_dict(rates)
            model.zero_grad()
            (model(x).sum() + rate()).backward()
            found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
    with pytest.raises(ValueError, match=r"spiking layers.*\['7'\]"):
        rate.load_state_dict({"7": xs})
