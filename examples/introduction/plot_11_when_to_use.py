"""
11. When to use this, and when something else
=============================================

No online rule computes the BPTT gradient better than BPTT. Use one where BPTT cannot be used: to learn on a stream,
at each step, in memory that does not grow, or across gaps that no window can cover. This lesson lists what is
gained and what is lost, each with a measurement, and ends with a table of what to take when. Sometimes that is
another library.

**What to expect:** a network that learns while it runs, timings of your own machine, and two figures. About 30 seconds.
"""

import os
import time
from collections.abc import Callable

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import COLOURS, dress, label, legend, rule_styles

short = bool(os.environ.get("TRACETORCH_SHORT"))

# %%
# Gained: a gradient at every step
# --------------------------------
# The data is an endless stream with two groups of inputs, of which one is busier for a while, then the other. The
# network has to name the busier one at each step. Half-way the two answers are exchanged, without notice. One
# network learns at each step, with ``eprop()``, which is exact here (one layer under a leaky readout). Two learn
# with BPTT in windows of 10 and of 100 steps, with one update per window. Each has the best of four learning rates,
# chosen afterwards.
steps, B, INPUTS, rates = (200, 4, 20, (1e-3,)) if short else (1200, 4, 20, (3e-4, 1e-3, 3e-3, 1e-2))
torch.manual_seed(0)
busy = torch.randint(2, (steps // 40, B)).repeat_interleave(40, dim=0)
chance = 0.1 + 0.15 * nn.functional.one_hot(busy, 2).repeat_interleave(INPUTS // 2, dim=2)
stream, answers = (
    torch.bernoulli(chance),
    (busy + (torch.arange(steps) >= steps // 2).long()[:, None]) % 2,
)


def mistakes(rule: tt.Rule, window: int, lr: float) -> torch.Tensor:
    """Learn from the stream once; return the share of wrong answers, given before learning, ``[T]``."""
    torch.manual_seed(1)
    hidden = tt.Layer(nn.Linear(INPUTS, 64), tt.LIF(half_life=10))
    net = nn.Sequential(hidden, tt.Layer(nn.Linear(64, 2), tt.LI(half_life=10, normalized=True)))
    tt.set_rule(net, rule)
    opt, wrong = torch.optim.Adam(net.parameters(), lr=lr), []
    for xs, y in zip(stream.split(window), answers.split(window), strict=True):
        out = 5 * (net(xs[0])[None] if window == 1 else tt.scan(net, xs))
        nn.functional.cross_entropy(out.flatten(0, 1), y.flatten()).backward()
        opt.step()
        opt.zero_grad()
        wrong.append((out.argmax(-1) != y).float().mean(1))
    return torch.cat(wrong)


# %%
# Three learners, and the best learning rate of each:
learners = {
    "eprop(), each step": (tt.rules.eprop(), 1, rates),
    "BPTT in windows of 10": (tt.rules.tbptt(), 10, [10 * lr for lr in rates]),
    "BPTT in windows of 100": (tt.rules.tbptt(), 100, [10 * lr for lr in rates]),
}
wrong = {}
for name, (rule, window, tried) in learners.items():
    wrong[name] = min((mistakes(rule, window, lr) for lr in tried), key=lambda w: float(w.mean()))
    print(
        f"{name:24} wrong answers: {wrong[name][: steps // 2].mean():.0%} before the exchange,", end=" "
    )
    print(f"{wrong[name][steps // 2 :].mean():.0%} after it")

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
dress(ax)
looks = rule_styles(["eprop", "tbptt", "tbptt:100"])
for (name, best), look in zip(wrong.items(), looks, strict=True):
    recent = 100 * best.unfold(0, 80, 10).mean(1)
    ax.plot([80 + 10 * i for i in range(len(recent))], recent, label=name, **{**look, "marker": ""})
ax.axvline(steps / 2, ymax=0.88, color="#222222", linewidth=0.8)
ax.set_ylim(0, 112)
label(
    ax,
    title="Learning while it runs; at the line the meanings are exchanged",
    x="time step",
    y="wrong answers (%),\nlast 80 steps",
)
legend(ax, loc="upper center", ncols=3)
plt.show()

# %%
# Updates once per long window are too rare to follow the change. Short windows do as well as the online rule or a
# little better: *here* only the last few steps matter, and then truncated BPTT is a good choice. On the task of
# lesson 7 it is not: across a gap longer than its window it learns nothing, while ``eprop()`` bridges 1,000 steps
# (:doc:`/results_credit`). So the gain here is not a lower error: it is that you have no window length to choose.
#
# Gained: memory, and often time
# ------------------------------
# Lesson 1 measured memory. In :doc:`/speed_rivals` (``python -m benchmarks W3``), a stream of 1,000,000 steps needs as
# much memory as one of 1,000, about 465 MB for the whole process. Time is less obvious: an online rule does more
# work per step than a forward pass, but with one loss at the end it needs no backward pass through time. On your
# machine, one training iteration of a 200-128-128-10 network, 100 steps, 32 samples, Adam:
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
        for _ in range(3 if short else 5):
            began = time.perf_counter()
            tt.reset(net)
            ys = tt.scan(net, xs, out=out)
            ys = ys if out == "last" else ys.mean(0)
            nn.functional.cross_entropy(ys, classes).backward()
            opt.step()
            opt.zero_grad()
            took.append(time.perf_counter() - began)
        timed[name, out] = 1e3 * sorted(took)[len(took) // 2]
    last, every = timed[name, "last"], timed[name, "all"]
    print(f"{name:12} loss on the last output {last:6.1f} ms, on all {every:6.1f} ms")

# %%
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
ax.set_xlim(0, 1.5 * max(timed.values()))
label(ax, title="One training iteration on this machine", x="milliseconds (median)")
legend(ax, loc="lower right")
plt.show()

# %%
# With a loss at every step online rules are not faster than BPTT: there only ``rate()`` is faster than ``bptt()`` on
# the dense network in :doc:`/speed_rivals` (W1, T = 100).
#
# Lost: exactness at depth, and where the order matters
# -----------------------------------------------------
# Lesson 9 shows it by layer. In accuracy, on row-by-row digits with four hidden layers: ``trace()`` 82.1 %,
# ``eprop()`` 82.9, ``bptt()`` 90.6, ``cascade()`` 91.0 (:doc:`/results`). On one ECG record as a stream, BPTT over the
# whole interval between beats, 320 steps on average, scores 96.5 %, ``cascade()`` 96.7 and ``trace()`` 94.8 (one
# seed: :doc:`/results_tasks`).
#
# Lost: memory of another kind
# ----------------------------
# Full eligibility costs one number per weight, state and sample. Lesson 8 measured 8 MB for one layer of 256 × 256
# with a decay per unit and 32 samples. For 4096 × 4096 it is:
print(
    f"4096 × 4096, 32 samples: {32 * 4096 * 4096 * 4 / 1e9:.1f} GB of eligibility; trace() keeps", end=" "
)
print(f"{32 * (4096 + 4096) * 4 / 1e6:.1f} MB for its averages")

# %%
# Lost: the time of a single call
# -------------------------------
# A library that does bookkeeping at every step is slower per step than a bare loop, unless it compiles the step. We
# compare the same neuron by hand, detached at every step, with ``net(x)``, and with ``tt.Stream``, which does
# forward, loss, credit and update in one compiled call. One sample at a time:
x, y, count = torch.bernoulli(torch.full((1, 200), 0.05)), torch.tensor([3]), 20 if short else 200


def microseconds(step: Callable[[], object]) -> float:
    """Return the median time of a step, after a few that load and compile what is needed."""
    took = []
    for i in range(5 + count):
        began = time.perf_counter()
        step()
        if i >= 5:
            took.append(time.perf_counter() - began)
    return 1e6 * sorted(took)[count // 2]


# %%
# The bare loop:
first, second = nn.Linear(200, 128), nn.Linear(128, 10)
opt = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=1e-4)
spike, v, u, z = tt.surrogates.ATan(), torch.zeros(1, 128), torch.zeros(1, 10), torch.zeros(1, 128)


def bare_step() -> None:
    global v, u, z
    v = 0.93 * (v.detach() - z.detach()) + first(x)
    z = spike(v - 1)
    u = 0.93 * u.detach() + second(z)
    nn.functional.cross_entropy(u, y).backward()
    opt.step()
    opt.zero_grad()


print(f"bare loop, no credit through time: {microseconds(bare_step):6.0f} µs a step")

# %%
# The library, in two ways:
net = nn.Sequential(
    tt.Layer(nn.Linear(200, 128), tt.LIF(half_life=10)), tt.Layer(nn.Linear(128, 10), tt.LI(half_life=10))
)
opt = torch.optim.SGD(net.parameters(), lr=1e-4)


def library_step() -> None:
    nn.functional.cross_entropy(net(x), y).backward()
    opt.step()
    opt.zero_grad()


print(f"net(x) with cascade():             {microseconds(library_step):6.0f} µs a step")
try:
    compiled = tt.Stream(net, lr=1e-4, loss="cross_entropy")
    print(f"tt.Stream, the same network:       {microseconds(lambda: compiled(x, y)):6.0f} µs a step")
except RuntimeError as error:
    print("tt.Stream cannot run here:", error)

# %%
# ``net(x)`` compiles the step of a layer if that pays: for dense layers of 4,096 weights or more, under most rules,
# with the extra ``fast``. Here that is the first layer and not the readout. :doc:`/howto/resets_and_streams` shows
# what ``tt.Stream`` requires, and how it shares a network with ``net(x)``.
#
# What to take when
# -----------------
# .. figure:: /_static/figures/decide.svg
#    :alt: Three questions. The graph fits in memory and learning may wait: bptt. One hidden layer under a leaky
#       readout: eprop. Wide, and memory or time short: trace or ottt. Otherwise cascade, the default.
#    :figclass: tt-figure
#
# ==================================================  ==========================================================
# you have                                            take
# ==================================================  ==========================================================
# short sequences, a few layers, memory to spare      BPTT: ``tt.rules.bptt()``, or any library you know
# deep networks, sequences that fit in memory         BPTT, or ``traced_bptt()`` with a window that covers what matters
# deep networks, longer sequences                     ``cascade()``, the default; it takes pairs in wide layers
# dense recurrence that carries the memory            BPTT; ``rtrl()`` for a small layer, ``uoro()`` for a large batch
# a stream without an end, or updates at every step   ``cascade()``; ``eprop()`` for one layer under a readout
# sequences too long for BPTT's memory                ``cascade()``, ``ottt()``; ``traced_bptt()`` in windows
# time constants that must be learned from far back   ``cascade()``, ``eprop()`` or ``trace()``; not ``sltt()``
# one layer, gradients that must be exact             ``ottt()``, ``drtrl()``, ``eprop()``: see lesson 9's table
# very wide layers                                    ``cascade(pairs=10)``, ``trace()``, ``ottt()``
# reward instead of labels                            ``tracetorch.rl``, on the same traces
# layers that may not send credit to each other       ``tt.TargetProjection``, ``tt.LocalReadouts``
# ==================================================  ==========================================================
#
# :doc:`/howto/choosing_a_rule` goes into it case by case, and ``tt.rules.suggest`` measures rules on your network. And
# when to take another library:
#
# - **snnTorch** (https://github.com/snntorch/snntorch) has years of tutorials and a large community. To learn the field
#   with BPTT, start there.
# - **SpikingJelly** (https://github.com/fangwei123456/spikingjelly) has GPU kernels and loaders for neuromorphic
#   datasets. This library's GPU kernels were run under an interpreter only, never on a GPU; if you train large
#   convolutional networks on one, with short sequences, take SpikingJelly.
# - **Norse** (https://github.com/norse/norse) has neurons as stateless functions, closest to the equations.
# - **BrainTrace** (https://github.com/chaobrain/braintrace) has online rules in JAX, with neurons from a large
#   brain-modelling stack.
# - For a chip, export through NIR (:doc:`/howto/nir`) where the neuron fits; the chips' own tools go further.
#
# Milliseconds of one training iteration (700-256-256-20, 100 steps, batch 64, one loss at the end), and microseconds of
# one online step (batch 1, an update at every step), on one CPU;
# :doc:`/speed_rivals` has the conditions, and ``python -m benchmarks W1 W2`` repeats it on your machine:
#
# =======================================  ==============  ============
# program                                  iteration, ms   one step, µs
# =======================================  ==============  ============
# traceTorch ``trace()``                   8.4             242
# traceTorch ``trace()``, ``tt.Stream``    –               38
# traceTorch ``cascade()``                 15.1            517
# traceTorch ``cascade()``, ``tt.Stream``  –               110
# traceTorch ``bptt()``                    16.8            –
# BrainTrace ``pp_prop``                   15.7            196
# SpikingJelly OTTT                        46.1            454
# SpikingJelly BPTT                        71.9            388
# snnTorch BPTT                            83.4            418
# Norse BPTT                               107             321
# =======================================  ==============  ============
#
# In the last column BPTT is cut at every step. If a step is not compiled here (convolutions, for example), a call takes
# close to a millisecond, and the others are ahead.
#
# Summary
# -------
# - Online rules give a gradient at each step in constant memory, and with one loss at the end they are fast.
# - They are exact for one layer. In deeper networks they are approximate: ``cascade()`` stays close to BPTT, the others
#   lose the direction if order must pass through many layers.
# - Where BPTT fits in memory and nothing has to be learned before the end, use BPTT.
#
# This was the last lesson. The tutorials put it to use: start with :doc:`/tutorials/plot_01_clicks`.
