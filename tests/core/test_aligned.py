"""A layer that takes other steps of a window than the layer below made is refused where a filter goes by time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt

T, B = 12, 3
WHOLE: dict[str, Callable[[Tensor], Tensor]] = {
    "itself": lambda h: h,
    "scaled": lambda h: 0.5 * h,
    "folded": lambda h: nn.functional.layer_norm(h.reshape(-1, 8), (8,)).reshape(h.shape),
    "batch norm": lambda h: nn.functional.batch_norm(h.reshape(-1, 8), None, None, training=True).reshape(h.shape),
    "transposed": lambda h: h.transpose(0, 1).transpose(0, 1),
    "begin": lambda h: h[:7],
    "split": lambda h: torch.cat([h[:5], h[5:]]),
}
OTHER: dict[str, Callable[[Tensor], Tensor]] = {
    "every second": lambda h: h[::2],
    "end": lambda h: h[5:],
    "last": lambda h: h[-1:],
    "flipped": lambda h: h.flip(0),
    "shifted around": lambda h: h.roll(1, 0),
    "two exchanged": lambda h: h[[0, 1, 2, 4, 3, 5, 6, 7, 8, 9, 10, 11]],
    "chosen": lambda h: h[torch.arange(T) % 3 == 0],
    "averaged": lambda h: h.reshape(T // 2, 2, B, 8).mean(1),
    "smoothed": lambda h: 0.5 * (h + h.roll(1, 0)),
    "twice": lambda h: h.repeat_interleave(2, 0),
}


def pair(rule: tt.Rule) -> nn.ModuleList:
    torch.manual_seed(0)
    net = nn.ModuleList(
        [tt.Layer(nn.Linear(4, 8), tt.LIF(half_life=5)), tt.Layer(nn.Linear(8, 2), tt.LI(half_life=9))]
    ).double()
    tt.set_rule(net, rule)
    tt.reset(net)
    return net


def gradients(rule: tt.Rule, taken: Callable[[Tensor], Tensor], out: str = "all") -> list[Tensor]:
    net = pair(rule)
    xs = 3 * torch.rand(T, B, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    h = tt.scan(net[0], xs)
    assert 0.05 < float(h.detach().mean()) < 0.95
    tt.scan(net[1], taken(h), out).square().sum().backward()  # type: ignore[call-overload]
    return [p.grad for p in net[0].parameters() if p.grad is not None]


@pytest.mark.parametrize("out", ["all", "last"])
@pytest.mark.parametrize("rule", ["cascade", "eprop"])
@pytest.mark.parametrize("how", list(WHOLE))
def test_the_steps_in_their_order_run(how: str, rule: str, out: str) -> None:
    want = gradients(tt.rules.bptt(), WHOLE[how], out)
    for a, b in zip(gradients(tt.rules.PRESETS[rule](), WHOLE[how], out), want, strict=True):
        assert b.any() and a.any()
        if how not in ("folded", "batch norm") and out == "all":  # a norm's derivative is another one at each step
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("out", ["all", "last"])
@pytest.mark.parametrize("rule", ["cascade", "eprop", "trace"])
@pytest.mark.parametrize("how", list(OTHER))
def test_other_steps_are_refused(how: str, rule: str, out: str) -> None:
    if out == "last" and how == "two exchanged":
        return  # the last step is where it was
    with pytest.raises(RuntimeError, match=r"other steps|not in step"):
        gradients(tt.rules.PRESETS[rule](), OTHER[how], out)
    for free in (tt.rules.drtrl(), tt.rules.bptt()):
        assert all(g.isfinite().all() for g in gradients(free, OTHER[how], out))


def test_a_loop_over_the_steps_of_a_window_takes_them_in_their_order() -> None:
    xs, want = 3 * torch.rand(T, B, 4, dtype=torch.float64), []
    for rule in (tt.rules.bptt(), tt.rules.cascade()):
        net = pair(rule)
        h = tt.scan(net[0], xs)
        sum(net[1](h[t]).square().sum() for t in range(T)).backward()  # type: ignore[union-attr]
        want.append(net[0].synapse.weight.grad)  # type: ignore[union-attr]
    torch.testing.assert_close(*want, rtol=1e-9, atol=1e-12)
    net = pair(tt.rules.cascade())
    h = tt.scan(net[0], xs)
    net[1](h[0])
    with pytest.raises(RuntimeError, match="other steps"):
        net[1](h[2])


ORDERS: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "stacked": torch.stack,
    "each changed": lambda ys: torch.stack([0.5 * y for y in ys]),
    "joined": lambda ys: torch.cat([y.unsqueeze(0) for y in ys]),
    "added up in places": lambda ys: sum(y * (torch.arange(T) == t).reshape(-1, 1, 1) for t, y in enumerate(ys)),
    "added up the other way": lambda ys: sum(
        y * (torch.arange(T) == t).reshape(-1, 1, 1) for t, y in reversed(list(enumerate(ys)))
    ),
}
REVERSED: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "reversed": lambda ys: torch.stack(ys[::-1]),
    "reversed and changed": lambda ys: 0.5 * torch.stack(ys[::-1]),
    "two exchanged": lambda ys: torch.stack([*ys[:-2], ys[-1], ys[-2]]),
    "joined in halves": lambda ys: torch.cat([torch.stack(ys[T // 2 :]), torch.stack(ys[: T // 2])]),
}


@pytest.mark.parametrize("out", ["all", "last"])
@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("how", [*ORDERS, *REVERSED])
def test_single_steps_reach_a_window_in_their_order(how: str, backend: str, out: str) -> None:
    """Other rules refuse it: `cascade` a layer that runs on alone, `eprop` a backward after several steps."""
    net = pair(tt.rules.trace())
    tt.set_backend(net, backend)
    xs = 3 * torch.rand(T, B, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    h = (ORDERS | REVERSED)[how]([net[0](x) for x in xs])
    if how in REVERSED:
        with pytest.raises(RuntimeError, match="another order than they ran"):
            tt.scan(net[1], h, out)  # type: ignore[call-overload]
        return
    tt.scan(net[1], h, out).square().sum().backward()  # type: ignore[call-overload]
    window = gradients(tt.rules.trace(), WHOLE["scaled" if how == "each changed" else "itself"], out)
    found = [p.grad for p in net[0].parameters() if p.grad is not None]  # type: ignore[union-attr]
    for a, b in zip(found, window, strict=True):
        assert b.any()
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
