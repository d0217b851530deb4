"""Run a rule as a user would: forward, backward at every window, gradients added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tracetorch.linking import layers
from tracetorch.network import reset, set_rule
from tracetorch.rules.rule import Rule
from tracetorch.scan import scan
from tracetorch.testing.agreement import Gradients
from tracetorch.testing.oracle import Loss, Out, learned, starts


def collected(net: nn.Module) -> dict[str, Tensor]:
    """Return copies of the gradients that the learned parameters have, by name; zero where there is none."""
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in learned(net).items()}


def split(steps: int, window: int) -> list[int]:
    """Cut a number of steps into windows of one length; the last takes what is left."""
    return [min(window, steps - start) for start in range(0, steps, window)]


def rule_gradients(
    net: nn.Module,
    xs: Tensor,
    loss_fn: Loss,
    rule: Rule | None = None,
    *,
    splits: Sequence[int] | None = None,
    out: Out = "all",
    resets: Mapping[int, Tensor | None] | None = None,
) -> Gradients:
    """Run a network under a rule through a sequence, with one backward at each window, weights untouched.

    Args:
        net: the network; its rule is set, its state reset, its gradients replaced.
        xs: inputs, `[T, B, *in]`.
        loss_fn: a sum over steps, called as `loss_fn(ys, steps)` with `ys` of `[k, B, *out]` and the slice of
            steps they are.
        rule: the rule of every layer; None keeps what the layers have.
        splits: lengths of the windows, T in all; 0 stands for one step through `net(x)` instead of a scan. None
            is one scan of everything.
        out: `"last"` for a loss on the last output alone, with one backward in all.
        resets: masks `[B]` by the step before which these rows begin a new sequence; None for all rows.

    Returns:
        Outputs and gradients, as `bptt` gives them.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import rule_gradients
        >>> net = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5))
        >>> loss = lambda ys, steps: ys.sum()
        >>> found = rule_gradients(net, torch.ones(4, 1, 3), loss, tt.rules.drtrl(), splits=[1, 3])
        >>> found.values.shape
        torch.Size([4, 1, 2])
    """
    if rule is not None:
        set_rule(net, rule)
    whole = any(layer.rule.window == "all" for layer in layers(net).values())
    net.zero_grad(set_to_none=True)
    reset(net)
    for layer in layers(net).values():
        layer.core.activity.forget()
    windows = [len(xs)] if splits is None else list(splits)
    lengths = [max(k, 1) for k in windows]
    if sum(lengths) != len(xs):
        raise ValueError(f"the windows {windows} have {sum(lengths)} steps, the input has {len(xs)}")
    values: list[Tensor] = []
    outputs: list[Tensor] = []
    for start, k, length in zip(starts(lengths), windows, lengths, strict=True):
        window = slice(start, start + length)
        if resets is not None and start in resets:
            reset(net, resets[start])
        if k == 0:
            ys = net(xs[start]).unsqueeze(0)
        elif out == "last":
            ys = scan(net, xs[window], out="last").unsqueeze(0)
        else:
            ys = scan(net, xs[window])
        if out == "last":
            values.clear()
        values.append(ys.detach())
        if out == "last":
            if window.stop == len(xs):
                loss_fn(ys, slice(len(xs) - 1, len(xs))).backward()
        elif whole:
            outputs.append(loss_fn(ys, window))
        else:
            loss_fn(ys, window).backward()
    if outputs:
        torch.stack(outputs).sum().backward()
    grads = collected(net)
    net.zero_grad(set_to_none=True)
    return Gradients(values[-1][-1] if out == "last" else torch.cat(values), grads)
