"""What a conformance case is, and how it is run and judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.testing.agreement import Gradients, agreement

EXACT = 1e-10
"""Greatest relative error, in double precision, of what is called exact."""
APART = 1e-3
"""Least relative error of what must not be equal."""


class ConformanceError(AssertionError):
    """Findings of a case are outside their bounds; the message lists them.

    Example:
        >>> from tracetorch.testing import conformance
        >>> case = conformance.Case("a claim", "a network", lambda: [conformance.Finding("error", 0.5)])
        >>> try:
        ...     outcome = conformance.run_case(case)
        ... except conformance.ConformanceError as error:
        ...     print("a_network" in str(error))
        True
    """


@dataclass(frozen=True)
class Finding:
    """One measured number, and the bounds it must lie in.

    Args:
        what: what was measured.
        measure: the number; nan is outside every bound.
        low: least allowed.
        high: greatest allowed.
        note: what to add where it is outside.

    Example:
        >>> from tracetorch.testing.conformance import Finding
        >>> Finding("relative error", 2e-16).ok, Finding("relative error", 0.1).ok
        (True, False)
    """

    what: str
    measure: float
    low: float = 0.0
    high: float = EXACT
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the measure lies in its bounds."""
        return self.low <= self.measure <= self.high

    def __str__(self) -> str:
        return f"{self.what}: {self.measure:.3g}, must lie in [{self.low:g}, {self.high:g}]" + (
            f" ({self.note})" if self.note else ""
        )


@dataclass(frozen=True)
class Case:
    """One claim about one combination of rule, neuron, synapse and network, with its check.

    Args:
        claim: the claim, as in the table of `docs/theory/exactness.md`.
        name: the combination.
        check: computes the findings; it builds everything it needs.
        negative: the claim is that something is *not* equal, or cannot be done.

    Example:
        >>> import tracetorch as tt
        >>> from tracetorch.testing.conformance import for_neuron
        >>> any(case.negative for case in for_neuron(lambda unit: tt.LIF(half_life=tt.Learnable(5.0))))
        True
    """

    claim: str
    name: str
    check: Callable[[], Iterable[Finding]]
    negative: bool = False

    @property
    def id(self) -> str:
        """The claim and the combination in one word per part."""
        return f"{self.claim}/{self.name}".replace(" ", "_")


@dataclass(frozen=True)
class Outcome:
    """The findings of a case.

    Args:
        case: the case.
        findings: everything it measured.

    Example:
        >>> import tracetorch as tt
        >>> from tracetorch.testing import conformance
        >>> cases = conformance.for_neuron(lambda unit: tt.LIF(half_life=tt.Learnable(5.0)))
        >>> conformance.run_case(cases[0]).failures
        ()
    """

    case: Case
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that are outside their bounds."""
        return tuple(f for f in self.findings if not f.ok)


def run_case(case: Case) -> Outcome:
    """Run a case.

    Args:
        case: one of `for_neuron`.

    Returns:
        What was measured.

    Raises:
        ConformanceError: if anything is outside its bounds, or nothing was measured.

    Example:
        >>> import tracetorch as tt
        >>> from tracetorch.testing import conformance
        >>> cases = conformance.for_neuron(lambda unit: tt.LIF(half_life=tt.Learnable(5.0)))
        >>> case = next(c for c in cases if c.claim == "full = BPTT")
        >>> outcome = conformance.run_case(case)
        >>> len(outcome.findings) > 0, outcome.failures
        (True, ())
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        outcome = Outcome(case, tuple(case.check()))
    if not outcome.findings:
        raise ConformanceError(f"{case.id} measured nothing")
    if outcome.failures:
        raise ConformanceError(f"{case.id}\n  " + "\n  ".join(str(f) for f in outcome.failures))
    return outcome


def same_values(got: Gradients, reference: Gradients) -> Finding:
    """Judge whether two runs have the same outputs."""
    return Finding("outputs", agreement(got.values, reference.values).relative_error)


def equal(
    got: Mapping[str, Tensor], reference: Mapping[str, Tensor], *, names: Collection[str] | None = None
) -> list[Finding]:
    """Judge that gradients are equal; a reference gradient of zero tests nothing and counts as a failure."""
    found = []
    for name in reference if names is None else names:
        norm = float(reference[name].norm())
        error = agreement(got[name], reference[name]).relative_error if norm > 1e-9 else math.nan
        note = "" if norm > 1e-9 else "the reference gradient is zero, so this tests nothing"
        found.append(Finding(name, error, note=note))
    return found


def sensible(got: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> list[Finding]:
    """Judge that gradients are equal; what neither has under a rule is left out."""
    return equal(got, reference, names=[n for n, g in reference.items() if bool(g.any()) or bool(got[n].any())])


def apart(
    got: Mapping[str, Tensor], reference: Mapping[str, Tensor], names: Collection[str], *, low: float = APART
) -> list[Finding]:
    """Judge that gradients differ."""
    return [
        Finding(f"{name} must differ", agreement(got[name], reference[name]).relative_error, low, 1e6) for name in names
    ]


def judge(
    got: Gradients,
    reference: Gradients,
    *,
    exact: Collection[str] | None = None,
    differ: Collection[str] = (),
    low: float = APART,
) -> list[Finding]:
    """Judge that outputs are the same, gradients equal (None: all that need not differ), and others different."""
    names = [name for name in reference.grads if name not in differ] if exact is None else exact
    return [
        same_values(got, reference),
        *equal(got.grads, reference.grads, names=names),
        *apart(got.grads, reference.grads, differ, low=low),
    ]


def raises(action: Callable[[], object], *words: str) -> list[Finding]:
    """Judge that something raises a plain error whose message holds some word of each alternative `a|b`."""
    try:
        action()
    except (ValueError, RuntimeError, TypeError) as error:
        text = str(error)
        missing = [w for w in words if not any(a in text for a in w.split("|"))]
        named = [Finding("the message names " + w, math.nan if w in missing else 0.0, note=text) for w in words]
        return [Finding("raises", 0.0), *named]
    return [Finding("raises", math.nan, note="nothing was raised")]


def together(*groups: Sequence[Finding] | Finding) -> list[Finding]:
    """Return findings and lists of findings as one list."""
    found: list[Finding] = []
    for group in groups:
        found.extend([group] if isinstance(group, Finding) else group)
    return found
