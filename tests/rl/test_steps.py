"""Steps along a trace, against a separate derivation in NumPy; normalisation and first weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import tracetorch as tt


def bounded(w: np.ndarray, z: np.ndarray, delta: float, alpha: float, kappa: float) -> np.ndarray:
    """Elsayed et al. 2024: scale the step so that the overshoot's bound is at most one."""
    overshoot = alpha * kappa * max(abs(delta), 1.0) * np.abs(z).sum()
    return w + (min(alpha / overshoot, alpha) if overshoot > 0 else alpha) * delta * z


@pytest.mark.parametrize("delta", [-3.0, -0.2, 0.0, 0.7, 40.0])
@pytest.mark.parametrize("size", [1e-4, 1.0, 30.0])
def test_the_bounded_step_is_that_of_the_paper(delta, size):
    net = nn.Linear(3, 2).double()
    trace = tt.rl.ParameterTrace(net)
    trace.value.copy_(size * torch.randn(1, 8, dtype=torch.float64))
    before = torch.cat([p.detach().flatten() for p in net.parameters()]).numpy().copy()
    tt.rl.ObGD(0.5, 2.0)(trace, [delta])
    after = torch.cat([p.detach().flatten() for p in net.parameters()]).numpy()
    np.testing.assert_allclose(after, bounded(before, trace.value[0].numpy(), delta, 0.5, 2.0), rtol=1e-12)


def test_rows_are_bounded_each_by_itself():
    net = nn.Linear(2, 3).double()
    trace = tt.rl.ParameterTrace(net, rows=3)
    trace.value.copy_(torch.randn(3, 9, dtype=torch.float64) * 5)
    before = torch.cat([p.detach().flatten() for p in net.parameters()]).numpy().copy()
    errors = [0.5, -2.0, 7.0]
    tt.rl.ObGD(1.0, 3.0)(trace, errors)
    moves = [bounded(before, z, d, 1.0, 3.0) - before for z, d in zip(trace.value.numpy(), errors, strict=True)]
    after = torch.cat([p.detach().flatten() for p in net.parameters()]).numpy()
    np.testing.assert_allclose(after, before + np.mean(moves, 0), rtol=1e-10)


def test_other_steps():
    def moved(step_of) -> torch.Tensor:
        net = nn.Linear(2, 1, bias=False).double()
        trace = tt.rl.ParameterTrace(net)
        trace.value.copy_(torch.tensor([[1.0, -2.0]]))
        before = net.weight.detach().clone()
        step_of(net)(trace, [0.5])
        assert net.weight.grad is None
        return (net.weight.detach() - before)[0]

    expected = torch.tensor([0.05, -0.1], dtype=torch.float64)
    torch.testing.assert_close(moved(lambda net: tt.rl.FixedStep(0.1)), expected)
    torch.testing.assert_close(
        moved(lambda net: tt.rl.OptimizerStep(lambda p: torch.optim.SGD(p, lr=0.1), net)), expected
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_trace_that_is_not_finite_moves_nothing(bad):
    net = nn.Linear(2, 1)
    trace = tt.rl.ParameterTrace(net)
    trace.value[0, 1] = bad
    before = net.weight.detach().clone()
    for step in (tt.rl.ObGD(), tt.rl.FixedStep(0.1), tt.rl.OptimizerStep(lambda p: torch.optim.SGD(p, lr=0.1), net)):
        with pytest.raises(FloatingPointError, match="trace has NaN or infinity"):
            step(trace, [1.0])
    assert torch.equal(net.weight, before)


def test_a_trace_leaves_the_gradients_that_stand_there():
    net = nn.Linear(2, 1)
    net.weight.grad = torch.ones_like(net.weight)
    tt.rl.ParameterTrace(net).add(net(torch.ones(1, 2)), torch.ones(1, 1))
    assert net.weight.grad.tolist() == [[1.0, 1.0]] and net.bias.grad is None


def test_networks_without_a_flat_trace_are_refused():
    with pytest.raises(ValueError, match="rows must be at least 1"):
        tt.rl.ParameterTrace(nn.Linear(2, 1), rows=0)
    with pytest.raises(ValueError, match="no parameter that learns"):
        tt.rl.ParameterTrace(nn.ReLU())
    with pytest.raises(ValueError, match="one flat tensor"):
        tt.rl.ParameterTrace(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1).double()))


def test_running_statistics_are_those_of_all_values():
    rows = np.random.default_rng(0).normal(3.0, 2.0, (50, 4))
    norm = tt.rl.RunningNorm(4)
    for part in np.split(rows, [1, 20, 21]):
        norm.update(part)
    np.testing.assert_allclose(norm.mean, rows.mean(0))
    np.testing.assert_allclose(norm(rows), (rows - rows.mean(0)) / rows.std(0, ddof=1), rtol=1e-7)


def test_rewards_are_scaled_by_the_deviation_of_their_discounted_sum():
    rewards = np.random.default_rng(0).normal(0.0, 5.0, 40)
    scale, sums, u = tt.rl.RewardScale(0.9), [], 0.0
    for step, r in enumerate(rewards):
        done = step % 7 == 6
        u = 0.9 * u + r
        sums.append(u)
        deviation = 1.0 if len(sums) < 2 else np.std(sums, ddof=1)
        assert scale([r], [done])[0] == pytest.approx(r / deviation, rel=1e-6)
        u = 0.0 if done else u


def test_sparse_weights_spare_small_fan_ins():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 64), nn.Linear(64, 5), nn.Linear(200, 3))
    tt.rl.sparse_init(net, 0.9)
    kept = [(m.weight != 0).sum(1).unique().tolist() for m in net]
    assert kept == [[4], [8], [20]]
    assert float(net[2].weight.detach().abs().max()) <= 200**-0.5
    assert all(not m.bias.any() for m in net)
    with pytest.raises(ValueError, match="sparsity"):
        tt.rl.sparse_(torch.zeros(2, 2), 1.0)


def test_the_adaptive_bounded_step_is_the_papers():
    """Against NumPy, with errors below and above one; and it is not the plain bounded step."""
    torch.manual_seed(0)
    net = nn.Linear(4, 3).double()
    trace, step = tt.rl.ParameterTrace(net), tt.rl.AdaptiveObGD(lr=0.7, kappa=2.5, beta=0.9)
    draws = np.random.default_rng(0)
    w = torch.cat([p.detach().flatten() for p in net.parameters()]).numpy().copy()
    v = np.zeros_like(w)
    for t, error in enumerate((0.3, -2.0, 1e-3, 5.0), start=1):
        z = draws.normal(size=w.size)
        trace.value.copy_(torch.from_numpy(z))
        v = 0.9 * v + 0.1 * (error * z) ** 2
        scaled = z / np.sqrt(v / (1 - 0.9**t) + 1e-8)
        bound = max(1.0, abs(error)) * np.abs(scaled).sum() * 0.7 * 2.5
        plain = 0.7 / max(1.0, max(1.0, abs(error)) * np.abs(z).sum() * 0.7 * 2.5) * error * z
        moved = 0.7 / max(1.0, bound) * error * scaled
        assert abs(moved - plain).max() > 0.1 * abs(moved).max()
        w = w + moved
        step(trace, [error])
        found = torch.cat([p.detach().flatten() for p in net.parameters()]).numpy()
        assert np.abs(found - w).max() < 1e-12
    other = tt.rl.AdaptiveObGD(lr=0.7, kappa=2.5, beta=0.9)
    other.load_state_dict(step.state_dict())
    assert torch.equal(other.state_dict()["squares"], step.state_dict()["squares"])
