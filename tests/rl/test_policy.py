"""Slopes of log-probability and entropy, against torch.distributions and autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Normal

import tracetorch as tt

GENERATOR = torch.Generator().manual_seed(0)
ROWS = 6


def categorical(head: Tensor) -> Distribution:
    return Categorical(logits=head)


def gaussian(head: Tensor) -> Distribution:
    mean, raw = head.chunk(2, -1)
    return torch.distributions.Independent(Normal(mean, 0.01 + torch.nn.functional.softplus(raw)), 1)


CASES = [(tt.rl.Categorical(4), categorical), (tt.rl.Gaussian(2), gaussian)]


@pytest.mark.parametrize(("policy", "reference"), CASES)
def test_it_agrees_with_torch_distributions(policy, reference):
    head = torch.randn(ROWS, policy.outputs, dtype=torch.float64, generator=GENERATOR).requires_grad_()
    action = policy.sample(head.detach(), GENERATOR)
    expected = reference(head)
    torch.testing.assert_close(policy.distribution(head).log_prob(action), expected.log_prob(action))
    torch.testing.assert_close(policy.distribution(head).entropy(), expected.entropy())
    weight = torch.linspace(-1, 1, ROWS, dtype=torch.float64)
    objective = (expected.log_prob(action) + weight * expected.entropy()).sum()
    (slope,) = torch.autograd.grad(objective, head)
    torch.testing.assert_close(policy.slope(head.detach(), action, weight), slope)
    (alone,) = torch.autograd.grad(reference(head).log_prob(action).sum(), head)
    torch.testing.assert_close(policy.slope(head.detach(), action), alone)
    torch.testing.assert_close(policy.slope(head.detach(), action, 0.0), alone)


def test_actions_are_drawn_as_often_as_they_are_probable():
    head = torch.tensor([[0.0, 1.0, -1.0]]).expand(20_000, 3)
    counts = tt.rl.Categorical(3).sample(head, torch.Generator().manual_seed(0)).bincount() / len(head)
    torch.testing.assert_close(counts, torch.softmax(head[0], -1), atol=0.01, rtol=0)


def test_widths_are_those_of_the_head():
    head = torch.tensor([[0.5, 0.3]]).expand(20_000, 2)
    policy = tt.rl.Gaussian(1)
    draws = policy.sample(head, torch.Generator().manual_seed(0))
    assert abs(float(draws.mean()) - 0.5) < 0.02
    assert abs(float(draws.std()) - 0.01 - float(torch.nn.functional.softplus(torch.tensor(0.3)))) < 0.02


def test_actions_are_clipped_for_the_environment():
    assert tt.rl.Gaussian(1, scale=2.0).to_env(torch.tensor([[5.0]]))[0].tolist() == [2.0]
    assert tt.rl.Categorical(2).to_env(torch.tensor([1])) == [1]


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="2 actions"):
        tt.rl.Categorical(1)
    with pytest.raises(ValueError, match="positive"):
        tt.rl.Gaussian(1, floor=0.0)
