"""Networks as pure functions of input and state, for `torch.export`, ONNX and eight-bit weights."""

from tracetorch.export.difference import Difference, difference
from tracetorch.export.int8 import int8
from tracetorch.export.neurobench import to_neurobench
from tracetorch.export.runtime import to_onnx
from tracetorch.export.step import Step, step
from tracetorch.export.window import Window, window

__all__ = ["Difference", "Step", "Window", "difference", "int8", "step", "to_neurobench", "to_onnx", "window"]
