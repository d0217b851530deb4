"""How far an exported network is from another one on data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tracetorch.export.step import Step
from tracetorch.export.window import Window
from tracetorch.neurons import Readout


@dataclass(frozen=True)
class Difference:
    """Differences between two exported networks on a window.

    Args:
        outputs: greatest absolute difference of an output, in its unit.
        largest: greatest absolute output of the first network, to compare it with.
        decisions: share of rows and steps in which the largest output is another one, 0 to 1.
        spikes: share of units, rows and steps in which a spiking layer's output is another one, by layer, 0 to 1.

    Example:
        >>> import torch, tracetorch as tt
        >>> module = tt.export.step(torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.LIF(half_life=5))))
        >>> found = tt.export.difference(module, module, torch.rand(10, 4, 3))
        >>> found.decisions, found.spikes
        (0.0, {'0': 0.0})
    """

    outputs: float
    largest: float
    decisions: float
    spikes: Mapping[str, float]


@torch.no_grad()
def difference(module: Step | Window, other: Step | Window, xs: Tensor) -> Difference:
    """Run two exported forms of one network over a window, and return how far apart they are.

    Args:
        module: the first, whose outputs are the reference.
        other: the second, such as what `tt.export.int8` returned.
        xs: inputs, `[T, B, *in]`, real ones: how many spikes change depends on them.

    Returns:
        The differences.

    Raises:
        ValueError: if the networks have other layers.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5)))
        >>> module = tt.export.step(net)
        >>> found = tt.export.difference(module, tt.export.int8(module), torch.rand(10, 4, 3))
        >>> 0 < found.outputs < 0.05
        True
    """
    ours, mine = _recorded(module, xs)
    theirs, others = _recorded(other, xs)
    if mine.keys() != others.keys():
        raise ValueError(f"the networks have other layers: {sorted(mine)} and {sorted(others)}")
    gap = (ours - theirs).abs().max()
    other_decision = (ours.argmax(-1) != theirs.argmax(-1)).double().mean()
    spikes = {name: float((z != others[name]).double().mean()) for name, z in mine.items()}
    return Difference(float(gap), float(ours.abs().max()), float(other_decision), spikes)


def _recorded(module: Step | Window, xs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the outputs, `[T, B, *out]`, and those of the spiking layers by name."""
    one = module if isinstance(module, Step) else module.one
    rows: dict[str, list[Tensor]] = {}

    def record(name: str, cell: object, inputs: object, z: Tensor) -> None:
        rows[name].append(z)

    hooks = []
    state = one.zeros(xs[0])
    for cell in one.cells:
        if not isinstance(cell.neuron, Readout):
            rows[cell.prefix[:-1]] = []
            hooks.append(cell.register_forward_hook(partial(record, cell.prefix[:-1])))
    ys = []
    try:
        for x in xs:
            y, state = one(x, state)
            ys.append(y)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(ys), {name: torch.stack(z) for name, z in rows.items()}
