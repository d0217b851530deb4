"""Template of the fused CPU kernels: executed once per neuron and variant, with the names below put in first.

Everything of one sample is walked in cache: the input's events, the membrane, the spikes, the traces. The last three
functions are compiled by the loader, under a name of their own for each neuron and variant.
"""

from typing import TYPE_CHECKING

import numpy as np
from numba import njit, prange

if TYPE_CHECKING:
    from tracetorch.ops.fused.names import EVENTS, F, FAST, P, RECORD, S, TRACED, step

if P == 0:

    @njit(**FAST)
    def parameters(p, n):
        return ()
elif P == 1:

    @njit(**FAST)
    def parameters(p, n):
        return (p[0, n],)
elif P == 2:

    @njit(**FAST)
    def parameters(p, n):
        return (p[0, n], p[1, n])
elif P == 3:

    @njit(**FAST)
    def parameters(p, n):
        return (p[0, n], p[1, n], p[2, n])
else:

    @njit(**FAST)
    def parameters(p, n):
        return (p[0, n], p[1, n], p[2, n], p[3, n])


if S == 1:

    @njit(**FAST)
    def load(a, n):
        return (a[0, n],)

    @njit(**FAST)
    def store(a, n, s):
        a[0, n] = s[0]

    @njit(**FAST)
    def forwards(A, x, B):
        return (A[0][0] * x[0] + B[0],)

    @njit(**FAST)
    def backwards(A, x, D, z):
        return (A[0][0] * x[0] + D[0] * z,)

    @njit(**FAST)
    def dot(a, b):
        return a[0] * b[0]
else:

    @njit(**FAST)
    def load(a, n):
        return (a[0, n], a[1, n])

    @njit(**FAST)
    def store(a, n, s):
        a[0, n] = s[0]
        a[1, n] = s[1]

    @njit(**FAST)
    def forwards(A, x, B):
        return (A[0][0] * x[0] + A[0][1] * x[1] + B[0], A[1][0] * x[0] + A[1][1] * x[1] + B[1])

    @njit(**FAST)
    def backwards(A, x, D, z):
        return (A[0][0] * x[0] + A[1][0] * x[1] + D[0] * z, A[0][1] * x[0] + A[1][1] * x[1] + D[1] * z)

    @njit(**FAST)
    def dot(a, b):
        return a[0] * b[0] + a[1] * b[1]


@njit(**FAST)
def drive_events(x, wt, cur, xsum, weight, index):
    """Add the weights of a step's events to the currents, four events at a time."""
    count = 0
    for k in range(x.shape[0]):
        if x[k] != F(0):
            index[count] = k
            count += 1
    e = 0
    while e + 4 <= count:
        k0, k1, k2, k3 = index[e], index[e + 1], index[e + 2], index[e + 3]
        x0, x1, x2, x3 = x[k0], x[k1], x[k2], x[k3]
        w0, w1, w2, w3 = wt[k0], wt[k1], wt[k2], wt[k3]
        for n in range(cur.shape[0]):
            cur[n] += (x0 * w0[n] + x1 * w1[n]) + (x2 * w2[n] + x3 * w3[n])
        e += 4
    while e < count:
        k0 = index[e]
        x0, w0 = x[k0], wt[k0]
        for n in range(cur.shape[0]):
            cur[n] += x0 * w0[n]
        e += 1
    if TRACED:
        for e in range(count):
            k0 = index[e]
            xsum[k0] += weight * x[k0]


def forward(x, wt, bias, s, c, p, z, before, c_before, drive, sigma, h, xsum, powers, q):
    """Step every sample through a window; see `tracetorch.ops.fused.run_forward` for the shapes."""
    steps, batch, units = z.shape
    for b in prange(batch):
        cur = np.empty(units, F)
        index = np.empty(x.shape[2], np.int64)
        for t in range(steps):
            if EVENTS:
                cur[:] = bias
                drive_events(x[t, b], wt, cur, xsum[b], powers[t], index)
            else:
                cur[:] = x[t, b]
            if RECORD:
                drive[t, b, :] = cur
            zt = z[t, b]
            sb = s[:, b]
            cb = c[b]
            for n in range(units):
                old = load(sb, n)
                if RECORD:
                    store(before[:, t, b], n, old)
                    c_before[t, b, n] = cb[n]
                new, counter, spike, A, B, D, psi = step(old, cb[n], cur[n], parameters(p, n))
                store(sb, n, new)
                cb[n] = counter
                zt[n] = spike
                if TRACED:
                    held = load(sigma[:, b], n)
                    store(sigma[:, b], n, forwards(A, held, B))
                    h[b, n] = q * h[b, n] + (psi + dot(D, held))


def reverse(before, c_before, drive, p, signal, first, lam, kappa, carried, q, history, filtered, psis):
    """Carry cotangents back through a window; see `tracetorch.ops.fused.run_reverse` for the shapes."""
    steps, batch, units = drive.shape
    for b in prange(batch):
        fb = carried[b]
        lb = lam[:, b]
        for r in range(steps):
            t = steps - 1 - r
            for n in range(units):
                new, counter, spike, A, B, D, psi = step(
                    load(before[:, t, b], n), c_before[t, b, n], drive[t, b, n], parameters(p, n)
                )
                level = fb[n]
                if t >= first:
                    level += signal[t - first, b, n]
                held = load(lb, n)
                q[t, b, n] = psi * level + dot(B, held)
                if RECORD:
                    store(history[:, t, b], n, held)
                    filtered[t, b, n] = level
                if TRACED:
                    psis[t, b, n] = psi
                store(lb, n, backwards(A, held, D, level))
                fb[n] = kappa * level


def weight_grad(x, q, out, parts):
    """Add the outer products of a window's events and cotangents, units in parallel parts."""
    rows, inputs = x.shape
    units = q.shape[1]
    for part in prange(parts):
        low, high = part * units // parts, (part + 1) * units // parts
        for r in range(rows):
            for k in range(inputs):
                xk = x[r, k]
                if xk != F(0):
                    for n in range(low, high):
                        out[k, n] += xk * q[r, n]
