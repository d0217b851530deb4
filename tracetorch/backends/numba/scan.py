"""The CPU backend: kernels that Numba compiles for each neuron's step."""

from __future__ import annotations

import importlib.util
from functools import lru_cache

import torch
from torch import Tensor

from tracetorch.backends.interface import Outputs, Save, Scan
from tracetorch.backends.numba.arrays import absent, coefficients, empty, flat, parameter_rows, stacked
from tracetorch.backends.numba.compile import Forward, event_kernel, neuron_kernel
from tracetorch.backends.numba.convolution import EventConvolution, run_of, serves, share
from tracetorch.backends.numba.limits import why_not_scan
from tracetorch.backends.numba.packed import BLOCK, FLOATS, LANES, Packed, new_lists
from tracetorch.backends.numba.tape import NumbaTape
from tracetorch.backends.numba.tuning import Tuning
from tracetorch.backends.numba.workers import Workers
from tracetorch.neurons.lowering import NotLowered
from tracetorch.synapses import ConvSynapse, Synapse


@lru_cache(1)
def why_not() -> str:
    """Return why the backend cannot run here; an empty text where it can."""
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed; pip install numba"
    return ""


class Numba:
    """Scan on CPUs in one compiled kernel per window, which knows the neuron's own step; sizes decide what pays."""

    name = "numba"

    def __init__(self, tuning: Tuning | None = None) -> None:
        self.tuning = Tuning() if tuning is None else tuning
        self.workers = Workers()

    def why_not(self, scan: Scan) -> str:
        """Return why a scan cannot be served; an empty text where it can."""
        if torch.compiler.is_compiling():
            return "torch.compile is at work, which cannot look into kernels of another compiler"
        if why_not():
            return why_not()
        return why_not_scan(scan)

    def pays(self, scan: Scan) -> bool:
        """Return whether the window is long or wide enough for the start of a kernel."""
        units = max(scan.s[0].numel(), self.tuning.narrow)
        return scan.steps * units >= self.tuning.small

    def events(self, xs: Tensor, weight: Tensor, sparse: bool | None = None) -> Packed | None:
        """Return the events of inputs where few enough are not zero; see `tracetorch.backends.interface`."""
        if sparse is False or not xs.is_cpu or xs.dim() != 3 or xs.dtype not in FLOATS or xs.dtype != weight.dtype:
            return None
        if not sparse:
            if xs.shape[0] * xs.shape[1] < self.tuning.few:
                return None
            rows = xs.reshape(-1, xs.shape[2])
            some = rows[:: (rows.numel() // self.tuning.sample) | 1]
            if int(torch.count_nonzero(some)) > self.tuning.dense * some.numel():
                return None
        return Packed(xs.shape, xs.detach().contiguous(), None, self.workers)

    def convolution(self, synapse: Synapse, xs: Tensor, sparse: bool | None = None) -> EventConvolution | None:
        """Return the products of a convolution, some perhaps by events; see `tracetorch.backends.interface`."""
        if sparse is False or not isinstance(synapse, ConvSynapse) or not serves(synapse, xs):
            return None
        if not xs.is_cpu or xs.dtype not in FLOATS or synapse.weights()[0].dtype != xs.dtype:
            return None
        if sparse:
            return EventConvolution(synapse, self.workers)
        if xs.shape[0] * xs.shape[1] < self.tuning.few:
            return None
        most = self.tuning.convolution * min(1.0, run_of(synapse) / self.tuning.run)
        eventful = share(xs, self.tuning.sample) <= most
        return EventConvolution(synapse, self.workers, self.tuning, eventful=eventful)

    def forward(self, scan: Scan, save: Save) -> Outputs:
        """Scan forward; see `tracetorch.backends.interface`."""
        lowered, unit, like, product = scan.neuron.lowered(), scan.unit, scan.s[0], scan.product
        events = None if product is None else product.events
        if isinstance(lowered, NotLowered) or (product is not None and not isinstance(events, Packed)):
            raise TypeError(f"the kernels cannot serve this scan: {self.why_not(scan)}")
        steps, batch, units = scan.steps, like.shape[0], unit_count(unit)
        each = () if lowered.currents == 1 else (lowered.currents,)
        size, width = lowered.states, self.tuning.width(units)
        recurrent = None if scan.recurrent is None else scan.recurrent.dense()
        formed = product is not None or recurrent is not None
        request = save.sensitivity
        filters = 0 if request is None or request.filter is None else request.filter.size
        variant = Forward(product is not None, recurrent is not None, request is not None)
        kernel = neuron_kernel(lowered, like.dtype, width, filters, variant)
        none = absent(3, like)
        x = events.dense() if isinstance(events, Packed) else flat(scan.drive, unit, like.dtype)
        inputs, listed = x.shape[2], save.events and events is not None
        lists = new_lists(x, 0 if events is None else batch * (inputs * (steps if listed else 1) + LANES))
        start, parameters = stacked(scan.s, scan), parameter_rows(scan, lowered.parameters)
        s_next = torch.empty_like(start)
        own = scan.out is not None and scan.out.is_contiguous()
        z = flat(scan.out, unit) if own and scan.out is not None else empty((steps, batch, units), like)
        drive = empty((steps, batch, units), like) if save.tape and formed else none
        sigma = level = history = none
        if request is not None:
            sigma = flat(_by_current(request.sigma, each), unit, like.dtype)
            level = flat(_by_current(request.level, each), unit, like.dtype) if filters else none
            history = empty((steps if request.history else 1, batch, *each, units), like)
        sigma_next, level_next = torch.empty_like(sigma), torch.empty_like(level)
        sums, weights = none, like.new_empty(0, steps)
        if save.sums is not None and product is not None:
            weights = save.sums[0].detach().to(like).contiguous()
            sums = save.sums[1].detach().to(like.dtype, copy=True, memory_format=torch.contiguous_format)
        faults = torch.zeros(batch, dtype=torch.int64)
        kernel(
            self.workers,
            batch,
            (steps, batch, units, inputs, steps - history.shape[0], weights.shape[0], drive.shape[0] > 0, listed),
            x,
            *lists,
            none if product is None else self._laid_out(product.weight, width),
            none if recurrent is None else self._laid_out(recurrent[0], width),
            _bias(units, like, None if product is None else product.bias, None if recurrent is None else recurrent[1]),
            start,
            s_next,
            parameters,
            absent(2, like) if scan.z is None else flat(scan.z, unit, like.dtype),
            z,
            drive,
            sigma,
            sigma_next,
            level,
            level_next,
            history,
            coefficients(None if request is None else request.filter, like),
            sums,
            weights,
            faults,
        )
        finite = not (variant.events and bool(faults.any()))
        out = z.view(steps, batch, *unit)
        if scan.out is not None:
            out = scan.out if own else scan.out.copy_(out)
        tape = None
        if save.tape:
            drive = drive if formed else x
            tape = NumbaTape(scan, lowered, start, drive, parameters, width, self.workers)
        s = tuple(row.view(batch, *unit) for row in s_next.unbind(0))
        shown = Packed(x.shape, x.new_empty(0), lists, self.workers) if listed else None
        if request is None:
            return Outputs(out, s, tape, sums=_sums(save, scan, sums), finite=finite, events=shown)
        return Outputs(
            out,
            s,
            tape,
            _by_row(sigma_next.view(*each, size, batch, *unit), each),
            _by_row(level_next.view(*each, filters, batch, *unit), each) if filters else request.level,
            history.view(*history.shape[:-1], *unit),
            _sums(save, scan, sums),
            finite,
            shown,
        )

    def _laid_out(self, weight: Tensor, width: int) -> Tensor:
        """Return a weight `[N, K]` as `[chunks, K, U]`: the rows of U units that an event of an input adds."""
        weight = weight.detach().contiguous()
        units, inputs = weight.shape
        out = empty((-(-units // width), inputs, width), weight)
        sizes = (units, inputs, width)
        event_kernel(weight.dtype, "lay_out")(self.workers, out.shape[0] * -(-inputs // BLOCK), sizes, weight, out)
        return out

    def credit_back(
        self,
        signal: Tensor,
        gain: tuple[Tensor, Tensor],
        weight: Tensor,
        bucket: Tensor,
        decay: Tensor,
        *,
        sent: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Filter the credit of averages backwards in time; see `tracetorch.backends.interface`."""
        given = [x.detach().contiguous() for x in (signal, *gain, weight, bucket, decay)]
        like = given[0]
        out, leaving = empty(like.shape, like), like.new_empty(like.shape[1:])
        credit = empty(like.shape, like) if sent else absent(3, like)
        sizes = (*like.shape, weight.shape[1], sent)
        event_kernel(like.dtype, "credit_back")(self.workers, like.shape[1], sizes, *given, credit, out, leaving)
        return out, leaving, credit


@lru_cache(1)
def backend() -> Numba:
    """Return the backend with its usual tuning, one for the process, as its threads share the machine."""
    return Numba()


def unit_count(unit: tuple[int, ...]) -> int:
    """Return N, the number of units of one sample."""
    return torch.Size(unit).numel()


def _bias(units: int, like: Tensor, *biases: Tensor | None) -> Tensor:
    """Return the sum of biases, `[N]`, that is added to the currents that are formed."""
    total = like.new_zeros(units)
    for bias in biases:
        if bias is not None:
            total += bias.detach()
    return total


def _by_current(values: Tensor, each: tuple[int, ...]) -> Tensor:
    """Return sensitivities, `[S, B, C, *unit]`, in the order of the kernels, `[C, S, B, *unit]`."""
    return values.movedim(2, 0) if each else values


def _by_row(values: Tensor, each: tuple[int, ...]) -> Tensor:
    """Return sensitivities in the order of the kernels, `[C, S, B, *unit]`, as `[S, B, C, *unit]`."""
    return values.movedim(0, 2) if each else values


def _sums(save: Save, scan: Scan, sums: Tensor) -> Tensor | None:
    return sums if save.sums is not None and scan.product is not None else None
