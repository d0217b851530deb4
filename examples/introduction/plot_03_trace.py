"""
3. What is a trace?
===================

A trace is a fading running sum. You know some already: the momentum of SGD, Adam's two moments, and batch
normalisation's running mean. This lesson is about the one parameter of a trace, its time constant, and about the
first steps, when there is no past yet to average over.

**What to expect:** a few conversions, and three figures: what a trace remembers, the choice of its time-scale, and its
first steps. A few seconds.
"""

import os
from collections import deque

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import COLOURS, dress, label, legend

torch.manual_seed(0)
short = bool(os.environ.get("TRACETORCH_SHORT"))
LOOKS = ((COLOURS[0], "-"), (COLOURS[1], "--"), (COLOURS[2], ":"))

# %%
# Two ways to look back
# ---------------------
# How often did something happen lately? You can store the last :math:`n` values in a queue and average them, which
# costs :math:`n` numbers. Or you can store a single number and let it fade:
#
# .. figure:: /_static/figures/queue.svg
#    :alt: Left, a queue of the last n inputs; a new one enters, the oldest leaves. Right, a trace, one number that is
#       multiplied by beta before the new input is added.
#    :figclass: tt-figure
#
# .. math:: \hat x_t = \beta\, \hat x_{t-1} + x_t = \sum_{k \le t} \beta^{\,t-k} x_k.
#
# The right-hand side shows why this works: it contains the whole past, each step with its own weight, although only
# :math:`\hat x_{t-1}` was stored. It is like footprints in wet sand instead of a film. The weights sum to
# :math:`1/(1-\beta)`, so :math:`(1-\beta)\,\hat x_t` is an average, written :math:`\bar x_t`.
#
# How far back does it reach? Three measures of the same thing:
for half in (1.0, 5.0, 20.0, 100.0):
    beta = 0.5 ** torch.tensor(1 / half, dtype=torch.float64)
    print(
        f"half-life {half:5.0f} steps: beta = {beta:.4f}, tau = {tt.tau(beta):6.2f} steps, "
        f"sum of weights 1/(1 - beta) = {1 / (1 - beta):6.2f}"
    )

# %%
# After a half-life half is left; after :math:`\tau` (a factor 1.44 longer), :math:`1/e`. The library takes any of the
# three: ``half_life=20``, ``tau=28.9`` or ``beta=0.9659``.
steps = 200
spikes = torch.zeros(steps)
spikes[[20, 60, 66, 72, 78, 150]] = 1.0

# %%
figure, axes = plt.subplots(2, 1, figsize=(7, 4), sharex=True, height_ratios=[1, 4], layout="constrained")
for ax in axes:
    dress(ax)
axes[0].vlines(spikes.nonzero().flatten(), 0, 1, color="#222222", linewidth=1.5)
axes[0].set_yticks([])
for half, (colour, dash) in zip((5, 20, 100), LOOKS, strict=True):
    x_hat, path = 0.0, []
    for x in spikes:
        x_hat = 0.5 ** (1 / half) * x_hat + x
        path.append(x_hat)
    axes[1].plot(path, color=colour, linestyle=dash, label=f"half-life {half}")
label(axes[0], title="What a trace remembers of six spikes", y="spikes")
label(axes[1], x="time step", y="trace")
legend(axes[1], loc="upper left")
plt.show()

# %%
# Which time-scale?
# -----------------
# A short time constant reacts quickly but is noisy; a long one is smooth but lags. Below, the probability of a
# spike jumps from 5 % to 25 % per step and back. We measure both errors: the noise (the standard deviation over
# many runs) while the probability is constant, and the lag (after how many steps the mean over the runs has reached
# 15 %, half of the jump). For comparison we use a queue of :math:`1/(1-\beta)` values.
runs, steps = (100, 600) if short else (1000, 600)
chance = torch.full((steps,), 0.05)
chance[200:400] = 0.25
xs = torch.bernoulli(chance[:, None].expand(steps, runs))
results = {}
for half in (5, 20, 100):
    beta = 0.5 ** (1 / half)
    mean, path, queue, windowed = torch.zeros(runs), [], deque(maxlen=round(1 / (1 - beta))), []
    for x in xs:
        mean = beta * mean + (1 - beta) * x
        queue.append(x)
        path.append(mean)
        windowed.append(torch.stack(list(queue)).mean(0))
    for name, values in (("trace", torch.stack(path)), ("queue", torch.stack(windowed))):
        results[name, half] = values
        average = values.mean(1)
        late = int((average[200:400] > 0.15).nonzero()[0]) + 1
        kept = 1 if name == "trace" else queue.maxlen
        noise = values[350:400].std(1).mean()
        print(
            f"half-life {half:3d}, {name} of {kept:3d} number(s): noise {noise:.3f}, lag {late:3d} steps"
        )

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
dress(ax)
ax.step(range(steps), chance, color="#222222", label="probability of a spike")
for half, (colour, dash) in zip((5, 20, 100), LOOKS, strict=True):
    ax.plot(
        results["trace", half][:, 0],
        color=colour,
        linestyle=dash,
        linewidth=1.0,
        label=f"half-life {half}",
    )
label(ax, title="Fast and noisy, or smooth and late", x="time step", y="running average")
legend(ax, loc="upper right")
plt.show()

# %%
# A trace lags by about one half-life, as the name says. Compared with a queue of :math:`1/(1-\beta)` values it is
# less noisy and lags more. A queue about twice as long, of :math:`(1+\beta)/(1-\beta)` values, is equally noisy but
# lags more than the trace. So the single number is no worse a memory than the queue, and far smaller.
#
# There is no best time constant; it depends on how long the information stays valid. If a neuron must bridge four
# seconds of silence, a half-life of half a second is too short under every rule. Time constants can be learned like
# weights: ``tt.LIF(half_life=tt.Learnable(10.0, shape=(64,)))``.
#
# The first steps
# ---------------
# A new trace is zero, and a fading average that begins at zero is too small for a while: after :math:`n` steps its
# weights sum to :math:`1 - \beta^n` and not to 1. Divided by this sum, it is an average from the first step on.
# Adam does the same to its moments (D. Kingma, J. Ba, 2014, https://arxiv.org/abs/1412.6980):
#
# .. math:: \bar x_n = \frac{1 - \beta}{1 - \beta^{\,n}} \sum_{k \le n} \beta^{\,n-k} x_k.
beta, steps = 0.5 ** (1 / 20), 100
xs = torch.bernoulli(torch.full((steps, 2000), 0.3))
plain, mean = [], torch.zeros(2000)
for x in xs:
    mean = beta * mean + (1 - beta) * x
    plain.append(mean.mean())
plain = torch.stack(plain)
corrected = plain / (1 - beta ** torch.arange(1, steps + 1))
for n in (1, 10, 100):
    print(
        f"after {n:3d} steps, true mean 0.300: plain {plain[n - 1]:.3f}, corrected {corrected[n - 1]:.3f}"
    )

# %%
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
dress(ax)
ax.axhline(0.3, color="#222222", linewidth=0.9, label="true mean")
ax.plot(plain, color=COLOURS[1], linestyle="--", label="average that starts at zero")
ax.plot(corrected, color=COLOURS[0], label="divided by the weights used so far")
ax.set_ylim(0, 0.36)
label(
    ax,
    title="Bias correction: an average from the first step on",
    x="steps since the reset",
    y="mean of 2000 runs",
)
legend(ax, loc="lower right")
plt.show()

# %%
# In the library
# --------------
# Every layer carries its traces next to its state. They are plain tensors, most with one row per sample of the
# batch. You can reset selected rows, each of which has its own step count; the others are unaffected:
net = nn.Sequential(
    tt.Layer(nn.Linear(3, 5), tt.LIF(half_life=20)), tt.Layer(nn.Linear(5, 2), tt.LI(half_life=20))
)
for _ in range(4):
    net(torch.ones(2, 3)).sum().backward()
tt.reset(net, torch.tensor([True, False]))  # row 0 begins a new sequence
net(torch.ones(2, 3))
for name, value in tt.get_state(net).items():
    print(f"{name:24} {list(value.shape)!s:15} {value.tolist() if name.endswith('steps') else ''}")

# %%
# The names: ``s.0`` is the state, here the membrane, as ``[batch, units]``. The other names are for learning, and later
# lessons explain them: ``sigma`` is how far a constant extra current would have moved the state (lesson 5),
# ``traces`` is what the rule carries (averages in lesson 5, eligibilities in lessons 6 to 9), ``steps`` is the count
# for the bias correction, and ``activity`` is what the layers below need to know of a layer (lesson 10). None of
# them has a time dimension.
#
# Summary
# -------
# - A trace is one number that summarises the past, weighted by :math:`\beta^{\,t-k}`.
# - Its time constant trades lag against noise; ``half_life``, ``tau`` and ``beta`` are three ways to give it.
# - Divided by :math:`1 - \beta^n` it is a true average from the first step.
#
# Next: :doc:`plot_04_trace_for_graph`.
