r"""The interface of a backend: one layer's neurons over one window, forward and in reverse.

Forward, with the neuron's blocks `A, B, D, psi` (and `P, Q` per parameter) at each step:

.. math::
    (s_t, z_t) &= \mathrm{step}(s_{t-1}, I_t), & g_t &= \psi_t + D_t \cdot \sigma_{t-1}, &
    \sigma_t &= A_t \sigma_{t-1} + B_t

Reverse, with an output filter `(a, b, d, p)` of `M` states above the outputs:

.. math::
    \tilde L_t &= p\, L_t + b \cdot \ell_t, & \ell_{t-1} &= d\, L_t + a^\top \ell_t, \\
    q_t &= \psi_t \tilde L_t + B_t \cdot \lambda_t, & \lambda_{t-1} &= D_t \tilde L_t + A_t^\top \lambda_t, &
    \bar\varphi &= \sum_t Q_t \tilde L_t + P_t \cdot \lambda_t

Every backend implements the same two functions; `tracetorch.backends.torch` is the readable one, and the truth of the
others. Units may have any shape; B is the batch, T the number of steps, S the number of states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Protocol

import torch
from torch import Tensor

from tracetorch.backends.products import Convolution, Events, Product
from tracetorch.neurons import Neuron
from tracetorch.synapses import Synapse


@dataclass(frozen=True)
class Filter:
    r"""A linear filter with constant coefficients that all units share.

    .. math:: f_t = a f_{t-1} + b\, x_t, \qquad y_t = d \cdot f_{t-1} + p\, x_t

    Args:
        a: `[M, M]`.
        b: `[M]`.
        d: `[M]`.
        p: a number, `[]`.
    """

    a: Tensor
    b: Tensor
    d: Tensor
    p: Tensor

    @property
    def size(self) -> int:
        """M, the number of states."""
        return self.b.shape[0]

    @staticmethod
    def leaky(decay: Tensor) -> Filter:
        r"""Return the filter :math:`y_t = \kappa y_{t-1} + x_t` of one decay, a tensor of one element."""
        decay = decay.detach().reshape(1)
        return Filter(decay.reshape(1, 1), torch.ones_like(decay), decay, torch.ones_like(decay).reshape(()))

    def then(self, above: Filter) -> Filter:
        """Return this filter followed by another one."""
        n, m = self.size, above.size
        a = self.a.new_zeros(n + m, n + m)
        a[:n, :n], a[n:, n:] = self.a, above.a
        a[n:, :n] = above.b[:, None] * self.d
        b = torch.cat([self.b, above.b * self.p])
        return Filter(a, b, torch.cat([above.p * self.d, above.d]), above.p * self.p)


@dataclass(frozen=True)
class Sensitivity:
    """The sensitivity of the outputs to a constant current since the reset, as a scan carries it on.

    Where a neuron takes several currents, each has its own sensitivity: `[.., C, *unit]` for `[.., *unit]` here.

    Args:
        sigma: sensitivity of the states before the window, `[S, B, *unit]`.
        filter: a filter that the outputs' sensitivities pass through; None for the sensitivities themselves.
        level: the filter's states before the window, `[M, B, *unit]`; of no rows without a filter.
        history: whether the outputs' (filtered) sensitivity is returned for all steps or the last alone.
    """

    sigma: Tensor
    filter: Filter | None
    level: Tensor
    history: bool


@dataclass(frozen=True)
class Save:
    """A request for what a forward scan computes beside the outputs.

    Args:
        tape: whether a reverse pass may follow.
        sensitivity: the sensitivities to carry on; None for none.
        sums: weights `[R, T]` and start `[R, B, K]` of weighted sums of the inputs over the window, formed where the
            scan is driven by events; None for none.
        events: whether the inputs' events are stored, where the scan forms a product from them.
    """

    tape: bool = False
    sensitivity: Sensitivity | None = None
    sums: tuple[Tensor, Tensor] | None = None
    events: bool = False


@dataclass(frozen=True)
class Scan:
    """One layer's neurons over one window.

    Args:
        neuron: the neuron, bound to the values that its parameters have in this window.
        s: states, then counters, before the window, `[B, *unit]` each.
        drive: currents, `[T, B, *unit]`, or `[T, B, C, *unit]` where the neuron takes several per unit; of no elements,
            `[T, B, 0]`, where the scan forms them.
        product: the product that the scan forms the currents by; None where `drive` has them.
        recurrent: synapse that adds a current from the layer's last outputs, or None.
        z: the outputs that it is fed with at the first step, `[B, *unit]`; None without a recurrent synapse.
        out: where the outputs are to be written, `[T, B, *unit]`; None for their own tensor.
    """

    neuron: Neuron
    s: tuple[Tensor, ...]
    drive: Tensor
    product: Product | None = None
    recurrent: Synapse | None = None
    z: Tensor | None = None
    out: Tensor | None = None

    @property
    def unit(self) -> tuple[int, ...]:
        """Shape of the units."""
        return tuple(self.s[0].shape[1:])

    @property
    def steps(self) -> int:
        """T."""
        return self.drive.shape[0]

    @property
    def batch(self) -> int:
        """B."""
        return self.s[0].shape[0]

    def formed(self, product: Product) -> Scan:
        """Return the scan that forms its currents by a product."""
        steps, batch, _ = product.events.shape
        return replace(self, drive=self.s[0].new_empty(steps, batch, 0), product=product)

    def parameter(self, name: str) -> Tensor:
        """Return the value of one of the neuron's parameters or buffers, by its dotted name, without a graph."""
        value: Any = reduce(getattr, name.split("."), self.neuron)
        return value.detach()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Cotangents:
    """The derivatives of a loss that enter a window from outside.

    Args:
        z: by the outputs behind the filter (`L`), of the last E steps, `[E, B, *unit]`.
        s: by the states after the window (`lambda`), `[S, B, *unit]`.
        raw: by the outputs before the filter, `[E, B, *unit]`, or None.
        filter: the filter; None for none.
        level: by the filter's states after the window (`ell`), `[M, B, *unit]`; None without a filter.
        fed: by the last output through the recurrent synapse, `[B, *unit]`, in a window whose graph goes through it;
            None where recurrent outputs carry no credit.
    """

    z: Tensor
    s: Tensor
    raw: Tensor | None = None
    filter: Filter | None = None
    level: Tensor | None = None
    fed: Tensor | None = None


@dataclass(frozen=True)
class Pull:
    """A request for what a reverse pass computes beside the currents' gradient.

    Args:
        linked: whether credit passes from step to step through the states; else `q = psi L`.
        constant: A `[S, S]` and B `[S]` to take instead of the neuron's own, or None.
        parameters: names of the neuron parameters whose gradients are to be formed.
        below: whether `psi L`, of the unfiltered cotangents, is returned too.
    """

    linked: bool = True
    constant: tuple[Tensor, Tensor] | None = None
    parameters: tuple[str, ...] = ()
    below: bool = False


@dataclass(frozen=True)
class Gradients:
    """What a reverse pass computed.

    Args:
        current: by the currents (`q`), of their shape.
        s: by the states before the window, `[S, B, *unit]`.
        parameters: by each neuron parameter asked for, summed over the window, `[B, *unit]`.
        level: by the filter's states before the window, `[M, B, *unit]`; None without a filter.
        fed: by the output before the window, `[B, *unit]`; None where recurrent outputs carry no credit.
        below: `psi L`, `[E, B, *unit]` or `[E, B, C, *unit]`, if it was requested.
    """

    current: Tensor
    s: Tensor
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    level: Tensor | None = None
    fed: Tensor | None = None
    below: Tensor | None = None


class Tape(Protocol):
    """What a backend keeps of a forward scan, from which it can go back through the window any number of times."""

    def reverse(self, cotangents: Cotangents, pull: Pull) -> Gradients:
        """Return the gradients of the window; raise ValueError where cotangents are missing, or have nowhere to go."""
        ...

    def currents(self) -> Tensor:
        """Return the total currents, recurrent ones included, `[T, B, *unit]`."""
        ...


@dataclass(frozen=True)
class Outputs:
    """What a forward scan computed.

    Args:
        z: outputs, `[T, B, *unit]`.
        s: states, then counters, after the window, `[B, *unit]` each.
        tape: what a reverse pass needs, if it was requested.
        sigma: sensitivity of the states after the window, `[S, B, *unit]`, if it was requested.
        level: the sensitivity filter's states after the window, `[M, B, *unit]`.
        sensitivity: the outputs' (filtered) sensitivity, `[T, B, *unit]` or `[1, B, *unit]`.
        sums: weighted sums of the inputs, `[R, B, K]`, if they were requested and the scan was driven by events.
        finite: whether the inputs were found finite, where the scan was driven by events.
        events: the inputs' events, where they were requested.
    """

    z: Tensor
    s: tuple[Tensor, ...]
    tape: Tape | None = None
    sigma: Tensor | None = None
    level: Tensor | None = None
    sensitivity: Tensor | None = None
    sums: Tensor | None = None
    finite: bool = True
    events: Events | None = None


class ScanBackend(Protocol):
    """One way to scan neurons through windows.

    A backend serves what `why_not` does not refuse, and refuses the rest with the reason: it never replaces one thing
    by another.
    """

    name: str

    def why_not(self, scan: Scan) -> str:
        """Return why the backend cannot serve a scan; an empty text where it can."""
        ...

    def pays(self, scan: Scan) -> bool:
        """Return whether the backend is worth its start for a scan that it serves."""
        ...

    def events(self, xs: Tensor, weight: Tensor, sparse: bool | None = None) -> Events | None:
        """Return the events of inputs `[T, B, K]` from which the scan had better form a dense product.

        Args:
            xs: the inputs.
            weight: `[N, K]`.
            sparse: True for events whatever their density, False for none of it.

        Returns:
            The events; None where the product is better formed before.
        """
        ...

    def convolution(self, synapse: Synapse, xs: Tensor, sparse: bool | None = None) -> Convolution | None:
        """Return the products of a convolution of inputs `[T, B, *in]`; None where the synapse's own are to be taken.

        `sparse` is True for events whatever their density, False for none of it.
        """
        ...

    def forward(self, scan: Scan, save: Save) -> Outputs:
        """Scan forward."""
        ...

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
        r"""Filter the credit of averages with an event at every step backwards in time, from zero.

        .. math:: c_t = \frac{h_t}{w^h_t} \odot L_t, \quad f_t = \frac{c_t}{w^x_t} + a \odot f_{t+1}

        Args:
            signal: cotangents of the outputs, `[T, B, N]`.
            gain: decayed sums of sensitivities, `[T, B, N]`, and of their weights, `[T, B]`.
            weight: decayed sums of the weights of inputs by bucket, `[T, G, B]`.
            bucket: each unit's bucket, `[N]` of int64; of no elements where there is one.
            decay: decay per step, `[N]`.
            sent: whether `c` is wanted too.

        Returns:
            `f`, `[T, B, N]`, what leaves the window at its start, `[B, N]`, and `c`.
        """
        ...


def unit_rows(tape: Tape, scan: Scan, filter: Filter | None, pull: Pull, *, first: int = 0) -> list[Gradients]:
    """Return the reverse passes of unit cotangents, one per state and then per filter state, but those before `first`.

    Row j holds what the j-th state after the window owes to the window's start, currents and parameters: the ordered
    products of its transitions.
    """
    size, batch, like = len(scan.neuron.state), scan.s[0].shape[0], scan.s[0]
    silent = like.new_zeros(1, batch, *scan.unit)
    rows = []
    for j in range(first, size + (0 if filter is None else filter.size)):
        s = like.new_zeros(size, batch, *scan.unit)
        level = None if filter is None else like.new_zeros(filter.size, batch, *scan.unit)
        if j < size:
            s[j] = 1
        elif level is not None:
            level[j - size] = 1
        rows.append(tape.reverse(Cotangents(silent, s, filter=filter, level=level), pull))
    return rows


def why_not_values(scan: Scan, parameters: Mapping[str, Tensor]) -> str:
    """Return why a kernel of one dtype and device cannot take a scan's values, or parameters rows do not share."""
    like, unit = scan.s[0], scan.unit
    carried = {x.dtype for x in scan.s} | ({scan.out.dtype} if scan.out is not None else set())
    if len(carried) > 1:
        return f"it takes one dtype, states, counters and outputs are {', '.join(sorted(map(str, carried)))}"
    tensors = {**parameters, "drive": scan.drive} | ({} if scan.out is None else {"out": scan.out})
    for name, value in tensors.items():
        if value.device != like.device:
            return f"it takes one device, the states are on {like.device}, {name} is on {value.device}"
        if value.dim() > 0 and torch.promote_types(value.dtype, like.dtype) != like.dtype:
            return f"it takes one dtype, the states are {like.dtype}, {name} is {value.dtype}"
    for name, value in parameters.items():
        shape = tuple(value.shape)
        fits = len(shape) <= len(unit) and all(a in (1, b) for a, b in zip(shape[::-1], unit[::-1], strict=False))
        if not fits:
            return f"it takes parameters per unit, {name} is {list(shape)} for units {list(unit)}"
    return ""


def filters_of(scan: Scan, cotangents: Cotangents) -> int:
    """Return M, the filter's states; raise ValueError where cotangents are missing, or have nowhere to go."""
    if cotangents.fed is not None and scan.recurrent is None:
        raise ValueError("cotangents through a recurrent synapse were given, but the window has none; pass fed=None")
    filters = 0 if cotangents.filter is None else cotangents.filter.size
    if cotangents.filter is not None and cotangents.level is None:
        raise ValueError(f"the filter has {filters} states, their cotangents are missing; pass level of zeros")
    return filters


def padded(events: Tensor, steps: int) -> Tensor:
    """Return cotangents of the last steps, `[E, B, ...]`, as those of all steps, the others zero."""
    if events.shape[0] == steps:
        return events
    out = events.new_zeros(steps, *events.shape[1:])
    out[steps - events.shape[0] :] = events
    return out


def expanded(values: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """Return entries that broadcast to `like` as one stacked tensor; None is zero."""
    return torch.stack([torch.zeros_like(like) if v is None else v.expand(like.shape) for v in values])
