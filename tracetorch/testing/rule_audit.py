"""The result of an audit of several rules: by rule and layer, with its spread over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tracetorch.firing import Firing, listed
from tracetorch.testing.agreement import Agreement


@dataclass(frozen=True)
class Cost:
    """What a rule costs on one batch with its losses, the optimizer left out.

    Args:
        seconds: per time step, median of the repetitions.
        peak_bytes: greatest number of bytes of tensors alive at one time, inputs and parameters left out.
        state_bytes: bytes of what the layers carry from one step to the next, traces included.

    Example:
        >>> import tracetorch as tt
        >>> cost = tt.testing.Cost(seconds=2e-4, peak_bytes=70_000, state_bytes=40_000)
        >>> f"{1e6 * cost.seconds:.0f} µs a step"
        '200 µs a step'
    """

    seconds: float
    peak_bytes: int
    state_bytes: int


@dataclass(frozen=True)
class RuleAudit:
    """Gradients of several rules compared with that of BPTT, and the cost of the rules.

    Args:
        seeds: the seeds, in the order of all sequences below.
        agreements: by rule and layer, one for each seed. A layer is its synapses' weights and biases; `name.neuron`
            are the parameters of its neuron, where they are learned.
        firing: by layer that spikes, one for each seed.
        costs: by rule, one for each seed; empty where they were not measured.
        refused: by rule that refuses the network, why.

    Example:
        >>> import torch, tracetorch as tt
        >>> make = lambda seed: torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5)))
        >>> batch = torch.rand(9, 4, 3), torch.tensor([0, 1, 0, 1])
        >>> rules = {"eprop": tt.rules.eprop(), "sltt": tt.rules.sltt()}
        >>> audit = tt.testing.audit(make, batch, torch.nn.functional.cross_entropy, rules=rules)
        >>> [len(audit.agreements[name]["0"]) for name in rules], audit.layers
        ([1, 1], ('0',))
    """

    seeds: tuple[int, ...]
    agreements: Mapping[str, Mapping[str, Sequence[Agreement]]]
    firing: Mapping[str, Sequence[Firing]]
    costs: Mapping[str, Sequence[Cost]]
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[str, ...]:
        """Return the names of the layers and of what else was compared, in the order of registration."""
        return tuple(next(iter(self.agreements.values()), {}))

    def cosines(self, rule: str) -> tuple[list[int], list[list[float]]]:
        """Return what `tracetorch.plot.cosines` draws: how many layers are above each, and its cosines by seed.

        Args:
            rule: the rule's name.

        Returns:
            Numbers of layers above, from 0, and cosines `[seeds, layers]` from the topmost layer to the lowest.
        """
        names = [name for name in reversed(self.layers) if not name.endswith("neuron")]
        rows = self.agreements[rule]
        return list(range(len(names))), [[rows[n][i].cosine for n in names] for i in range(len(self.seeds))]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; units that are silent or saturated are listed in full.

        Returns:
            A nested dictionary.
        """
        return {
            "seeds": list(self.seeds),
            "rules": {
                rule: {
                    "layers": {name: [asdict(a) for a in found] for name, found in rows.items()},
                    "costs": [asdict(cost) for cost in self.costs.get(rule, ())],
                }
                for rule, rows in self.agreements.items()
            },
            "firing": {
                name: [
                    {"mean": f.mean, "units": len(f.rates), "silent": f.silent, "saturated": f.saturated} for f in found
                ]
                for name, found in self.firing.items()
            },
            "refused": dict(self.refused),
        }

    def rows(self) -> list[dict[str, str]]:
        """Return the table of rules.

        Returns:
            One row for each rule, cells as text, the layers' cells by their names.
        """
        return [self._row(rule) for rule in self.agreements]

    def _row(self, rule: str) -> dict[str, str]:
        cells = {"rule": rule}
        for name, found in self.agreements[rule].items():
            ratio = statistics.fmean(a.norm_ratio for a in found)
            cells[name or "weights"] = f"{spread([a.cosine for a in found])} ×{ratio:.2f}"
        costs = self.costs.get(rule)
        if not costs:
            return cells
        cells["µs/step"] = f"{1e6 * statistics.median(c.seconds for c in costs):.0f}"
        cells["peak KB"] = f"{max(c.peak_bytes for c in costs) / 1e3:.0f}"
        cells["state KB"] = f"{max(c.state_bytes for c in costs) / 1e3:.0f}"
        return cells

    def firing_lines(self) -> list[str]:
        """Return how the layers fire, as text.

        Returns:
            One line for each layer that spikes: its rate, and its dead units counted and listed by seed.
        """
        return [
            f"layer {name or '(the network)'} {firing_text(found, self.seeds)}" for name, found in self.firing.items()
        ]

    def __str__(self) -> str:
        """Return a table: cosine to BPTT's gradient, its least over the seeds in brackets, and the norm ratio."""
        rows = self.rows()
        head = list(rows[0]) if rows else ["rule"]
        wide = {name: max(len(name), *(len(row[name]) for row in rows)) if rows else len(name) for name in head}
        lines = ["  ".join(f"{name:{wide[name]}}" for name in head)]
        lines += ["  ".join(f"{row[name]:{wide[name]}}" for name in head) for row in rows]
        lines += [f"{rule}: refused: {why}" for rule, why in self.refused.items()]
        return "\n".join(line.rstrip() for line in (*lines, *self.firing_lines()))


def spread(values: Sequence[float]) -> str:
    """Return a mean with the least value in brackets where there are several; a dash where there is no number.

    >>> spread([0.9, 0.98]), spread([1.0]), spread([float("nan")])
    ('+0.940 (+0.900)', '+1.000', '–')
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "–"
    mean = f"{statistics.fmean(finite):+.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(finite):+.3f})"


def firing_text(found: Sequence[Firing], seeds: Sequence[int]) -> str:
    """Return a layer's firing over seeds as text; every seed with dead units is named with them."""
    text = f"fires in {statistics.fmean(f.mean for f in found):.1%} of the steps"
    for kind in ("silent", "saturated"):
        for seed, firing in zip(seeds, found, strict=True):
            units = getattr(firing, kind)
            if units:
                where = f" with seed {seed}" if len(seeds) > 1 else ""
                text += f"; {len(units)} of {len(firing.rates)} units {kind}{where} ({listed(units)})"
    return text
