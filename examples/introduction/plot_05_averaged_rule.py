"""
5. The averaged rule: ``trace()``
=================================

The cheapest useful gradient treats a spiking network as a network of firing rates. The rule ``trace()`` stores
the average of each layer's input and the average of each neuron's sensitivity, and multiplies the two. (The default,
``cascade()``, stores more; lesson 9 introduces it.) Its classic counterpart is ordinary backpropagation in a network
of rates.

**What to expect:** a gradient put together by hand that equals the library's, a case where it equals BPTT's, and two
figures of how far it is from BPTT otherwise. About 15 seconds.
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
# It has three factors: an error from the layer above, the slope of the unit, and its input. For a spiking network,
# two of them must be averaged over time. The average of the input is a trace, :math:`\bar x` (lesson 3). The
# average of the slope answers *how much more would this neuron have fired for a little more constant current?* It
# is computed while the network runs, with the recursion of lesson 4 for a current that is 1 at all times:
#
# .. math:: g_t = D_t \sigma_{t-1} + \psi_t, \qquad \sigma_t = A_t \sigma_{t-1} + B_t,
#
# and an average :math:`\bar h` of it. The rule is :math:`\Delta W = (L \odot \bar h) \otimes \bar x`. Nothing else
# is stored: :math:`B\,(I + O)` numbers for a batch of :math:`B` and a layer of :math:`I` inputs and :math:`O`
# units, about as many as one step has activations.
#
# .. figure:: /_static/figures/rule_trace.svg
#    :alt: A layer under the rule trace. Carried are an average of the input, the sensitivity and its average. The
#       error times the average sensitivity, times the average input, is the gradient.
#    :figclass: tt-figure


def network() -> nn.Sequential:
    hidden = tt.Layer(nn.Linear(INPUTS, UNITS), tt.LIF(half_life=10))
    return nn.Sequential(
        hidden, tt.Layer(nn.Linear(UNITS, CLASSES), tt.LI(half_life=20, normalized=True))
    )


torch.manual_seed(0)
net, classes = network(), torch.arange(B) % CLASSES
constant = torch.rand(1, B, INPUTS).expand(T, B, INPUTS).contiguous()
calibrate(net, constant)  # scale the weights until about a quarter of the units fires at each step


def loss(ys: torch.Tensor, steps: slice) -> torch.Tensor:
    return nn.functional.cross_entropy(ys[-1], classes)


# %%
# By hand: we run the hidden layer, take each step's Jacobian blocks (``unit_blocks``: :math:`A, B, D, \psi` of
# lesson 4), and update :math:`\sigma` and the two averages. The average of the slope fades with the readout's decay
# :math:`q`, because that is how the readout weights the spikes.
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
    down = (delta @ readout.synapse.weight) * (
        1 - q**T
    )  # what a constant input adds to the leaky readout in T steps
    by_hand = torch.einsum("bu,bi->ui", down * h_bar, x_bar)

found = rule_gradients(net, constant, loss, tt.rules.trace(), out="last").grads["0.synapse.weight"]
difference = agreement(by_hand, found).relative_error
print(f"by hand against tt.rules.trace(): relative difference {difference:.1e}\n")

# %%
# So ``trace()`` is ordinary backpropagation through firing rates. The slope of the activation function is measured
# while the network runs instead of coming from a formula.
#
# Where it is exact
# -----------------
# If the input is constant, it equals its average. With one loss at the end nothing is lost, for any number of
# steps:
print(gradient_audit(net, constant, loss, tt.rules.trace(), out="last"))

# %%
# Where it is not
# ---------------
# The true gradient is the average of a product, and the rule is a product of averages. It drops the covariance in
# time: an input that arrives when the neuron is near its threshold counts more, and the averages do not show this.
# (The bias is an input that never changes, so it stays exact.) We let the input oscillate around its mean at three
# speeds.
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
# The membrane, with a half-life of 10 steps here, averages fast oscillations, so little is lost. Slow and deep ones
# cost most.
#
# Spikes as input
# ---------------
# Random spikes are not constant. Their rate may be, but each sample jumps between 0 and 1, and the fewer spikes
# there are, the further a single one is from the mean. *All parameters* below includes the readout, whose gradient
# is exact and large, so that its cosine is higher than that of the hidden weights:
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
    hidden, total = cosines[-1].mean(0)
    print(f"input spikes in {rate:5.0%} of steps: cosine of the hidden weights {hidden:.3f}", end=", ")
    print(f"of all parameters {total:.3f}")

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
dress(ax)
for column, name, colour, mark in (
    (0, "hidden weights", COLOURS[0], "o"),
    (1, "all parameters", COLOURS[1], "s"),
):
    mean = torch.stack([c[:, column].mean() for c in cosines])
    for rate, c in zip(rates, cosines, strict=True):
        ax.plot([rate] * len(c), c[:, column], mark, color=colour, alpha=0.35, markersize=4)
    ax.plot(rates, mean, color=colour, marker=mark, label=f"{name}: mean, and each seed pale")
ax.set_xscale("log")
ax.set_xticks(rates, [f"{r:.0%}" for r in rates])
ax.minorticks_off()
ax.set_ylim(0, 1.03)
label(
    ax, title="trace() against BPTT on random spikes", x="share of steps with an input spike", y="cosine"
)
legend(ax, loc="lower right")
plt.show()
torch.set_default_dtype(torch.float32)  # as it was, for whatever runs next in this process

# %%
# Such gradients still point downhill, and noise that is drawn again for each sample averages out over a training
# run. (That is not always so: lesson 9 has a deep network and a task about order in which the cosine of this rule
# is negative.) How much it matters depends on the task. In :doc:`/results`, with the commands to repeat them,
# ``trace`` reaches 98.2 % on MNIST, as BPTT does, and 87.2 % if a digit is given row by row, so that the *order*
# carries the label (BPTT: 90.1 %).
#
# ``rate()`` is the same with uniform averages over one whole sequence (the training on spike rates of Q. Meng et al.,
# 2022, https://arxiv.org/abs/2205.00459, is of this kind).
#
# Summary
# -------
# - ``trace()`` is backpropagation in a network of rates whose inputs and slopes are measured online.
# - It is exact for constant input, and for biases always. It drops the covariance of input and sensitivity in time.
# - It stores :math:`B\,(I + O)` numbers per layer, and needs one backward pass per loss, however many steps came
#   before.
#
# The mathematics in full: :doc:`/theory/trace` and :doc:`/theory/rate`.
#
# Next: :doc:`plot_06_eligibility`, which keeps the covariance.
