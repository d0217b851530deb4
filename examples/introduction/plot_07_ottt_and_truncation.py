"""
7. One trace per input, and truncation
======================================

Long sequences are usually cut into windows: truncated BPTT. This lesson measures what a cut costs, and compares it
with a rule that works one step at a time and, in the same network, loses nothing: ``ottt()``, online training
through time (M. Xiao et al., 2022, https://arxiv.org/abs/2210.04195).

**What to expect:** a figure of the error of truncation against the length of the window, and one of what networks learn
of a cue, the longer ago it was. About 30 seconds.
"""

import os
import textwrap

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import COLOURS, dress, label, legend, rule_styles
from tracetorch.testing import calibrate, gradient_audit

torch.manual_seed(0)
short = bool(os.environ.get("TRACETORCH_SHORT"))

# %%
# One trace serves all units
# --------------------------
# In lesson 4 the trace of a weight was the trace of its input, with the membrane's decay. If all units of a layer
# share the decay, they can share the trace:
#
# .. math:: \hat x_t = \beta\, \hat x_{t-1} + x_t, \qquad \Delta W = \sum_t (L_t \odot \psi_t) \otimes \hat x_t .
#
# .. figure:: /_static/figures/rule_ottt.svg
#    :alt: A layer under the rule ottt. Carried is one trace for each input. The error times the surrogate
#       derivative, times the trace, is the gradient.
#    :figclass: tt-figure
#
# Compare this with :math:`\Delta W = \sum_t (L_t \odot \psi_t) \otimes x_t`, the gradient of a network without
# memory: the only addition is a running sum. The rest of a full eligibility would be redundant here. How much is
# carried, for 256 inputs, 256 units and 32 samples:
for name in ("sltt", "trace", "ottt", "drtrl"):
    for kind, life in (("one decay for all", 20.0), ("a decay per unit", torch.linspace(5, 50, 256))):
        layer = tt.Layer(nn.Linear(256, 256), tt.LIF(half_life=life))
        if name == "ottt" and kind != "one decay for all":
            continue  # refuses; see below
        if name == "trace":
            tt.set_rule(layer, tt.rules.trace(decay=0.95))  # there is no readout here to take it from
        else:
            tt.set_rule(layer, getattr(tt.rules, name)())
        for _ in range(3):
            layer(torch.bernoulli(torch.full((32, 256), 0.1)))
        held = sum(t.numel() * t.element_size() for t in tt.get_state(layer).values())
        print(f"{name:6} {kind:18} state and traces: {held / 1024:9.1f} KiB")

# %%
# If the decay is shared, ``drtrl()`` detects that one trace per input is exact, and stores only that.
#
# What a cut costs
# ----------------
# Truncated BPTT (R. Williams, J. Peng, 1990, https://doi.org/10.1162/neco.1990.2.4.490) detaches the state every
# :math:`k` steps. Its extreme, :math:`k = 1`, is ``sltt()``, spatial learning through time, which ignores the past
# (Q. Meng et al., 2023, https://arxiv.org/abs/2302.14311). We take one layer, a loss at every step, and measure the
# error of the gradient for windows from 1 to 128 steps.
T, B, INPUTS, UNITS = 128, 4, 12, 16
xs = torch.bernoulli(torch.full((T, B, INPUTS), 0.2))
targets = torch.bernoulli(torch.full((T, B, UNITS), 0.2)).double()


def loss(zs: torch.Tensor, steps: slice) -> torch.Tensor:
    return 0.5 * ((zs - targets[steps]) ** 2).sum()


windows = (1, 4, 16, 64, 128) if short else (1, 2, 4, 8, 16, 32, 64, 128)
errors, exact = {}, {}
for life in (5, 20, 80):
    layer = tt.Layer(nn.Linear(INPUTS, UNITS), tt.LIF(half_life=life))
    calibrate(layer, xs)
    cut = [
        gradient_audit(layer, xs, loss, tt.rules.tbptt(), window=k).rows["synapse.weight"]
        for k in windows
    ]
    errors[life] = [c.relative_error for c in cut]
    trace = gradient_audit(layer, xs, loss, tt.rules.ottt(), window=1).rows["synapse.weight"]
    exact[life] = trace.relative_error
    print(
        f"half-life {life:2d}: tbptt of 1 step is off by {errors[life][0]:.2f}, of 16 steps by", end=" "
    )
    print(f"{cut[windows.index(16)].relative_error:.2f}, ottt by {exact[life]:.0e}")

# %%
figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
dress(ax)
for life, colour, mark in zip(errors, COLOURS, "os^", strict=False):
    ax.semilogx(windows, errors[life], color=colour, marker=mark, label=f"tbptt, half-life {life}")
    ax.plot([1], [exact[life]], color=colour, marker=mark, markerfacecolor="none", markersize=9)
ax.annotate(
    "ottt(), one step at a time", (1.1, 0.01), (1.9, 0.15), arrowprops={"arrowstyle": "->"}, fontsize=9
)
ax.set_xticks(windows, [str(k) for k in windows])
ax.minorticks_off()
label(
    ax,
    title="A cut loses what came before it; a trace does not",
    x="steps in a window",
    y="relative error of dL/dW",
)
legend(ax, loc="upper right")
plt.show()

# %%
# A window must cover many half-lives to come close, because every step shortly after a cut has lost its past. The
# error of the trace is a rounding error, with the memory of one step.
#
# Learning across a gap
# ---------------------
# An error of this kind may do little harm. A cut is fatal if cause and effect lie on its two sides: then the
# gradient is not small, it is zero. In the task below one of two groups of inputs fires for five steps, then there
# is only noise, then the network is asked which group it was. The loss comes once, at the end.
gaps, iterations, steps = ((5, 60), 20, 5) if short else ((5, 15, 30, 60), 120, 5)


def trial(gap: int, batch: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw inputs [T, B, 20] and which group fired."""
    y = torch.randint(2, (batch,))
    rates = torch.full((steps + gap, batch, 20), 0.05)
    rates[:steps] += 0.45 * nn.functional.one_hot(y, 2).repeat_interleave(10, dim=1)
    return torch.bernoulli(rates), y


print("inputs and labels:", *(tuple(drawn.shape) for drawn in trial(gaps[0])))

# %%
# Only the last window of a sequence gets credit; what is before it runs without a gradient.


def accuracy(rule: tt.Rule, gap: int, window: int | None) -> float:
    """Train, and return the share of right answers in the last trials."""
    torch.manual_seed(1)
    net = nn.Sequential(
        tt.Layer(nn.Linear(20, 32), tt.LIF(half_life=10)),
        tt.Layer(nn.Linear(32, 2), tt.LI(half_life=100, normalized=True)),
    )
    tt.set_rule(net, rule)
    opt, right = torch.optim.Adam(net.parameters(), lr=1e-2), []
    for i in range(iterations):
        xs, y = trial(gap)
        tt.reset(net)
        if window is not None and window < len(xs):  # all that is before the last window gets no credit
            with torch.no_grad():
                tt.scan(net, xs[:-window], out="last")
            xs = xs[-window:]
        out = tt.scan(net, xs, out="last")
        nn.functional.cross_entropy(20 * out, y).backward()
        opt.step()
        opt.zero_grad()
        if i >= 0.8 * iterations:
            right.append((out.argmax(1) == y).float().mean())
    return float(torch.stack(right).mean())


# %%
# Three rules: a trace, a window of 20 steps, and no credit for the past.
rules = {
    "ottt()": (tt.rules.ottt(), None),
    "tbptt(), 20 steps": (tt.rules.tbptt(), 20),
    "sltt()": (tt.rules.sltt(), None),
}
right = {}
for name, (rule, window) in rules.items():
    right[name] = [100 * accuracy(rule, gap, window) for gap in gaps]
    shown = ", ".join(f"{a:.0f} %" for a in right[name])
    print(f"{name:18} right answers after gaps of {gaps} steps: {shown}")

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
dress(ax)
for (name, found), look in zip(right.items(), rule_styles(list(right)), strict=True):
    ax.plot(gaps, found, label=name, **look)
ax.axhline(50, color="#222222", linewidth=0.8, linestyle=":")
ax.set_ylim(40, 103)
label(
    ax,
    title="What is learned of a cue, by how long ago it was",
    x="steps since the cue",
    y="right answers (%)",
)
legend(ax)
plt.show()

# %%
# The network is the same for all three, so the information is there at the end. What differs is whether the
# gradient contains it. If the gap is short, the hidden neurons, with their half-life of 10 steps, still show the
# cue when the question comes, so even the last step has something to learn from. The window of 20 steps learns as
# long as it reaches back to the cue, and no further. This is one seed per point;
# :doc:`/results_credit` has five seeds and gaps up to 1,000 steps.
#
# Where one trace per input is not enough
# ---------------------------------------
# With a decay per unit there is no common trace, and the rule raises an error instead of giving a wrong gradient:
net = tt.Layer(nn.Linear(INPUTS, UNITS), tt.LIF(half_life=torch.linspace(3, 60, UNITS)))
calibrate(net, xs)
try:
    gradient_audit(net, xs, loss, tt.rules.ottt(), window=1)
except ValueError as error:
    print(textwrap.fill(str(error), 100))
row = gradient_audit(net, xs, loss, tt.rules.ottt(approximate=True), window=1).rows["synapse.weight"]
print(f"\nwith approximate=True: cosine {row.cosine:.3f}, relative error {row.relative_error:.2f}")

# %%
# Summary
# -------
# - If the decay is shared and the reset is soft and detached, one trace per input gives a layer's exact gradient.
# - Truncation makes an error at every cut, and gives no gradient across a gap that is longer than the window.
# - ``ottt()`` raises if it cannot be exact; the next lesson has the rule that can.
#
# The mathematics in full: :doc:`/theory/ottt`, :doc:`/theory/sltt` and :doc:`/theory/tbptt`.
#
# Next: :doc:`plot_08_exact_and_windows`.
