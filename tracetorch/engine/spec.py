"""What one call needs to know of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tracetorch.backends import Convolution
from tracetorch.engine.known import Known
from tracetorch.neurons import Elapsed, Neuron, Readout, effective_parameters
from tracetorch.rules import Rule
from tracetorch.rules.above import Above
from tracetorch.synapses import Synapse, TimedSynapse, entries, require_values
from tracetorch.traces import Trace
from tracetorch.traces.activity import Activity
from tracetorch.traces.window import BIAS


@dataclass(frozen=True, eq=False)
class Parameters:
    """A layer's parameters as they are at one call, with their graphs.

    Args:
        weights: weights by synapse.
        biases: biases that learn, by name.
        learned: effective values of the neuron's learned parameters, by name.
    """

    weights: list[tuple[Tensor, ...]]
    biases: Mapping[str, Tensor]
    learned: Mapping[str, Tensor]

    @property
    def learns(self) -> bool:
        """Whether any of them needs a gradient."""
        return bool(self.learned or self.biases) or any(w.requires_grad for row in self.weights for w in row)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of biases and neuron parameters, in the order of `all`."""
        return (*self.biases, *self.learned)

    def all(self) -> list[Tensor]:
        """Return all that credit is given to: weights, then biases and neuron parameters."""
        return [*(w for row in self.weights for w in row), *self.biases.values(), *self.learned.values()]


@dataclass(frozen=True, eq=False)
class Spec:
    """A layer as the engine sees it.

    Args:
        synapses: the adapter of the synapse, then that of the recurrent synapse where there is one.
        neuron: the neuron.
        rule: the rule.
        above: what is above the layer in its network.
        activity: what the layer has been doing, for those below.
        feedback: matrix that the rule's feedback stores; None for the synapse's own weights.
        backend: `auto`, or a backend's name.
        sparse: whether dense synapses and convolutions are driven by events; None to decide by density.
        finite: whether to check for NaN and infinity; None for on CPUs alone, where it costs no synchronisation.
        counted: whether spikes are counted for a rate term.
        known: the trace's numbers of the sequence before, which the next begins with; None for none.
        elapsed: the times between steps, for a neuron that leaks by time; None for one.
    """

    synapses: tuple[Synapse, ...]
    neuron: Neuron
    rule: Rule
    above: Above
    activity: Activity
    feedback: Tensor | None
    backend: str
    sparse: bool | None
    finite: bool | None
    counted: bool
    known: Known | None = None
    elapsed: Elapsed | None = None

    @property
    def recurrent(self) -> Synapse | None:
        """The adapter of the recurrent synapse, or None."""
        return self.synapses[1] if len(self.synapses) > 1 else None

    def over(self, xs: Tensor) -> Spec:
        """Return the layer for one window, `[T, B, *in]`: itself, if a row's currents depend on its inputs alone."""
        own, *recurrent = self.synapses
        if own.shared and not isinstance(own, TimedSynapse):
            return self
        with torch.no_grad():  # not as a decorator, which torch.compile cannot follow here
            here = own.at(self.elapsed, xs) if isinstance(own, TimedSynapse) else own.over(xs)
        return self if here is own else replace(self, synapses=(here, *recurrent))

    def parameters(self) -> Parameters:
        """Return the parameters as they are now."""
        biases = {}
        for i, synapse in enumerate(self.synapses):
            bias = synapse.bias()
            if bias is not None and bias.requires_grad:
                biases[f"{BIAS}{i}"] = bias
        weights = [s.weights() for s in self.synapses]
        if self.feedback is not None and self.rule.feedback.learns:  # what credits the weight credits the matrix too
            weights[0] = (weights[0][0] + (self.feedback - self.feedback.detach()), *weights[0][1:])
        return Parameters(weights, biases, effective_parameters(self.neuron))

    def trace(self, unit: tuple[int, ...]) -> Trace:
        """Return the layer's trace, for units of a shape."""
        size = entries(self.synapses, unit, len(self.neuron.currents))
        return self.rule.trace(self.neuron, unit, self.above, entries=size, shared=self.synapses[0].shared)

    def require_known(self) -> None:
        """Raise RuntimeError where the rule filters by what is above the layer, and the layer does not know it."""
        above = self.rule.above
        learns = above.groups and not above.hops  # takes up from the first step what follows
        if above.needs_network and not learns and not self.above.known and not isinstance(self.neuron, Readout):
            raise RuntimeError(
                f"rule {self.rule.name!r} filters by what follows the layer in its network, which the layer does not "
                f"know yet: call tt.reset(net) before the first step"
            )

    def accepted(self, x: Tensor, batch: int | None, *, window: bool = False) -> Tensor:
        """Return an input, `[B, *in]`, or a `window` of them, in the dtype that the layer computes in.

        ValueError is raised where it does not fit, or has other rows than `batch`, those of what the layer carries.
        """
        weight = self.synapses[0].weights()[0]
        if window and (x.dim() < 2 or x.shape[0] == 0):
            raise ValueError(f"a window needs at least one step, [time, batch, ...], got {list(x.shape)}")
        require_values(weight)
        if x.device != weight.device:
            raise ValueError(f"the input is on {x.device}, the layer on {weight.device}; move one with .to(device)")
        mixed = x.is_floating_point() and torch.is_autocast_enabled(x.device.type)
        if x.dtype != weight.dtype and not mixed:
            x = x.to(weight.dtype)
        step = x[0] if window else x
        self.synapses[0].check(step)
        if batch is not None and batch != step.shape[0]:
            raise ValueError(
                f"the batch has {step.shape[0]} rows, the state {batch}; call tt.reset(net) before a new one"
            )
        return x

    def like(self, x: Tensor) -> Tensor:
        """Return a tensor of the form of one current per unit, `[B, *unit]`, for inputs `[B, *in]`."""
        like, count = self.synapses[0].like(x), len(self.neuron.currents)
        if count == 1:
            return like
        if like.dim() < 3 or like.shape[1] != count:
            raise ValueError(
                f"{self.neuron._get_name()} takes {count} currents per unit ({', '.join(self.neuron.currents)}), so "
                f"its synapse gives [batch, {count}, *unit]; this one gives {list(like.shape)}"
            )
        return like[:, 0]

    def currents(self, xs: Tensor, products: Convolution | None = None) -> Tensor:
        """Return the currents of a window, `[T, B, (C,) *unit]`, by the synapse or, from events, by `products`."""
        form = self.synapses[0].current if products is None else products.current
        flat = form(xs.reshape(-1, *xs.shape[2:]))
        current = flat.reshape(*xs.shape[:2], *flat.shape[1:])
        return current.float() if current.dtype in (torch.float16, torch.bfloat16) else current

    def output_dtype(self, xs: Tensor) -> torch.dtype:
        """Return the dtype of outputs: the layer's own, and single precision under autocast."""
        if torch.is_autocast_enabled(xs.device.type):
            return torch.float32
        return self.synapses[0].weights()[0].dtype

    def feedback_weight(self) -> Tensor:
        """Return the matrix through which credit goes below; empty for what the synapse has itself."""
        weight = self.synapses[0].feedback_weight()
        if self.feedback is not None:
            return self.feedback if weight is None else self.rule.feedback.through(weight, self.feedback.detach())
        return self.synapses[0].weights()[0].new_empty(0) if weight is None else weight

    def checks_finite(self, x: Tensor) -> bool:
        """Return whether values are checked; never while compiling, since a graph cannot branch on a value."""
        if torch.compiler.is_compiling():
            return False
        return x.device.type == "cpu" if self.finite is None else self.finite

    def checks_credit(self, z: Tensor) -> bool:
        """Return whether cotangents of outputs are checked; an overflow in half precision is a GradScaler's to skip."""
        kind = z.device.type
        half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) is torch.float16
        return self.checks_finite(z) and (self.finite is True or not (half or z.dtype is torch.float16))

    def require_finite(self, x: Tensor) -> None:
        """Raise ValueError where an input has NaN or infinity in it and the check is on."""
        if self.checks_finite(x):
            require_finite_input(x)


def require_finite_input(x: Tensor) -> None:
    """Raise ValueError where an input has NaN or infinity in it."""
    if not _finite(x.detach()):
        raise ValueError(
            "the input has NaN or infinity in it; the layer is as it was before. Clean the input, or turn the "
            "check off with tt.check_finite(net, False)"
        )


def _finite(x: Tensor) -> bool:
    # The sum is not finite where a value is not; where the sum alone overflows, each value is looked at.
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())
