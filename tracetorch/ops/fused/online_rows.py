"""Template of what online learning does to rows of numbers, the same for all layers; executed once per scalar type."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracetorch.ops.fused.online_names import FAST, SUMS, TINY, F, njit

DENSE = 8


@njit(**FAST)
def normal(x):
    """Return a number, or zero where it is all but that."""
    return F(0) if abs(x) <= TINY else x


@njit(**SUMS)
def product(a, b):
    """Return the inner product of two rows."""
    total = F(0)
    for k in range(a.shape[0]):
        total += a[k] * b[k]
    return total


@njit(**FAST)
def four(cur, weight, x, index):
    """Form the currents of four units from events."""
    a0, a1, a2, a3 = F(0), F(0), F(0), F(0)
    w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
    for e in range(index.shape[0]):
        k = index[e]
        v = x[k]
        a0 += v * w0[k]
        a1 += v * w1[k]
        a2 += v * w2[k]
        a3 += v * w3[k]
    cur[0], cur[1], cur[2], cur[3] = a0, a1, a2, a3


@njit(**FAST)
def currents(cur, weight, x, index):
    """Form the currents of some units: by events, or by products where events are many."""
    n = weight.shape[0]
    j = 0
    if index.shape[0] * DENSE < x.shape[0]:
        while j + 4 <= n:
            four(cur[j : j + 4], weight[j : j + 4], x, index)
            j += 4
        while j < n:
            total, row = F(0), weight[j]
            for e in range(index.shape[0]):
                total += x[index[e]] * row[index[e]]
            cur[j] = total
            j += 1
    else:
        while j < n:
            cur[j] = product(weight[j], x)
            j += 1


@njit(**FAST)
def add(row, c, x):
    """Add a multiple of a row to a row."""
    for k in range(row.shape[0]):
        row[k] += c * x[k]


@njit(**FAST)
def add_two(row, c, x, d, y):
    """Add multiples of two rows to a row."""
    for k in range(row.shape[0]):
        row[k] += c * x[k] + d * y[k]


@njit(**FAST)
def add_events(row, c, x, index):
    """Add a multiple of a row's events to a row."""
    for e in range(index.shape[0]):
        row[index[e]] += c * x[index[e]]


@njit(**FAST)
def decay(row, a):
    """Let a row decay."""
    for k in range(row.shape[0]):
        row[k] = normal(a * row[k])


@njit(**FAST)
def carry_one(e, a, c, x):
    """Carry a trace of one state on."""
    for k in range(e.shape[0]):
        e[k] = normal(a * e[k] + c * x[k])


@njit(**FAST)
def carry_two(e, f, A, B, x):
    """Carry a trace of two states on."""
    for k in range(e.shape[0]):
        u, v = e[k], f[k]
        e[k] = normal(A[0] * u + A[1] * v + B[0] * x[k])
        f[k] = normal(A[2] * u + A[3] * v + B[1] * x[k])
