"""Exported networks as ONNX files."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tracetorch.export.step import Step
from tracetorch.export.window import Window
from tracetorch.ops.require import require


def to_onnx(module: Step | Window, x: Tensor, file: str | os.PathLike[str]) -> None:
    """Write an exported network as an ONNX file, for any batch size.

    Its inputs are `x` and the state by its names (`0/v`); its outputs are `y` (`y.0`, `y.1` … where the network returns
    several) and the next state, `next/0/v`. A runtime feeds each `next/` back as the input of the next step.

    Args:
        module: what `tt.export.step`, `tt.export.window` or `tt.export.int8` returned.
        x: an example of its input, `[B, *in]` or `[T, B, *in]`; its values do not matter.
        file: the file.

    Raises:
        ImportError: if the packages onnx and onnxscript are not installed.
        torch.export.UserError: if a neuron or a module cannot be exported, such as one that branches on values; torch
            names the line.

    Example:
        >>> import tempfile, onnx, torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.LIF(half_life=5)))
        >>> file = f"{tempfile.mkdtemp()}/step.onnx"
        >>> tt.export.to_onnx(tt.export.step(net), torch.ones(1, 3), file)
        >>> [value.name for value in onnx.load(file).graph.input]
        ['x', '0/v']
    """
    for name in ("onnx", "onnxscript"):
        require(name)
    batch = 1 if isinstance(module, Window) else 0
    if x.shape[batch] == 1:
        x = torch.cat([x, x], batch)  # torch.export takes a batch of one for a constant
    state = module.zeros(x)
    with torch.no_grad():
        outputs = len(tree_leaves(module(x, state)[0]))
    ys = ["y"] if outputs == 1 else [f"y.{i}" for i in range(outputs)]
    dynamic: Any = ({batch: torch.export.Dim.DYNAMIC}, tuple({0: torch.export.Dim.DYNAMIC} for _ in state))
    program = torch.export.export(module, (x, state), dynamic_shapes=dynamic)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        found = torch.onnx.export(
            program,
            (x, state),
            input_names=["x", *module.names],
            output_names=[*ys, *(f"next/{name}" for name in module.names)],
            dynamo=True,
            verbose=False,
        )
    if found is None:
        raise RuntimeError("torch.onnx.export returned no program")
    found.save(file)
