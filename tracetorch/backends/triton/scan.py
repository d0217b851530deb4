"""The GPU backend: kernels that Triton compiles for each neuron's step."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from tracetorch.backends.interface import Outputs, Save, Scan
from tracetorch.backends.torch import Torch
from tracetorch.backends.triton.compile import Forward, kernel
from tracetorch.backends.triton.launch import coefficients, flat, launch, launch_size, parameters, rows
from tracetorch.backends.triton.support import why_not, why_not_scan
from tracetorch.backends.triton.tape import TritonTape
from tracetorch.neurons.lowering import NotLowered


class Triton(Torch):
    """Scan on GPUs in one compiled kernel per window, which knows the neuron's own step; products are torch's own."""

    name = "triton"

    def why_not(self, scan: Scan) -> str:
        """Return why a scan cannot be served; an empty text where it can."""
        if torch.compiler.is_compiling():
            return "torch.compile is at work, which cannot look into these kernels"
        return why_not() or why_not_scan(scan)

    def pays(self, scan: Scan) -> bool:
        """Return whether the window is on a GPU, where one kernel replaces several per step."""
        return scan.drive.is_cuda

    def forward(self, scan: Scan, save: Save) -> Outputs:
        """Scan forward; see `tracetorch.backends.interface`."""
        lowered, unit, like = scan.neuron.lowered(), scan.unit, scan.s[0]
        if isinstance(lowered, NotLowered) or scan.recurrent is not None or scan.product is not None:
            raise TypeError(f"the kernels cannot serve this scan: {self.why_not(scan)}")
        steps, batch, units = scan.steps, scan.batch, math.prod(unit)
        request, saved = save.sensitivity, len(scan.s)
        above = None if request is None else request.filter
        filters = 0 if above is None else above.size
        drive, start, values = (
            flat(scan.drive, unit),
            tuple(flat(x, unit) for x in scan.s),
            parameters(scan, lowered.parameters),
        )
        own = scan.out is not None and scan.out.is_contiguous()
        z = flat(scan.out, unit) if own and scan.out is not None else like.new_empty(steps, batch, units)
        carried, first = start, 0
        history: tuple[Tensor, ...] = ()
        if request is not None:
            carried = (*start, *rows(request.sigma, unit), *(rows(request.level, unit) if filters else ()))
            first = 0 if request.history else steps - 1
            history = (like.new_empty(steps - first, batch, units),)
        after = like.new_empty(len(carried), batch, units)
        total = batch * units
        arguments = (
            drive,
            carried,
            values[0],
            coefficients(above, None, like),
            ((z,), history, (), after.unbind(0)),
            steps,
            first,
            (total, units, values[1]),
        )
        variant = Forward(traced=request is not None, filters=filters)
        launch(kernel(lowered, like.dtype, launch_size(total)[0], variant), arguments, like, total)
        out = z.view(steps, batch, *unit)
        if scan.out is not None:
            out = scan.out if own else scan.out.copy_(out)
        tape = TritonTape(scan, lowered, start, drive, values) if save.tape else None
        after = after.view(len(carried), batch, *unit)
        s = after[:saved].unbind(0)
        if request is None:
            return Outputs(out, s, tape)
        return Outputs(
            out,
            s,
            tape,
            after[saved : saved + lowered.states],
            after[saved + lowered.states :] if filters else request.level,
            history[0].view(steps - first, batch, *unit),
        )


@cache
def backend() -> Triton:
    """Return the backend."""
    return Triton()
