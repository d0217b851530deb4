"""A factor that comes later, times eligibility: against sums over all times, written out."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.testing import calibrate

STEPS, ROWS, INPUTS, UNITS, ACTIONS = 14, 3, 5, 7, 2
KAPPA, BETA, DECAY = 0.8, 0.9, 0.85


def stream(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(STEPS, ROWS, INPUTS, generator=generator) < 0.5).double()


def network(rule: tt.Rule) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(INPUTS, UNITS, bias=False), tt.LIF(beta=BETA)),
        tt.Layer(nn.Linear(UNITS, ACTIONS, bias=False), tt.LI(beta=KAPPA)),
    ).double()
    calibrate(net, stream(1))
    tt.set_rule(net, rule)
    return net


def acted(net: nn.Module, xs: Tensor, factors: Tensor, *, rows: int) -> tuple[tt.rl.ThreeFactor, list[Tensor]]:
    """Act on a stream: a score at each step, a factor after it where it is not zero."""
    memory, actions = tt.rl.ThreeFactor(net, decay=DECAY, rows=rows), []
    generator = torch.Generator().manual_seed(2)
    tt.reset(net)
    for x, factor in zip(xs, factors, strict=True):
        log = net(x).log_softmax(1)
        actions.append(torch.multinomial(log.detach().exp(), 1, generator=generator))
        scores = log.gather(1, actions[-1]).squeeze(1)
        memory.add(-scores if rows > 1 else -scores.sum())
        if factor.abs().sum() > 0:
            memory.modulate(factor if rows > 1 else factor[0])
    return memory, actions


def by_hand(net: nn.Sequential, xs: Tensor, actions: list[Tensor], factors: Tensor) -> tuple[Tensor, Tensor]:
    """REINFORCE of a LIF layer under a leaky readout: e-prop's eligibility, step by step and row by row in the open."""
    w, out = net[0].synapse.weight.detach(), net[1].synapse.weight.detach()
    neuron, beta, kappa = net[0].neuron, net[0].neuron.beta.detach(), net[1].neuron.beta.detach()
    v, y = torch.zeros(ROWS, UNITS).double(), torch.zeros(ROWS, ACTIONS).double()
    x_hat, e_bar = torch.zeros(ROWS, INPUTS).double(), torch.zeros(ROWS, UNITS, INPUTS).double()
    z_bar = torch.zeros(ROWS, UNITS).double()
    memory = [torch.zeros(ROWS, UNITS, INPUTS).double(), torch.zeros(ROWS, ACTIONS, UNITS).double()]
    total = [torch.zeros_like(w), torch.zeros_like(out)]
    for x, action, factor in zip(xs, actions, factors, strict=True):
        u = (beta * v + x @ w.T).requires_grad_()
        z = neuron.surrogate(u - neuron.threshold)
        (psi,) = torch.autograd.grad(z.sum(), u)
        z = z.detach()
        v = u.detach() - neuron.threshold * z
        x_hat, z_bar = beta * x_hat + x, kappa * z_bar + z
        e_bar = kappa * e_bar + psi.unsqueeze(2) * x_hat.unsqueeze(1)
        y = kappa * y + z @ out.T
        error = y.softmax(1) - nn.functional.one_hot(action.squeeze(1), ACTIONS)  # of minus the log-probability
        sent = error @ out
        memory = [
            DECAY * memory[0] + sent.unsqueeze(2) * e_bar,
            DECAY * memory[1] + error.unsqueeze(2) * z_bar.unsqueeze(1),
        ]
        total = [t + torch.einsum("b,bij->ij", factor, m) for t, m in zip(total, memory, strict=True)]
    return total[0], total[1]


FACTORS = torch.zeros(STEPS, ROWS).double()
FACTORS[4], FACTORS[9], FACTORS[13] = torch.tensor([[1.0, -0.5, 0.0], [0.3, 2.0, -1.0], [-0.7, 0.1, 0.9]]).double()


def test_a_factor_for_each_row_times_eprops_eligibility_is_reinforce() -> None:
    net, xs = network(tt.rules.eprop()), stream(3)
    _, actions = acted(net, xs, FACTORS, rows=ROWS)
    want = by_hand(net, xs, actions, FACTORS)
    for layer, exact in zip(net, want, strict=True):
        grad = layer.synapse.weight.grad
        assert exact.norm() > 1e-3 and (grad - exact).norm() < 1e-10 * exact.norm()
    other = network(tt.rules.drtrl())
    acted(other, xs, FACTORS, rows=ROWS)
    assert (other[0].synapse.weight.grad - want[0]).norm() > 1e-2 * want[0].norm(), "without the readout's memory"


def test_one_factor_for_a_batch_is_the_same_for_each_row() -> None:
    factors = FACTORS[:, :1].expand(-1, ROWS)
    grads = []
    for rows in (1, ROWS):
        net = network(tt.rules.eprop())
        acted(net, stream(3), factors, rows=rows)
        grads.append(net[0].synapse.weight.grad)
    assert (grads[0] - grads[1]).norm() < 1e-12 * grads[0].norm()


@pytest.mark.parametrize("convolution", [False, True])
def test_reward_modulated_stdp_is_its_sum_over_pairs(convolution: bool) -> None:
    """Dense and convolutional: each pair of spikes, faded until the reward, times the reward."""
    torch.manual_seed(4)
    synapse = nn.Conv1d(1, 2, 3) if convolution else nn.Linear(INPUTS, UNITS)
    rule = tt.rules.stdp(tau_plus=4.0, tau_minus=6.0, a_plus=0.9, a_minus=0.7)
    layer = tt.Layer(synapse, tt.LIF(beta=BETA), rule=rule).double()
    xs = stream(5).unsqueeze(2) if convolution else stream(5)
    calibrate(layer, xs)
    memory, spikes = tt.rl.ThreeFactor(layer, decay=DECAY, rows=ROWS), []
    tt.reset(layer)
    for x, factor in zip(xs, FACTORS, strict=True):
        z = layer(x)
        spikes.append(z.detach())
        memory.add(-z.flatten(1).sum(1))
        memory.modulate(factor)
    zs = torch.stack(spikes)
    assert 0.05 < zs.mean() < 0.6
    seen = xs.squeeze(2).unfold(2, 3, 1) if convolution else xs  # [T, B, (L,) K]
    total = torch.zeros_like(synapse.weight.detach()).flatten(1)
    product = "bol,blk->bok" if convolution else "bo,bk->bok"
    for t in range(STEPS):
        for s in range(STEPS):
            before = 0.9 * math.exp(-(t - s) / 4.0) if s <= t else -0.7 * math.exp((t - s) / 6.0)
            pair = torch.einsum(product, zs[t], seen[s])
            for k in range(max(s, t), STEPS):
                total -= torch.einsum("b,bok->ok", FACTORS[k], pair) * before * DECAY ** (k - max(s, t))
    grad = synapse.weight.grad.flatten(1)
    assert total.norm() > 1e-2 and (grad - total).norm() < 1e-10 * total.norm()
    assert synapse.bias.grad.abs().sum() == 0


def test_rows_that_are_cleared_have_no_past() -> None:
    net = network(tt.rules.eprop())
    memory, _ = acted(net, stream(3), 0 * FACTORS, rows=ROWS)
    saved = copy.deepcopy(memory.state_dict())
    memory.clear(torch.tensor([True, False, False]))
    assert memory.trace.value[0].abs().sum() == 0 < memory.trace.value[1].abs().sum()
    memory.load_state_dict(saved)
    assert memory.trace.value[0].abs().sum() > 0


def test_wrong_rows_factors_and_decays_are_refused() -> None:
    net = network(tt.rules.eprop())
    with pytest.raises(ValueError, match=r"in \[0, 1\], got 1.5"):
        tt.rl.ThreeFactor(net, decay=1.5)
    memory = tt.rl.ThreeFactor(net, decay=0.5, rows=ROWS)
    with pytest.raises(ValueError, match="one loss for each of 3 rows"):
        memory.add(net(stream(3)[0]).sum())
    for wrong in (torch.ones(2), float("nan"), [1.0, math.inf, 0.0]):
        with pytest.raises(ValueError, match="one finite factor"):
            memory.modulate(wrong)
