"""Credit through a recurrent synapse that is not linear in its input is taken at the outputs that were fed back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import tracetorch as tt


class Squared(nn.Module):
    """Linear in its weights, and not in its input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear((x + 0.5) ** 2)


def test_bptt_is_that_of_autograd() -> None:
    torch.manual_seed(0)
    recurrent = tt.LinearInWeights(Squared())
    layer = tt.Layer(nn.Linear(3, 4), tt.LIF(half_life=5), recurrent=recurrent, rule=tt.rules.bptt()).double()
    xs, weights = 3 * torch.rand(8, 2, 3, dtype=torch.float64), torch.randn(8, 2, 4, dtype=torch.float64)
    (tt.scan(layer, xs) * weights).sum().backward()
    zero = torch.zeros(2, 4, dtype=torch.float64)
    s, z, loss, fired = layer.neuron.pack((zero,)), zero, zero.sum(), 0.0
    for x, weight in zip(xs, weights, strict=True):
        s, z = layer.neuron.step(s, layer.synapse(x) + layer.recurrent(z))
        loss, fired = loss + (z * weight).sum(), fired + float(z.detach().mean()) / 8
    assert 0.05 < fired < 0.95
    for p, want in zip(layer.parameters(), torch.autograd.grad(loss, list(layer.parameters())), strict=True):
        torch.testing.assert_close(p.grad, want, rtol=1e-10, atol=1e-12)
