"""Suggest a rule for a network: the cheapest of those whose direction is near the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

from tracetorch.rules import PRESETS, Rule
from tracetorch.rules.described import described
from tracetorch.testing.oracle import Out
from tracetorch.testing.rule_audit import RuleAudit
from tracetorch.testing.rules_audit import Pair, PairLoss, audit


@dataclass(frozen=True)
class Suggestion:
    """A rule, and why it and no other.

    Args:
        name: of the preset.
        rule: the rule, for `tt.set_rule`.
        reasons: why, one sentence each.
        audit: all that was measured.

    Example:
        >>> import tracetorch as tt
        >>> from tracetorch.testing import RuleAudit
        >>> print(Suggestion("sltt", tt.rules.sltt(), ("the cheapest",), RuleAudit.__new__(RuleAudit)))
        sltt()
          the cheapest
    """

    name: str
    rule: Rule
    reasons: tuple[str, ...]
    audit: RuleAudit

    def __str__(self) -> str:
        """Return the rule as the call that makes it, and the reasons below."""
        return "\n".join((described(self.rule), *(f"  {reason}" for reason in self.reasons)))


def suggest(
    net: nn.Module | Callable[[int], nn.Module],
    batch: Pair | Callable[[int], Pair],
    loss: PairLoss,
    *,
    within: float = 0.05,
    budget: int | None = None,
    seeds: Iterable[int] = (0,),
    out: Out = "last",
) -> Suggestion:
    """Audit every preset on a network in single steps, and suggest the one with the least memory that is good enough.

    Good enough is a cosine of the lowest layer's gradient to that of BPTT, mean over seeds, which is at most `within`
    below the best rule's. `bptt` is the measure and no candidate. The same arguments give the same rule: memory is
    counted, and time, which the audit has too, plays no part. A cosine is not an accuracy.

    Args:
        net: the network, or a function that makes it from a seed; it is not changed.
        batch: inputs `[T, B, *in]` and targets, or a function that makes both from a seed.
        loss: from outputs `[B, *out]` and targets to a scalar.
        within: how far below the best cosine is good enough.
        budget: bytes that a rule may have alive at one time, inputs and parameters left out; None for any number.
        seeds: a network, a batch and random feedback for each.
        out: `"last"` for a loss on the last output, `"all"` for one at every step, with targets `[T, B, ...]`.

    Returns:
        The suggestion: `tt.set_rule(net, found.rule)`; print it for the reasons.

    Raises:
        ValueError: if no rule is within the budget, or none has a gradient in the lowest layer.

    Example:
        >>> import torch, tracetorch as tt
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(
        ...     tt.Layer(torch.nn.Linear(8, 16), tt.LIF(half_life=5, threshold=0.3)), torch.nn.Linear(16, 2)
        ... )
        >>> batch = torch.rand(12, 4, 8), torch.tensor([0, 1, 0, 1])
        >>> tt.rules.suggest(net, batch, torch.nn.functional.cross_entropy, within=0.01).name
        'eprop'
    """
    if not 0 <= within <= 2:
        raise ValueError(f"within is a distance of cosines, in [0, 2], got {within!r}")
    rules = {name: make() for name, make in PRESETS.items() if name != "bptt"}
    found = audit(net, batch, loss, rules=rules, seeds=seeds, window=1, out=out)
    lowest = next((name for name in found.layers if not name.endswith("neuron")), None)
    cosines = {
        name: round(statistics.fmean(a.cosine for a in rows[lowest]), 6)  # so that rounding decides nothing
        for name, rows in found.agreements.items()
        if lowest is not None
    }
    bytes_of = {name: max(c.peak_bytes for c in costs) for name, costs in found.costs.items()}
    fits = [n for n, c in cosines.items() if math.isfinite(c) and (budget is None or bytes_of[n] <= budget)]
    if not fits:
        least = min(bytes_of.values(), default=0)
        raise ValueError(
            f"no rule has a gradient in the lowest layer within budget={budget!r} bytes, the least takes {least}; see "
            f"that the layers fire (tt.init_firing), or allow more"
        )
    best = max(fits, key=lambda n: (cosines[n], -bytes_of[n]))
    near = [n for n in fits if cosines[n] >= cosines[best] - within]
    chosen = min(near, key=lambda n: (bytes_of[n], -cosines[n]))
    reasons = [
        f"cosine {cosines[chosen]:.3f} of the lowest layer, {lowest or 'the network'}; the best is {best} with "
        f"{cosines[best]:.3f}, and {within:g} less is good enough",
        f"{bytes_of[chosen]} bytes at most, the least of {len(near)} that are good enough: {', '.join(near)}",
    ]
    cheaper = [n for n in fits if bytes_of[n] < bytes_of[chosen]]
    if cheaper:
        reasons.append("cheaper, and not good enough: " + ", ".join(f"{n} ({cosines[n]:.3f})" for n in cheaper))
    over = [n for n in cosines if budget is not None and bytes_of[n] > budget]
    if over:
        reasons.append(f"over the budget of {budget} bytes: " + ", ".join(f"{n} ({bytes_of[n]})" for n in over))
    reasons += [f"{name} is refused: {why.split(';')[0]}" for name, why in found.refused.items()]
    if cosines[best] < 1 - within:
        reasons.append("none is within that distance of BPTT: where sequences fit in memory, bptt() is exact")
    return Suggestion(chosen, rules[chosen], tuple(reasons), found)
