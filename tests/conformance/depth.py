"""Several layers: what is exact in each, and why the lower ones are not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from conformance.neurons import kind
from torch import nn

from tracetorch.rules import Rule, bptt, drtrl, eprop, ottt, sltt, tbptt, trace, traced_bptt
from tracetorch.testing.conformance.case import Case, Finding, judge
from tracetorch.testing.conformance.depth import two
from tracetorch.testing.conformance.kind import SOFT
from tracetorch.testing.conformance.setup import INPUTS, STEPS, UNITS, Setup, build, layer, readout, stream, windows
from tracetorch.testing.running import split


class Residual(nn.Module):
    """Add a layer's output to its input: a graph that is not a chain."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        """Return the sum."""
        return x + 0.5 * self.inner(x)


def fed(rule: Rule, splits: list[int]) -> list[Finding]:
    """Of two hidden layers, the one that feeds the readout is exact."""
    xs = stream(INPUTS)
    first, second = SOFT, kind("ALIF")
    setup = build(layer(INPUTS, UNITS, first.make), layer(UNITS, UNITS, second.make), readout(), xs=xs)
    return judge(setup.run(rule, splits), setup.bptt(), differ=setup.names(0), low=1e-2)


def deep(name: str) -> Setup:
    """Return one of the networks with three layers and more."""
    soft, hard, adaptive, current = (
        kind(n) for n in ("LIF soft", "LIF hard, gradient", "ALIF, gradient", "SynapticLIF")
    )
    xs, modules = stream(INPUTS), list[nn.Module]()
    if name == "three layers":
        modules = [layer(INPUTS, 6, soft.make), layer(6, UNITS, adaptive.make), readout()]
    elif name == "recurrent":
        modules = [layer(INPUTS, 6, current.make, recurrent=1.0), layer(6, UNITS, hard.make, recurrent=1.0), readout()]
    elif name == "modules between":
        modules = [nn.Linear(INPUTS, 6), nn.Tanh(), layer(6, 6, soft.make), nn.Linear(6, 6), nn.LayerNorm(6)]
        modules += [nn.Sequential(layer(6, UNITS, adaptive.make), nn.Identity()), readout(), nn.Linear(4, 3)]
    else:
        modules = [layer(INPUTS, UNITS, soft.make), Residual(layer(UNITS, UNITS, adaptive.make)), readout()]
    return build(*modules, xs=xs)


DEEP = ("three layers", "recurrent", "modules between", "residual")


def whole(name: str, rule: Rule, splits: list[int]) -> list[Finding]:
    """One window from a reset is BPTT at any depth."""
    setup = deep(name)
    return judge(setup.run(rule, splits), setup.bptt())


def in_windows(name: str, rule: Rule, splits: list[int]) -> list[Finding]:
    """Windows with traces are autograd inside, each layer alone before; windows of one step are drtrl(psi)."""
    setup = deep(name)
    return judge(setup.run(rule, splits), setup.traced([1] * STEPS if rule.window == "step" else splits))


def truncated(name: str, splits: list[int]) -> list[Finding]:
    """Truncated BPTT cuts every layer's state at each window."""
    setup = deep(name)
    return judge(setup.run(tbptt(), splits), setup.truncated(splits))


def short(k: int) -> list[Finding]:
    """Windows shorter than the sequence miss what the lower layer did to the upper one before them."""
    setup = two(SOFT, kind("ALIF"))
    return judge(setup.run(traced_bptt(), split(STEPS, k)), setup.bptt(), differ=setup.names(0))


def one_scan(rule: Rule, low: float) -> list[Finding]:
    """No instantaneous rule is BPTT in the lowest of three layers."""
    setup = deep("three layers")
    return judge(setup.run(rule), setup.bptt(), exact=(), differ=setup.names(0), low=low)


def cases() -> Iterator[Case]:
    """Yield the cases of fixed networks."""
    claim = "two layers: the upper is exact, the lower where the upper has D = 0"
    yield Case(claim, "eprop, two hidden layers and LI", partial(fed, eprop(), [0] * STEPS))
    for name in DEEP:
        for rule in (tbptt(), traced_bptt(), bptt()):
            yield Case("window of T = BPTT", f"{rule}, {name}", partial(whole, name, rule, [STEPS]))
        yield Case("window of T = BPTT", f"bptt steps, {name}", partial(whole, name, bptt(), [0] * STEPS))
        claim = "windows at any depth = autograd inside, each layer alone before"
        for splits in ([0] * STEPS, split(STEPS, 4), [1, 6, 0, STEPS - 8]):
            told = f"{name}, {windows(splits)}"
            yield Case(claim, f"traced_bptt, {told}", partial(in_windows, name, traced_bptt(), splits))
            yield Case(claim, f"drtrl, {told}", partial(in_windows, name, drtrl(), splits))
        yield Case("tbptt = autograd cut at windows", name, partial(truncated, name, [2, 5, 3, STEPS - 10]))
        yield Case(claim, f"eprop without kappa, {name}", partial(in_windows, name, eprop(kappa=0.0), [7, STEPS - 7]))
    for k in (1, 4, STEPS - 1):
        yield Case("windows k < T at depth 2 are not BPTT", f"k = {k}", partial(short, k), True)
    for rule in (sltt(), ottt(approximate=True), eprop(), drtrl(), drtrl(input="gain"), trace()):
        yield Case(
            "instantaneous rules at depth 3 are not BPTT", f"{rule}({rule.input})", partial(one_scan, rule, 1e-3), True
        )
