"""Any order of calls is right: a stateful fuzz test against an account that shares nothing with the library.

`TRACETORCH_FUZZ=100000 pytest tests/core/test_fuzz.py` runs as many examples, and draws them again each time.
"""

from __future__ import annotations

import copy
import os
from typing import Any

import pytest
import torch
from core.account import Account
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.entry import hook_tables

EXAMPLES = int(os.environ.get("TRACETORCH_FUZZ", "0"))
KINDS = ("dense", "conv", "recurrent", "user")
RULES = ("drtrl", "ottt", "sltt", "tbptt", "bptt", "eprop", "cascade", "trace")
BATCH = 3
COMPILED = not tt.available_backends()["numba"]
SPIKES = [0, 0]
"""Spikes and steps over all examples: a test of silent neurons tests nothing."""

seeds = st.integers(0, 2**31)


class Adaptive(tt.Neuron):
    state = ("v", "a")

    def step(self, s: Any, current: Tensor) -> Any:
        v = self.beta * s.v + current
        z = self.surrogate(v - self.threshold - 0.3 * s.a)
        return s.replace(v=v - z * self.threshold, a=0.95 * s.a + z), z


class Recorded(torch.optim.Optimizer):
    """An optimizer that moves nothing and remembers the gradients."""

    def step(self, closure: Any = None) -> None:
        self.grads = {p: p.grad for group in self.param_groups for p in group["params"]}


def make(kind: str, seed: int) -> tt.Layer:
    torch.manual_seed(seed)
    synapse: nn.Module = nn.Conv1d(2, 3, 2) if kind == "conv" else nn.Linear(4, 5)
    neuron = (Adaptive if kind == "user" else tt.LIF)(half_life=4)
    fed = nn.Linear(5, 5, bias=False) if kind == "recurrent" else None
    return tt.Layer(synapse, neuron, recurrent=fed).double()  # numbers that float32 has too


HOOKS: dict[str, Any] = {
    "out": lambda m: m.register_forward_hook(lambda _, args, y: 0.5 * y),
    "in": lambda m: m.register_forward_pre_hook(lambda _, args: (args[0] + 0.25,)),
    "back": lambda m: m.register_full_backward_pre_hook(lambda _, bars: tuple(2 * bar for bar in bars)),
    "seen": lambda m: m.register_full_backward_hook(lambda _, below, bars: None),
}


def parameters(layer: tt.Layer) -> list[Tensor]:
    found = [layer.synapse.weight, layer.synapse.bias]
    return found if layer.recurrent is None else [*found, layer.recurrent.weight]


class Calls(RuleBasedStateMachine):
    """Calls of one layer in any order, beside the account."""

    accounted_as: dict[str, str] = {}

    @initialize(kind=st.sampled_from(KINDS), name=st.sampled_from(RULES), seed=seeds, backend=st.sampled_from([0, 1]))
    def begin(self, kind: str, name: str, seed: int, backend: int) -> None:
        self.kind, self.batch, self.rounded = kind, BATCH, False
        self.net = make(kind, seed)
        self.top, self.hooks = nn.Sequential(self.net), []
        if backend and COMPILED and kind == "dense":
            tt.set_backend(self.net, "numba")
        leaves = [p.detach().clone().requires_grad_() for p in parameters(self.net)]
        self.account = Account(kind, leaves, float(self.net.neuron.beta), "drtrl")
        self.late: list[tuple[Tensor, list[Tensor], list[Tensor]]] = []
        self.saved: tuple[dict[str, Tensor], Any, int] | None = None
        self.streamed: tt.Stream | None = None
        self.net.set_rule(tt.rules.drtrl())
        self.set_rule(name)

    def inputs(self, steps: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        shape = (2, 4) if self.kind == "conv" else (4,)
        return 6 * torch.rand(steps, self.batch, *shape, generator=generator, dtype=torch.float64) - 1

    @rule(name=st.sampled_from(RULES))
    def set_rule(self, name: str) -> None:
        if name == "trace" and self.kind not in ("dense", "conv"):
            return  # it is exact where the layer's dynamics are those of its input's average
        if name == "ottt" and self.kind == "user":
            if self.net.state is not None:
                before = tt.get_state(self.net)
                with pytest.raises(ValueError, match="cannot represent"):
                    tt.set_rule(self.net, tt.rules.ottt())
                self.unchanged(before)
            return
        tt.set_rule(self.net, tt.rules.PRESETS[name]())
        self.account.rule, self.saved, self.streamed = self.accounted_as.get(name, name), None, None
        self.account.forget()

    @rule(
        steps=st.integers(1, 4),
        how=st.sampled_from(["step", "scan", "last"]),
        backward=st.sampled_from(["now", "twice", "late", "never", "no_grad"]),
        seed=seeds,
    )
    def run(self, steps: int, how: str, backward: str, seed: int) -> None:
        xs = self.inputs(1 if how == "step" else steps, seed)
        graph = backward != "no_grad"
        with torch.set_grad_enabled(graph):
            whole = self.top(xs[0]) if how == "step" else tt.scan(self.top, xs, "last" if how == "last" else "all")
            expected = self.account.window(xs + 0.25 * self.hooks.count("in")) * 0.5 ** self.hooks.count("out")
        if not graph:
            self.account.forget()
        expected = expected if how == "scan" else expected[-1]
        SPIKES[0] += int((expected > 0).sum())
        SPIKES[1] += expected.numel()
        assert torch.equal(whole.detach(), expected.detach())
        self.same_state()
        if backward in ("never", "no_grad"):
            return
        weight = torch.randn(whole.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        loss, reference = (whole * weight).sum(), (expected * weight).sum() * 2 ** self.hooks.count("back")
        grads = torch.autograd.grad(reference, self.account.weights, retain_graph=True, materialize_grads=True)
        whole_graph = self.account.rule == "bptt"
        if backward == "late" and not whole_graph:
            self.late.append((loss, parameters(self.net), list(grads)))
            return
        for last in (False, True) if backward == "twice" else (True,):
            self.compare(loss, parameters(self.net), list(grads), retain=not last or whole_graph)

    def compare(self, loss: Tensor, own: list[Tensor], grads: list[Tensor], *, retain: bool) -> None:
        self.same_gradients(torch.autograd.grad(loss, own, retain_graph=retain, allow_unused=True), grads)

    def same_gradients(self, found: Any, grads: list[Tensor]) -> None:
        loose = {"rtol": 1e-4, "atol": 1e-4} if self.rounded else {"rtol": 1e-8, "atol": 1e-10}
        for value, expected in zip(found, grads, strict=True):
            torch.testing.assert_close(torch.zeros_like(expected) if value is None else value, expected, **loose)

    @precondition(lambda self: self.late)
    @rule(first=st.booleans())
    def learn_late(self, first: bool) -> None:
        loss, own, grads = self.late.pop(0 if first else -1)
        try:
            self.compare(loss, own, grads, retain=False)
        except RuntimeError as error:
            if "traces moved on" not in str(error):
                raise

    @rule()
    def reset(self) -> None:
        tt.reset(self.net)
        self.account.reset()
        assert self.net.state is None

    @rule(batch=st.integers(1, 4))
    def another_batch(self, batch: int) -> None:
        self.reset()
        self.batch, self.saved = batch, None

    @rule(bits=st.integers(0, 15))
    def reset_rows(self, bits: int) -> None:
        mask = torch.tensor([bool(bits >> i & 1) for i in range(self.batch)])
        tt.reset(self.net, mask)
        self.account.reset(mask)

    @rule()
    def save(self) -> None:
        self.saved = tt.get_state(self.net), self.account.state(), self.batch

    @precondition(lambda self: self.saved is not None)
    @rule()
    def load(self) -> None:
        flat, state, self.batch = self.saved
        tt.set_state(self.net, flat)
        self.account.restore(state)
        if self.account.rule == "bptt":
            self.account.forget()  # a state is saved without its graph

    @rule()
    def copied(self) -> None:
        self.top, self.streamed = copy.deepcopy(self.top), None
        self.net = self.top[0]  # type: ignore[assignment]
        if self.account.rule == "bptt":
            self.account.forget()  # the graph is of the network that made it

    @precondition(lambda self: COMPILED and self.kind != "conv" and self.account.rule not in ("bptt", "tbptt"))
    @rule(steps=st.integers(1, 4), seed=seeds, again=st.booleans(), sync=st.booleans())
    def stream(self, steps: int, seed: int, again: bool, sync: bool) -> None:
        stream = self.streamed if again else None
        if self.hooks:
            before = tt.get_state(self.net)
            with pytest.raises((ValueError, RuntimeError), match="hooks"):
                (stream or tt.Stream(self.top, loss=None, lr=0.1)).forward(self.inputs(1, seed)[0])
            self.unchanged(before)
            return
        if stream is None:
            optimizer = Recorded(self.net.parameters(), {})
            stream = tt.Stream(self.top, loss=None, optimizer=optimizer)
            self.optimizer = optimizer
        self.streamed, optimizer = stream, self.optimizer
        generator = torch.Generator().manual_seed(seed)
        for x in self.inputs(steps, seed):
            y, expected = stream.forward(x), self.account.window(x[None])[-1]
            assert torch.equal(y, expected.detach())
            weight = torch.randn(y.shape, generator=generator, dtype=torch.float64)
            stream.backward(weight)
            reference = torch.autograd.grad(
                (expected * weight).sum(), self.account.weights, retain_graph=True, materialize_grads=True
            )
            found = [optimizer.grads[p] for p in parameters(self.net)]
            self.same_gradients(found, list(reference))
        if sync:
            stream.sync()
        self.late.clear()  # it writes the parameters, which graphs of the calls before notice
        self.same_state()

    @precondition(lambda self: self.account.rule != "bptt")
    @rule()
    def rounded_to_single(self) -> None:
        self.net.float().double()
        self.late.clear()  # a conversion takes the parameters out of torch's own graphs too
        self.rounded, self.streamed = True, None
        self.account.change(lambda x: x + (x.float().double() - x).detach())
        self.saved = None

    @rule(kind=st.sampled_from(list(HOOKS)), inside=st.booleans())
    def hook(self, kind: str, inside: bool) -> None:
        HOOKS[kind](self.net if inside else self.top)
        self.hooks.append(kind)

    @precondition(lambda self: self.hooks)
    @rule()
    def unhook(self) -> None:
        for table in (*hook_tables(self.net), *hook_tables(self.top)):
            table.clear()
        self.hooks = []

    @rule(kind=st.sampled_from(list(HOOKS)), steps=st.integers(0, 2))
    def hook_on_the_neuron(self, kind: str, steps: int) -> None:
        before, handle = tt.get_state(self.net), HOOKS[kind](self.net.neuron)
        xs = self.inputs(max(steps, 1), 0)
        with pytest.raises(TypeError, match="hooks"):
            tt.scan(self.top, xs) if steps else self.top(xs[0])
        handle.remove()
        self.unchanged(before)

    @rule(kind=st.sampled_from(["nan", "shape", "batch", "list", "window"]))
    def bad_input(self, kind: str) -> None:
        before, x = tt.get_state(self.net), self.inputs(2, 0)
        if kind == "batch" and self.net.state is None:
            return
        bad: Any = {
            "nan": x[0] * torch.nan,
            "shape": x[0][..., :-1] if self.kind != "conv" else x[0][:, :1],
            "batch": torch.cat([x[0], x[0]]),
            "list": x[0].tolist(),
            "window": x[:0],
        }[kind]
        with pytest.raises((ValueError, TypeError)):
            self.net.scan(bad) if kind == "window" else self.net(bad)
        self.unchanged(before)

    def unchanged(self, before: dict[str, Tensor]) -> None:
        after = tt.get_state(self.net)
        assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)

    def same_state(self) -> None:
        state = self.net.state
        tolerance = {"rtol": 0.0, "atol": 1e-5 if self.rounded else 1e-10}
        torch.testing.assert_close(state.v, self.account.v.detach(), **tolerance)
        if self.kind == "user":
            torch.testing.assert_close(state.a, self.account.a.detach(), **tolerance)


def fuzz(machine: type[Calls], examples: int, **options: Any) -> None:
    config = settings(
        max_examples=examples,
        stateful_step_count=20,
        deadline=None,
        database=None,
        derandomize=not EXAMPLES,
        suppress_health_check=list(HealthCheck),
        **options,
    )
    run_state_machine_as_test(machine, settings=config)


def test_any_order_of_calls_agrees_with_the_account() -> None:
    SPIKES[:] = [0, 0]
    fuzz(Calls, EXAMPLES or 1000)
    assert 0.1 < SPIKES[0] / SPIKES[1] < 0.9


class Wrong(Calls):
    """The account leaves out what a trace stands for."""

    accounted_as = dict.fromkeys(("drtrl", "ottt", "eprop", "cascade"), "sltt")


def test_an_account_that_is_wrong_is_found_out() -> None:
    with pytest.raises(AssertionError):
        fuzz(Wrong, 60, print_blob=False, report_multiple_bugs=False)
