"""
Your own neuron: one that resonates
===================================

A custom neuron is written once, as its step: element-wise, from the state and the current to the next state and the
output. Every rule of the library then works with it, and so do the compiled kernels, because the derivatives are
taken from the step itself.

As an example we write the *resonate-and-fire* neuron (E. M. Izhikevich, `"Resonate-and-fire neurons"
<https://doi.org/10.1016/S0893-6080(01)00078-8>`_, 2001). A leaky integrate-and-fire neuron responds to the amount
of input; this one rings like a bell, and responds to input at the right frequency. The task is to distinguish four
rhythms under noise.
"""

import math
import os
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import COLOURS, dress, label, legend
from tracetorch.testing import NeuronError, check_neuron, conformance

short = bool(os.environ.get("TRACETORCH_SHORT"))
iterations = 3 if short else 200
print(
    "Expect: resonators that learn name the rhythm nearly always, frozen ones less often, and as many LIF"
)
print("neurons in less than half of the trials.")
if short:
    print("TRACETORCH_SHORT is set: far too few iterations to learn anything.")

# %%
# The step
# --------
# The state is a point ``(v, u)``. In each step it is rotated by the angle :math:`\omega`, shrinks by the factor
# :math:`\beta`, and is moved by the current:
#
# .. math::
#     v_t &= \beta\,(\cos\omega\; v_{t-1} - \sin\omega\; u_{t-1}) + I_t, \qquad z_t = [v_t > \theta] \\
#     u_t &= \beta\,(\sin\omega\; v_{t-1} + \cos\omega\; u_{t-1})
#
# ``tt.Neuron`` provides ``beta`` (from a half-life), ``threshold`` and ``surrogate``. The angle is our own
# parameter, one for each unit. It is learned too: the library makes traces for all parameters of a neuron.


class Resonator(tt.Neuron):
    """Turn, leak, fire: a damped oscillation that spikes when it swings high enough.

    Args:
        period: first periods of the units, in steps, ``[units]``.
        **options: what `tt.Neuron` takes: a decay, a threshold, a surrogate.
    """

    state = ("v", "u")

    def __init__(self, period, **options):
        super().__init__(**options)
        self.omega = nn.Parameter(2 * math.pi / period)

    def step(self, s, current):
        """Advance by one time step."""
        cos, sin = torch.cos(self.omega), torch.sin(self.omega)
        v = self.beta * (cos * s.v - sin * s.u) + current
        u = self.beta * (sin * s.v + cos * s.u)
        z = self.surrogate(v - self.threshold)
        return s.replace(v=v, u=u), z


# %%
# Check it
# --------
# ``check_neuron`` tests what every rule assumes: that the step is element-wise, deterministic, changes nothing in
# place, and starts from zero after a reset. If something is wrong, the error names it.


def make(units):
    """Return resonators for units of a shape, for the tests."""
    return Resonator(torch.linspace(6.0, 30.0, math.prod(units)).reshape(units), half_life=12)


check_neuron(make((5,)))
print("check_neuron: the resonator is what the rules expect")


class Mixing(Resonator):
    """Make a typical mistake: subtract the mean over all units."""

    def step(self, s, current):
        """Advance by one time step, wrongly."""
        return super().step(s, current - current.mean(-1, keepdim=True))


try:
    check_neuron(Mixing(torch.full((5,), 8.0), half_life=12))
except NeuronError as error:
    print(f"check_neuron: {error}")

# %%
# The library's table of what is exact and what is not can be run for any neuron. Each case runs a rule and compares
# its gradient with backpropagation through time in double precision. It claims either that they are equal to within
# 1e-10 or that they differ.

cases = conformance.for_neuron(make, name="resonator")
chosen = cases[:: len(cases) // 4] if short else cases
failures = [failure for case in chosen for failure in conformance.run_case(case).failures]
print(f"conformance: {len(chosen)} cases ran, {len(failures)} failed")

# %%
# The task
# --------
# One channel carries an oscillation with a period of 8, 12, 18 or 27 steps, a random phase, and noise of about the
# same size as the signal. Its mean is zero: what matters is *when*, not *how much*.

PERIODS, STEPS = torch.tensor([8.0, 12.0, 18.0, 27.0]), 100


def draw(size, generator):
    """Return currents ``[100, size, 1]`` and which rhythm each is, ``[size]``."""
    y = torch.randint(4, (size,), generator=generator)
    phase = 2 * math.pi * torch.rand(size, generator=generator)
    clean = torch.sin(2 * math.pi * torch.arange(STEPS)[:, None] / PERIODS[y] + phase)
    return (clean + torch.randn(STEPS, size, generator=generator)).unsqueeze(-1), y


x, y = draw(32, torch.Generator().manual_seed(0))
print("a batch:", tuple(x.shape), "labels:", tuple(y.shape))


# %%
# Train
# -----
# Four networks of the same size. The resonators' initial periods lie between 13 and 17 steps, so that none fits the
# fastest and the slowest rhythm: they have to be learned. The rule ``drtrl`` carries a full eligibility, which is
# exact within a layer for any neuron. The rule ``trace`` multiplies an *averaged* input and an averaged
# sensitivity; its gradients of biases and neuron parameters, such as the angles, are exact. The controls are
# resonators whose layer is frozen, and LIF neurons that learn weights and half-lives.


def network(neuron):
    """Build one input, 48 neurons, four leaky integrators."""
    torch.manual_seed(0)
    return nn.Sequential(
        tt.Layer(nn.Linear(1, 48), neuron), tt.Layer(nn.Linear(48, 4), tt.LI(half_life=40))
    )


# %%
# The accuracy on 500 new trials is taken every 25 iterations.


def train(net, rule):
    """Train a network by a rule; return its accuracy on new trials over the iterations."""
    tt.set_rule(net, rule)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    generator, history = torch.Generator().manual_seed(1), []
    for iteration in range(iterations):
        x, y = draw(32, generator)
        tt.reset(net)
        loss = nn.functional.cross_entropy(tt.scan(net, x, out="last"), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if iteration % 25 == 24 or iteration + 1 == iterations:
            x, y = draw(500, torch.Generator().manual_seed(2))
            tt.reset(net)
            with torch.no_grad():
                right = tt.scan(net, x, out="last").argmax(-1) == y
            history.append((iteration + 1, 100 * right.float().mean().item()))
            tt.reset(net)
    return history


# %%
# The four networks:
periods = torch.linspace(13.0, 17.0, 48)
nets = {
    "resonators, drtrl": (network(Resonator(periods, half_life=12)), tt.rules.drtrl()),
    "resonators, trace": (network(Resonator(periods, half_life=12)), tt.rules.trace()),
    "resonators, frozen": (network(Resonator(periods, half_life=12)), tt.rules.drtrl()),
    "LIF, drtrl": (network(tt.LIF(half_life=tt.Learnable(12.0, shape=(48,)))), tt.rules.drtrl()),
}
nets["resonators, frozen"][0][0].requires_grad_(False)
histories = {}
for name, (net, rule) in nets.items():
    start = time.perf_counter()
    histories[name] = train(net, rule)
    seconds = time.perf_counter() - start
    print(f"{name:20} {histories[name][-1][1]:5.1f} % right, {seconds:.0f} s (chance: 25 %)")

# %%
# What it learned
# ---------------
# The middle panel shows the units' periods after learning, sorted, against the band in which they began; the dashed
# lines are the four rhythms. The right one shows the response of one trained unit to a single pulse: a damped
# oscillation, which a leaky integrator cannot produce.

resonator = nets["resonators, trace"][0][0].neuron

# %%
figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.0), layout="constrained")
for ax in axes:
    dress(ax)
for (name, history), colour in zip(histories.items(), COLOURS, strict=False):
    axes[0].plot(*zip(*history, strict=True), color=colour, marker="o", markersize=3, label=name)
axes[0].axhline(25, color="#767676", linewidth=0.8)
axes[0].set_ylim(0, 102)
legend(axes[0], loc="lower right")
label(axes[0], x="iteration", y="right answers, %")
axes[1].axhspan(13, 17, color="#E6E6E6", label="before")
for i, rule in enumerate(("drtrl", "trace")):
    omega = nets[f"resonators, {rule}"][0][0].neuron.omega.detach()
    axes[1].plot((2 * math.pi / omega.abs()).sort().values, ".", color=COLOURS[i], label=f"after, {rule}")
for period in PERIODS.tolist():
    axes[1].axhline(period, color="#767676", linewidth=0.6, linestyle=(0, (4, 3)))
legend(axes[1], loc="upper left")
label(axes[1], x="unit, sorted", y="period, steps")
s, ringing = resonator.pack(resonator.zeros(torch.zeros(1, 48))), []
with torch.no_grad():
    for t in range(60):
        s, _ = resonator.step(s, torch.full((1, 48), float(t == 0)))
        ringing.append(s.v[0, 24])
axes[2].plot(torch.stack(ringing), color=COLOURS[0])
label(axes[2], x="step after a pulse", y="v of one unit")
plt.show()

# %%
# Try changing
# ------------
# - Start all periods at 10: which rhythms are learned first?
# - ``reset=``: let a spike set ``v`` to zero, and run ``check_neuron`` again.
# - Periods that differ by 10 %: where does the network fail?
#
# What usually goes wrong
# -----------------------
# - *Units mix inside the step*: a mean over units gives wrong gradients without an error. ``check_neuron`` finds it.
# - *A state changed in place*: return ``s.replace(...)``.
# - *A parameter without a trace*: assign an ``nn.Parameter`` in ``__init__``, not a tensor.
#
# What to read next
# -----------------
# The library compiles the step of this neuron as it does that of a built-in one (``neuron.lowered()`` shows how); a
# step with an operation that cannot be compiled runs in PyTorch, which is slower. From the formula one would not
# expect ``trace`` to do as well as the exact rule, since the average of an oscillation is close to zero. But this
# layer has one input, so its 48 weights have little to learn, and the angles get exact gradients. The
# :doc:`reference </reference/index>` lists the neurons with their formulas; :doc:`/theory/common` shows what the
# rules derive from a step.
