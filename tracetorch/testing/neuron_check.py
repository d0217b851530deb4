"""A check for neurons that users write themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracetorch.layer import Layer
from tracetorch.network import reset
from tracetorch.neurons import Neuron, effective_parameters, generic_blocks
from tracetorch.neurons.blocks import Blocks
from tracetorch.ops.entries import Entry
from tracetorch.rules import sltt
from tracetorch.synapses import LinearInWeights
from tracetorch.testing.eligibility import unit_blocks


class NeuronError(AssertionError):
    """A neuron is not what every rule takes it to be; the message lists how.

    Example:
        >>> import tracetorch as tt
        >>> class Mixing(tt.Neuron):
        ...     def step(self, s, current):
        ...         return s.replace(v=current.flip(-1)), self.surrogate(s.v)
        >>> try:
        ...     tt.testing.check_neuron(Mixing())
        ... except tt.testing.NeuronError as error:
        ...     print("not element-wise" in str(error))
        True
    """


def check_neuron(
    neuron: Neuron,
    unit: tuple[int, ...] = (5,),
    *,
    scale: float = 2.0,
    steps: int = 40,
    tolerance: float = 1e-9,
    seed: int = 0,
) -> None:
    """Raise where a neuron is not what every rule takes it to be.

    Checked, at states that the neuron itself reaches: states and outputs have the shape and type of the current and
    stay finite; the step is deterministic and changes nothing in place; it is element-wise, so that a change in one
    unit of one sample changes no other; its Jacobian blocks (of its lowered step, or its own) equal those of
    `torch.func`, and those taken unit by unit; after a reset it starts again, also for some rows of a batch only.

    Args:
        neuron: the neuron; it is used in double precision and given back in its own.
        unit: shape of the units; that of its parameters per neuron, if it has any.
        scale: size of the random currents, in the unit of the current.
        steps: number of time steps.
        tolerance: greatest relative difference between Jacobian blocks.
        seed: of the random currents.

    Raises:
        NeuronError: with everything that was found.
        ValueError: if the neuron takes several currents per unit.

    Example:
        >>> import tracetorch as tt
        >>> from tracetorch.testing import check_neuron
        >>> check_neuron(tt.LIF(half_life=5))
        >>> class Mixing(tt.Neuron):
        ...     def step(self, s, current):
        ...         v = self.beta * s.v + current - current.mean(-1, keepdim=True)
        ...         return s.replace(v=v), self.surrogate(v - self.threshold)
        >>> check_neuron(Mixing(half_life=5))
        Traceback (most recent call last):
        ...
        tracetorch.testing.neuron_check.NeuronError: Mixing: not element-wise: ...
    """
    if len(neuron.currents) > 1:
        raise ValueError(f"{type(neuron).__name__} takes several currents per unit; this checks neurons of one")
    types = {id(t): t.dtype for t in (*neuron.parameters(), *neuron.buffers())}
    dtype = next((d for d in types.values() if d.is_floating_point), None)
    neuron.double()
    try:
        generator = torch.Generator().manual_seed(seed)
        currents = scale * torch.randn(steps, 3, *unit, generator=generator, dtype=torch.float64)
        found = list(dict.fromkeys(_problems(neuron, currents, tolerance)))
    finally:
        if dtype is not None:
            neuron.to(dtype)
    if found:
        raise NeuronError(f"{type(neuron).__name__}: " + "; ".join(found))


def _problems(neuron: Neuron, currents: Tensor, tolerance: float) -> list[str]:
    problems: list[str] = []
    state = tuple(neuron.zeros(currents[0]))
    count = len(neuron.state) + len(neuron.counters)
    if len(state) != count or any(bool((s != 0).any()) for s in state):
        return [f"the state after a reset must be {count} tensors of zeros"]
    visited: list[tuple[Tensor, ...]] = []
    for current in currents:
        before = tuple(s.clone() for s in state)
        drive = current.clone()
        with torch.no_grad():
            after, z = neuron.step(neuron.pack(state), current)
            again, z2 = neuron.step(neuron.pack(tuple(s.clone() for s in before)), drive.clone())
        if len(tuple(after)) != count:
            return [f"step returns {len(tuple(after))} state variables, {count} are declared"]
        for name, value in (("output", z), *zip((*neuron.state, *neuron.counters), after, strict=True)):
            if value.shape != current.shape or value.dtype != current.dtype:
                return [
                    f"{name} is {list(value.shape)} {value.dtype}, the current {list(current.shape)} {current.dtype}"
                ]
            if not bool(torch.isfinite(value).all()):
                return [*problems, f"{name} is not finite after {len(visited) + 1} steps"]
        if not all(torch.equal(a, b) for a, b in zip(state, before, strict=True)) or not torch.equal(current, drive):
            return ["step changes its arguments in place"]
        if not torch.equal(z, z2) or not all(torch.equal(a, b) for a, b in zip(after, again, strict=True)):
            return ["step is not deterministic: the same state and current gave two results"]
        visited.append(before)
        state = tuple(after)
    problems += _mixing(neuron, visited[-1], currents[-1])
    if problems:
        return problems
    stacked = tuple(torch.stack(s) for s in zip(*visited, strict=True))
    problems += _blocks(neuron, stacked, currents, tolerance)
    return problems + _resets(neuron, currents)


@torch.no_grad()
def _mixing(neuron: Neuron, state: tuple[Tensor, ...], current: Tensor) -> list[str]:
    def flat(s: tuple[Tensor, ...], drive: Tensor) -> Tensor:
        after, z = neuron.step(neuron.pack(s), drive)
        return torch.stack([*after, z]).flatten(2)

    base = flat(state, current)
    batch, units = base.shape[1:]
    for b in range(batch):
        for u in range(units):
            for i in range(len(state) + 1):
                values = [t.clone() for t in (*state, current)]
                values[i].view(batch, -1)[b, u] += 7.5
                moved = flat(tuple(values[:-1]), values[-1])
                moved[:, b, u] = base[:, b, u]
                if not torch.allclose(moved, base, rtol=1e-12, atol=1e-12):
                    what = "the current" if i == len(state) else (*neuron.state, *neuron.counters)[i]
                    return [f"not element-wise: a change in unit {(b, u)} changes others (through {what})"]
    return []


def _blocks(neuron: Neuron, s: tuple[Tensor, ...], currents: Tensor, tolerance: float) -> list[str]:
    params = {n: p.detach() for n, p in effective_parameters(neuron).items()}
    own, generic = neuron.blocks(s, currents, params), generic_blocks(neuron, s, currents, params)
    size, wrong = len(neuron.state), []

    def close(a: Entry, b: Entry) -> bool:
        x = torch.zeros_like(currents) if a is None else a.expand(currents.shape)
        y = torch.zeros_like(currents) if b is None else b.expand(currents.shape)
        return bool(torch.isfinite(y).all()) and float((x - y).detach().norm()) <= tolerance * (
            1e-3 + float(y.detach().norm())
        )

    def compare(a: Blocks, b: Blocks, what: str) -> None:
        names: list[tuple[str, Entry, Entry]] = [("psi", a.psi, b.psi)]
        for i in range(size):
            names += [(f"A[{i}][{j}]", a.A[i][j], b.A[i][j]) for j in range(size)]
            names += [(f"B[{i}]", a.B[i], b.B[i]), (f"D[{i}]", a.D[i], b.D[i])]
        for n in b.P if what == "torch.func's" else ():
            names.append((f"Q[{n}]", a.Q.get(n), b.Q[n]))
            rows = a.P.get(n, [None] * size)
            names += [(f"P[{n}][{i}]", rows[i], b.P[n][i]) for i in range(size)]
        bad = [name for name, x, y in names if not close(x, y)]
        if bad:
            wrong.append(f"the blocks {', '.join(bad)} differ from {what}")

    compare(own, generic, "torch.func's")
    unit = unit_blocks(neuron, s, currents)
    A = [[unit.A[..., i, j] for j in range(size)] for i in range(size)]
    B, D = [unit.B[..., i] for i in range(size)], [unit.D[..., i] for i in range(size)]
    compare(generic, Blocks(A, B, D, unit.psi), "those of single units")
    return wrong


class _Scale(nn.Module):
    """Multiply each unit's input by a weight of one: the plainest synapse for units of any shape."""

    def __init__(self, unit: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(unit, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


@torch.no_grad()
def _resets(neuron: Neuron, currents: Tensor) -> list[str]:
    layer = Layer(LinearInWeights(_Scale(tuple(currents.shape[2:]))), neuron, rule=sltt())
    first = torch.stack([layer(x) for x in currents])
    reset(layer)
    if not torch.equal(torch.stack([layer(x) for x in currents]), first):
        return ["after a reset it does not start again: is something kept outside the state?"]
    half, mask = len(currents) // 2, torch.arange(currents.shape[1]) == 0
    reset(layer)
    for x in currents[:half]:
        layer(x)
    reset(layer, mask)
    mixed = torch.cat([currents[:half, :1], currents[half : 2 * half, 1:]], 1)
    got = torch.stack([layer(x) for x in mixed])
    if not torch.equal(got, torch.cat([first[:half, :1], first[half : 2 * half, 1:]], 1)):
        return ["after a reset of one row, that row does not start again or another one does"]
    return []
