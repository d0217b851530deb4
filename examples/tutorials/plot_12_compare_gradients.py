"""
How good is the gradient on your own network?
=============================================

Backpropagation through time computes the complete gradient; online rules omit a part of it. How much depends on the
network, the data and the loss, so for *your* network you have to measure it. That takes three lines:
``tracetorch.testing.gradient_audit`` runs a rule and BPTT on a copy of the network, in double precision, and
compares them parameter by parameter.

Replace the network, the inputs and the loss below by yours.
"""

import os
import textwrap

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import dress, label, legend, rule_styles
from tracetorch.testing import calibrate, gradient_audit, require_alive

short = bool(os.environ.get("TRACETORCH_SHORT"))
STEPS, BATCH = (12, 2) if short else (60, 4)
print(
    "Expect: every rule except `sltt` is exact for the readout, and approximate for the layers below it,"
)
print("most for the recurrent one.")
print("A longer window comes closer to BPTT; traces of what lies before it help if it is short.")

# %%
# Your network
# ------------
# Three spiking layers of different kinds under a leaky readout: adaptive neurons, neurons with learned half-lives,
# and neurons with dense recurrence. The targets are random, which is enough to compare gradients at the beginning of
# training.

torch.manual_seed(0)
net = nn.Sequential(
    tt.Layer(nn.Linear(20, 40), tt.ALIF(half_life=6, adaptation_half_life=30)),
    tt.Layer(nn.Linear(40, 40), tt.LIF(half_life=tt.Learnable(8.0, shape=(40,)))),
    tt.Layer(nn.Linear(40, 40), tt.LIF(half_life=8), recurrent=nn.Linear(40, 40, bias=False)),
    tt.Layer(nn.Linear(40, 3), tt.LI(half_life=10)),
)
xs = (torch.rand(STEPS, BATCH, 20) < 0.3).float()
targets = torch.randn(STEPS, BATCH, 3)


def loss(outputs, steps):
    """Return the squared error of outputs ``[k, B, 3]``; `steps` is their slice of time."""
    return ((outputs - targets[steps]) ** 2).sum()


print("inputs:", tuple(xs.shape), "targets:", tuple(targets.shape))


# %%
# Is it alive?
# ------------
# A layer that never fires has no gradient under any rule, and then every rule looks exact. ``calibrate`` scales the
# weights until each spiking layer fires in about a quarter of the steps and no unit is silent, and
# ``require_alive`` raises an error if one is.

calibrate(net, xs)
for name, firing in require_alive(net, xs).items():
    print(f"layer {name} {firing}")

# %%
# One audit
# ---------
# Printing an audit gives a table. The *relative error* is zero if the gradients are equal; the *cosine* is 1 if
# they have the same direction; the *norm ratio* compares their lengths.

print(gradient_audit(net, xs, loss, tt.rules.drtrl()))

# %%
# All rules
# ---------
# ``ottt`` carries one trace per input, which cannot represent adaptation or decays per neuron. It refuses such a
# network instead of giving a wrong gradient, and the message names the alternative.

try:
    gradient_audit(net, xs, loss, tt.rules.ottt())
except ValueError as error:
    print(textwrap.fill(f"ottt: {error}", 100))

RULES = {
    "sltt": tt.rules.sltt(),
    "trace": tt.rules.trace(),
    "ottt, approximate": tt.rules.ottt(approximate=True),
    "eprop": tt.rules.eprop(),
    "drtrl": tt.rules.drtrl(),
    "drtrl, gain": tt.rules.drtrl(input="gain"),
}
WEIGHTS = [f"{layer}.synapse.weight" for layer in range(4)]
cosines = {}
print(f"\n{'cosine with BPTT':20} layer 1  layer 2  layer 3  readout   norm ratio of layer 1")
for name, rule in RULES.items():
    rows = gradient_audit(net, xs, loss, rule).rows
    cosines[name] = [rows[weight].cosine for weight in WEIGHTS]
    line = "  ".join(f"{cosine:+7.3f}" for cosine in cosines[name])
    print(f"{name:20} {line}   {rows[WEIGHTS[0]].norm_ratio:.4f}")

# %%
# No layer is above the readout, so all rules with an exact trace give it the exact gradient. Each layer further
# down has one more memory above it, which rules with instantaneous credit ignore, and the dense recurrence of the
# third layer is credited within a unit only. ``eprop`` differs from ``drtrl`` only in the third layer, whose
# eligibility it filters as the readout does, and here more in length than in direction.
#
# The ignored terms also make the gradient too short: an input pulse affects a unit for as long as its memory lasts,
# but ``psi`` counts only the first step, so each layer above shortens the gradient by about a time constant.
# ``gain`` and ``trace`` count a constant current, and come closer. Adam ignores the length of a gradient; plain
# gradient descent does not, and needs a learning rate per layer.
#
# Windows
# -------
# ``tbptt`` backpropagates inside a window of k steps, and gives no credit before it. ``traced_bptt`` does the same
# and uses traces for everything before. Both equal BPTT if the window is as long as the sequence, and then need
# BPTT's memory. So the question is which window is long enough.

windows = [k for k in (1, 2, 4, 8, 15, 30, 60) if k <= STEPS]
by_window = {
    name: [gradient_audit(net, xs, loss, rule, window=k).rows[WEIGHTS[0]].cosine for k in windows]
    for name, rule in (("tbptt", tt.rules.tbptt()), ("traced_bptt", tt.rules.traced_bptt()))
}
print(f"\n{'first layer, window':20} " + "  ".join(f"{k:6d}" for k in windows))
for name, values in by_window.items():
    print(f"{name:20} " + "  ".join(f"{value:+6.3f}" for value in values))

# %%
# The two panels show the two tables. Read the left one from right to left: from the readout down through the
# layers.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.3), layout="constrained")
for ax in (left, right):
    dress(ax)
    ax.axhline(0, color="#767676", linewidth=0.8)
hatches = ("", "///", "...", "xx", "\\\\\\", "")
for index, ((name, values), look) in enumerate(
    zip(cosines.items(), rule_styles(list(cosines)), strict=True)
):
    places = torch.arange(4) + (index - 2.5) * 0.13
    left.bar(
        places,
        values,
        width=0.12,
        color=look["color"],
        hatch=hatches[index % 6],
        edgecolor="white",
        label=name,
    )
left.set_xticks(range(4), ["layer 1\nALIF", "layer 2\nLIF", "layer 3\nrecurrent", "readout"])
label(left, y="cosine with BPTT")
legend(left, loc="upper center", ncols=2)
left.set_ylim(0, 1.35)
for (name, values), look in zip(by_window.items(), rule_styles(list(by_window)), strict=True):
    right.plot(windows, values, label=name, **look)
right.set_xscale("log")
right.set_xticks(windows, [str(k) for k in windows])
right.minorticks_off()
label(right, x=f"window, steps of {STEPS}", y="cosine with BPTT, layer 1")
legend(right, loc="best")
plt.show()

# %%
# Try changing
# ------------
# - Add ``tt.rules.cascade()``, the default, to the rules; ``hops=1`` credits paths through a spike of the third layer.
# - ``tt.rules.suggest`` audits every rule, and takes the one with the least memory of those that are near the best.
# - One more layer: how fast does the first cosine fall?
# - The same audit after 100 updates.
#
# What usually goes wrong
# -----------------------
# - *A silent layer*: it has no gradient under any rule, so every rule looks exact. Call ``require_alive`` first.
# - *Float precision*: the audit computes in double precision on a copy; your own comparison should too.
# - *A loss that is a mean over steps*: the audit takes sums over the steps that it names.
#
# What to read next
# -----------------
# A low cosine in a layer that matters for your task is a reason to take ``cascade``, ``traced_bptt`` with a window,
# or ``bptt``. An audit at the initial weights is one sample; repeat it after some training. What each rule drops,
# and why, is in :doc:`/theory/exactness`; whether it matters for accuracy is in :doc:`/results`.
