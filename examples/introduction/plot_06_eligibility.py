"""
6. Eligibility and e-prop
=========================

The averaged rule multiplies two averages. To keep track of what happened *together*, one must multiply first and
average afterwards, which takes one number per synapse: its eligibility. The idea comes from neuroscience; e-prop
turned it into a learning rule for networks (G. Bellec et al., "A solution to the learning dilemma for recurrent
networks of spiking neurons", 2020, https://doi.org/10.1038/s41467-020-17236-y).

**What to expect:** a figure of an eligibility that outlives its membrane by far, a filter without which the gradient
is wrong, and a figure of what recurrence costs. About 15 seconds.
"""

import math
import os

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import COLOURS, dress, label, legend
from tracetorch.testing import (
    Cuts,
    agreement,
    bptt,
    calibrate,
    gradient_audit,
    rule_gradients,
    unit_blocks,
)

short = bool(os.environ.get("TRACETORCH_SHORT"))
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)

# %%
# Three factors
# -------------
# A synapse that was active just before its neuron came near the threshold *may* have contributed. It keeps a
# fading mark. When a signal arrives that tells whether the outcome was good, the marked synapses change:
#
# .. math:: \Delta w_{ji} \;\propto\; \underbrace{L_j}_{\text{learning signal}} \times
#           \underbrace{e_{ji}}_{\text{eligibility}}
#
# where :math:`e_{ji}` is the presynaptic trace times how near neuron :math:`j` was to firing.
#
# Reinforcement learning has the same object in TD(λ), where a reward is multiplied by the trace of the states that
# led to it. Here the mark is the recursion of lesson 4, :math:`E_t = A_t E_{t-1} + B_t x_t` and :math:`e_t = D_t
# E_{t-1} + \psi_t x_t`, which is the exact derivative of one neuron's state with respect to one of its weights.
#
# .. figure:: /_static/figures/rule_eprop.svg
#    :alt: A layer under the rule eprop. Carried is an eligibility for each weight and its filtered form. The error
#       times the filtered eligibility is the gradient.
#    :figclass: tt-figure
#
# An eligibility with a long tail
# -------------------------------
# An adaptive neuron (``tt.ALIF``) has a second state: each spike raises its threshold, and that fades slowly. The
# neuron below receives one spike through the synapse that we watch, at step 40, and noise through another. Its
# membrane forgets with a half-life of 10 steps, its adaptation with 200.
bump = tt.surrogates.Triangle(
    0.3, width=0.5
)  # the e-prop paper's: zero where the neuron is far from its threshold
neuron = tt.ALIF(half_life=10, adaptation_half_life=200, adaptation=0.05, surrogate=bump)
steps, at = 360 if short else 600, 40
current = torch.rand(steps) * 0.2
watched = torch.zeros(steps)
watched[at] = 1.0
state = neuron.pack(neuron.zeros(torch.zeros(1)))
E, history = torch.zeros(2), []
with torch.no_grad():
    for x, noise in zip(watched, current, strict=True):
        drive = (0.4 * x + noise).reshape(1)
        block = unit_blocks(neuron, tuple(state), drive)
        e = block.D[0] @ E + block.psi[0] * x
        E = block.A[0] @ E + block.B[0] * x
        state, z = neuron.step(state, drive)
        history.append(torch.stack([z[0], E[0], E[1], e]))
z, by_v, by_a, e = torch.stack(history).T

# %%
figure, axes = plt.subplots(
    3, 1, figsize=(7, 5), sharex=True, height_ratios=[0.6, 2, 2], layout="constrained"
)
for ax in axes:
    dress(ax)
axes[0].vlines(z.nonzero().flatten(), 0, 1, color="#222222", linewidth=0.9)
axes[0].axvline(at, color=COLOURS[1], linewidth=2)
axes[0].set_yticks([])
axes[1].plot(by_v, color=COLOURS[0], label="of the membrane, half-life 10")
axes[1].plot(by_a, color=COLOURS[1], linestyle="--", label="of the adaptation, half-life 200")
axes[2].plot(e, color=COLOURS[2], linewidth=0.9)
label(axes[0], title="One input spike (orange) among the neuron's own", y="spikes")
label(axes[1], title="What is carried, E: derivatives of the states with respect to the weight", y="E")
label(axes[2], title="What the error signal is multiplied by, e", x="time step", y="e")
legend(axes[1], loc="upper right")
plt.show()
for after in (10, 100, 300):
    print(
        f"{after:3d} steps after the input: E of the membrane {by_v[at + after]:.1e}, of the adaptation",
        end=" ",
    )
    print(f"{by_a[at + after]:.1e}")

# %%
# So in a neuron with a slow state a weight can learn from what came long before, without a recording. The tail is
# shorter than the adaptation's half-life of 200 steps: each time the neuron comes near its threshold, a slightly
# higher adaptation makes the next spike slightly less likely, and so corrects itself. This coupling is in
# :math:`A_t`, and it differs between neurons; a single trace per input could not represent it.
#
# The readout remembers too
# -------------------------
# Between the spikes and the loss there is usually a leaky readout, :math:`y_t = \kappa y_{t-1} + V z_t`. A spike
# then changes the outputs of later steps too. e-prop filters the eligibility with the same decay, :math:`\bar e_t =
# \kappa \bar e_{t-1} + e_t`, and then the gradient of a layer that feeds the readout is complete. Without the
# filter it is not. ``drtrl()`` is the same rule without it:
T, B, INPUTS, UNITS, OUT = 40, 4, 12, 20, 3
xs = torch.bernoulli(torch.full((T, B, INPUTS), 0.3))
targets = torch.sin(2 * math.pi * (torch.arange(T)[:, None, None] / 20 + torch.rand(1, B, OUT)))


def loss(ys: torch.Tensor, steps: slice) -> torch.Tensor:
    return 0.5 * ((ys - targets[steps]) ** 2).sum()


def network(neuron: tt.Neuron, ring: nn.Module | None = None) -> nn.Sequential:
    hidden = tt.Layer(nn.Linear(INPUTS, UNITS), neuron, recurrent=ring)
    net = nn.Sequential(hidden, tt.Layer(nn.Linear(UNITS, OUT), tt.LI(half_life=10, normalized=True)))
    calibrate(net, xs)  # scale the input weights until about a quarter of the units fires at each step
    return net


for neuron in (tt.LIF(half_life=10), tt.ALIF(half_life=10, adaptation_half_life=50, adaptation=0.2)):
    net = network(neuron)
    for name, rule in (("eprop()", tt.rules.eprop()), ("drtrl(), no filter", tt.rules.drtrl())):
        row = gradient_audit(net, xs, loss, rule, window=1).rows["0.synapse.weight"]
        told = f"relative error {row.relative_error:.1e}, cosine {row.cosine:.3f}"
        print(f"{type(neuron).__name__:4} under {name:18}: {told}")

# %%
# ``eprop()`` takes :math:`\kappa` from the readout that follows; ``eprop(kappa=...)`` sets it.
#
# Recurrence, and what e-prop leaves out
# --------------------------------------
# In a layer with dense recurrent weights a spike of one neuron changes the others, which change it back. Full
# real-time recurrent learning would carry each weight's effect on *every* neuron, :math:`n^3` numbers. e-prop
# carries the effect on the weight's own neuron and drops the paths through the others. This equals BPTT with the
# recurrent spikes detached. How far it is from the complete gradient depends on the strength of the loop: the
# recurrent weights times the surrogate derivatives. The e-prop paper's surrogate is small (0.3 at the threshold);
# this library's default is 1 there.
strengths, seeds = ((0.0, 1.0), range(2)) if short else ((0.0, 0.25, 0.5, 1.0, 1.5), range(6))
cosines: dict[str, list[list[float]]] = {}
for surrogate in (tt.surrogates.Triangle(), tt.surrogates.ATan()):
    rows = cosines[type(surrogate).__name__] = []
    for strength in strengths:
        row = []
        for seed in seeds:
            torch.manual_seed(seed)
            ring = nn.Linear(UNITS, UNITS, bias=False)
            nn.init.normal_(ring.weight, std=strength / UNITS**0.5)
            net = network(tt.LIF(half_life=10, surrogate=surrogate), ring)
            whole, cut = (bptt(net, xs, loss, cuts=c).grads for c in (None, Cuts(recurrent=True)))
            found = rule_gradients(net, xs, loss, tt.rules.eprop(), splits=[1] * T).grads
            row.append(agreement(found["0.recurrent.weight"], whole["0.recurrent.weight"]).cosine)
            off = agreement(found["0.recurrent.weight"], cut["0.recurrent.weight"]).relative_error
            if off > 1e-10:
                raise AssertionError(
                    f"e-prop is not autograd with the recurrent spikes detached: off by {off:.1e}"
                )
        rows.append(row)
    print(f"{type(surrogate).__name__:8}: cosines " + ", ".join(f"{sum(r) / len(r):.3f}" for r in rows))

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
dress(ax)
for (name, rows), colour, mark in zip(cosines.items(), COLOURS, "os", strict=False):
    for strength, row in zip(strengths, rows, strict=True):
        ax.plot([strength] * len(row), row, mark, color=colour, alpha=0.35, markersize=4)
    means = [sum(row) / len(row) for row in rows]
    ax.plot(strengths, means, color=colour, marker=mark, label=f"{name}: mean, and each seed pale")
label(
    ax,
    title="e-prop drops the paths through other neurons",
    x="recurrent weights: standard deviation × √units",
    y="cosine to BPTT,\nrecurrent weights",
)
legend(ax, loc="lower left")
plt.show()
torch.set_default_dtype(torch.float32)  # as it was, for whatever runs next in this process

# %%
# With zero recurrent weights the gradient is exact, because no signal can yet travel through other neurons. The
# check in the loop compares e-prop with autograd with the recurrent spikes detached (``Cuts(recurrent=True)``), to
# ten digits. If the loop is strong, BPTT's gradient is a sum of many growing products; whether BPTT gives the
# better direction there is a separate question, e-prop does not compute it.
#
# Where the learning signal comes from
# ------------------------------------
# :math:`L_j` is sent back through the readout's own weights, a symmetry that no brain has. Fixed random weights
# work surprisingly well (T. Lillicrap et al., 2016, https://doi.org/10.1038/ncomms13276). They take one argument:
# ``tt.rules.eprop(feedback=tt.feedback.RandomFeedback())``.
#
# The library's e-prop repeats the losses of both published examples to about 3e-12 (relative, in double precision):
# ``python -m benchmarks.reproduce eprop-regression`` and ``eprop-classification``.
#
# Summary
# -------
# - An eligibility is the exact derivative of a neuron's state with respect to one weight: one number per weight,
#   state and sample.
# - e-prop filters it as the readout does. It is exact for a layer that feeds a leaky readout, also with adaptive
#   neurons.
# - It drops the paths through recurrent spikes, and, in deep networks, what lesson 9 shows. ``eprop(hops=1)`` credits
#   the paths through one recurrent spike, ``rtrl()`` all of them, and ``uoro()`` all in the mean.
#
# The mathematics in full: :doc:`/theory/eprop`.
#
# Next: :doc:`plot_07_ottt_and_truncation`, which stores one number per input if that is enough.
