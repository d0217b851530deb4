"""Notice a layer that never spikes while it is trained, at a price that is paid until it does."""

from __future__ import annotations

import warnings

from torch import Tensor

from tracetorch.neurons import Neuron, Readout

PATIENCE = 100
"""Number of steps with an input and without a spike after which a layer is reported."""
EVERY = 256
"""Number of calls between two looks at a layer that spikes."""
NEVER = 1 << 62


class Silence:
    """Count the steps since a layer's last spike; `due` is the number of its call at which to look again."""

    def __init__(self) -> None:
        self.due, self.steps = 0, 0

    def look(self, neuron: Neuron, x: Tensor, z: Tensor, *, call: int, steps: int) -> None:
        """Look at one call of a layer that learns, and warn once where it has been silent for long."""
        if not z.is_cpu or isinstance(neuron, Readout):  # elsewhere a look makes the device wait
            self.due = NEVER
        elif bool(z.any()):
            self.due, self.steps = call + EVERY, 0
        elif bool(x.any()):
            self.steps += steps
            if self.steps >= PATIENCE:
                self.due = NEVER
                warnings.warn(
                    f"no unit of a layer ({neuron!r}, output {list(z.shape)}) has spiked in "
                    f"{self.steps} steps of training with an input: it passes nothing on and learns little or "
                    f"nothing. tt.init_firing(net, xs) scales the weights until every unit fires on your data; or "
                    f"scale the input, or lower the threshold",
                    UserWarning,
                    stacklevel=3,
                )
