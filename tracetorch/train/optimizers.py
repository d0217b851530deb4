"""The state of an optimizer of torch in a run's file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, TypedDict

import torch

from tracetorch.train.schema import RunFileError, check, check_like


class OptimizerState(TypedDict):
    """The state of an optimizer of torch."""

    state: dict[int, dict[str, Any]]
    param_groups: list[dict[str, Any]]


def check_optimizer(optimizer: torch.optim.Optimizer, state: Any, source: Path, field: str) -> None:
    """Check an optimizer's state in a file against that of a copy that took one step with zero gradients."""
    check(OptimizerState, state, source, field)
    probe = copy.deepcopy(optimizer)
    for group in probe.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    probe.step()
    model = probe.state_dict()
    check_like(model["param_groups"], state["param_groups"], source, f"{field}.param_groups")
    for key, moments in state["state"].items():
        if key not in model["state"]:
            raise RunFileError(source, f"{field}.state.{key}", "unknown: there is no parameter of this number")
        check_like(model["state"][key], moments, source, f"{field}.state.{key}")
