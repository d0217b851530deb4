"""Find the adapter of a module."""

from __future__ import annotations

from torch import nn

from tracetorch.synapses.base import Synapse
from tracetorch.synapses.conv import ConvSynapse
from tracetorch.synapses.declared import DeclaredSynapse, LinearInWeights
from tracetorch.synapses.linear import LinearSynapse


def synapse_of(module: nn.Module) -> Synapse:
    """Return the adapter through which traces see a module.

    Args:
        module: `nn.Linear`, `nn.Conv1d`, `nn.Conv2d` or `LinearInWeights`.

    Returns:
        The adapter.

    Raises:
        TypeError: if the module is of another kind.
    """
    if isinstance(module, nn.Linear):
        return LinearSynapse(module)
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return ConvSynapse(module)
    if isinstance(module, LinearInWeights):
        return DeclaredSynapse(module)
    raise TypeError(
        f"a synapse is nn.Linear, nn.Conv1d, nn.Conv2d or tt.LinearInWeights(module), got {type(module).__name__}; "
        f"a module that is linear in its weights may be wrapped in tt.LinearInWeights"
    )
