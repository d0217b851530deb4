"""
5. The averaged rule: ``trace()``
=================================

The cheapest useful gradient treats a spiking network as what it looks like from far away: units with firing rates. The
rule ``trace()``, the library's default, keeps the average of each layer's input and the average of each neuron's
sensitivity, and multiplies the two. Its classic counterpart is ordinary backpropagation in a network of rates.

**What to expect:** a gradient put together by hand that equals the library's, a case where it equals BPTT's, and two
figures of how far it is from BPTT where it does not. About 15 seconds.
"""

import math
import os

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import COLOURS, dress, label, legend
from tracetorch.testing import agreement, calibrate, gradient_audit, rule_gradients, unit_blocks

short = bool(os.environ.get("TRACETORCH_SHORT"))
torch.set_default_dtype(torch.float64)
T, B, INPUTS, UNITS, CLASSES = 60, 9, 20, 30, 3

# %%
# Backpropagation in a network of rates
# -------------------------------------
# Take an ordinary network with one hidden layer, :math:`y = V\,\phi(W \bar x)`. With the error :math:`\delta` at the
# output, its gradient is
#
# .. math:: \frac{dL}{dW} = \big( V^\top \delta \odot \phi' \big) \otimes \bar x .
#
# Three factors: an error that came down, the slope of the unit, and its input. To use this on a spiking network one
# needs two of them as averages over time. The input's is a trace, :math:`\bar x` (lesson 3). The slope's is the
# question *how much more would this neuron have fired for a little more constant current?* and it can be answered as
# one goes, with the recursion of lesson 4 for a current that is 1 at all times:
#
# .. math:: g_t = D_t \sigma_{t-1} + \psi_t, \qquad \sigma_t = A_t \sigma_{t-1} + B_t,
#
# and an average :math:`\bar h` of it. The rule is :math:`\Delta W = (L \odot \bar h) \otimes \bar x`. Nothing else is
# kept: :math:`B\,(I + O)` numbers for a batch of :math:`B` and a layer of :math:`I` inputs and :math:`O` units, about
# as many as one step has activations.


def network() -> nn.Sequential:
    hidden = tt.Layer(nn.Linear(INPUTS, UNITS), tt.LIF(half_life=10))
    return nn.Sequential(hidden, tt.Layer(nn.Linear(UNITS, CLASSES), tt.LI(half_life=20, normalized=True)))


torch.manual_seed(0)
net, classes = network(), torch.arange(B) % CLASSES
constant = torch.rand(1, B, INPUTS).expand(T, B, INPUTS).contiguous()
calibrate(net, constant)  # scale the weights until about a quarter of the units fires at each step


def loss(ys: torch.Tensor, steps: slice) -> torch.Tensor:
    return nn.functional.cross_entropy(ys[-1], classes)


# %%
# By hand: run the hidden layer, take each step's blocks, and carry :math:`\sigma` and the two averages along. The
# average of the slope fades with the readout's decay, because that is how the readout will weigh the spikes.
hidden, readout = net[0], net[1]
a, q = float(hidden.neuron.beta), float(readout.neuron.beta)
sigma, h_bar, x_bar, weight_h, weight_x = 0.0, 0.0, 0.0, 0.0, 0.0
with torch.no_grad():
    state = hidden.neuron.pack(hidden.neuron.zeros(torch.zeros(B, UNITS)))
    for x in constant:
        block = unit_blocks(hidden.neuron, tuple(state), hidden.synapse(x))
        g = block.D[..., 0] * sigma + block.psi
        sigma = block.A[..., 0, 0] * sigma + block.B[..., 0]
        h_bar, weight_h = q * h_bar + g, q * weight_h + 1
        x_bar, weight_x = a * x_bar + x, a * weight_x + 1
        state, _ = hidden.neuron.step(state, hidden.synapse(x))
    h_bar, x_bar = h_bar / weight_h, x_bar / weight_x

    tt.reset(net)
    probabilities = tt.scan(net, constant, out="last").softmax(1)
    delta = (probabilities - nn.functional.one_hot(classes, CLASSES)) / B
    down = (delta @ readout.synapse.weight) * (1 - q**T)  # what a constant input adds to the leaky readout in T steps
    by_hand = torch.einsum("bu,bi->ui", down * h_bar, x_bar)

found = rule_gradients(net, constant, loss, tt.rules.trace(), out="last").grads["0.synapse.weight"]
print(f"by hand against tt.rules.trace(): relative difference {agreement(by_hand, found).relative_error:.1e}\n")

# %%
# So ``trace()`` *is* backpropagation in a network of rates, whose slopes are measured and not assumed: no activation
# function had to be written down.
#
# Where it is exact
# -----------------
# When the input is constant, average and value are the same thing, and one loss at the end is all there is. Then
# nothing is lost, in any number of steps:
print(gradient_audit(net, constant, loss, tt.rules.trace(), out="last"))

# %%
# Where it is not
# ---------------
# The true gradient is the average of a product, and the rule is a product of averages. What it drops is the covariance
# in time: an input that comes just when the neuron is near its threshold counts more, and the average does not know.
# (The bias is an input that never changes, so it stays exact.) We let the input swing around its mean, faster and
# slower, and look.
depths, seeds = (0.0, 0.25, 0.5, 0.75, 1.0), (0,) if short else (0, 1, 2)
time = torch.arange(T)[:, None, None]
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
dress(ax)
for period, colour, mark in zip((4, 20, 60), COLOURS, "os^", strict=False):
    errors, cosines, biases = [], [], []
    for depth in depths:
        rows = []
        for seed in seeds:
            torch.manual_seed(seed)
            net, base, phase = network(), torch.rand(1, B, INPUTS), torch.rand(1, B, INPUTS)
            xs = base * (1 + depth * torch.sin(2 * math.pi * (time / period + phase)))
            calibrate(net, xs)
            rows.append(gradient_audit(net, xs, loss, tt.rules.trace(), out="last").rows)
        errors.append(sum(r["0.synapse.weight"].relative_error for r in rows) / len(seeds))
        cosines.append(sum(r["0.synapse.weight"].cosine for r in rows) / len(seeds))
        biases.append(max(r["0.synapse.bias"].relative_error for r in rows))
    ax.plot(depths, errors, color=colour, marker=mark, label=f"one swing in {period} steps")
    print(f"one swing in {period:2d} steps: cosines " + ", ".join(f"{c:.3f}" for c in cosines), end="; ")
    print(f"bias, greatest relative error {max(biases):.0e}")
label(
    ax,
    title="The dropped covariance grows with slow, deep swings",
    x="depth of the swing (1 = from zero to twice the mean)",
    y="relative error of dL/dW",
)
legend(ax)
plt.show()

# %%
# Fast swings are averaged by the membrane itself (its half-life here is 10 steps), so little is lost. Slow, deep ones
# cost most.
#
# Spikes as input
# ---------------
# Spikes that come at random are neither constant nor slow. Their mean is what they mean, but the sample in hand swings
# from 0 to 1. The fewer there are, the further a single one is from the mean:
rates, seeds = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0), (0,) if short else range(5)
cosines = []
for rate in rates:
    row = []
    for seed in seeds:
        torch.manual_seed(seed)
        net, xs = network(), torch.bernoulli(torch.full((T, B, INPUTS), rate))
        calibrate(net, xs)
        audit = gradient_audit(net, xs, loss, tt.rules.trace(), out="last")
        row.append((audit.rows["0.synapse.weight"].cosine, audit.total.cosine))
    cosines.append(torch.tensor(row))
    print(
        f"input spikes in {rate:5.0%} of steps: cosine of the hidden weights {cosines[-1][:, 0].mean():.3f}", end=", "
    )
    print(f"of all parameters {cosines[-1][:, 1].mean():.3f}")

figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
dress(ax)
for column, name, colour, mark in ((0, "hidden weights", COLOURS[0], "o"), (1, "all parameters", COLOURS[1], "s")):
    mean = torch.stack([c[:, column].mean() for c in cosines])
    for rate, c in zip(rates, cosines, strict=True):
        ax.plot([rate] * len(c), c[:, column], mark, color=colour, alpha=0.35, markersize=4)
    ax.plot(rates, mean, color=colour, marker=mark, label=f"{name}: mean, and each seed pale")
ax.set_xscale("log")
ax.set_xticks(rates, [f"{r:.0%}" for r in rates])
ax.minorticks_off()
ax.set_ylim(0, 1.03)
label(ax, title="trace() against BPTT on random spikes", x="share of steps with an input spike", y="cosine")
legend(ax, loc="lower right")
plt.show()
torch.set_default_dtype(torch.float32)  # as it was, for whatever runs next in this process

# %%
# Such cosines still point downhill, and noise that is drawn anew for each sample averages out over a training run.
# (They need not: lesson 9 has a deep network and a task about order in which the cosine of this rule is negative.)
# How much that matters is a question of the task, and only a task can answer it. In :doc:`/results`, with the
# commands to repeat them, ``trace`` reaches 98.81 ± 0.07 % on MNIST beside 98.74 ± 0.09 % with BPTT, and 86.9 ± 1.7 %
# beside 90.4 ± 1.3 % where the *order* of a digit's rows carries the label.
#
# ``rate()`` is the same with uniform averages over one whole sequence (the training on spike rates of Q. Meng et al.,
# 2022, https://arxiv.org/abs/2205.00459, is of this kind).
#
# Summary
# -------
# - ``trace()`` is backpropagation in a network of rates whose inputs and slopes are measured online.
# - It is exact for constant input, and for biases always. It drops the covariance of input and sensitivity in time.
# - It keeps :math:`B\,(I + O)` numbers per layer, and one backward pass per loss event, however long it was until then.
#
# The mathematics in full: :doc:`/theory/trace` and :doc:`/theory/rate`.
#
# Next: :doc:`plot_06_eligibility`, which keeps the covariance.
