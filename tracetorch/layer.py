"""The layer: a synapse, then a neuron, and a rule that says how it is credited."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, is_grad_enabled, nn
from torch.compiler import is_compiling as compiling

from tracetorch import rules
from tracetorch.engine import Core, LayerState, Result, Spec, carry, run
from tracetorch.entry import (
    has_hooks,
    no_neuron,
    require_not_exporting,
    require_plain_call,
    require_tensor,
    warn_of_positions,
)
from tracetorch.modules import folded
from tracetorch.neurons import Neuron
from tracetorch.neurons.lowering import Lowered, NotLowered
from tracetorch.order import check, count_filters, require_traceable, sign, take_back
from tracetorch.rules import Rule
from tracetorch.rules.described import described, no_rule
from tracetorch.rules.wiring import LearnedError
from tracetorch.steps import first_again, run_single
from tracetorch.synapses import Synapse, adapters, entries, evaluated_once
from tracetorch.traces.passing import Feed

Prepared = tuple[Rule, Tensor | None, LayerState | None]
"""A rule, the feedback matrix that it takes, and what a layer carries under it."""


class Layer(nn.Module):
    r"""A synapse and a neuron: a layer that learns online, by a rule.

    .. math:: I_t = \mathrm{synapse}(x_t) + R z_{t-1}, \qquad (s_t, z_t) = \mathrm{step}(s_{t-1}, I_t)

    Calling it advances one time step: `[B, *in] -> [B, *unit]`. Its state and traces are plain tensors, allocated at
    the first call after `tt.reset`; they follow the layer to another device and are not in `state_dict`.

    Args:
        synapse: `nn.Linear`, a convolution (`nn.Conv1d`, `nn.ConvTranspose1d`, and in two and three dimensions),
            `tt.LinearInWeights(module)`, or a module of a kind given to `tt.register_synapse`.
        neuron: the neuron.
        recurrent: synapse from the layer's last outputs to its currents, or None.
        rule: how the layer is credited; `tt.rules.cascade()` by default.

    Raises:
        TypeError: if a synapse is of a kind that traces do not know, or the neuron is no `tt.Neuron`.

    Example:
        >>> import torch, tracetorch as tt
        >>> layer = tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=20))
        >>> layer(torch.rand(2, 3)).sum().backward()  # one time step, and its gradient at once
        >>> layer.synapse.weight.grad.shape
        torch.Size([4, 3])
    """

    def __init__(
        self, synapse: nn.Module, neuron: Neuron, *, recurrent: nn.Module | None = None, rule: Rule | None = None
    ) -> None:
        super().__init__()
        if not isinstance(neuron, Neuron):
            raise TypeError(no_neuron(neuron))
        self.synapse, self.neuron, self.recurrent = synapse, neuron, recurrent
        self._parts: tuple[nn.Module | None, ...] = ()
        self._synapses: tuple[Synapse, ...] = ()
        self._lowered: Lowered | NotLowered | None = None
        self.register_parameter("feedback", None)
        self.core = Core()
        self.rule = rules.cascade() if rule is None else rule
        self.follow_parts()

    @property
    def synapses(self) -> tuple[Synapse, ...]:
        """The adapters of the synapse and of the recurrent synapse, where there is one."""
        found = adapters(self._synapses, (self.synapse, self.recurrent), self.neuron.currents)
        if found is not self._synapses:
            self._synapses = found
        return found

    def follow_parts(self) -> None:
        """Take up a synapse or a neuron that replaced another one since the last call.

        Raises:
            TypeError: if it is of a kind that cannot stand there, or has hooks that would not be called.
            RuntimeError: if the layer carries a state of the one before.
        """
        neuron = self.neuron
        if not isinstance(neuron, Neuron):
            raise TypeError(no_neuron(neuron))
        if not compiling() and any(map(has_hooks, neuron.modules())):
            raise TypeError(f"{neuron!r} has hooks; a layer runs its step without them: register hooks on the layer")
        for synapse in self.synapses:
            synapse.require_usable()
        if not compiling() and neuron.lowered() is not self._lowered:
            self._follow_step()
        parts = (self.synapse, self.neuron, self.recurrent)
        if self._parts and all(a is b for a, b in zip(self._parts, parts, strict=True)):
            return
        if self.core.peek() is not None:
            raise RuntimeError(
                "the layer's synapse or neuron was replaced while it carries the state and traces of the one before; "
                "call tt.reset(net) first"
            )
        self.set_rule(self.rule)
        self._parts, self.core.recurrent = parts, self.recurrent is not None

    def _follow_step(self) -> None:
        """Take up another step of the neuron, which the assignment of a surrogate, a reset or an option makes."""
        state = self.core.peek()
        if state is not None and self._lowered is not None:
            unit, shared = tuple(state.s[0].shape[1:]), self.synapses[0].shared
            trace = self.rule.trace(self.neuron, unit, self.core.above, shared=shared)
            sizes = len(self.neuron.state) + len(self.neuron.counters)
            if type(trace) is not type(state.trace) or trace.copies != state.trace.copies or sizes != len(state.s):
                raise RuntimeError(
                    f"the neuron ({self.neuron!r}) was changed while the layer carries state and traces of another "
                    f"kind, of its step before; call tt.reset(net) first"
                )
        self._lowered = self.neuron.lowered()

    def set_rule(self, rule: Rule) -> None:
        """Set the layer's rule; what the layer carries for credit is dropped, its state stays.

        Args:
            rule: the rule.

        Raises:
            TypeError: if it is no `tt.Rule`.
            ValueError: if it takes a feedback matrix, which the synapse cannot use.
        """
        self.take_rule(self.prepare_rule(rule))

    def prepare_rule(self, rule: Rule) -> Prepared:
        """Return what a rule needs of the layer, and change nothing; see `set_rule`."""
        if not isinstance(rule, Rule):
            raise TypeError(no_rule(rule))
        feedback = self.synapses[0].feedback_matrix(rule.feedback.matrix)
        state = self.core.peek()
        if state is not None:
            unit = tuple(state.s[0].shape[1:])
            size, shared = entries(self.synapses, unit, len(self.neuron.currents)), self.synapses[0].shared
            state = state.ruled(rule.trace(self.neuron, unit, self.core.above, entries=size, shared=shared))
        return rule, feedback, state

    def take_rule(self, prepared: Prepared) -> None:
        """Set the rule that was prepared."""
        self.rule, feedback, state = prepared
        if feedback is None:
            self.feedback = None
        elif self.feedback is None or self.feedback.shape != feedback.shape:
            self.feedback = nn.Parameter(feedback)
        if self.feedback is not None:
            self.feedback.requires_grad_(self.rule.feedback.learns)
        self.core.state, self.core.credited = state, 0

    @property
    def state(self) -> Any:
        """The state as a named tuple of `[B, *unit]` tensors; None after a reset."""
        state = self.core.peek()
        return None if state is None else self.neuron.pack(state.s)

    @property
    def learns(self) -> bool:
        """Whether any parameter of the layer needs a gradient."""
        return any(p.requires_grad for p in self.parameters())

    def spec(self) -> Spec:
        """Return the layer as the engine sees it."""
        self.follow_parts()
        core = self.core
        options = core.sparse, core.finite, core.counted, core.known, core.elapsed
        return Spec(
            self.synapses, self.neuron, self.rule, core.above, core.activity, self.feedback, core.backend, *options
        )

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one time step.

        Args:
            x: input of one step, `[B, *in]`; spikes may be integers or booleans.

        Returns:
            The output, `[B, *unit]`.

        Raises:
            TypeError: if the input is not a dense real tensor.
            ValueError: if the shape, the batch size or the device does not fit, or the input is not finite; the layer
                is then as it was before, and so are the layers of whose outputs the input is made.
            RuntimeError: if the layer runs inside `torch.utils.checkpoint`, an exporter or a transform of `torch.func`.
        """
        if compiling():
            self._require_traceable()
            return self._step(x)
        require_plain_call()
        core, done = self.core, False
        neuron: Any = self._modules["neuron"]  # a tenth of what it takes as an attribute
        core.begin()
        try:
            require_tensor(x)
            proven, feeds = self.settle(), check(core, self.rule, neuron, x)
            before = core.peek() if core.watchers else None
            found = run_single(self, core, x, feeds) if proven else None
            if found is None:
                found = self._step(x, feeds)
            else:
                sign(found, self.rule, neuron, core)
                if core.calls >= core.silence.due:
                    core.silence.look(neuron, x, found, call=core.calls, steps=1)
                if core.watchers:
                    core.show(self.spec(), before, x.unsqueeze(0), found.unsqueeze(0))
            done = True
            return found
        finally:
            if not done:
                take_back(x, core)

    def _step(self, x: Tensor, feeds: tuple[Feed, ...] = ()) -> Tensor:
        with evaluated_once(self.synapse, self.recurrent):
            spec = self.spec()
            x, dense = spec.accepted(x, self.core.batch), spec.synapses[0].dense() is not None
            if dense and not compiling() and x.dim() == 3 and self.core.calls == 0 and self.core.opened is None:
                warn_of_positions(x)
            return self._run(spec, x.unsqueeze(0), event=x, feeds=feeds).last

    def settle(self) -> bool:
        """Take up what is above the layer where a first step has shown it; return whether that is known."""
        core, wiring = self.core, self.core.wiring
        if compiling():
            return True
        if wiring is None or not self.rule.above.groups:
            core.settled()
            return not self.rule.above.groups or core.started
        if core.started and (wiring.doubted or not wiring.executed) and not wiring.proven(core.activity):
            wiring.execute()
        if core.settled() is not None:
            count_filters(core, self.rule, self.neuron)
            state, opened = core.peek(), core.opened
            if state is not None and state.credits and (not core.first or (opened is not None and opened.calls)):
                raise LearnedError(
                    f"the network runs its layers otherwise than they are registered, as its first step has shown: "
                    f"call tt.reset(net) and begin again; rule {self.rule.name!r} now knows what stands above each"
                )
            core.renew(None if state is None else first_again(core, self.spec()))
        return wiring.executed or core.started

    def scan(self, xs: Tensor, *, event: Tensor | None = None, inner: bool = False) -> tuple[Tensor, Tensor]:
        """Advance over a window; `tt.scan` is the public way.

        Args:
            xs: inputs, `[T, B, *in]`.
            event: the last input with its graph where only the last output carries credit, `[B, *in]`; else None.
            inner: whether another layer is all that gets the outputs.

        Returns:
            All outputs, `[T, B, *unit]`, and the last with credit attached, `[B, *unit]`.
        """
        with evaluated_once(self.synapse, self.recurrent):
            spec, xs = self._accepted(xs)
            x = xs if event is None else event
            last = x is event
            feeds = () if compiling() else check(self.core, self.rule, self.neuron, x, window=len(xs), last=last)
            event = None if event is None else spec.accepted(event, self.core.batch)
            result = self._run(spec, xs, event=event, feeds=feeds)
            if inner and result.received is not None:
                result.received.private = True
            return result.z, result.last

    def carry(self, xs: Tensor) -> Tensor:
        """Advance over a window in which nothing is credited, `[T, B, *in]`; return the outputs without a graph."""
        with evaluated_once(self.synapse, self.recurrent):
            spec, xs = self._accepted(xs)
            before = self.core.state
            result = carry(spec, before, xs)
            self.core.state = result.state
            self.core.passed(len(xs))
            self.core.show(spec, before, xs, result.z)
            return result.z

    def _accepted(self, xs: Tensor) -> tuple[Spec, Tensor]:
        self._require_callable(xs)
        spec = self.spec()
        xs = spec.accepted(xs, self.core.batch, window=True)
        self.settle()
        return (spec if spec.above is self.core.above else self.spec()), xs

    @property
    def carries(self) -> bool:
        """Whether a window without an event in it costs nothing but what is carried forward."""
        core = self.core
        if core.opened is not None or not (is_grad_enabled() and self.learns):
            return core.opened is None
        if core.counted:
            return False
        if core.state is not None:
            return core.state.trace.carries(last=False)
        dense = self.synapses[0].dense()
        return dense is not None and self.spec().trace(dense[0].shape[:1]).carries(last=False)

    def _run(self, spec: Spec, xs: Tensor, *, event: Tensor | None, feeds: tuple[Feed, ...]) -> Result:
        core, before = self.core, self.core.state
        result = run(spec, before, xs, event=event, opened=core.opened, feeds=feeds)
        if core.opened is not None:
            core.opened.calls += 1
        if compiling():  # a compiled graph would be bound to the number of a call
            core.state, core.received = result.state, None
            core.spikes = core.spikes if result.spikes is None else result.spikes
            return result
        core.called(len(xs))
        core.received = result.received
        core.stepped(result.state, result.spikes, result.before)
        core.show(spec, before, xs, result.z)
        if core.calls >= core.silence.due and self.training and result.last.requires_grad:
            core.silence.look(self.neuron, xs, result.z, call=core.calls, steps=len(xs))
        for out in {id(t): t for t in (result.z, result.last)}.values():
            sign(out, self.rule, self.neuron, core)
        return result

    def _require_callable(self, xs: Any) -> None:
        if compiling():
            return self._require_traceable()
        require_tensor(xs, "a window", "[time, batch, ...]")
        return require_plain_call()

    def _require_traceable(self) -> None:
        require_not_exporting()
        if is_grad_enabled():
            require_traceable(self.core, self.rule, self.neuron)

    def tied(self) -> Layer:
        """Return a second layer with the same parameters and its own state.

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
        other.core.options_of(self.core)
        return other

    def __copy__(self) -> Layer:
        own = "copy.deepcopy(layer), or layer.tied() for a layer with the same parameters and a state of its own"
        raise TypeError(f"a shallow copy of a tt.Layer would share its state; use {own}")

    def _replicate_for_data_parallel(self) -> Layer:
        raise RuntimeError(
            "nn.DataParallel copies modules at each call, and would lose the state of a tt.Layer; use "
            "torch.nn.parallel.DistributedDataParallel, one process per device"
        )

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> Layer:
        if self.core.first:
            self.settle()  # while the traces wait for what the first step has shown
        state = self.core.state  # first, as it may be computed by what is converted here
        super()._apply(fn, recurse)
        if state is not None:
            self.core.state = state.moved(fn)
        return self

    def extra_repr(self) -> str:
        """Return what the representation shows: the rule, what its traces store, and a backend that was chosen."""
        backend = "" if self.core.backend == "auto" else f", backend={self.core.backend}"
        state, weight = self.core.peek(), self.rule.weight
        storage = weight.storage if state is None else weight.stored(state.trace)
        return f"rule={described(self.rule)}, storage={storage}{backend}"

    def __repr__(self) -> str:
        return folded(super().__repr__())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        name = f"{prefix}feedback"
        if any(key.startswith(prefix) for key in state_dict) and (name in state_dict) != (self.feedback is not None):
            has, takes = ("has a", "takes none") if name in state_dict else ("has no", "takes one")
            warnings.warn(
                f"{name!r}: the state {has} feedback matrix, and the layer's rule {described(self.rule)} {takes}. Give "
                f"the network the rule of the saved one with tt.set_rule(net, ...) before; with strict=False the layer "
                f"goes on with its own",
                UserWarning,
                stacklevel=2,
            )
