r"""Credit of paths through a layer's own recurrent synapse, by hops: each is a layer above it, one step later.

.. math:: L^{(0)} = L, \qquad
    L^{(h)}_t = R^\top \Big( \frac{F_{h-1}(g)_t}{n_{h-1,t}} \odot L^{(h-1)}_t \Big), \qquad
    \Delta W = \sum_h \sum_t L^{(h)}_t \odot \frac{F_h(e)_t}{n_{h,t}}
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracetorch.traces.passing import last_of
from tracetorch.traces.window import Window


def hopped(window: Window, gain: Tensor | None, outer: Tensor) -> Tensor:
    """Return cotangents of a layer's outputs by all filters, `[G, E, B, *unit]`: from outside, then each hop's.

    `gain` is the outputs' sensitivity behind each filter over its norm, `[G, T, B, *unit]`, None without hops;
    `outer` are the cotangents that come from outside, `[O, E, B, *unit]`.
    """
    hops, count = window.numbers.hops, outer.shape[0]
    if gain is None or not hops:
        return outer
    recurrent, found = window.afferents[1].synapse, [outer]
    fed = window.afferents[1].x[-outer.shape[1] :]
    fed = fed.expand(count, *fed.shape).flatten(0, 2)
    for hop in range(hops):
        part = last_of(gain[hop * count : (hop + 1) * count], outer, True) * found[-1]
        found.append(recurrent.input_grad(part.flatten(0, 2), fed, None).reshape(part.shape))
    return torch.cat(found)
