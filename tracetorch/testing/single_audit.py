"""Audit a rule on a user's own network: how far its gradient is from that of backpropagation through time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tracetorch.firing import Firing
from tracetorch.rules.rule import Rule
from tracetorch.testing.agreement import Agreement, agreement
from tracetorch.testing.clone import clone
from tracetorch.testing.liveness import firing_rates
from tracetorch.testing.oracle import Loss, Out, bptt
from tracetorch.testing.running import rule_gradients, split


@dataclass(frozen=True)
class Audit:
    """Agreement of a rule's gradient with that of BPTT.

    Args:
        rows: the measures by parameter name.
        total: the measures of all parameters taken together.
        firing: firing by layer name, unit by unit; silent units make their rows worth nothing.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5))
        >>> audit = tt.testing.gradient_audit(net, torch.rand(9, 1, 3), lambda ys, steps: ys.sum(), tt.rules.eprop())
        >>> sorted(audit.rows), audit.total.cosine > 0.999
        (['synapse.bias', 'synapse.weight'], True)
    """

    rows: Mapping[str, Agreement]
    total: Agreement
    firing: Mapping[str, Firing]

    def __str__(self) -> str:
        """Return a table with one line per parameter."""
        wide = max(len(name) for name in (*self.rows, "parameter", "all"))
        lines = [f"{'parameter':{wide}}  relative error  cosine   norm ratio"]
        for name, row in (*self.rows.items(), ("all", self.total)):
            lines.append(f"{name:{wide}}  {row.relative_error:14.2e}  {row.cosine:+.4f}  {row.norm_ratio:10.4f}")
        lines += [f"layer {name or '(the network)'} {firing}" for name, firing in self.firing.items()]
        return "\n".join(lines)


def gradient_audit(
    net: nn.Module,
    xs: Tensor,
    loss_fn: Loss,
    rule: Rule | None = None,
    *,
    window: int | None = None,
    out: Out = "all",
    dtype: torch.dtype | None = torch.float64,
) -> Audit:
    """Compare a rule's gradient with that of BPTT, parameter by parameter, on a copy of a network.

    Args:
        net: the network; it is not touched, nor is its stream.
        xs: inputs, `[T, B, *in]`.
        loss_fn: a sum over steps, called as `loss_fn(ys, steps)` with `ys` of `[k, B, *out]` and the slice of
            steps they are, for example `lambda ys, steps: ((ys - targets[steps]) ** 2).sum()`.
        rule: the rule of every layer; None keeps what the layers have.
        window: steps in each window, with a backward after each; None is one window of all steps.
        out: `"last"` for a loss on the last output alone.
        dtype: type to compute in; None keeps the network's own.

    Returns:
        The audit; print it for a table.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import gradient_audit
        >>> net = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5))
        >>> loss = lambda ys, steps: (ys**2).sum()
        >>> audit = gradient_audit(net, torch.rand(9, 1, 3), loss, tt.rules.drtrl(), window=1)
        >>> audit.total.relative_error < 1e-10
        True
    """
    twin = clone(net, rule=rule, dtype=dtype)
    xs = xs if dtype is None or not xs.is_floating_point() else xs.to(dtype)
    reference = bptt(twin, xs, loss_fn, out=out).grads
    splits = None if window is None else split(len(xs), window)
    found = rule_gradients(twin, xs, loss_fn, splits=splits, out=out).grads
    rows = {name: agreement(found[name], ref) for name, ref in reference.items()}
    everything = [torch.cat([g[name].reshape(-1) for name in reference]) for g in (found, reference)]
    return Audit(rows, agreement(*everything), firing_rates(twin, xs))
