"""Check a saved state against the layer that it is given to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tracetorch.engine.run import run
from tracetorch.engine.spec import Spec
from tracetorch.engine.state import LayerState
from tracetorch.rules.described import described
from tracetorch.traces import Paired, Trace

PAIRED = "traces.other.pairs."
"""Prefix of what is stored in pairs."""


def fitted(spec: Spec, name: str, flat: Mapping[str, Tensor]) -> LayerState:
    """Return the state of a layer from saved tensors; raise TypeError or ValueError where they are another's."""
    neuron, weight = spec.neuron, spec.synapses[0].weights()[0]
    require_types(spec, name, flat)
    _require_storage(spec, name, flat)
    size = len(neuron.state) + len(neuron.counters)
    given = sum(key.startswith("s.") for key in flat)
    if given != size or {f"s.{i}" for i in range(size)} - flat.keys():
        raise ValueError(f"layer {name!r} has {size} state variables, the state gives {given}")
    if "steps" not in flat or (spec.recurrent is not None) != ("z" in flat):
        raise ValueError(
            f"the state of layer {name!r} has {sorted(flat)}, but not steps, or not z where the layer has a recurrent "
            f"synapse, or z where it has none: it is another layer's"
        )
    like, count = flat["s.0"], len(neuron.currents)
    driven = like.shape if count == 1 else (like.shape[0], count, *like.shape[1:])
    expected = dict.fromkeys([*(f"s.{i}" for i in range(size)), "z", "count"], like.shape)
    expected |= {"steps": like.shape[:1], "keep": like.shape[:1]}
    expected["sigma"] = torch.Size((len(neuron.state), *driven))
    expected |= _traces(spec, like, flat)
    for key, value in flat.items():
        if key not in expected:
            raise ValueError(
                f"the state of layer {name!r} has {key!r}, which the layer does not carry under rule "
                f"{spec.rule.name!r}: it was saved under another rule or for another layer; call tt.set_rule(net, ...) "
                f"before"
            )
        if value.shape != expected[key]:
            raise ValueError(
                f"{name}/{key} of the state has the shape {list(value.shape)}, the layer's is {list(expected[key])}"
            )
    trace = spec.trace(tuple(like.shape[1:]))
    _require_values(spec, trace, name, flat)
    moved = {key: value.to(like.device if weight.is_meta else weight.device) for key, value in flat.items()}
    return LayerState.from_tensors(trace, moved)


def require_types(spec: Spec, name: str, flat: Mapping[str, Tensor]) -> None:
    """Raise TypeError where a part of a saved state is not a tensor, or of another dtype than the layer computes in."""
    weight = spec.synapses[0].weights()[0]
    single = torch.float32 if weight.dtype in (torch.float16, torch.bfloat16) else weight.dtype
    for key, value in flat.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}/{key} of the state is a tensor, got {type(value).__name__}")
        if value.is_floating_point() and value.dtype != single and not key.startswith("activity."):
            raise TypeError(
                f"{name}/{key} of the state is {value.dtype}, the layer computes in {single}; convert the state, "
                f"{{k: v.to({single}) if v.is_floating_point() else v for k, v in state.items()}}, or the network"
            )


def measured(spec: Spec, name: str, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of what was measured of a layer's activity; raise ValueError where it is not such a layer's."""
    size = len(spec.neuron.state)
    shapes = dict.fromkeys(("blocks", "total"), torch.Size([size * size + 2 * size + 1])) | {"steps": torch.Size([])}
    for key, value in flat.items():
        shape = value.shape if isinstance(value, Tensor) else None
        kind, _, most = key.partition(".")
        if kind == "groups":
            whole = shape is not None and not value.is_floating_point() and value.numel() > 0
            if not whole or not most.isdigit() or not bool(((value >= 0) & (value < int(most))).all()):
                raise ValueError(
                    f"{name}/activity.{key} of the state are groups of units: whole numbers below that of the groups"
                )
        elif key not in shapes or shape != shapes[key] or not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"{name}/activity.{key} of the state is no measurement of the layer: expected finite numbers, "
                f"{ {k: list(v) for k, v in shapes.items()} }"
            )
    if ("total" in flat) != ("steps" in flat) or int(flat.get("steps", torch.tensor(0))) < 0:
        raise ValueError(f"{name}/activity.steps of the state is the number of steps of activity.total")
    return {key: value.clone() for key, value in flat.items()}


def _require_values(spec: Spec, trace: Trace, name: str, flat: Mapping[str, Tensor]) -> None:
    """Raise ValueError where a saved value is of a right shape and yet none that a layer carries."""
    for key, value in flat.items():
        if value.is_floating_point() and spec.checks_finite(value) and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name}/{key} of the state has NaN or infinity in it")
    keep, bucket = flat.get("keep"), flat.get("traces.other.bucket")
    if bool((flat["steps"] < 0).any()) or (keep is not None and not bool(((keep == 0) | (keep == 1)).all())):
        raise ValueError(f"{name}/steps of the state are numbers from 0 on, and {name}/keep is 0 or 1")
    if bucket is not None and bucket.numel():
        count = int(getattr(trace, "buckets", 0))
        if bucket.is_floating_point() or not bool(((bucket >= 0) & (bucket < count)).all()):
            raise ValueError(f"{name}/traces.other.bucket of the state are whole numbers from 0 to {count - 1}")


def _traces(spec: Spec, like: Tensor, flat: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the shapes of all that the layer can carry for credit; those of the state where they cannot be known."""
    saved = {key: value.shape for key, value in flat.items() if key.startswith("traces.")}
    dense = spec.synapses[0].dense()
    learns = all(w.requires_grad for row in spec.parameters().weights for w in row)
    if not saved or dense is None or not learns or "count" in flat:
        return saved
    weight = dense[0]
    if like.shape[-1] != weight.shape[0]:
        raise ValueError(f"the state is of {like.shape[-1]} units, the layer has {weight.shape[0]}")
    x = weight.new_zeros(2, *like.shape[:-1], weight.shape[1])
    with torch.enable_grad():
        traces = run(spec, None, x, event=None).state.tensors()
    found: dict[str, Any] = {key: value.shape for key, value in traces.items() if key.startswith("traces.")}
    for key in saved.keys() - found.keys():
        if key.startswith("traces.neuron.") or (key == "traces.other.bucket"):
            found[key] = saved[key]  # of a parameter that does not learn now
    for key in saved:
        if PAIRED in key:
            found[key] = saved[key]  # as many as steps, at most
    return found


def _require_storage(spec: Spec, name: str, flat: Mapping[str, Tensor]) -> None:
    """Raise ValueError where a state's eligibilities are stored otherwise than the layer stores them."""
    pairs = flat.get(f"{PAIRED}h")
    weights = [key for key in flat if key.startswith(("traces.weight.", "traces.filtered."))]
    if "s.0" not in flat or (pairs is None and not weights):
        return
    trace = spec.trace(tuple(flat["s.0"].shape[1:]))
    most = trace.kind.pairs if isinstance(trace, Paired) else 0
    if weights and not most:
        return
    if weights or pairs is None or pairs.shape[0] > most:
        has = "a full eligibility" if pairs is None else f"{pairs.shape[0]} pairs"
        raise ValueError(
            f"the state of layer {name!r} has {has}, the layer under rule {described(spec.rule)} stores "
            f"{spec.rule.weight.stored(trace)}: give the network the rule of the saved one with tt.set_rule(net, ...) "
            f"before"
        )
