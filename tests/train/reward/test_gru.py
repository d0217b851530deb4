"""The control by a GRU: its gradient reaches back so many steps, its state can be saved and is reset by rows."""

from __future__ import annotations

import torch
from torch import nn

import tracetorch as tt
from tracetorch.train.reward.gru import GRU, GRUBody


def body(window: int = 3) -> tuple[GRU, GRUBody]:
    torch.manual_seed(0)
    net = GRU(3, 4, 2, window=window).double()
    return net, GRUBody(net)


def inputs(steps: int, rows: int = 1) -> torch.Tensor:
    return torch.randn(steps, rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_credit_reaches_back_over_the_window_and_no_further():
    net, one = body()
    xs = inputs(4)
    outputs = [one.forward(x) for x in xs]
    h = torch.zeros(1, 4, dtype=torch.float64)
    for t, x in enumerate(xs):
        h = net.cell(x, h.detach() if t == 1 else h)
        torch.testing.assert_close(outputs[t], net.readout(h).detach())
    trace = tt.rl.ParameterTrace(net)
    one.credit(trace, torch.ones(1, 2, dtype=torch.float64))
    grads = torch.autograd.grad(net.readout(h).sum(), list(net.parameters()))
    torch.testing.assert_close(trace.value[0], torch.cat([g.flatten() for g in grads]))


def test_looking_ahead_changes_nothing_and_a_saved_state_goes_on():
    net, one = body()
    xs = inputs(6)
    for x in xs[:5]:
        ahead = one.ahead(x)
        assert torch.equal(one.forward(x), ahead)
    again = GRUBody(net)
    again.load(one.state())
    assert torch.equal(again.forward(xs[5]), one.forward(xs[5]))


def test_rows_begin_anew_by_themselves():
    net, one = body()
    xs = inputs(7, rows=2)
    for x in xs[:5]:
        one.forward(x)
    one.forget(torch.tensor([False, True]))
    alone = [GRUBody(net) for _ in range(2)]
    for x in xs[:5]:
        alone[0].forward(x[:1])
    for x in xs[5:]:
        expected = [part.forward(x[row : row + 1]) for row, part in enumerate(alone)]
        torch.testing.assert_close(one.forward(x), torch.cat(expected))
    trace, alone_traces = tt.rl.ParameterTrace(net, rows=2), [tt.rl.ParameterTrace(net) for _ in alone]
    one.credit(trace, torch.ones(2, 2, dtype=torch.float64))
    for part, other in zip(alone, alone_traces, strict=True):
        part.credit(other, torch.ones(1, 2, dtype=torch.float64))
    torch.testing.assert_close(trace.value, torch.cat([other.value for other in alone_traces]))


def test_the_longest_window_fits_the_memory():
    assert GRU.window_for(10 * (3 + 5 * 4) + 22, 3, 4) == 10
    assert GRU.window_for(1, 3, 4) == 1
    assert isinstance(GRU(3, 4, 2, window=1).cell, nn.GRUCell)
