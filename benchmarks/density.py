"""Find the density of events below which products by events beat a dense product: ``python -m benchmarks.density``.

`Tuning.dense` comes from this table; on another machine `tt.set_backend(net, sparse=...)` sets it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

import tracetorch as tt
from tracetorch.backends.numba import backend
from tracetorch.backends.numba.packed import Packed
from tracetorch.ops.products import outer_sum

DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
SHAPES = ((100, 64, 700, 256), (100, 64, 256, 256), (1000, 1, 700, 256))


def median_ms(work: Callable[[], object]) -> float:
    """Return the median time of a call in ms."""
    timer = Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())
    return 1e3 * timer.blocked_autorange(min_run_time=0.3).median


def forward(xs: Tensor, units: int, sparse: bool) -> float:
    """Return the time of a layer's inference over a window."""
    layer = tt.Layer(nn.Linear(xs.shape[2], units), tt.LIF(half_life=10))
    tt.set_backend(layer, "numba", sparse=sparse)

    def work() -> None:
        tt.reset(layer)
        tt.scan(layer, xs)

    with torch.no_grad():
        return median_ms(work)


def main() -> None:
    """Print times of both ways, forward and in the weight gradient, by shape and density."""
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    print("| T, B, inputs, units | density | forward: dense ms | events ms | gradient: dense ms | events ms |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for steps, batch, inputs, units in SHAPES:
        for density in DENSITIES:
            torch.manual_seed(0)
            xs = (torch.rand(steps, batch, inputs) < density).float()
            flat, q = xs.flatten(0, 1), torch.randn(steps * batch, units)
            row = [forward(xs, units, False), forward(xs, units, True)]
            row.append(median_ms(lambda q=q, x=flat: outer_sum(q, x)))
            events = Packed.pack(xs, backend().workers)
            row.append(median_ms(lambda q=q, x=events: x.outer_sum(q)))
            print(
                f"| {steps}, {batch}, {inputs}, {units} | {density:.0%} | " + " | ".join(f"{v:.2f}" for v in row) + " |"
            )


if __name__ == "__main__":
    main()
