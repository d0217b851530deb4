"""The layer: a synapse, then a neuron, and a rule that says how it is credited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch import rules
from tracetorch.forward import carry, run
from tracetorch.memory import Memory, Open
from tracetorch.neurons import Neuron, Readout
from tracetorch.neurons.scalar import Scalar
from tracetorch.ops import walk
from tracetorch.roll import Choice
from tracetorch.rules import Rule
from tracetorch.rules.resolve import resolve
from tracetorch.single import Single, run_single
from tracetorch.synapses import Synapse, adapters, evaluated_once, require_values
from tracetorch.traces.window import join

DENSE = 0.25
"""Share of inputs that are not zero above which a dense product is faster than a walk by events."""
NARROW = 256
"""Number of units, over all rows, below which a step's time is no longer the units' but that of calling torch."""
FEW = 16
"""Number of rows below which laying out the weights for a walk by events costs more than it saves."""
SAMPLE = 2**12
"""Inputs of a window that are looked at for their density, about as many: few enough for one thread."""
_STEPWISE = Choice()


def _finite(x: Tensor) -> bool:
    """Tell whether all values are finite: by their sum, and one by one where the sum overflows."""
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())


class Layer(nn.Module):
    r"""Join a synapse and a neuron into a layer that learns online, by a rule.

    .. math:: I_t = \mathrm{synapse}(x_t) + R z_{t-1}, \qquad (s_t, z_t) = \mathrm{step}(s_{t-1}, I_t)

    Calling it advances one time step: `[B, *in] -> [B, *unit]`. Its state and traces are plain tensors, allocated at
    the first call after `tt.reset`; they follow the layer to another device and are not in `state_dict`.

    Args:
        synapse: `nn.Linear`, a convolution (`nn.Conv1d`, `nn.ConvTranspose1d`, and in two and three dimensions),
            `tt.LinearInWeights(module)`, or a module of a kind given to `tt.register_synapse`.
        neuron: the neuron.
        recurrent: synapse from the layer's last outputs to its currents, or None.
        rule: how the layer is credited; `tt.rules.trace()` by default.

    Raises:
        TypeError: if a synapse is of a kind that traces do not know, or the neuron is no `tt.Neuron`.

    Example:
        >>> import torch, tracetorch as tt
        >>> layer = tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=20))
        >>> layer(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        synapse: nn.Module,
        neuron: Neuron,
        *,
        recurrent: nn.Module | None = None,
        rule: Rule | None = None,
    ) -> None:
        super().__init__()
        self.synapse, self.neuron, self.recurrent = synapse, neuron, recurrent
        self._parts: tuple[nn.Module | None, ...] = ()
        self._synapses: tuple[Synapse, ...] = ()
        self.register_parameter("feedback", None)
        self._memory: Memory | None = None
        self.single: Single | None = None
        self.opened: Open | None = None
        self.spikes: tuple[Tensor, Tensor, Tensor | None] | None = None
        self.counted = False
        self.finite: bool | None = None
        self.backend = "auto"
        self.sparse: bool | None = None
        self._step: tuple[Neuron, Scalar | None] | None = None
        self._follower: tuple[Neuron | None, Neuron | None] = (None, None)
        self.linked = False
        self.rule = rules.trace() if rule is None else rule
        self.follow_parts()

    @property
    def synapses(self) -> tuple[Synapse, ...]:
        """The adapters of the synapse and of the recurrent synapse, where there is one."""
        self._synapses = adapters(self._synapses, (self.synapse, self.recurrent))
        return self._synapses

    def follow_parts(self) -> None:
        """Take up a synapse or a neuron that replaced another one since the last call.

        Raises:
            TypeError: if it is of a kind that cannot stand there, or has hooks that would not be called.
            RuntimeError: if the layer carries a state of the one before.
        """
        if not isinstance(self.neuron, Neuron):
            raise TypeError(f"neuron must be a tt.Neuron, got {type(self.neuron).__name__}; swap the arguments?")
        for synapse in self.synapses:
            synapse.require_usable()
        parts = (self.synapse, self.neuron, self.recurrent)
        if self._parts and all(a is b for a, b in zip(self._parts, parts, strict=True)):
            return
        if self.peek() is not None:
            raise RuntimeError(
                "the layer's synapse or neuron was replaced while it carries the state and traces of the one before; "
                "call tt.reset(net) first"
            )
        self.set_rule(self.rule)
        self._parts = parts

    def set_rule(self, rule: Rule) -> None:
        """Give the layer another rule; what it carried for credit is dropped, its state stays.

        Args:
            rule: the rule.

        Raises:
            TypeError: if it is no `tt.Rule`.
            ValueError: if it takes a feedback matrix, which the synapse cannot use.
        """
        if not isinstance(rule, Rule):
            raise TypeError(f"rule must be a tt.Rule such as tt.rules.trace(), got {rule!r}")
        feedback = self.synapses[0].feedback_matrix(rule.feedback.matrix)
        self.rule = rule
        if feedback is None:
            self.feedback = None
        elif self.feedback is None or self.feedback.shape != feedback.shape:
            self.feedback = nn.Parameter(feedback, requires_grad=False)
        if self.memory is not None:
            self.memory.forget()
            self.memory.numbers = None
            self.memory.plan = resolve(rule, self.neuron, tuple(self.memory.s[0].shape[1:]), self._follower[0])

    def set_following(self, follower: Neuron | None, readout: Neuron | None) -> None:
        """Tell the layer which neuron it feeds directly, and which readout follows it in the network."""
        self._follower, self.linked = (follower, readout), True

    @property
    def follower(self) -> Neuron | None:
        """The neuron of the layer that this one feeds directly; None where it is not known."""
        return self._follower[0]

    @property
    def readout(self) -> Neuron | None:
        """The neuron of the next readout in the network; None where there is none or it is not known."""
        return None if isinstance(self.neuron, Readout) else self._follower[1]

    @property
    def recurrent_synapse(self) -> Synapse | None:
        """The adapter of the recurrent synapse, or None."""
        return self.synapses[1] if len(self.synapses) > 1 else None

    @property
    def memory(self) -> Memory | None:
        """What the layer carries from call to call; None after a reset."""
        self._memory, self.single = self.peek(), None
        return self._memory

    @memory.setter
    def memory(self, value: Memory | None) -> None:
        self._memory, self.single = value, None

    def peek(self) -> Memory | None:
        """Return what the layer carries, to be read and not changed; None after a reset."""
        return self._memory if self.single is None else self.single.memory()

    @property
    def state(self) -> Any:
        """The state as a named tuple of `[B, *unit]` tensors; None after a reset."""
        memory = self.peek()
        return None if memory is None else self.neuron.pack(memory.s)

    @property
    def learns(self) -> bool:
        """Whether any parameter of the layer needs a gradient."""
        return any(p.requires_grad for p in self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one time step.

        Args:
            x: input of one step, `[B, *in]`; spikes may be integers or booleans.

        Returns:
            The output, `[B, *unit]`.

        Raises:
            ValueError: if the shape, the batch size or the device does not fit, or the input is not finite; the layer
                is then as it was before.
        """
        if not torch.compiler.is_compiling() and (found := run_single(self, x)) is not None:
            return found
        with evaluated_once(self.synapse, self.recurrent):
            x = self.accepted(x)
            return run(self, x.unsqueeze(0), event=x)[1]

    def scan(self, xs: Tensor, *, event: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Advance over a window; `tt.scan` is the public way.

        Args:
            xs: inputs, `[T, B, *in]`.
            event: the last input with its graph where only the last output carries credit, `[B, *in]`; else None.

        Returns:
            All outputs, `[T, B, *unit]`, and the last with credit attached, `[B, *unit]`.
        """
        with evaluated_once(self.synapse, self.recurrent):
            xs = self.accepted(xs, window=True)
            return run(self, xs, event=None if event is None else self.accepted(event))

    def carry(self, xs: Tensor) -> Tensor:
        """Advance over a window in which nothing is credited, `[T, B, *in]`; return the outputs without a graph."""
        with evaluated_once(self.synapse, self.recurrent):
            return carry(self, self.accepted(xs, window=True))

    @property
    def carries(self) -> bool:
        """Whether a window without an event in it costs nothing but what is carried forward."""
        if self.opened is not None or not (torch.is_grad_enabled() and self.learns):
            return self.opened is None
        if self.counted:
            return False
        if self.memory is not None:
            return self.memory.plan.carries
        dense = self.synapses[0].dense()
        return dense is not None and resolve(self.rule, self.neuron, dense[0].shape[:1], self._follower[0]).carries

    def accepted(self, x: Tensor, *, window: bool = False) -> Tensor:
        """Return an input as the layer computes with it, or raise ValueError where it does not fit."""
        self.follow_parts()
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
        memory = self.memory
        if memory is not None and memory.batch != step.shape[0]:
            raise ValueError(
                f"the batch has {step.shape[0]} rows, the state {memory.batch}; call tt.reset(net) before a new one"
            )
        return x

    def require_finite(self, x: Tensor) -> None:
        """Raise ValueError where an input has NaN or infinity in it and the check is on."""
        if self.checks_finite(x) and not _finite(x.detach()):
            raise ValueError(
                "the input has NaN or infinity in it; the layer is as it was before. Clean the input, or turn the "
                "check off with tt.check_finite(net, False)"
            )

    def checks_finite(self, x: Tensor) -> bool:
        """Whether values are to be checked: as told, and else on CPUs, where it costs no synchronisation.

        Never while compiling: a graph cannot branch on a value.
        """
        if torch.compiler.is_compiling():
            return False
        return x.device.type == "cpu" if self.finite is None else self.finite

    def currents(self, xs: Tensor) -> Tensor:
        """Return the currents of a window, `[T, B, *unit]`, at least in single precision."""
        flat = self.synapses[0].current(xs.reshape(-1, *xs.shape[2:]))
        current = flat.reshape(*xs.shape[:2], *flat.shape[1:])
        return current.float() if current.dtype in (torch.float16, torch.bfloat16) else current

    def output_dtype(self, xs: Tensor) -> torch.dtype:
        """Return the dtype of outputs: the layer's own, and single precision under autocast."""
        if torch.is_autocast_enabled(xs.device.type):
            return torch.float32
        return self.synapses[0].weights()[0].dtype

    def way_back(self) -> Tensor:
        """Return the matrix through which credit goes below; empty for what the synapse has itself."""
        if self.feedback is not None:
            return self.feedback
        synapse = self.synapses[0]
        weight = synapse.feedback_weight()
        return synapse.weights()[0].new_empty(0) if weight is None else weight

    def like(self, xs: Tensor) -> Tensor:
        """Return a tensor of the form of one step's currents, `[B, *unit]`."""
        return self.memory.s[0] if self.memory is not None else self.synapses[0].like(xs[0])

    def choose(self, xs: Tensor, memory: Memory) -> Choice:
        """Return how a window of inputs, `[T, B, *in]`, is walked."""
        work = xs.shape[0] * max(memory.s[0].numel(), NARROW)
        if self.backend == "reference" or (self.backend == "auto" and work < walk.SMALL):
            return _STEPWISE
        step = self.scalar()
        if self.recurrent is not None and self.backend == "auto":
            return _STEPWISE
        backend = walk.choose(self.backend, memory.s[0], work, step=step)
        if backend == "reference":
            return _STEPWISE
        return Choice(backend, step, backend == "fused" and self._walks_events(xs))

    def scalar(self) -> Scalar | None:
        """Return the neuron's step on plain numbers; None where there is none, or outputs are fed back."""
        if self._step is None or self._step[0] is not self.neuron:
            self._step = (self.neuron, None if self.recurrent is not None else self.neuron.scalar())
        return self._step[1]

    def _walks_events(self, xs: Tensor) -> bool:
        """Tell whether inputs, `[T, B, K]`, are worth walking by their events: as told, and else by their density."""
        dense = self.synapses[0].dense()
        if dense is None or xs.dim() != 3 or self.sparse is False:
            return False
        if xs.dtype != dense[0].dtype or xs.dtype not in (torch.float32, torch.float64):
            return False
        if self.sparse:
            return True
        if xs.shape[0] * xs.shape[1] < FEW:
            return False
        rows = xs.reshape(-1, xs.shape[2])
        some = rows[:: (rows.numel() // SAMPLE) | 1]
        return int(torch.count_nonzero(some)) <= DENSE * some.numel()

    def remember(self, like: Tensor, *, learns: bool) -> Memory:
        """Return the layer's memory, made anew for currents of one step, `[B, *unit]`, after a reset."""
        if self.memory is not None:
            if self.memory.plan.sequence and learns and self.opened is None:
                raise RuntimeError(
                    "rule 'rate' averages over one whole sequence: give it to one tt.scan after tt.reset(net), or take "
                    "tt.rules.trace() for single steps and streams"
                )
            return self.memory
        if learns:
            self.require_linked()
        like = like.detach()
        plan = resolve(self.rule, self.neuron, tuple(like.shape[1:]), self._follower[0])
        zeros = self.neuron.zeros(like)
        z = torch.zeros_like(like) if self.recurrent is not None else None
        return Memory(plan, zeros, z, like.new_zeros(like.shape[0]), names=self.neuron.state)

    def require_linked(self) -> None:
        """Raise RuntimeError where the rule filters by the readout's decay and the layer does not know its network."""
        if self.rule.kappa is None and not self.linked and not isinstance(self.neuron, Readout):
            raise RuntimeError(
                f"rule {self.rule.name!r} takes its filter from the readout that follows, which it does not know "
                f"yet: call tt.reset(net) before the first step, or tell the rule kappa=... (0 for no filter)"
            )

    def open(self) -> None:
        """Begin an open window: the calls until `close` share one graph."""
        self.opened = Open()

    def close(self) -> None:
        """End an open window: cut the graph and leave the window's traces to the next call."""
        opened, self.opened = self.opened, None
        memory = self.memory
        if opened is None or memory is None:
            return
        if opened.windows and memory.plan.storage not in ("none", "graph"):
            memory.pending = join(opened.windows)

    def tied(self) -> Layer:
        """Return a second layer with the same parameters and a state of its own.

        Returns:
            The layer.

        Example:
            >>> import torch, tracetorch as tt
            >>> layer = tt.Layer(torch.nn.Linear(3, 3), tt.LIF(half_life=5))
            >>> layer.tied().synapse is layer.synapse
            True
        """
        other = Layer(self.synapse, self.neuron, recurrent=self.recurrent, rule=self.rule)
        other.feedback = self.feedback
        other.finite, other.counted = self.finite, self.counted
        other.backend, other.sparse = self.backend, self.sparse
        return other

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> Layer:
        super()._apply(fn, recurse)
        if self.memory is not None:
            self.memory = self.memory.moved(fn)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_memory": self.memory, "single": None}

    def extra_repr(self) -> str:
        """Return what the representation shows."""
        return f"rule={self.rule}"
