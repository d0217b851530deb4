"""
1. Why not backpropagation through time?
========================================

Networks with memory are nearly always trained with backpropagation through time (BPTT): run the network over the
sequence, store every intermediate value, then backpropagate from the last step to the first. This is exact, it is
what autograd does by default, and if your sequences are short you may not need anything else.

This lesson measures what it costs. You need PyTorch and no neuroscience.

**What to expect:** a table and a figure of memory against the length of a sequence, and a figure that shows how far
back a gradient reaches. About 20 seconds.
"""

import os
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import COLOURS, dress, label, legend, rule_styles
from tracetorch.train import PeakMemory

torch.manual_seed(0)
short = bool(os.environ.get("TRACETORCH_SHORT"))

# %%
# What autograd stores
# --------------------
# A recurrent cell has a state :math:`s_t` that depends on the state before it, :math:`s_t = f(s_{t-1}, x_t; W)`.
# The same weights act at every step, so the gradient of a loss at the end is a sum over all these steps:
#
# .. math:: \frac{dL}{dW} = \sum_{k \le T} \frac{\partial L}{\partial s_T}
#           \Big( \prod_{t=k+1}^{T} \frac{\partial s_t}{\partial s_{t-1}} \Big) \frac{\partial s_k}{\partial W}.
#
# BPTT multiplies these Jacobians starting from the loss and going backwards in time. For that it needs the values
# of every step, in reverse order, so autograd stores them all. PyTorch lets us observe what it stores. Here is an
# ordinary ``nn.RNNCell``, with nothing of this library in it:


def bytes_stored(steps: int) -> int:
    """Count the bytes that autograd holds for the backward pass of one sequence, each tensor once."""
    cell, stored = nn.RNNCell(32, 64), {}

    def note(x: torch.Tensor) -> torch.Tensor:
        stored[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        h = torch.zeros(16, 64)
        for _ in range(steps):
            h = cell(torch.randn(16, 32), h)
    h.sum().backward()
    return sum(stored.values())


for steps in (10, 100, 1000):
    stored = bytes_stored(steps) / 1e6
    print(f"nn.RNNCell, batch 16: {steps:5d} steps store {stored:6.2f} MB for the backward pass")

# %%
# Ten times the steps, ten times the memory. And a heart monitor never reaches the end of its sequence, so there is
# no point from which to start backpropagating.
#
# The same network with and without a graph
# -----------------------------------------
# Now the network that the rest of this introduction is about: a layer of spiking neurons and a readout. The next
# lesson explains both; here it is enough that they have a memory. The *rule*, one line, decides how the error
# reaches earlier steps. ``bptt()`` stores the graph. ``trace()`` stores a few running sums instead,
# called traces (lesson 3), and gives a gradient at every step.
#
# .. figure:: /_static/figures/trace_against_graph.svg
#    :alt: Above, five steps of a network, all stored, with errors going back through all of them. Below, the same
#       steps; only the last one is stored, with a trace next to it that was carried forward.
#    :figclass: tt-figure
#
# We ask the operating system how large the process has grown.


def network(rule: tt.Rule) -> nn.Sequential:
    net = nn.Sequential(
        tt.Layer(nn.Linear(64, 256), tt.LIF(half_life=20)),
        tt.Layer(nn.Linear(256, 10), tt.LI(half_life=20)),
    )
    tt.set_rule(net, rule)
    return net


def run(rule: tt.Rule, steps: int, batch: int = 32) -> tuple[float, float]:
    """Learn from one sequence of inputs [batch, 64]; return growth in MB, and µs per step."""
    net, y = network(rule), torch.randint(10, (batch,))
    meter, began, losses = PeakMemory(), time.perf_counter(), []
    meter.resume()
    tt.reset(net)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(torch.bernoulli(torch.full((batch, 64), 0.1))), y)
        if rule.window == "all":  # BPTT: the graph is kept to the end
            losses.append(loss)
        else:
            loss.backward()  # a gradient, now; the graph of this step is gone
    if losses:
        torch.stack(losses).sum().backward()
    meter.pause()
    return meter.peak_mb - meter.start_mb, 1e6 * (time.perf_counter() - began) / steps


lengths = [50, 100, 200] if short else [100, 200, 400, 800, 1600]
run(tt.rules.trace(), 20)  # first calls load libraries: not to be counted
growth: dict[str, list[float]] = {"trace": [], "bptt": []}
for rule in (tt.rules.trace(), tt.rules.bptt()):
    for steps in lengths:
        mb, us = run(rule, steps)
        growth[rule.name].append(mb)
        print(
            f"{rule.name:>5} over {steps:5d} steps: the process grew by {mb:7.1f} MB, {us:6.0f} µs a step"
        )

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
dress(ax)
for (name, mb), look in zip(growth.items(), rule_styles(list(growth)), strict=True):
    ax.plot(lengths, mb, label=f"{name}()", **look)
ax.set_xticks(lengths, [str(n) for n in lengths])
ax.set_ylim(bottom=-0.04 * max(growth["bptt"]))
label(
    ax,
    title="Memory for one sequence: BPTT's grows with it",
    x="time steps in the sequence",
    y="growth (MB)",
)
legend(ax)
plt.show()

# %%
# BPTT's memory rises in proportion to the number of steps. The trace's memory is constant: the megabyte or two that
# come and go belong to the allocator. The running times are similar, so the saving in memory does not cost speed.
#
# Three more things follow from going backwards in time:
#
# - **No gradient until the end.** The first step has to wait for the last step's loss. A stream has no last step,
#   so it is cut into windows (truncated BPTT), and what happened before the cut gets no credit. Lesson 7 measures
#   what that costs.
# - **The weights are locked.** If you change them in the middle of a sequence, the stored values no longer belong
#   to the current network. Autograd notices and raises an error.
# - **It is implausible in a brain.** A synapse would need a recording of all its activity, a second phase in which
#   time runs backwards, and, at each neuron, errors that arrive through a copy of the outgoing weights. What a
#   synapse can have is local: a fading trace of its recent activity, and a signal that arrives later and tells
#   whether the outcome was good. Neuroscience calls these *eligibility traces* (W. Gerstner et al., "Eligibility
#   traces and plasticity on behavioral time scales", 2018, https://doi.org/10.3389/fncir.2018.00053).
#
# How much past is there to remember?
# -----------------------------------
# The recording is long, but how much of it matters? We ask BPTT itself: how large is the gradient of the final loss
# with respect to each earlier input?
steps, figure_data = 120, {}
for life in (5, 20, 80):
    net = nn.Sequential(
        tt.Layer(nn.Linear(64, 256), tt.LIF(half_life=life)),
        tt.Layer(nn.Linear(256, 10), tt.LI(half_life=1)),
    )
    tt.set_rule(net, tt.rules.bptt())
    xs = torch.bernoulli(torch.full((steps, 32, 64), 0.1)).requires_grad_()
    nn.functional.cross_entropy(tt.scan(net, xs, out="last"), torch.randint(10, (32,))).backward()
    figure_data[life] = xs.grad.flatten(1).norm(dim=1).flip(0)

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
dress(ax)
for (life, size), colour, dash in zip(figure_data.items(), COLOURS, ("-", "--", ":"), strict=False):
    ax.semilogy(
        size / size[0], color=colour, linestyle=dash, label=f"half-life of the neurons: {life} steps"
    )
ax.set_ylim(1e-6, 3)
label(
    ax,
    title="How far back a gradient reaches",
    x="steps before the loss",
    y="size of the gradient\n(last step = 1)",
)
legend(ax, loc="lower left")
plt.show()

# %%
# After the first few steps the lines are straight on a logarithmic axis: each step back multiplies the gradient by
# the same number, the neuron's *decay*. The past matters through a fading sum, and a fading sum needs no recording.
# It needs one number, which is multiplied by the decay at each step before the new input is added. That number is a
# trace, and the rest of this introduction shows how far one gets with it.
#
# Summary
# -------
# - BPTT stores every step: memory grows with time, there is no gradient before the end, and the weights are locked
#   until then.
# - In a leaky network the gradient fades by a fixed factor per step, so a running sum can hold most of what the
#   recording holds.
# - BPTT is exact at any depth. A trace is exact in some networks and approximate in others; lessons 5 to 9 show in
#   which.
#
# Next: :doc:`plot_02_spiking_neuron`.
