"""Kernels against dense linear algebra and autograd, at odd sizes."""

import pytest
import torch

from tracetorch.ops import decayed_sums, linear_scan, power_weights, reverse_filter, reverse_scan

SIZES = [(1, 1, 1), (63, 1, 7), (2, 3, 257)]


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


def system(size: int, steps: int, batch: int, units: int):
    """Entries of every kind: varying in time, per unit, one number, none."""
    torch.manual_seed(size + steps)
    a = [[draw(steps, batch, units) * 0.5 for _ in range(size)] for _ in range(size)]
    if size > 1:
        a[0][1] = None
        a[1][0] = draw(units)
    a[0][0] = draw() * 0.5
    return a, [draw(steps, batch, units) for _ in range(size)], [draw(units) for _ in range(size)]


def full(entry, steps: int, batch: int, units: int) -> torch.Tensor:
    return torch.zeros(steps, batch, units).double() if entry is None else entry.expand(steps, batch, units)


@pytest.mark.parametrize(("steps", "batch", "units"), SIZES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_reverse_scan_is_autograd_of_the_recurrence(size, steps, batch, units) -> None:
    a, d, _ = system(size, steps, batch, units)
    z_bar, s_bar = draw(steps, batch, units), [draw(batch, units) for _ in range(size)]
    start = [draw(batch, units).requires_grad_() for _ in range(size)]
    nudges = [draw(steps, batch, units).mul(0).requires_grad_() for _ in range(size)]
    s, loss = start, torch.zeros(()).double()
    for t in range(steps):
        loss = loss + (z_bar[t] * sum(full(d[j], steps, batch, units)[t] * s[j] for j in range(size))).sum()
        s = [sum(full(a[i][j], steps, batch, units)[t] * s[j] for j in range(size)) + nudges[i][t] for i in range(size)]
    loss = loss + sum((x * y).sum() for x, y in zip(s, s_bar, strict=True))
    wanted = torch.autograd.grad(loss, [*start, *nudges])
    history, first = reverse_scan(a, d, z_bar, s_bar, steps, rank=3)
    for found, want in zip([*first, *history], wanted, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("steps", "batch", "units"), SIZES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_linear_scan_is_the_recurrence(size, steps, batch, units) -> None:
    a, drive, _ = system(size, steps, batch, units)
    start = [draw(batch, units) for _ in range(size)]
    matrix = torch.stack([torch.stack([full(x, steps, batch, units) for x in row]) for row in a])
    now, wanted = torch.stack(start), []
    for t in range(steps):
        wanted.append(now)
        now = torch.einsum("ijbn,jbn->ibn", matrix[:, :, t], now) + torch.stack([x[t] for x in drive])
    history, last = linear_scan(a, drive, start, steps, rank=3)
    torch.testing.assert_close(torch.stack(last), now)
    torch.testing.assert_close(torch.stack(history, dim=1), torch.stack(wanted))


def test_linear_scan_keeps_the_rank_of_constant_entries() -> None:
    history, _ = linear_scan([[torch.tensor(0.5)]], [torch.ones(4)], [None], 3, rank=3)
    assert history[0] is not None and history[0].shape == (3, 1, 4)
    assert history[0][:, 0, 0].tolist() == [0.0, 1.0, 1.5]


@pytest.mark.parametrize("steps", [1, 63])
@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_filters_are_each_others_transpose(steps, decay) -> None:
    x, y = draw(steps, 5), draw(steps, 5)
    forward = decayed_sums(x, decay, None)
    backward, leaving = reverse_filter(y, decay, None)
    torch.testing.assert_close((forward * y).sum(), (x * backward).sum())
    torch.testing.assert_close(leaving, decay * backward[0])
    start, last = draw(5), draw(5)
    torch.testing.assert_close(
        (decayed_sums(x, decay, start) * y).sum(), (x * backward).sum() + (start * leaving).sum()
    )
    more, _ = reverse_filter(y, decay, last)
    torch.testing.assert_close(more[-1], y[-1] + last)


@pytest.mark.parametrize("steps", [1, 2, 63])
@pytest.mark.parametrize("size", [1, 2])
def test_power_weights_are_the_step_by_step_trace(steps, size) -> None:
    a, b, x = draw(size, size) * 0.4, draw(size), draw(steps, 6)
    trace = draw(size, 6)
    start = trace
    for t in range(steps):
        trace = a @ trace + b.unsqueeze(1) * x[t]
    weights, power = power_weights(a, b, steps)
    torch.testing.assert_close(weights.t() @ x + power @ start, trace)
