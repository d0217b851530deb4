"""Weight decay leaves time constants, thresholds and biases alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tracetorch as tt


def network() -> nn.Sequential:
    torch.manual_seed(0)
    neuron = tt.ALIF(
        half_life=tt.Learnable(50.0, shape=4),
        adaptation_half_life=tt.Learnable(200.0),
        threshold=tt.Learnable(2.0),
        adaptation=tt.Learnable(0.3),
    )
    recurrent = nn.Linear(4, 4, bias=False)
    return nn.Sequential(
        tt.Layer(
            nn.Linear(3, 4), neuron, recurrent=recurrent, rule=tt.rules.eprop(feedback=tt.feedback.RandomFeedback())
        ),
        nn.LayerNorm(4),
        tt.Layer(nn.Linear(4, 4), tt.DiagonalRecurrent(tt.LIF(half_life=5), (4,))),
        tt.Layer(nn.Linear(4, 2), tt.LI(half_life=tt.Learnable(20.0), normalized=True)),
    )


def named(net: nn.Module, group: dict[str, object]) -> set[str]:
    names = {p: n for n, p in net.named_parameters()}
    return {names[p] for p in group["params"]}


def test_weights_are_in_one_group_and_all_else_that_learns_in_the_other() -> None:
    net = network()
    weights, others = tt.parameter_groups(net, weight_decay=0.1)
    assert (weights["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    matrices = {"0.synapse.weight", "0.recurrent.weight", "2.synapse.weight", "3.synapse.weight"}
    assert named(net, weights) == matrices
    learned = {n for n, p in net.named_parameters() if p.requires_grad}
    assert named(net, others) == learned - matrices and "0.feedback" not in learned
    assert {"2.neuron.r", "0.neuron.adaptation", "1.weight", "0.synapse.bias"} <= named(net, others)


def test_a_matrix_of_time_constants_is_a_neurons() -> None:
    net = tt.Layer(nn.Conv1d(1, 2, 3), tt.LIF(half_life=tt.Learnable(5.0, shape=(2, 6))))
    weights, _ = tt.parameter_groups(net, weight_decay=0.1)
    assert named(net, weights) == {"synapse.weight"}


def test_shared_parameters_are_in_one_group_once() -> None:
    layer = tt.Layer(nn.Linear(4, 4), tt.LIF(half_life=tt.Learnable(5.0)))
    groups = tt.parameter_groups(nn.Sequential(layer, layer.tied()), weight_decay=0.1)
    assert [len(group["params"]) for group in groups] == [1, 2]


@pytest.mark.parametrize("decay", [-0.1, float("inf"), float("nan")])
def test_a_wrong_weight_decay_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="weight_decay must be a finite number, 0 or more"):
        tt.parameter_groups(network(), weight_decay=decay)
    with pytest.raises(ValueError, match="no parameter that needs a gradient"):
        tt.parameter_groups(nn.ReLU(), weight_decay=0.1)
    assert len(tt.parameter_groups(nn.Linear(2, 2, bias=False), weight_decay=0.1)) == 1


def test_adamw_pulls_a_learned_decay_to_a_half_and_not_in_these_groups() -> None:
    """The negative control is what the groups are for."""

    def after(net: nn.Sequential, parameters: object) -> tuple[torch.Tensor, torch.Tensor]:
        optimizer = torch.optim.AdamW(parameters, lr=0.1, weight_decay=1.0)
        for _ in range(200):
            for p in net.parameters():
                p.grad = torch.zeros_like(p) if p.requires_grad else None
            optimizer.step()
        return net[0].neuron.half_life.detach(), net[0].synapse.weight.detach()

    net = network()
    pulled, weight = after(net, net.parameters())
    torch.testing.assert_close(pulled, torch.ones(4), rtol=1e-4, atol=0.0)
    assert weight.abs().max() < 1e-6
    net = network()
    left, weight = after(net, tt.parameter_groups(net, weight_decay=1.0))
    torch.testing.assert_close(left, torch.full((4,), 50.0), rtol=1e-4, atol=0.0)
    assert weight.abs().max() < 1e-6
