"""Neurons of the online literature against their papers' formulas in plain NumPy, and what their first values are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import tracetorch as tt

IN, N, T, B = 4, 6, 25, 3


def run(neuron: tt.Neuron, currents: np.ndarray) -> np.ndarray:
    """Return the outputs of a neuron for currents, `[T, B, N]`, or `[T, B, C, N]` where it takes several."""
    drive = torch.from_numpy(currents)
    first = drive[0] if len(neuron.currents) == 1 else drive[0, :, 0]
    state, out = neuron.pack(neuron.zeros(first)), []
    for current in drive:
        given = current if len(neuron.currents) == 1 else neuron.pack_currents(current.unbind(1))
        state, z = neuron.step(state, given)
        out.append(z.detach().numpy())
    return np.stack(out)


def value(neuron: tt.Neuron, name: str) -> np.ndarray:
    return getattr(neuron, name).detach().double().numpy()


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(3)


def drawn(*shape: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(1).normal(size=shape)


def test_lru_is_a_complex_filter() -> None:
    neuron, currents = tt.LRU(N, r_min=0.5).double(), drawn(T, B, 2, N)
    decay = value(neuron, "beta") * np.exp(1j * value(neuron, "angle"))
    h, want = np.zeros((B, N), complex), []
    for now in currents:
        h = decay * h + value(neuron, "gain") * (now[:, 0] + 1j * now[:, 1])
        want.append(h.real)
    np.testing.assert_allclose(run(neuron, currents), np.stack(want), rtol=1e-12, atol=1e-12)


def test_two_units_read_both_parts_as_the_paper_does() -> None:
    """`Re(C h)` with a complex C is a real map of the units and of others whose input weights are turned by -i."""
    neuron = tt.LRU(2 * N, r_min=0.5).double()
    with torch.no_grad():
        for p in neuron.parameters():
            p[N:] = p[:N]
    b, c = (drawn(*shape, 2) @ np.array([1, 1j]) for shape in ((N, IN), (3, N)))
    layer = tt.Layer(nn.Linear(IN, 4 * N, bias=False).double(), neuron)
    both = np.concatenate([b, -1j * b])
    layer.synapse.weight.data = torch.from_numpy(np.concatenate([both.real, both.imag]))
    tt.set_rule(layer, tt.rules.drtrl())
    xs = drawn(T, B, IN)
    z = tt.scan(layer, torch.from_numpy(xs)).detach().numpy()
    decay, gain = value(neuron, "beta") * np.exp(1j * value(neuron, "angle")), value(neuron, "gain")
    h, want = np.zeros((B, N), complex), []
    for x in xs:
        h = decay[:N] * h + gain[:N] * (x @ b.T)
        want.append((h @ c.T).real)
    got = z @ np.concatenate([c.real.T, -c.imag.T])
    np.testing.assert_allclose(got, np.stack(want), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", [tt.LRU, tt.RTU])
def test_the_first_decays_are_uniform_on_the_ring(kind: type[tt.Neuron]) -> None:
    neuron = kind(4000, r_min=0.6, r_max=0.9, max_phase=1.0)
    beta, angle = value(neuron, "beta"), value(neuron, "angle")
    assert beta.min() > 0.6 - 1e-6 and beta.max() < 0.9 + 1e-6 and angle.min() > 0 and angle.max() < 1.0 + 1e-6
    for share in ((beta**2 - 0.6**2) / (0.9**2 - 0.6**2), angle):  # the area, not the radius
        assert np.abs(np.sort(share) - (np.arange(4000) + 0.5) / 4000).max() < 1.95 / 4000**0.5  # Kolmogorov, 0.1 %
    assert {n.split(".")[1] for n, _ in neuron.named_parameters()} >= {"beta", "angle"}
    if kind is tt.LRU:
        np.testing.assert_allclose(value(neuron, "gain"), np.sqrt(1 - beta**2), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"r_min": 0.9, "r_max": 0.5}, "ring"), ({"r_max": 1.2}, "ring"), ({"max_phase": 0.0}, "max_phase")],
)
def test_a_ring_outside_the_circle_raises(options: dict[str, float], words: str) -> None:
    for kind in (tt.LRU, tt.RTU):
        with pytest.raises(ValueError, match=words):
            kind(3, **options)


def test_the_whole_disc_holds_in_single_precision() -> None:
    neuron = tt.LRU(100_000)
    assert bool((neuron.beta < 1).all()) and bool((neuron.beta > 0).all())
    assert bool(torch.isfinite(neuron.scale()).all())


def test_rtu_squashes_both_states() -> None:
    neuron, currents = tt.RTU(N, r_min=0.5).double(), drawn(T, B, 2, N, scale=2.0)
    beta, angle = value(neuron, "beta"), value(neuron, "angle")
    c, d, want, other = np.zeros((B, N)), np.zeros((B, N)), [], []
    for now in currents:
        re, im = beta * (np.cos(angle) * c - np.sin(angle) * d), beta * (np.sin(angle) * c + np.cos(angle) * d)
        k = np.sqrt(1 - beta**2)
        c, d = np.tanh(re + k * now[:, 0]), np.tanh(im + k * now[:, 1])
        want.append(c)
        other.append(d)
    np.testing.assert_allclose(run(neuron, currents), np.stack(want), rtol=1e-10, atol=1e-12)
    turned = np.stack([currents[:, :, 1], -currents[:, :, 0]], 2)
    np.testing.assert_allclose(run(neuron, turned), np.stack(other), rtol=1e-10, atol=1e-12)


def test_mingru_mixes_by_its_gate() -> None:
    currents = drawn(T, B, 2, N)
    h, want = np.zeros((B, N)), []
    for now in currents:
        gate = 1 / (1 + np.exp(-now[:, 1]))
        h = (1 - gate) * h + gate * now[:, 0]
        want.append(h)
    np.testing.assert_allclose(run(tt.MinGRU(), currents), np.stack(want), rtol=1e-12, atol=1e-12)


def test_brf_is_the_papers() -> None:
    neuron, currents = tt.BRF(N, omega=(20.0, 60.0), offset=(0.5, 3.0)).double(), drawn(T * 8, B, N, scale=60.0)
    omega, offset, dt = value(neuron, "omega"), value(neuron, "offset"), 0.01
    border = (-1 + np.sqrt(1 - (dt * omega) ** 2)) / dt
    x, y, q, z = (np.zeros((B, N)) for _ in range(4))
    want = []
    for now in currents:
        q = 0.9 * q + z
        b = border - offset - q
        x, y = x + dt * (b * x - omega * y + now), y + dt * (omega * x + b * y)
        z = (x > 1 + q).astype(float)
        want.append(z)
    fired = np.stack(want)
    assert 0.02 < fired.mean() < 0.5
    assert np.array_equal(run(neuron, currents), fired)
    np.testing.assert_allclose(np.abs(1 + dt * (border + 1j * omega)), 1.0, rtol=1e-12)  # neither grows nor decays


def test_brf_refuses_steps_that_are_too_long() -> None:
    with pytest.raises(ValueError, match="dt"):
        tt.BRF(3, omega=(5.0, 120.0))
    with pytest.raises(ValueError, match="offset"):
        tt.BRF(3, offset=(3.0, 2.0))


def adlif(a: float, b: float) -> tt.Neuron:
    return tt.SEAdLIF(tau=5.0, adaptation_tau=60.0, a=a, b=b).double()


def test_seadlif_is_the_papers() -> None:
    neuron, currents = adlif(20.0, 50.0), drawn(T * 4, B, N, scale=9.0)
    alpha, beta = math.exp(-1 / 5), math.exp(-1 / 60)
    u, w, want = np.zeros((B, N)), np.zeros((B, N)), []
    for now in currents:
        hat = alpha * u + (1 - alpha) * (now - w)
        z = (hat > 1).astype(float)
        u = hat * (1 - z)
        w = beta * w + (1 - beta) * (20.0 * u + 50.0 * z)
        want.append(z)
    fired = np.stack(want)
    assert 0.05 < fired.mean() < 0.5
    got = run(neuron, currents)
    assert (got != fired).mean() < 1e-3  # its decays are rounded to single precision


@pytest.mark.parametrize("a", [10.0, 60.0, 120.0])
def test_seadlif_is_stable_where_plain_euler_steps_grow(a: float) -> None:
    neuron = adlif(a, 0.0)
    alpha, beta = float(neuron.beta), float(neuron.rho)
    zero = torch.zeros(1, 1, 1, dtype=torch.float64)
    blocks = neuron.blocks((zero, zero), zero, {})
    transition = np.array([[0.0 if x is None else float(x) for x in row] for row in blocks.A])
    size = np.abs(np.linalg.eigvals(transition))
    np.testing.assert_allclose(size, math.sqrt(alpha * beta), rtol=1e-9)
    plain = np.array([[alpha, alpha - 1], [(1 - beta) * a, beta]])
    assert (np.abs(np.linalg.eigvals(plain)).max() > 1) == (a > 60)


def test_seadlif_refuses_a_reset_after_the_decay() -> None:
    with pytest.raises(ValueError, match="decayed=False"):
        tt.SEAdLIF(tau=5, adaptation_tau=60, reset=tt.SoftReset(decayed=False))


@pytest.mark.parametrize("rows", [2 * N + 1, N - 1])
def test_rows_that_are_no_multiple_of_the_currents_raise(rows: int) -> None:
    layer = tt.Layer(nn.Linear(IN, rows), tt.MinGRU(), rule=tt.rules.drtrl())
    with pytest.raises(ValueError, match="multiple of 2"):
        layer(torch.ones(B, IN))


def test_positions_are_refused() -> None:
    layer = tt.Layer(nn.Linear(IN, 2 * N), tt.MinGRU(), rule=tt.rules.drtrl())
    with pytest.raises(ValueError, match="several currents"):
        layer(torch.ones(B, 5, IN))


def test_a_neuron_of_another_number_of_currents_can_replace_one() -> None:
    layer = tt.Layer(nn.Linear(IN, 2 * N), tt.LIF(half_life=5), rule=tt.rules.drtrl())
    assert layer(torch.ones(B, IN)).shape == (B, 2 * N)
    tt.reset(layer)
    layer.neuron = tt.LRU(N)
    assert layer(torch.ones(B, IN)).shape == (B, N)


@pytest.mark.parametrize("rule", [tt.rules.cascade(), tt.rules.drtrl(input="gain")])
def test_a_saved_state_goes_on_bit_for_bit(rule: tt.Rule) -> None:
    net = nn.Sequential(
        tt.Layer(nn.Linear(IN, 2 * N), tt.LRU(N)),
        tt.Layer(nn.Linear(N, N), tt.LIF(half_life=5)),
        tt.Layer(nn.Linear(N, 2), tt.LI(half_life=5)),
    )
    tt.set_rule(net, rule)
    xs = torch.from_numpy(drawn(12, B, IN)).float()
    tt.scan(net, xs[:6])
    saved, grads = tt.get_state(net), []
    for _ in range(2):
        net.zero_grad()
        tt.scan(net, xs[6:]).square().sum().backward()
        grads.append([p.grad.clone() for p in net.parameters()])
        tt.reset(net)
        tt.set_state(net, saved)
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    assert all(float(g.norm()) > 0 for g in grads[0])


def test_init_firing_scales_the_spiking_layers_above() -> None:
    net = nn.Sequential(
        tt.Layer(nn.Linear(IN, 2 * N), tt.LRU(N)), nn.Tanh(), tt.Layer(nn.Linear(N, 8), tt.LIF(half_life=5))
    )
    before = net[0].synapse.weight.clone()
    found = tt.init_firing(net, torch.from_numpy(drawn(40, 8, IN)).float())
    assert torch.equal(net[0].synapse.weight, before)
    assert 0.02 < found["2"].mean < 0.5
