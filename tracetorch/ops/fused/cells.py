"""Template of what all fused kernels do with one unit's numbers; executed once per neuron, scalar type and width.

What belongs to U units lies in one row of a work space `w`, one row after the other; `at` is where a row begins.
"""

from typing import TYPE_CHECKING

from numba import njit

from tracetorch.ops.fused.raw import load, store

if TYPE_CHECKING:
    from tracetorch.ops.fused.names import FAST, P, S, U, step


@njit(**FAST)
def get(w, at, j):
    """Return the states at one place of a row."""
    if S == 1:
        return (load(w, at + j),)
    return (load(w, at + j), load(w, at + U + j))


@njit(**FAST)
def put(w, at, j, s):
    """Store the states at one place of a row."""
    store(w, at + j, s[0])
    if S == 2:
        store(w, at + U + j, s[1])


@njit(**FAST)
def params(w, at, j):
    """Return the parameters at one place of a row."""
    if P == 0:
        return ()
    if P == 1:
        return (load(w, at + j),)
    if P == 2:
        return (load(w, at + j), load(w, at + U + j))
    if P == 3:
        return (load(w, at + j), load(w, at + U + j), load(w, at + 2 * U + j))
    return (load(w, at + j), load(w, at + U + j), load(w, at + 2 * U + j), load(w, at + 3 * U + j))


@njit(**FAST)
def stepped(w, at, j):
    """Return one unit's step; `at` tells where its states, counter, current and parameters are."""
    return step(get(w, at[0], j), load(w, at[1] + j), load(w, at[2] + j), params(w, at[3], j))


@njit(**FAST)
def forwards(A, x, B):
    """Return `A x + B`."""
    if S == 1:
        return (A[0][0] * x[0] + B[0],)
    return (A[0][0] * x[0] + A[0][1] * x[1] + B[0], A[1][0] * x[0] + A[1][1] * x[1] + B[1])


@njit(**FAST)
def backwards(A, x, D, z):
    """Return `A^T x + D z`."""
    if S == 1:
        return (A[0][0] * x[0] + D[0] * z,)
    return (A[0][0] * x[0] + A[1][0] * x[1] + D[0] * z, A[0][1] * x[0] + A[1][1] * x[1] + D[1] * z)


@njit(**FAST)
def dot(a, b):
    """Return the inner product of two states."""
    if S == 1:
        return a[0] * b[0]
    return a[0] * b[0] + a[1] * b[1]
