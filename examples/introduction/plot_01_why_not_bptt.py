"""
1. Why not backpropagation through time?
========================================

A network with memory is trained, nearly always, with backpropagation through time (BPTT): run it over a sequence, keep
everything it did, then walk back from the last step to the first. It is exact, it is what autograd does without being
asked, and if your sequences are short you may not need anything else.

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
from tracetorch.plot import COLOURS, dress, label, legend
from tracetorch.train import PeakMemory

torch.manual_seed(0)
short = bool(os.environ.get("TRACETORCH_SHORT"))

# %%
# What autograd keeps
# -------------------
# A recurrent cell has a state :math:`s_t` that depends on the state before it, :math:`s_t = f(s_{t-1}, x_t; W)`. The
# same weights act at every step, so the gradient of a loss at the end is a sum over all the steps where they acted:
#
# .. math:: \frac{dL}{dW} = \sum_{k \le T} \frac{\partial L}{\partial s_T}
#           \Big( \prod_{t=k+1}^{T} \frac{\partial s_t}{\partial s_{t-1}} \Big) \frac{\partial s_k}{\partial W}.
#
# BPTT forms the products from the left, from :math:`L` towards the past. For that it needs the values of every step,
# in reverse order, and so autograd keeps them all. PyTorch lets us listen to what it keeps. Here is an ordinary
# ``nn.RNNCell``, with nothing of this library in it:


def bytes_kept(steps: int) -> int:
    """Count the bytes that autograd holds for the backward pass of one sequence, each tensor once."""
    cell, kept = nn.RNNCell(32, 64), {}

    def note(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        h = torch.zeros(16, 64)
        for _ in range(steps):
            h = cell(torch.randn(16, 32), h)
    h.sum().backward()
    return sum(kept.values())


for steps in (10, 100, 1000):
    print(f"nn.RNNCell, batch 16: {steps:5d} steps keep {bytes_kept(steps) / 1e6:6.2f} MB for the backward pass")

# %%
# Ten times the steps, ten times the memory. A day of heartbeats has no end at which you could start to walk back.
#
# The same network with and without a graph
# -----------------------------------------
# Now the network that the rest of this introduction is about: a layer of spiking neurons and a readout. What these are
# comes in the next lesson; here it is enough that both have a memory. The rule, one line, says how credit gets back in
# time. ``bptt()`` keeps the graph. ``trace()`` keeps a few running sums instead, and gives a gradient at every step.
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
    """Learn from one sequence; return the growth of the process in MB and the microseconds per step."""
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
        print(f"{rule.name:>5} over {steps:5d} steps: the process grew by {mb:7.1f} MB, {us:6.0f} µs a step")

figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
dress(ax)
for (name, mb), colour, mark in zip(growth.items(), COLOURS, "os", strict=False):
    ax.plot(lengths, mb, color=colour, marker=mark, label=f"{name}()")
ax.set_xticks(lengths, [str(n) for n in lengths])
ax.set_ylim(bottom=-0.04 * max(growth["bptt"]))
label(ax, title="Memory for one sequence: BPTT's grows with it", x="time steps in the sequence", y="growth (MB)")
legend(ax)
plt.show()

# %%
# BPTT's memory rises in proportion to the number of steps. The trace's stays where it is: the megabyte or two that come
# and go are the allocator's, not the sequence's. The times are alike; one is not paid for with the other.
#
# Three more things follow from walking backwards:
#
# - **No gradient until the end.** The first step's weights wait for the last step's loss. A stream has no last step, so
#   people cut it into windows (truncated BPTT), and what happened before the cut gets no credit. Lesson 7 measures it.
# - **The weights are locked.** Change them in the middle of a sequence, and the kept values are of another network.
#   Autograd notices and refuses.
# - **It is implausible in a brain.** A synapse would need a tape of all it did, a second phase of life in which time
#   runs backwards, and, at each neuron, errors that come through a copy of the outgoing weights. What a synapse can
#   have is something local: a trace of its recent activity, which fades, and a signal that arrives later and says
#   whether that was good. Neuroscience calls these *eligibility traces* (W. Gerstner et al., "Eligibility traces and
#   plasticity on behavioral time scales", 2018, https://doi.org/10.3389/fncir.2018.00053).
#
# How much past is there to remember?
# -----------------------------------
# The tape is long, but what is on it? We ask BPTT itself: how large is the gradient of a loss at the last step by the
# input of each step before?
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

figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
dress(ax)
for (life, size), colour, dash in zip(figure_data.items(), COLOURS, ("-", "--", ":"), strict=False):
    ax.semilogy(size / size[0], color=colour, linestyle=dash, label=f"half-life of the neurons: {life} steps")
ax.set_ylim(1e-6, 3)
label(ax, title="How far back a gradient reaches", x="steps before the loss", y="size of the gradient\n(last step = 1)")
legend(ax, loc="lower left")
plt.show()

# %%
# After the first few steps, straight lines on a logarithmic axis: each step back multiplies the gradient by the same
# number, the neuron's *decay*. The past matters through a fading sum, and a fading sum does not need a tape. It needs
# one number, multiplied by the decay at each step, to which the new is added. That number is a trace, and the rest of
# this introduction is about how far one gets with it.
#
# Summary
# -------
# - BPTT keeps every step: memory in proportion to time, no gradient before the end, weights locked until then.
# - In a leaky network the gradient fades by a fixed factor per step, so the tape holds little that a running sum
#   could not.
# - BPTT is exact at any depth. A trace is exact in some networks and approximate in others, and lessons 5 to 9 say
#   where.
#
# Next: :doc:`plot_02_spiking_neuron`.
