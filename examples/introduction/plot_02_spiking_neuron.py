"""
2. What is a spiking neuron?
============================

A spiking neuron is a capacitor, a resistor, and a rule for when to fire. Louis Lapicque described this circuit in
1907 (translated by N. Brunel and M. van Rossum, 2007, https://doi.org/10.1007/s00422-007-0189-6), and most spiking
networks still use it. This lesson goes from his equation to a layer, and ends with a comparison to an LSTM; the two
are closer than you might expect.

**What to expect:** four checks of the library against the equations, and three figures. A few seconds.
"""

import math
import os

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import COLOURS, dress, label, legend

torch.manual_seed(0)
short = bool(os.environ.get("TRACETORCH_SHORT"))

# %%
# The circuit
# -----------
# The membrane of a cell holds charge, like a capacitor :math:`C`, and leaks, like a resistor :math:`R`. A current
# :math:`I` that flows in either charges the capacitor or escapes through the resistor:
#
# .. math:: C \frac{dV}{dt} = I - \frac{V}{R}
#    \qquad\Longleftrightarrow\qquad \tau \frac{dV}{dt} = -V + R I, \qquad \tau = R C.
#
# Without a current the voltage halves in every :math:`\tau \ln 2`, like the water in a bucket with a hole. Take 100
# MΩ and 200 pF.
R, C = 100e6, 200e-12
tau = R * C
print(f"time constant tau = {1e3 * tau:.0f} ms, half-life = {1e3 * tau * math.log(2):.1f} ms")

# %%
# In steps
# --------
# While the current is constant over a step of length :math:`\Delta`, the equation has an exact solution:
#
# .. math:: V_{t} = \beta V_{t-1} + (1 - \beta) R I_t, \qquad \beta = e^{-\Delta / \tau}.
#
# The number :math:`\beta` is all that remains of the circuit. Much code takes the coarser Euler step, :math:`\beta
# \approx 1 - \Delta/\tau`; the result then depends on the length of the steps.
current, duration = 0.2e-9, 0.1
times = torch.linspace(0, duration, 200, dtype=torch.float64)
solution = R * current * (1 - torch.exp(-times / tau))

figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
dress(ax)
ax.plot(1e3 * times, 1e3 * solution, color="#222222", label="the equation's solution")
step = 0.015
for name, beta, mark, colour in (
    ("exact step", math.exp(-step / tau), "o", COLOURS[0]),
    ("Euler step", 1 - step / tau, "s", COLOURS[1]),
):
    v, path = 0.0, [0.0]
    for _ in range(6):
        v = beta * v + (1 - beta) * R * current
        path.append(v)
    at = [step * i for i in range(7)]
    worst = max(abs(p - R * current * (1 - math.exp(-t / tau))) for p, t in zip(path, at, strict=True))
    print(f"{name} of 15 ms: off by {1e3 * worst:.2e} mV at most")
    ax.plot([1e3 * t for t in at], [1e3 * p for p in path], mark, color=colour, label=f"{name} of 15 ms")
label(ax, title="Charging a leaky membrane with 0.2 nA", x="time (ms)", y="voltage (mV)")
legend(ax, loc="lower right")
plt.show()

# %%
# The spike
# ---------
# When the voltage exceeds a threshold :math:`\theta`, the neuron fires: it sends a spike, a 1 among zeros, and its
# voltage is reset. With a hard reset to zero the time between two spikes, and so the firing rate, can be computed
# on paper (for a neuron without a refractory time):
#
# .. math:: f(I) = \Big( \tau \ln \frac{R I}{R I - \theta} \Big)^{-1} \quad \text{for } R I > \theta.
#
# We compare this with ``tt.LIF``, in steps of 0.1 ms: 12 neurons, each with its own constant current.
# ``normalized=True`` is the factor :math:`1 - \beta` from above. In this library currents and voltages have no
# unit, and the threshold is 1. ``neuron.step`` computes one time step from a state and a current; ``zeros`` and
# ``pack`` make the first state. You will not need them: a layer does this for you.
dt, steps = 1e-4, 3000 if short else 20000
currents = torch.linspace(0.8, 3.0, 12, dtype=torch.float64)
neuron = tt.LIF(tau=tau / dt, normalized=True, reset=tt.HardReset()).double()
state, spikes = neuron.pack(neuron.zeros(currents)), torch.zeros_like(currents)
with torch.no_grad():
    for _ in range(steps):
        state, z = neuron.step(state, currents)
        spikes += z
rates = spikes / (steps * dt)

fine = torch.linspace(1.001, 3.0, 300, dtype=torch.float64)
paper = 1 / (tau * torch.log(fine / (fine - 1)))

# %%
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
dress(ax)
ax.plot(
    torch.cat([torch.tensor([0.8, 1.0]), fine]),
    torch.cat([torch.zeros(2), paper]),
    color="#222222",
    label="f(I)",
)
ax.plot(currents, rates, "o", color=COLOURS[0], label="tt.LIF, spikes counted")
label(ax, title="Firing rate of the circuit", x="current, R·I / threshold", y="rate (spikes per second)")
legend(ax)
plt.show()
above = currents > 1
on_paper = 1 / (tau * torch.log(currents[above] / (currents[above] - 1)))
worst = (rates[above] - on_paper).abs().max()
print(f"largest difference of counted and computed rates: {worst:.2f} spikes per second")

# %%
# (The remaining difference comes from the steps: a spike can only occur at a multiple of 0.1 ms, which at 100
# spikes per second is up to 1 % of the interval.)
#
# Over many steps this is an activation function: zero below a point and rising above it, similar to a ReLU. Lesson
# 5 builds on that view.
#
# The layer
# ---------
# A layer is a *synapse*, an ordinary linear map, and then a row of neurons. The default neuron subtracts the threshold
# when it fires (a soft reset: what is above the threshold is not lost), and its input is not scaled:
#
# .. math:: v_t = \beta\,(v_{t-1} - \theta z_{t-1}) + W x_t + b, \qquad z_t = [\, v_t > \theta \,].
#
# Give time constants as ``half_life`` (steps), ``tau`` (steps) or ``beta``, whichever you prefer. Here is the whole
# layer, by hand and from the library:
layer = tt.Layer(nn.Linear(20, 50), tt.LIF(half_life=10))
xs = (torch.rand(100, 8, 20) < 0.3).float()  # time, batch, inputs

v, z, by_hand = torch.zeros(8, 50), torch.zeros(8, 50), []
beta = 0.5 ** (1 / 10)  # half is left after ten steps
with torch.no_grad():
    for x in xs:
        v = beta * (v - z) + layer.synapse(x)
        z = (v > 1).float()
        by_hand.append(z)
    tt.reset(layer)
    zs = tt.scan(layer, xs)
print(f"spikes that differ: {int((zs != torch.stack(by_hand)).sum())} of {int(zs.sum())}")

# %%
# Compared with an LSTM
# ---------------------
# .. figure:: /_static/figures/cells.svg
#    :alt: Three drawings. A circuit of a capacitor and a resistor. The LIF cell, whose membrane is multiplied by
#       beta and loses the threshold at a spike. The LSTM cell, whose memory is multiplied by a forget gate computed
#       from input and output.
#    :figclass: tt-figure
#
# In formulas:
#
# ====================  ==============================================  ===========================================
# \                     LSTM                                            LIF
# ====================  ==============================================  ===========================================
# memory                :math:`c_t = f_t c_{t-1} + i_t\,g_t`            :math:`v_t = \beta v_{t-1} + W x_t`
# forget gate           :math:`f_t = \sigma(\ldots)`, new every step    :math:`\beta`, one number (may be learned)
# input gate            :math:`i_t = \sigma(\ldots)`                    1
# output                :math:`h_t = o_t \tanh(c_t)`                    :math:`z_t = [v_t > \theta]`, one bit
# after the output      nothing                                         reset: :math:`v \leftarrow v - \theta z`
# mixing of units       all gates see :math:`h_{t-1}`                   none, unless you add recurrence
# ====================  ==============================================  ===========================================
#
# So :math:`\beta` is a constant forget gate. To check this, we fix the gates of an ``nn.LSTMCell`` and compare its
# memory with a leaky integrator, ``tt.LI``:
cell = nn.LSTMCell(20, 50).double()
with torch.no_grad():
    for p in cell.parameters():
        p.zero_()
    cell.bias_ih[:50] = 40.0  # input gate: sigmoid(40) is 1 to the last digit
    cell.bias_ih[50:100] = math.log(beta / (1 - beta))  # forget gate: beta
    cell.weight_ih[100:150] = torch.randn(50, 20, dtype=torch.float64)  # what is written into the memory
    integrator = tt.LI(beta=torch.tensor(beta, dtype=torch.float64))
    h = c = torch.zeros(8, 50, dtype=torch.float64)
    state, far = integrator.pack(integrator.zeros(c)), 0.0
    for x in xs.double():
        h, c = cell(x, (h, c))
        state, y = integrator.step(state, torch.tanh(x @ cell.weight_ih[100:150].T))
        far = max(far, float((y - c).abs().max()))
print(f"LSTM with fixed gates against tt.LI: largest difference {far:.1e}")

# %%
# The forget gate is constant, and units do not mix inside the neuron: these two properties make cheap traces
# possible (lessons 4 and 8). An LSTM has neither, which is one reason why it is trained with BPTT.
#
# The derivative of a step
# ------------------------
# A spike is a step function of the voltage: its derivative is zero, and infinite at the threshold. No gradient
# passes through it. So the backward pass uses a smooth replacement, the *surrogate derivative* :math:`\psi` (E.
# Neftci, H. Mostafa, F. Zenke, 2019, https://arxiv.org/abs/1901.09948). The spikes themselves do not change. All
# rules of this library and BPTT use the same surrogate, so comparisons between them are fair; they share the
# approximation that it is not the true derivative.
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
dress(ax)
distance = torch.linspace(-1.5, 1.5, 301)
for made, colour, dash in (
    (tt.surrogates.ATan(), COLOURS[0], "-"),
    (tt.surrogates.FastSigmoid(), COLOURS[1], "--"),
    (tt.surrogates.Triangle(), COLOURS[2], ":"),
):
    name = type(made).__name__ + (" (default)" if colour == COLOURS[0] else "")
    ax.plot(distance, made.derivative(distance), color=colour, linestyle=dash, label=name)
ax.step(distance, (distance > 0).float(), color="#222222", linewidth=0.9, label="the spike itself")
label(ax, title="Surrogate derivatives of a spike", x="voltage minus threshold", y="derivative; spike")
legend(ax)
plt.show()

# %%
# Summary
# -------
# - A leaky membrane takes one multiplication by :math:`\beta` and one addition per step, and that step is exact.
# - :math:`\beta` is a constant forget gate; a spike is a one-bit output with a reset.
# - All gradients, those of BPTT too, replace the derivative of the spike by a surrogate :math:`\psi`.
#
# Next: :doc:`plot_03_trace`.
