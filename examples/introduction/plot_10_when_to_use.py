"""
10. When to use this, and when something else
=============================================

No rule here is better than BPTT at being BPTT. The reason to leave it is what you cannot do with it: learn on a stream,
at each step, in memory that does not grow. This lesson lists what is gained and what is lost, each with its
measurement, and ends with a table of what to take when. Sometimes that is another library.

**What to expect:** a network that learns while it runs, timings of your own machine, and two figures. About 30 seconds.
"""

import math
import os
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot.style import COLOURS, dress, label, legend

short = bool(os.environ.get("TRACETORCH_SHORT"))

# %%
# Gained: a gradient at every step
# --------------------------------
# A stream of spikes, and a value to follow: a fading sum of the inputs with hidden weights. Half-way, the hidden weights
# change sign. One network learns at each step with ``eprop()``, which is exact here (one layer under a leaky readout).
# The other learns with BPTT inside windows of 100 steps: exact in the window, one update for each. The second has its
# learning rate chosen from four after the fact; the first has the first that came to mind.
steps, B, INPUTS, window = (400, 4, 12, 50) if short else (2400, 4, 12, 100)
torch.manual_seed(0)
xs, hidden_weights = torch.bernoulli(torch.full((steps, B, INPUTS), 0.2)), torch.randn(INPUTS, 1) / 3
targets, y = [], torch.zeros(B, 1)
for t, x in enumerate(xs):
    y = 0.5 ** (1 / 10) * y + x @ hidden_weights * (1 if t < steps // 2 else -1)
    targets.append(y)
targets = torch.stack(targets)


def network(rule: tt.Rule) -> nn.Sequential:
    torch.manual_seed(1)
    net = nn.Sequential(
        tt.Layer(nn.Linear(INPUTS, 64), tt.LIF(half_life=10)), tt.Layer(nn.Linear(64, 1), tt.LI(half_life=10))
    )
    tt.set_rule(net, rule)
    return net


def online(lr: float) -> torch.Tensor:
    """Learn at each step; return the squared errors of the answers given before learning from them."""
    net, errors = network(tt.rules.eprop()), []
    opt = torch.optim.Adam(net.parameters(), lr=lr)
    for x, want in zip(xs, targets, strict=True):
        loss = (net(x) - want).square().mean()
        loss.backward()
        opt.step()
        opt.zero_grad()
        errors.append(loss.detach())
    return torch.stack(errors)


def windowed(lr: float) -> torch.Tensor:
    """Learn from windows by BPTT, the state carried on."""
    net, errors = network(tt.rules.tbptt()), []
    opt = torch.optim.Adam(net.parameters(), lr=lr)
    for part, want in zip(xs.split(window), targets.split(window), strict=True):
        each = (tt.scan(net, part) - want).square().mean((1, 2))
        each.mean().backward()
        opt.step()
        opt.zero_grad()
        errors.append(each.detach())
    return torch.cat(errors)


found = {"eprop(), each step": online(3e-3)}
tried = {lr: windowed(lr) for lr in (3e-3, 1e-2, 3e-2, 1e-1)}
best = min(tried, key=lambda lr: float(tried[lr].mean()))
found[f"BPTT in windows of {window}, best rate"] = tried[best]
power = targets.square().mean()
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
dress(ax)
for (name, errors), colour, dash in zip(found.items(), COLOURS, ("-", "--"), strict=False):
    share = errors / power
    ax.semilogy(share.unfold(0, 50, 10).mean(1), color=colour, linestyle=dash, label=name)
    print(f"{name:36} error over the last quarter {share[-steps // 4 :].mean():.3f} of the target's power")
ax.axvline(steps / 20, color="#222222", linewidth=0.8, linestyle=":")
ax.set_xticks(ax.get_xticks(), [f"{int(10 * x)}" for x in ax.get_xticks()])
ax.set_xlim(0, steps / 10)
label(ax, title="Learning while it runs; the target flips at the dotted line", x="time step", y="error / target's power")
legend(ax)
plt.show()

# %%
# Gained: memory, and often time
# ------------------------------
# Memory was lesson 1. In ``docs/speed.md`` (``python -m benchmarks W3``), a stream of 1,000,000 steps peaks where one of
# 1,000 does, at about 465 MB for the whole process. Time is less obvious: an online rule does more work per step than a
# forward pass, but with one loss at the end it needs no way back. On your machine, one training iteration of a
# 200-128-128-10 network, 100 steps, 32 samples, Adam:
xs = torch.bernoulli(torch.full((20 if short else 100, 32, 200), 0.05))
classes = torch.randint(10, (32,))
timed = {}
for name in ("trace", "ottt", "eprop", "traced_bptt", "bptt"):
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(200, 128), tt.LIF(half_life=10)),
        tt.Layer(nn.Linear(128, 128), tt.LIF(half_life=10)),
        tt.Layer(nn.Linear(128, 10), tt.LI(half_life=10)),
    )
    tt.set_rule(net, getattr(tt.rules, name)())
    opt = torch.optim.Adam(net.parameters())
    for out in ("last", "all"):
        took = []
        for _ in range(3 if short else 8):
            began = time.perf_counter()
            tt.reset(net)
            ys = tt.scan(net, xs, out=out)
            ys = ys if out == "last" else ys.mean(0)
            nn.functional.cross_entropy(ys, classes).backward()
            opt.step()
            opt.zero_grad()
            took.append(time.perf_counter() - began)
        timed[name, out] = 1e3 * sorted(took)[len(took) // 2]
    print(f"{name:12} loss on the last output {timed[name, 'last']:6.1f} ms, on all {timed[name, 'all']:6.1f} ms")

figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
dress(ax)
names = list(dict.fromkeys(name for name, _ in timed))
for shift, out, colour, hatch in ((-0.19, "last", COLOURS[0], ""), (0.19, "all", COLOURS[4], "///")):
    at = [i + shift for i in range(len(names))]
    values = [timed[name, out] for name in names]
    words = "loss on the last output" if out == "last" else "loss on every output"
    ax.barh(at, values, 0.36, color=colour, hatch=hatch, edgecolor="white", label=words)
ax.set_yticks(range(len(names)), [f"{name}()" for name in names])
ax.invert_yaxis()
label(ax, title="One training iteration on this machine", x="milliseconds (median)")
legend(ax, loc="lower right")
plt.show()

# %%
# With a loss at every step nothing is gained over BPTT in time: there ``docs/speed.md`` has ``bptt()`` itself as the
# fastest row for a dense network.
#
# Lost: exactness at depth, and where the order matters
# -----------------------------------------------------
# Lesson 9 has it by layer. In accuracy: on row-by-row digits 86.9 ± 1.7 % with ``trace()``, 90.4 ± 1.3 % with ``bptt()``
# (``docs/results.md``). On one ECG record as a stream, BPTT over the whole stretch between beats, 320 steps on average,
# scores 96.4 % and ``trace()`` 95.0 % (one seed).
#
# Lost: memory of another kind
# ----------------------------
# Full eligibility costs a number per weight, state and sample. Lesson 8 measured 8 MB for one layer of 256 × 256 with a
# decay per unit and 32 samples. For 4096 × 4096 it is:
print(f"4096 × 4096, 32 samples: {32 * 4096 * 4096 * 4 / 1e9:.1f} GB of eligibility; trace() keeps", end=" ")
print(f"{32 * (4096 + 4096) * 4 / 1e6:.1f} MB for its averages")

# %%
# Lost: the time of a single call
# -------------------------------
# A library that does bookkeeping at every step is slower, step by step, than a bare loop. Here is the same neuron by
# hand, detached at every step, against ``net(x)`` and, where it can be compiled, ``tt.Stream``, one sample at a time:
x, y, count = torch.bernoulli(torch.full((1, 200), 0.05)), torch.tensor([3]), 20 if short else 300
first, second = nn.Linear(200, 128), nn.Linear(128, 10)
opt = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=1e-4)
spike, v, u, z = tt.surrogates.ATan(), torch.zeros(1, 128), torch.zeros(1, 10), torch.zeros(1, 128)
began = time.perf_counter()
for _ in range(count):
    v = 0.93 * (v.detach() - z.detach()) + first(x)
    z = spike(v - 1)
    u = 0.93 * u.detach() + second(z)
    nn.functional.cross_entropy(u, y).backward()
    opt.step()
    opt.zero_grad()
print(f"bare loop, no credit through time: {1e6 * (time.perf_counter() - began) / count:6.0f} µs a step")

net = nn.Sequential(
    tt.Layer(nn.Linear(200, 128), tt.LIF(half_life=10)), tt.Layer(nn.Linear(128, 10), tt.LI(half_life=10))
)
opt = torch.optim.SGD(net.parameters(), lr=1e-4)
began = time.perf_counter()
for _ in range(count):
    nn.functional.cross_entropy(net(x), y).backward()
    opt.step()
    opt.zero_grad()
print(f"net(x) with trace():               {1e6 * (time.perf_counter() - began) / count:6.0f} µs a step")
try:
    stream = tt.Stream(net, lr=1e-4, loss="cross_entropy")
    stream(x, y)  # compiles
    began = time.perf_counter()
    for _ in range(count):
        stream(x, y)
    print(f"tt.Stream, the same network:       {1e6 * (time.perf_counter() - began) / count:6.0f} µs a step")
except RuntimeError as error:
    print("tt.Stream cannot run here:", error)

# %%
# What to take when
# -----------------
# ==================================================  =========================================================
# you have                                            take
# ==================================================  =========================================================
# short sequences, a few layers, memory to spare      BPTT: ``tt.rules.bptt()``, or any library you know
# deep networks, and the order of events is the task  BPTT, or ``traced_bptt()`` with a window that covers it
# dense recurrence that carries the memory            BPTT
# a stream without an end, or updates at every step   ``trace()``; ``eprop()`` for one layer under a readout
# sequences too long for BPTT's memory                ``trace()``, ``ottt()``; ``traced_bptt()`` in windows
# time constants that must be learned from far back   ``trace()``, ``eprop()`` or ``drtrl()``; not ``sltt()``
# one layer, gradients that must be exact             ``ottt()``, ``drtrl()``, ``eprop()``: see lesson 9's table
# very wide layers                                    ``trace()`` or ``ottt()``; not full eligibility
# reward in place of labels                           ``tracetorch.rl``, on the same traces
# ==================================================  =========================================================
#
# And when to take another library:
#
# - **snnTorch** (https://github.com/snntorch/snntorch) has years of tutorials and a large community. To learn the field
#   with BPTT, start there.
# - **SpikingJelly** (https://github.com/fangwei123456/spikingjelly) has GPU kernels and loaders for neuromorphic
#   datasets. This library's GPU kernels have not been timed on a GPU; if you train large convolutional networks on one,
#   with short sequences, take SpikingJelly.
# - **Norse** (https://github.com/norse/norse) has neurons as stateless functions, closest to the equations.
# - **BrainTrace** (https://github.com/chaobrain/braintrace) has online rules in JAX, with neurons from a large
#   brain-modelling stack.
# - For a chip, you need an export, which this library does not have yet.
#
# In speed, on one CPU (``docs/speed.md``, ``python -m benchmarks W1``, 700-256-256-20, T = 100, batch 64): with one loss at
# the end ``trace()`` takes 9.9 ms, BrainTrace's ``pp_prop`` 19.1, SpikingJelly's OTTT 51.0, and BPTT 34.2 here, 74.7 in
# SpikingJelly, 81.8 in snnTorch and 108 in Norse. With a call per step they are ahead: 944 µs here, 321 to 403 µs
# there (W2; cut at every step), unless ``tt.Stream`` fits (31 µs). Those numbers hold for the machine that the page
# names; the command repeats them on yours.
#
# Summary
# -------
# - Online rules give a gradient at each step in constant memory, and with one loss at the end they are fast.
# - They are exact for one layer, approximate below it, and lost where order must pass through many layers.
# - BPTT is a fine thing. Use it where it fits.
#
# This was the last lesson. The tutorials put it to use: start with :doc:`/tutorials/plot_01_clicks`.
