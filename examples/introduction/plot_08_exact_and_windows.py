"""
8. Exact eligibility, and windows
=================================

Real-time recurrent learning (RTRL) is exact and unaffordable; lesson 4 counted :math:`n^3` numbers. For units that
do not mix it costs one number per weight, and is exact for every neuron. This is ``drtrl()``. The second half of
the lesson combines both methods: BPTT inside a window, traces for everything before it.

**What to expect:** a list of neurons with errors below 1e-15 and a control that is far off; then a figure of what a
trace adds to a window, for one layer and for two. About 30 seconds.
"""

import os

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import dress, label, legend, rule_styles
from tracetorch.testing import calibrate, gradient_audit

torch.manual_seed(0)
short = bool(os.environ.get("TRACETORCH_SHORT"))
T, B, INPUTS, UNITS = 48, 3, 8, 10
xs = torch.bernoulli(torch.full((T, B, INPUTS), 0.3)) * (0.5 + torch.rand(T, B, INPUTS))
targets = torch.bernoulli(torch.full((T, B, UNITS), 0.2)).double()


def loss(zs: torch.Tensor, steps: slice) -> torch.Tensor:
    return 0.5 * ((zs - targets[steps]) ** 2).sum()


# %%
# Exact for every neuron
# ----------------------
# ``drtrl()`` carries :math:`E_t = A_t E_{t-1} + B_t x_t` with the true blocks of each step and unit (R. Williams,
# D. Zipser, 1989, https://doi.org/10.1162/neco.1989.1.2.270; for linear diagonal networks N. Zucchet et al., 2023,
# https://arxiv.org/abs/2305.15947). A neuron is written once, as its step, and the blocks are derived from it by
# automatic differentiation. So it also works for your own neurons. The last one of the list is an example: a damped
# oscillator with two coupled states.


class Resonator(tt.Neuron):
    state = ("v", "u")

    def step(self, s, current):
        v = self.beta * (0.95 * s.v - 0.3 * s.u) + current
        u = self.beta * (0.3 * s.v + 0.95 * s.u)
        z = self.surrogate(v - self.threshold)
        return s.replace(v=v - z.detach() * self.threshold, u=u), z


learned = tt.Learnable(torch.linspace(3.0, 40.0, UNITS))
neurons = {
    "LIF": tt.LIF(half_life=10),
    "LIF, hard reset with its gradient": tt.LIF(half_life=10, reset=tt.HardReset(gradient=True)),
    "LIF, learned decay per unit": tt.LIF(half_life=learned),
    "LIF, synaptic current": tt.SynapticLIF(half_life=10, synaptic_half_life=4),
    "adaptive LIF": tt.ALIF(half_life=10, adaptation_half_life=50, adaptation=tt.Learnable(0.2)),
    "LIF with recurrence to itself": tt.DiagonalRecurrent(tt.LIF(half_life=10), UNITS, init=0.2),
    "Resonator, from this page": Resonator(half_life=10),
}
print(f"{'one layer, a backward at every step':36} parameters  drtrl(): error  sltt(): error")
for name, neuron in neurons.items():
    layer = tt.Layer(nn.Linear(INPUTS, UNITS), neuron)
    calibrate(layer, xs)
    exact = gradient_audit(layer, xs, loss, tt.rules.drtrl(), window=1)
    control = gradient_audit(layer, xs, loss, tt.rules.sltt(), window=1)
    exact_error, control_error = exact.total.relative_error, control.total.relative_error
    print(f"{name:36} {len(exact.rows):10}  {exact_error:14.0e}  {control_error:13.2f}")

# %%
# The errors are rounding errors, over all parameters: weights, biases, decays, adaptation, recurrent weights. The
# control (``sltt``) ignores the past on purpose: if it also passed, the test would prove nothing.
#
# The cost is memory. Compare RTRL for a layer of 256 units that mix with the same for units that do not:
n, batch = 256, 32
print(f"units that mix:        {batch * n**3 * 4 / 1e9:8.2f} GB for {batch} samples")
print(f"units that do not:     {batch * n**2 * 4 / 1e6:8.2f} MB")
layer = tt.Layer(
    nn.Linear(n, n), neuron=tt.LIF(half_life=torch.linspace(3, 40, n)), rule=tt.rules.drtrl()
)
for _ in range(2):
    layer(torch.bernoulli(torch.full((batch, n), 0.1)))
held = sum(t.numel() * t.element_size() for t in tt.get_state(layer).values())
print(f"tt.Layer with drtrl(): {held / 1e6:8.2f} MB, measured, with state and bias")
print(f"BPTT, per step:        {batch * (n + n) * 4 / 1e6:8.2f} MB at least, for inputs and states")

# %%
# So eligibility may need more memory than BPTT: if the sequence is shorter than about half as many steps as there
# are units. On longer ones it needs less, and on an endless stream it is the only one of the two that works.
#
# Windows with a memory
# ---------------------
# BPTT inside a window is exact for everything in it, through all layers. A trace is exact for everything before it,
# within its layer. ``traced_bptt()`` combines both: at the window's first step the carried state is *attached* to
# its eligibility, so that the gradient which BPTT computes for this state is multiplied by the eligibility and
# added to the gradient of the weights.
#
# .. figure:: /_static/figures/rule_traced_bptt.svg
#    :alt: Four steps of a layer. The last two are inside the window, with errors going back from step to step.
#       Those before it are summarised by a trace of the state, into which the error goes at the start of the
#       window.
#    :figclass: tt-figure
#
# We compare with plain truncation on one layer and on two. Each window is followed by a backward pass.
windows = (1, 8, 48) if short else (1, 2, 4, 8, 16, 24, 48)
nets = {
    "one layer": nn.Sequential(tt.Layer(nn.Linear(INPUTS, UNITS), tt.LIF(half_life=10))),
    "two layers": nn.Sequential(
        tt.Layer(nn.Linear(INPUTS, UNITS), tt.LIF(half_life=10)),
        tt.Layer(nn.Linear(UNITS, UNITS), tt.LIF(half_life=10)),
    ),
}
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
for ax, (title, net) in zip(axes, nets.items(), strict=True):
    dress(ax)
    calibrate(net, xs)
    rules = (tt.rules.tbptt(), tt.rules.traced_bptt())
    for rule, look in zip(rules, rule_styles([rule.name for rule in rules]), strict=True):
        audits = [gradient_audit(net, xs, loss, rule, window=k) for k in windows]
        errors = [a.rows["0.synapse.weight"].relative_error for a in audits]
        ax.semilogx(windows, errors, label=f"{rule.name}()", **look)
        print(f"{title:10} {rule!s:12} first layer's error: " + ", ".join(f"{e:.1e}" for e in errors))
        if title == "two layers":
            last = max(a.rows["1.synapse.weight"].relative_error for a in audits)
            print(f"{'':23} second layer's greatest error: {last:.1e}")
    ax.set_xticks(windows, [str(k) for k in windows])
    ax.minorticks_off()
    label(ax, title=f"First of {title}" if title != "one layer" else "One layer", x="steps in a window")
label(axes[0], y="relative error of dL/dW")
figure.suptitle(
    "Truncated BPTT with and without traces, by length of the window", x=0.01, ha="left", fontsize=11
)
legend(axes[0], loc="center left")
plt.show()

# %%
# One layer is exact for every window, down to a single step. With two layers the upper one is exact, and the lower
# one is better than with plain truncation, but not exact until one window covers the sequence. The effect that a
# lower layer had, before the window, on the *state* of the upper one is in no trace. The next lesson is about that.
#
# Dense recurrence is the other limit, as for e-prop in lesson 6: outside a window, the effect of a neuron's spike
# on the others is dropped (``rtrl()`` keeps it, with :math:`n^3` numbers). Recurrence of a neuron to itself
# (``tt.DiagonalRecurrent``, above) is exact.
#
# Summary
# -------
# - Full eligibility is exact within a layer for every element-wise neuron and all its parameters.
# - It costs one number per weight, state and sample; if one trace per input is exact, the library stores only that.
# - ``traced_bptt()`` adds traces to a window. It removes truncation's error for one layer and lowers it for more.
#
# The mathematics in full: :doc:`/theory/drtrl` and :doc:`/theory/traced_bptt`.
#
# Next: :doc:`plot_09_what_is_dropped`.
