"""Put layers back as they were where a call over a window fails half-way."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from tracetorch.dropout import SequenceDropout
from tracetorch.engine import Core, LayerState
from tracetorch.layer import Layer
from tracetorch.rules.wiring import LearnedError

_STATE = ("spikes", "time", "credited")


@contextmanager
def whole_or_nothing(
    layers: Iterable[Layer], dropouts: Sequence[SequenceDropout] = (), *, parts: bool
) -> Iterator[None]:
    """Leave layers, and dropouts with a mask per row, as they are where the body raises, whatever was done by then.

    With `parts` the body carries traces over several windows; those that advance in place are copied then.
    """
    before: list[tuple[Core, LayerState | None]] = []
    known: dict[int, tuple[Any, dict[str, Any]]] = {}
    for layer in layers:
        core = layer.core
        if core.state is not None and torch.is_grad_enabled():
            core.state = core.state.flushed()
        before.append((core, _unshared(core.state, copied=parts)))
        for one in (core, core.activity, core.wiring):
            if one is not None and id(one) not in known:
                known[id(one)] = one, _attributes(one)
    masks = [dropout.mask for dropout in dropouts]
    done = learned = False
    try:
        yield
        done = True
    except LearnedError:
        learned = True
        raise
    finally:
        if not done:
            for one, attributes in known.values():
                vars(one).update({k: v for k, v in attributes.items() if not learned or k in _STATE})
            for core, state in before:
                core.state = state
            for dropout, mask in zip(dropouts, masks, strict=True):
                dropout.mask = mask


def _attributes(one: Any) -> dict[str, Any]:
    """Return what an object knows, but for the numbers of calls, by which outputs are distinguished."""
    values = {k: v for k, v in vars(one).items() if k not in ("calls", "undone", "watchers")}
    return {k: copy.copy(v) if isinstance(v, dict | list) else v for k, v in values.items()}


def _unshared(state: LayerState | None, *, copied: bool) -> LayerState | None:
    """Return a state that a call may not change, its traces advanced already."""
    if state is None or not torch.is_grad_enabled():
        return state
    in_place = state.traces is not None and state.trace.large(state.traces)
    return state.copied() if copied and in_place else state
