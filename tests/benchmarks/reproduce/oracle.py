"""Both published e-prop cases in plain NumPy, written from the published description alone.

Nothing here imports tracetorch or torch: these are the hand-written loops that the library's generic layers
are held against, for batches that no published loss exists for too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

GAMMA, RATE_TARGET, RATE_STRENGTH, UNITS = 0.3, 0.01, 300.0, 100


@dataclass
class Case:
    """Weights, feedback `[units, outputs]`; per iteration, inputs `[B, T, in]` and what is wanted."""

    w_in: np.ndarray
    w_rec: np.ndarray
    w_out: np.ndarray
    feedback: np.ndarray
    inputs: list[np.ndarray] = field(default_factory=list)
    targets: list[np.ndarray] = field(default_factory=list)


def rounded(w: np.ndarray) -> np.ndarray:
    return w.astype(np.float32).astype(np.float64)


def draw_regression(iterations: int = 5) -> Case:
    rng = np.random.RandomState(1)
    root = np.sqrt(UNITS)
    w_in, w_rec = rng.randn(100, UNITS).T / root, rng.randn(UNITS, UNITS).T / root
    np.fill_diagonal(w_rec, 0)
    w_out, feedback = rng.randn(UNITS, 1).T / root, rng.randn(UNITS, 1) / root
    spikes = (rng.rand(1000, 100) < 0.05).astype(float)
    spikes[0] = 0
    amplitude, phase = rng.uniform(0.5, 2, 4), rng.uniform(0, 2 * np.pi, 4)
    waves = [
        a * np.sin(np.linspace(p, p + 2 * np.pi * (1000 // period), 1000))
        for a, p, period in zip(amplitude, phase, (1000, 500, 333, 200), strict=True)
    ]
    target = sum(waves) - sum(w[0] for w in waves)
    target = target / abs(target).max()
    case = Case(*(rounded(w) for w in (w_in, w_rec, w_out, feedback)))
    case.inputs, case.targets = [spikes[None]] * iterations, [target[None, :, None]] * iterations
    return case


def draw_classification(batch: int = 1, iterations: int = 5) -> Case:
    rng = np.random.RandomState(1)
    w_in, w_rec = rng.randn(40, UNITS).T / np.sqrt(40), rng.randn(UNITS, UNITS).T / np.sqrt(UNITS)
    np.fill_diagonal(w_rec, 0)
    limit = np.sqrt(6 / 102)
    w_out, feedback = rng.uniform(-limit, limit, (UNITS, 2)).T, rng.randn(UNITS, 2)
    case = Case(*(rounded(w) for w in (w_in, w_rec, w_out, feedback)))
    for _ in range(iterations):
        favoured = rng.choice([0, 1], batch)
        zero = np.array([0.3, 0.7], np.float32)[favoured]
        chance, label = np.zeros((batch, 2250, 40)), np.zeros(batch, int)
        for b in range(batch):
            cues = rng.choice([0, 1], 7, p=[zero[b], 1 - zero[b]])
            label[b] = cues.sum() > 3
            for c, side in enumerate(cues):
                chance[b, 150 * c + 50 : 150 * c + 150, 10 * side : 10 * side + 10] = 0.04
            chance[b, -150:, 20:30] = 0.04
            chance[b, :, 30:] = 0.01
        spikes = (chance > rng.rand(batch * 2250 * 40).reshape(chance.shape)).astype(float)
        spikes[:, 0] = 0
        case.inputs.append(spikes)
        case.targets.append(np.eye(2)[label])
    return case


def regression(iterations: int = 5) -> list[float]:
    case = draw_regression(iterations)
    alpha, theta, losses = np.exp(-1 / 30), 0.03, []
    for x, target in zip(case.inputs, case.targets, strict=True):
        v, z, y, n = np.zeros(UNITS), np.zeros(UNITS), np.zeros(1), np.zeros(UNITS)
        x_hat, z_bar = np.zeros(100 + UNITS), np.zeros(UNITS)
        e_bar, e_sum, grad = (np.zeros((UNITS, 100 + UNITS)) for _ in range(3))
        grad_out, loss = np.zeros((1, UNITS)), 0.0
        for t in range(1000):
            x_hat = alpha * x_hat + (1 - alpha) * np.concatenate([x[0, t], z])
            v = alpha * v + (1 - alpha) * (case.w_in @ x[0, t] + case.w_rec @ z) - theta * z
            z = (v > theta).astype(float)
            psi = GAMMA / theta * np.maximum(0, 1 - abs(v - theta) / theta)
            e = psi[:, None] * x_hat
            e_bar, e_sum = alpha * e_bar + (1 - alpha) * e, e_sum + e
            z_bar, n = alpha * z_bar + (1 - alpha) * z, n + z
            y = alpha * y + (1 - alpha) * case.w_out @ z
            error = y - target[0, t]
            loss += 0.5 * (error**2).sum()
            grad += (case.feedback @ error)[:, None] * e_bar
            grad_out += error[:, None] * z_bar
        grad += RATE_STRENGTH * (n / 1000 - RATE_TARGET)[:, None] * e_sum / 1000
        step_in, step_rec = np.split(grad, [100], axis=1)
        case.w_in -= 1e-4 * step_in
        case.w_rec -= 1e-4 * np.where(np.eye(UNITS), 0, step_rec)
        case.w_out -= 1e-4 * grad_out
        losses.append(float(loss))
    return losses


def classification(batch: int = 1, iterations: int = 5) -> list[float]:
    case = draw_classification(batch, iterations)
    steps, window, theta = 2250, 150, 0.6
    alpha, rho = np.exp(-1 / 20), np.exp(-1 / 2000)
    beta = np.where(np.arange(UNITS) < 50, 0.0, 1.7 * (1 - rho) / (1 - alpha))
    first, second, losses = [0.0] * 3, [0.0] * 3, []
    for k, (x, target) in enumerate(zip(case.inputs, case.targets, strict=True), start=1):
        v, z, a, r, n, z_bar = (np.zeros((batch, UNITS)) for _ in range(6))
        y, x_hat = np.zeros((batch, 2)), np.zeros((batch, 40 + UNITS))
        eps, e_bar, e_sum, grad = (np.zeros((batch, UNITS, 40 + UNITS)) for _ in range(4))
        grad_out, loss = np.zeros((batch, 2, UNITS)), np.zeros(batch)
        for t in range(steps):
            x_hat = alpha * x_hat + np.concatenate([x[:, t], z], axis=1)
            v = alpha * v + x[:, t] @ case.w_in.T + z @ case.w_rec.T - theta * z
            a = rho * a + z
            level, free = theta + beta * a, r <= 0
            psi = GAMMA / theta * np.maximum(0, 1 - abs(v - level) / theta) * free
            z = ((v > level) & free).astype(float)
            r = np.clip(r + 5 * z - 1, 0, 5)
            e = psi[:, :, None] * (x_hat[:, None] - beta[:, None] * eps)
            eps, e_bar, e_sum = rho * eps + e, alpha * e_bar + (1 - alpha) * e, e_sum + e
            z_bar, n = alpha * z_bar + (1 - alpha) * z, n + z
            y = alpha * y + (1 - alpha) * z @ case.w_out.T
            if t >= steps - window:
                p = np.exp(y - y.max(1, keepdims=True))
                p /= p.sum(1, keepdims=True)
                loss -= np.log((p * target).sum(1))
                grad += ((p - target) @ case.feedback.T)[:, :, None] * e_bar
                grad_out += (p - target)[:, :, None] * z_bar[:, None]
        grad += RATE_STRENGTH * (n / steps - RATE_TARGET)[:, :, None] * e_sum / steps
        step_in, step_rec = np.split(grad.mean(0) / window, [40], axis=1)
        grads = step_in, np.where(np.eye(UNITS), 0, step_rec), grad_out.mean(0) / window
        for i, (w, g) in enumerate(zip((case.w_in, case.w_rec, case.w_out), grads, strict=True)):
            first[i], second[i] = 0.9 * first[i] + 0.1 * g, 0.999 * second[i] + 0.001 * g * g
            rate = 5e-3 * np.sqrt(1 - 0.999**k) / (1 - 0.9**k)
            w -= rate * first[i] / (np.sqrt(second[i]) + 1e-8)
        losses.append(float((loss / window).mean()))
    return losses
