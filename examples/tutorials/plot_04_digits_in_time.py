"""
Digits row by row: order in time
================================

In each step the network sees one row of eight pixels of a digit, from top to bottom, and is asked at the end which
digit it was. One row contains little information. The label depends on which rows came *in which order*, so the
first rows have to be remembered, and the network has to learn what they mean from a loss that comes 16 steps later.

This is harder than :doc:`/tutorials/plot_03_mnist` for a rule that runs online: credit has to pass back through
time *and* through two spiking layers, and every rule except ``bptt`` drops some of it. We measure how much that
costs, how much ``cascade`` recovers, and what a short window of backpropagation adds.
"""

import os
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch import encoding
from tracetorch.data import digits
from tracetorch.plot import dress, label, legend, rule_styles

short = bool(os.environ.get("TRACETORCH_SHORT"))
iterations = 3 if short else 500
print(
    "Expect: frozen about 70 %, `sltt` far below that, `trace` and `drtrl` in the eighties, `cascade` and"
)
print("`bptt` best.")
if short:
    print("TRACETORCH_SHORT is set: far too few iterations to learn anything.")

# %%
# The data
# --------
# The 1,797 digits of 8 x 8 pixels that come with scikit-learn. ``encoding.rows`` turns images into time: ``[B, 8,
# 8]`` becomes ``[16, B, 8]``, with each row shown for two steps, as currents.

data = digits()


def encode(images):
    """Turn bytes ``[B, 8, 8]`` into currents ``[16, B, 8]``."""
    return encoding.rows(images * (3.0 / 255.0), repeat=2)


print("a batch:", tuple(encode(data.x_train[:64]).shape))

# %%
# The network
# -----------
# The half-lives are chosen for the task: 8 steps in the hidden layers, half of the digit; 16 in the readout.


def network():
    """Build 8 inputs, two layers of 128 LIF neurons, ten leaky integrators."""
    torch.manual_seed(0)
    return nn.Sequential(
        tt.Layer(nn.Linear(8, 128), tt.LIF(half_life=8)),
        tt.Layer(nn.Linear(128, 128), tt.LIF(half_life=8)),
        tt.Layer(nn.Linear(128, 10), tt.LI(half_life=16)),
    )


# %%
# Training
# --------
# A rule with a window sees as much as one call gives it. So for ``traced_bptt`` the sequence comes in pieces: all but
# the last run forward and leave their traces, and the last one, with the loss, is backpropagated through.


def train(rule, window=16, frozen=False):
    """Train a new network by a rule, with the sequence in pieces of `window` steps."""
    net = network()
    tt.set_rule(net, rule)
    if frozen:
        net[:2].requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 5e-3, total_steps=iterations, pct_start=0.05
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(iterations):
        chosen = torch.randint(len(data.x_train), (64,), generator=generator)
        tt.reset(net)
        for piece in encode(data.x_train[chosen]).split(window):
            output = tt.scan(net, piece, out="last")
        loss = nn.functional.cross_entropy(output, data.y_train[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net


# %%
# The readout gives an answer after each step, so accuracy is a curve over the 16 steps.


@torch.no_grad()
def accuracy(net, xs):
    """Return the accuracy on inputs ``[16, 360, 8]`` after each step, ``[16]``, in percent."""
    tt.reset(net)
    return 100 * (tt.scan(net, xs).argmax(-1) == data.y_test).float().mean(-1)


# %%
# Seven runs: a control whose hidden layers stay as they were drawn, five rules that run online, and BPTT. The last
# column of the output has the same rows of pixels in another order.
runs = {
    "frozen": {"rule": tt.rules.trace(), "frozen": True},
    "sltt": {"rule": tt.rules.sltt()},
    "trace": {"rule": tt.rules.trace()},
    "drtrl": {"rule": tt.rules.drtrl()},
    "cascade": {"rule": tt.rules.cascade()},
    "traced_bptt, window 4": {"rule": tt.rules.traced_bptt(), "window": 4},
    "bptt": {"rule": tt.rules.bptt()},
}
held_out = encode(data.x_test)
shuffled = encode(data.x_test[:, [3, 6, 0, 5, 2, 7, 1, 4]])  # the same rows in another order
right = {}
for name, options in runs.items():
    start = time.perf_counter()
    net = train(**options)
    seconds = time.perf_counter() - start
    right[name] = accuracy(net, held_out)
    other = accuracy(net, shuffled)[-1]
    print(f"{name:22} {right[name][-1]:5.1f} % of 360 held-out digits, {seconds:3.0f} s;", end=" ")
    print(f"rows in another order: {other:4.1f} %")

# %%
# For the last column the trained networks see the same rows in another order, which does not change how often each
# pixel column is on. Had they only counted, nothing would change. They lose many of their answers, so they use the
# order, though not only the order. The exception is ``sltt``: it is no better in the right order, since it never
# learned from more than one row.
#
# How the rules compare
# ---------------------
# ``sltt`` credits only the last step, so it learns from the bottom row, and the hidden layers end up worse than
# untrained ones. The trace rules learn from all rows. This is one run of each; over three seeds of twice the length
# (``python -m benchmarks.rules digits``, :doc:`/results`) ``cascade`` reaches 90.3 %, ``bptt`` 90.1 and ``trace``
# 87.2. A sequence as short as this one fits in memory, so ``bptt`` is a good choice too.
#
# The left panel of the figure shows the accuracy of the readout's answer after each step, although it was trained
# for the last step only.

figure, (left, right_panel) = plt.subplots(
    1, 2, figsize=(8.6, 3.2), layout="constrained", width_ratios=[1.4, 1]
)
for ax in (left, right_panel):
    dress(ax)
for row, ((name, values), look) in enumerate(zip(right.items(), rule_styles(list(right)), strict=True)):
    left.plot(range(1, 17), values, markersize=4, label=name, **look)
    right_panel.barh(row, values[-1], color=look["color"], height=0.6)
    right_panel.annotate(f"{values[-1]:.1f}", (values[-1] + 1, row), va="center", fontsize=8)
right_panel.set_xlim(0, 108)
right_panel.set_yticks(range(len(right)), list(right))
right_panel.invert_yaxis()
label(left, x="steps of the digit seen", y="held-out accuracy, %")
label(right_panel, x="accuracy at the end, %")
legend(left, loc="upper left")
plt.show()

# %%
# Try changing
# ------------
# - ``tt.rules.cascade(pairs=1)``: the cheapest form of ``cascade``.
# - Three hidden layers: which rules lose most?
# - A half-life of 2 steps in the hidden layers: the first rows are forgotten, under every rule.
#
# What usually goes wrong
# -----------------------
# - *A window shorter than the digit*: under ``tbptt`` and ``traced_bptt`` a call of ``tt.scan`` is the window, so cut
#   the sequence where you mean to.
# - *A reset between the pieces* would erase the rows before: reset once, before the first piece.
# - *Rules look alike*: compare with the frozen control first. A task that it solves does not test a rule.
#
# What to read next
# -----------------
# Why the layers below the last are approximate is the subject of :doc:`/introduction/plot_09_what_is_dropped`.
