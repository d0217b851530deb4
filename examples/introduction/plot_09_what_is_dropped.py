"""
9. What is exact, and what is dropped
=====================================

For one layer there are exact online gradients, as lessons 4 to 8 showed. For several layers most rules omit a term.
This lesson shows which one, and measures how much it matters at each depth for each kind of rule. The next lesson
explains the rule that carries this term forward, ``cascade()``, the library's default.

**What to expect:** a check of the one case in which two layers are exact under instantaneous credit, and two figures of
gradient agreement by depth: one that favours averages, one that does not. About a minute.
"""

import math
import os
from collections.abc import Callable

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import COLOURS, dress, label, legend, rule_styles
from tracetorch.testing import calibrate, gradient_audit

short = bool(os.environ.get("TRACETORCH_SHORT"))
torch.set_default_dtype(torch.float64)
T, B, INPUTS, UNITS, OUT = 30 if short else 60, 6, 16, 20, 3

# %%
# The missing term
# ----------------
# Take two layers. A weight of the lower one contributed to a spike at step :math:`k`. The spike charged the
# *membrane of the upper layer*, which stored it and fired ten steps later. The eligibility of the lower weight
# describes its own neuron only: how the weight moved the spike at :math:`k`. The effect of this spike on the state
# of the other layer is in no trace. So credit is *instantaneous*: the present error is multiplied by the present
# eligibility.
#
# .. math:: \frac{dL}{dW^{(1)}} = \sum_t \Big(
#           \underbrace{J_{tt}^\top L_t \, e^{(1)}_t}_{\text{kept: now}}
#           + \underbrace{\sum_{k < t} J_{tk}^\top L_t \, e^{(1)}_k}_{\text{dropped}} \Big),
#           \qquad J_{tk} = \frac{d z^{(2)}_t}{d z^{(1)}_k}
#
# .. figure:: /_static/figures/missing.svg
#    :alt: A spike of the lower layer at step k charges the upper layer's membrane, which remembers it and fires at
#       step t. The error of step t reaches the lower layer at step t only; the path back to step k, through the upper
#       membrane, is crossed out.
#    :figclass: tt-figure
#
# with :math:`e^{(1)}_k` the eligibility of the lower layer at step :math:`k`, as in lesson 6, and
# :math:`J_{tt} = \psi^{(2)}_t W^{(2)}`.
#
# Its size depends on how long the upper layer remembers. Without memory there, nothing is lost. We vary the upper
# layer's half-life and compare the lower layer's gradient under ``drtrl()`` with BPTT:
lives, seeds = ((0.05, 1, 10), range(1)) if short else ((0.05, 0.5, 1, 2, 5, 10, 20), range(3))
errors = []
for life in lives:
    found = []
    for seed in seeds:
        torch.manual_seed(seed)
        xs = torch.bernoulli(torch.full((T, B, INPUTS), 0.3))
        wanted = torch.bernoulli(torch.full((T, B, UNITS), 0.2))
        net = nn.Sequential(
            tt.Layer(nn.Linear(INPUTS, UNITS), tt.LIF(half_life=10)),
            tt.Layer(nn.Linear(UNITS, UNITS), tt.LIF(half_life=life)),
        )
        calibrate(net, xs)
        rows = gradient_audit(
            net,
            xs,
            lambda ys, steps, w=wanted: 0.5 * ((ys - w[steps]) ** 2).sum(),
            tt.rules.drtrl(),
            window=1,
        ).rows
        found.append(
            [rows[f"{i}.synapse.weight"].relative_error for i in (0, 1)]
            + [rows["0.synapse.weight"].cosine]
        )
    lower, upper, cosine = torch.tensor(found).mean(0).tolist()
    errors.append(lower)
    print(f"upper half-life {life:5.2f}: upper layer's error {upper:.0e}, ", end="")
    print(f"lower layer's {lower:.1e}, cosine {cosine:.3f}")

# %%
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
dress(ax)
ax.semilogx(lives, errors, color=COLOURS[0], marker="o")
ax.set_xticks(lives, [str(x) for x in lives])
ax.minorticks_off()
ax.set_ylim(0, 1.05)
label(
    ax,
    title="What the lower layer loses depends on the upper layer's memory",
    x="half-life of the upper layer (steps)",
    y="relative error of dL/dW,\nlower layer",
)
plt.show()

# %%
# At a half-life of 0.05 steps the upper layer has forgotten everything by the next step (a factor of 2⁻²⁰ is left),
# and the lower layer is near exact. Note that error and cosine differ: most of what is lost here is the length of
# the gradient, which Adam ignores.
#
# Cosines by depth
# ----------------
# Four hidden layers and a leaky readout, all with half-lives of 10 steps; every layer made to fire in about a quarter
# of the steps. All rules work one step at a time except ``traced_bptt()`` and ``tbptt()``, which have windows of 10.
# ``cascade()`` carries the missing term forward; lesson 10 explains it.
#
# In the left figure the loss comes at every step and its targets are slow waves; in the right one it comes once, at
# the end.
rules = {
    "cascade()": (tt.rules.cascade(), 1),
    "trace()": (tt.rules.trace(), 1),
    "eprop()": (tt.rules.eprop(), 1),
    "ottt()": (tt.rules.ottt(), 1),
    "traced_bptt(), 10 steps": (tt.rules.traced_bptt(), 10),
    "tbptt(), 10 steps": (tt.rules.tbptt(), 10),
    "sltt()": (tt.rules.sltt(), 1),
}
HIDDEN, seeds = (2, range(1)) if short else (4, range(3))


def network(outputs: int) -> nn.Sequential:
    sizes = [INPUTS] + [UNITS] * HIDDEN
    stack = [tt.Layer(nn.Linear(i, UNITS), tt.LIF(half_life=10)) for i in sizes[:-1]]
    readout = tt.Layer(nn.Linear(UNITS, outputs), tt.LI(half_life=10, normalized=True))
    return nn.Sequential(*stack, readout)


def waves() -> tuple[torch.Tensor, Callable, int]:
    """Draw inputs [T, B, 16], a loss with slow waves as targets, and the number of outputs."""
    xs, phase = torch.bernoulli(torch.full((T, B, INPUTS), 0.3)), torch.rand(1, B, OUT)
    wanted = torch.sin(2 * math.pi * (torch.arange(T)[:, None, None] / 20 + phase))
    return xs, lambda ys, steps: 0.5 * ((ys - wanted[steps]) ** 2).sum(), OUT


def by_depth(draw: Callable, name: str, out: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and spread over the seeds of the cosine to BPTT, readout first."""
    found, (rule, window) = [], rules[name]
    for seed in seeds:
        torch.manual_seed(seed)
        xs, loss, outputs = draw()
        net = network(outputs)
        calibrate(net, xs)
        rows = gradient_audit(net, xs, loss, rule, window=window, out=out).rows
        found.append([rows[f"{i}.synapse.weight"].cosine for i in reversed(range(HIDDEN + 1))])
    mean, spread = torch.tensor(found).mean(0), torch.tensor(found).std(0, correction=0)
    print(f"{name:24} " + "  ".join(f"{m:+.2f} ± {s:.2f}" for m, s in zip(mean, spread, strict=True)))
    return mean, spread


# %%
print("cosine to BPTT, readout first, then hidden layers from the top down")
every, last = {}, {}
print("\na loss at every step")
for name in rules:
    every[name] = by_depth(waves, name, "all")
print("\none loss at the end")
for name in rules:
    last[name] = by_depth(waves, name, "last")

# %%
figure, axes = plt.subplots(1, 2, figsize=(8.4, 4), sharey=True, layout="constrained")


def draw_panels(axes, panels, title, low):
    """Draw one line for each rule; a rule looks the same in every figure."""
    looks = dict(zip(rules, rule_styles(list(rules)), strict=True))
    for ax, (words, found) in zip(axes, panels.items(), strict=True):
        dress(ax)
        for name, (mean, spread) in found.items():
            ax.errorbar(range(HIDDEN + 1), mean, spread, elinewidth=0.8, label=name, **looks[name])
        ax.set_ylim(low, 1.04)
        ax.set_xticks(range(HIDDEN + 1), ["readout", *(f"−{i}" for i in range(1, HIDDEN + 1))])
        label(ax, title=words, x="layer, counted from the readout")
    label(axes[0], y="cosine to BPTT\n(mean and spread of the seeds)")
    axes[0].figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    legend(axes[0], loc="lower left")


draw_panels(
    axes,
    {"A loss at every step": every, "One loss at the end": last},
    "Agreement with BPTT by depth, for a loss at every step and for one",
    low=0,
)
plt.show()

# %%
# How to read it:
#
# - The readout is exact for every rule except ``sltt()`` and ``tbptt()``. So is the layer below it for ``eprop()`` and
#   ``cascade()``, whose filter accounts for the readout's memory, and for no other.
# - From there on the instantaneous rules fade, layer by layer, and more if the loss comes once.
# - ``cascade()`` stays near 1: it drops only how the upper slopes and the lower eligibilities vary together in time.
# - ``trace()`` comes next here, though it is not exact for even one layer. What it sends down is the *averaged*
#   sensitivity, with all of the past in it; the others send the slope of the present step.
# - Windows help with their length, and traces of what came before them help a little more.
#
# When the order is the label
# ---------------------------
# The input above was noise with one mean. That flatters averages. So here are two tasks on the same network. In the
# first, one of two groups of inputs fires more, all the time. In the second, both fire equally often, and the label is
# which came *first*. One loss at the end.


def trials(kind: str, batch: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw inputs [T, B, 16] and labels [B], as many of each."""
    y, chance = torch.arange(batch) % 2, torch.full((T, batch, INPUTS), 0.05)
    for row in range(batch):
        first = slice(8 * int(y[row]), 8 * int(y[row]) + 8)
        other = slice(8 - 8 * int(y[row]), 16 - 8 * int(y[row]))
        chance[: T if kind == "rate" else T // 2, row, first] = 0.3
        if kind == "order":
            chance[T // 2 :, row, other] = 0.3
    return torch.bernoulli(chance), y


def which(kind: str) -> tuple[torch.Tensor, Callable, int]:
    """Draw inputs, a loss at the last step, and the number of outputs."""
    xs, y = trials(kind)
    return xs, lambda ys, steps: nn.functional.cross_entropy(ys[-1], y), 2


# %%
rates, orders = {}, {}
four = ("cascade()", "trace()", "eprop()", "traced_bptt(), 10 steps")
print("the label is which group fires: cosine to BPTT, readout first")
for name in four:
    rates[name] = by_depth(lambda: which("rate"), name, "last")
print("\nthe label is which group fires first")
for name in four:
    orders[name] = by_depth(lambda: which("order"), name, "last")

# %%
figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), sharey=True, layout="constrained")
draw_panels(
    axes,
    {"The label is which group fires": rates, "The label is which fires first": orders},
    "Agreement with BPTT by depth, for two kinds of label",
    low=None,
)
axes[1].axhline(0, color="#222222", linewidth=0.8)
plt.show()
torch.set_default_dtype(torch.float32)  # as it was, for whatever runs next in this process

# %%
# The left figure is like the ones before. In the right one three rules lose the direction at depth: four layers
# below the readout their mean cosines are below zero, with a large spread over the three seeds. Averages hardly
# represent what came first, and this label is only about that. ``cascade()`` stays at 0.98. A deep network whose
# label is the order of events needs ``cascade()``, ``bptt()``, or a window that covers what matters.
#
# And does it matter?
# -------------------
# A cosine is not an accuracy. On scikit-learn's digits, given row by row, with one loss at the end: mean (worst) of
# three seeds, in %, from :doc:`/results` (``python -m benchmarks.rules digits --rules cascade,trace,eprop,bptt
# --seeds 3``; ``digits:hidden_layers=4`` for four layers):
#
# ====================  ===============  ===============
# rule                  2 hidden layers  4 hidden layers
# ====================  ===============  ===============
# ``cascade()``         90.3 (89.7)      91.0 (90.6)
# ``bptt()``            90.1 (89.4)      90.6 (90.3)
# ``trace()``           87.2 (86.4)      82.1 (81.4)
# ``eprop()``           84.4 (82.2)      82.9 (81.9)
# frozen hidden layers  72.9 (70.3)      23.2 (19.7)
# ``sltt()``            23.9 (23.6)      30.6 (28.6)
# ====================  ===============  ===============
#
# The terms that ``trace()`` and ``eprop()`` drop cost 3 to 6 points in two layers and 8 in four; ``cascade()`` is as
# good as BPTT. Learning nothing in the hidden layers costs 17 points and more. Measure your own case:
# ``gradient_audit`` takes your network, your data and your loss, and prints the cosine of every parameter.
#
# In one table
# ------------
# The rules of these lessons; :doc:`/theory/index` has all.
#
# ================  =============================================  ================================================
# rule              exact (equal to BPTT) for                      drops
# ================  =============================================  ================================================
# ``bptt``          everything                                     nothing; memory grows with time
# ``traced_bptt``   one layer; any depth within one window         lower layers before the window
# ``tbptt``         one window from a reset                        all before the window
# ``drtrl``         one layer, every neuron                        upper layers' memory, dense recurrence
# ``eprop``         a layer that feeds a leaky readout             upper layers' memory, recurrent spikes' paths
# ``cascade``       a layer that feeds a leaky readout; two        covariance in time of upper slopes and lower
#                   layers under a readout without memory          eligibilities
# ``ottt``          one layer, shared decay, soft detached reset   upper layers' memory
# ``trace, rate``   constant input; biases for any input           covariance of input and sensitivity in time
# ``sltt``          neurons without memory                         all credit through time
# ================  =============================================  ================================================
#
# Each line is tested, together with a counter-example, in ``tests/conformance``.
#
# The mathematics in full: :doc:`/theory/exactness`.
#
# Next: :doc:`plot_10_credit_through_depth`.
