"""
Your own rule: choices on five axes
===================================

A learning rule of this library is a value with five fields. Write a custom rule if a paper proposes another
combination, if a chip or a model of the brain allows only some of the parts, or to find out which part of a rule
matters.

============ =====================================================================================================
axis         what it decides
============ =====================================================================================================
``weight``   what represents the past of a layer's weights: ``NoTrace``, ``Pre`` (one trace per input), ``Full`` (one
             per weight), ``Pairs`` (a few pairs of vectors), ``Factor`` (averages), ``Graph`` (backpropagation
             through time)
``input``    what goes down to the layer below: ``psi`` (the surrogate), ``gain`` (the sensitivity to a constant
             current), ``trace`` (its average), ``cascade`` (filtered by the layers above), ``window`` (autograd's)
``window``   ``step``, ``call``, ``sequence`` or ``all``
``feedback`` through which matrix credit goes down: the synapse's own, a fixed random one, or one that follows it
``above``    how much of the memory of the layers above is in the trace: ``Present`` (nothing), ``ReadoutMemory``,
             ``AllMemory``
============ =====================================================================================================

The named rules are combinations that have been published. Here we build two new ones, with our own feedback, and
measure them.
"""

import os
import textwrap
import time
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch import encoding
from tracetorch.data import digits
from tracetorch.plot import dress, label, rule_styles
from tracetorch.rules import Full, Pre
from tracetorch.testing import gradient_audit

short = bool(os.environ.get("TRACETORCH_SHORT"))
iterations, seeds = (5, 1) if short else (600, 2)
print("Expect: on row-by-row digits our own rules come near to the published ones, and random feedback")
print("costs some accuracy. `sltt`, which credits the last row alone, stays far behind.")
if short:
    print("TRACETORCH_SHORT is set: far too few iterations to learn anything.")

# %%
# A feedback of our own
# ---------------------
# Symmetric feedback sends the error down through the transpose of the weights that are being learned, which a
# synapse in a brain does not know. Random feedback (T. Lillicrap et al., `2016
# <https://doi.org/10.1038/ncomms13276>`_) uses a fixed random matrix. In between is feedback through the *signs* of
# the weights: Q. Liao, J. Z. Leibo, T. Poggio, `"How important is weight symmetry in backpropagation?"
# <https://arxiv.org/abs/1510.05067>`_, 2016.
#
# A feedback returns a matrix in the weight's shape, once, when the rule is set. Ours takes the signs of the first
# weights and gives all of them one size. (The signs stay as they were then, while in the paper they follow the
# weights.)


@dataclass(frozen=True)
class FirstSigns(tt.feedback.Feedback):
    """Send credit through the signs that the weights had at the beginning."""

    def matrix(self, weight):
        """Return the matrix."""
        return weight.sign() * weight.std()


# %%
# Two rules of our own
# --------------------
# The first carries one trace per input, as ``ottt`` does, but sends down the *gain*: how a unit's output responds
# to a constant current instead of one of this step only. The second does the same through the signs. (Its
# ``Full()`` also carries one trace per input if that is exact, as it is here.)

slow = tt.Rule(name="slow gain", weight=Pre(detach_reset=True), input="gain", window="step")
signs = tt.Rule(
    name="slow gain, first signs", weight=Full(), input="gain", window="step", feedback=FirstSigns()
)

# %%
# Not every combination is possible. An impossible one cannot be built, and the message gives the reason:

for axes in (
    {"weight": Full(), "input": "window", "window": "step"},
    {"weight": Pre(), "input": "window", "window": "call", "feedback": FirstSigns()},
):
    try:
        tt.Rule(name="impossible", **axes)
    except ValueError as error:
        print(textwrap.fill(f"ValueError: {error}", 100))

# %%
# The task
# --------
# The 1,797 small digits of scikit-learn, shown row by row: in each step the network sees eight pixels as currents,
# each row for two steps. The loss is at the last step, so what the first rows meant must come back through time, and
# through two layers of spiking neurons.

data = digits()


def encode(images):
    """Turn bytes ``[B, 8, 8]`` into currents ``[16, B, 8]``."""
    return encoding.rows(images * (3.0 / 255.0), repeat=2)


print("a batch:", tuple(encode(data.x_train[:64]).shape))


def network(seed):
    """Build 8 inputs, two layers of 128 LIF neurons, ten leaky integrators."""
    torch.manual_seed(seed)
    return nn.Sequential(
        tt.Layer(nn.Linear(8, 128), tt.LIF(half_life=8)),
        tt.Layer(nn.Linear(128, 128), tt.LIF(half_life=8)),
        tt.Layer(nn.Linear(128, 10), tt.LI(half_life=16)),
    )


# %%
# The training loop is the same for every rule:


def train(rule, seed):
    """Train a new network by a rule; return its accuracy on the held-out digits, in percent."""
    net = network(seed)
    tt.set_rule(net, rule)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 5e-3, total_steps=iterations, pct_start=0.05
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(iterations):
        chosen = torch.randint(len(data.x_train), (64,), generator=generator)
        tt.reset(net)
        loss = nn.functional.cross_entropy(
            tt.scan(net, encode(data.x_train[chosen]), out="last"), data.y_train[chosen]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        tt.reset(net)
        answers = tt.scan(net, encode(data.x_test), out="last").argmax(-1)
    return 100 * (answers == data.y_test).float().mean().item()


# %%
# How good is its gradient?
# -------------------------
# Before we train, we ask how each rule's gradient compares with that of backpropagation through time, at the first
# weights. The cosine measures how well the directions agree: 1 is the same direction, 0 is a perpendicular one.

rules = {
    "bptt": tt.rules.bptt(),
    "ottt": tt.rules.ottt(),
    "slow gain (ours)": slow,
    "slow gain, first signs (ours)": signs,
    "drtrl, random feedback": tt.rules.drtrl(feedback=tt.feedback.RandomFeedback()),
    "sltt": tt.rules.sltt(),
}
xs, ys = encode(data.x_train[:16]), data.y_train[:16]


def loss_at_the_end(outputs, steps):
    """Return the cross-entropy at the last of the steps that are given, ``[k, B, 10]``."""
    return nn.functional.cross_entropy(outputs[-1], ys)


cosines = {}
for name, rule in rules.items():
    torch.manual_seed(0)
    audit = gradient_audit(network(0), xs, loss_at_the_end, rule, out="last")
    cosines[name] = [audit.rows[f"{layer}.synapse.weight"].cosine for layer in range(3)]
    print(
        f"{name:30} cosine with BPTT, first layer to readout: "
        + "  ".join(f"{c:+.2f}" for c in cosines[name])
    )

# %%
# The gain has the same cosines as ``ottt`` here, and only other lengths: with one decay for all units, and one
# loss, it is the surrogate times a number that depends on the step only. With a loss at every step, or decays per
# unit, the two differ.
#
# Train
# -----
# ``train`` runs each rule on the same seeds, the same batches and with the same learning rate.

scores = {}
for name, rule in rules.items():
    start = time.perf_counter()
    scores[name] = [train(rule, seed) for seed in range(seeds)]
    mean = sum(scores[name]) / seeds
    seconds = (time.perf_counter() - start) / seeds
    print(f"{name:30} {mean:5.1f} % of 360 held-out digits, {seconds:.0f} s a run")

# %%
# The figure compares the first layer's cosine with the accuracy. A cosine at the initial weights is one sample and
# no guarantee. That of ``sltt`` is higher than that of random feedback, and yet it fails, since it never learns
# from any row but the last. With random feedback the weights come to fit the matrix while they learn.

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.0), layout="constrained", sharey=True)
for ax in (left, right):
    dress(ax)
for row, (name, look) in enumerate(zip(rules, rule_styles(list(rules)), strict=True)):
    left.plot(cosines[name][0], row, **look)
    right.plot(scores[name], [row] * seeds, **{**look, "linestyle": ""})
left.set_yticks(range(len(rules)), list(rules))
left.invert_yaxis()
left.set_xlim(-0.3, 1.05)
left.axvline(0, color="#767676", linewidth=0.8)
label(left, x="cosine with BPTT, first layer")
label(right, x="held-out accuracy, % (a dot per seed)")
plt.show()

# %%
# Try changing
# ------------
# - ``tt.feedback.RandomFeedback()`` with the weight credit of either rule.
# - Another weight credit, ``Full()`` or ``Pairs(10)``: which combinations raise, and why?
# - Signs of another random matrix instead of the first weights': does it still learn?
#
# What usually goes wrong
# -----------------------
# - *A combination is refused*: read the message, it names the axis.
# - *The rule learns, so it is right*: a wrong gradient often learns too. Audit it.
# - *set_rule after training began* drops what the layer carries.
#
# What to read next
# -----------------
# If you want to keep a rule, test its claims: ``tests/conformance`` holds the library's table of what
# is exact and what is not, and :doc:`/tutorials/plot_12_compare_gradients` goes further into audits. What the axes
# mean is in :doc:`/theory/common`, and :doc:`/howto/choosing_a_rule` explains which to take.
