"""
Memorising patterns in time
===========================

A network is shown a set of spike patterns again and again, until it has memorised them: at the end of a pattern it
names it. Every channel fires exactly three times in every pattern, so counting does not help; the patterns differ
in *when* the spikes come. Then we disturb the patterns, with spikes that come too early or too late and spikes that
are missing, and see how much damage the memory tolerates.

The control is a network whose hidden layer is frozen. It is a random *reservoir*, and its trained readout is a
strong baseline. The question is what learning the hidden layer adds, and how that depends on how many patterns
there are to store.
"""

import os
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import COLOURS, dress, label, legend, rule_styles

short = bool(os.environ.get("TRACETORCH_SHORT"))
iterations, sizes, tested = (3, (10, 20), 200) if short else (500, (10, 20, 40, 80), 2000)
print("Expect: a frozen hidden layer of 32 neurons recognises about 80 % of few patterns, and half of 80")
print(
    "patterns; learned hidden layers do clearly better. `sltt`, which credits the last step alone, does"
)
print("worse than the frozen one.")
if short:
    print("TRACETORCH_SHORT is set: far too few iterations to learn anything.")

# %%
# The patterns
# ------------
# Twenty channels, sixty steps. ``spoil`` moves each spike by a normal deviate of some steps and loses one in ten.

CHANNELS, STEPS = 20, 60


def patterns(count, generator):
    """Draw patterns ``[60, count, 20]`` with three spikes in each channel."""
    places = torch.rand(count, CHANNELS, STEPS, generator=generator).topk(3, dim=-1).indices
    return torch.zeros(count, CHANNELS, STEPS).scatter_(-1, places, 1.0).permute(2, 0, 1)


def spoil(spikes, generator, jitter=2.0, lost=0.1):
    """Move spikes by `jitter` steps (standard deviation) and leave out the share `lost`."""
    t, row, channel = spikes.nonzero(as_tuple=True)
    kept = torch.rand(len(t), generator=generator) >= lost
    moved = (t + (jitter * torch.randn(len(t), generator=generator)).round().long()).clamp(0, STEPS - 1)
    found = torch.zeros_like(spikes)
    found[moved[kept], row[kept], channel[kept]] = 1.0
    return found


print("five patterns:", tuple(patterns(5, torch.Generator().manual_seed(0)).shape))

# %%
# The network
# -----------
# 32 LIF neurons with a half-life of 15 steps, a quarter of a pattern, under one leaky integrator for each pattern. A
# channel fires three times in sixty steps, which is little, so the first weights are three times as large as torch
# draws them: a hidden layer that does not fire learns nothing.


def network(count):
    """Build 20 inputs, 32 LIF neurons, and a leaky integrator for each pattern."""
    torch.manual_seed(0)
    synapse = nn.Linear(CHANNELS, 32)
    with torch.no_grad():
        synapse.weight.mul_(3)
    return nn.Sequential(
        tt.Layer(synapse, tt.LIF(half_life=15)), tt.Layer(nn.Linear(32, count), tt.LI(half_life=20))
    )


# %%
# Training is the usual loop. Each iteration draws 64 spoiled patterns; the one loss of each comes at its end.


def memorise(count, rule, frozen):
    """Train a new network on spoiled versions of `count` patterns; return it and the patterns."""
    net, stored = network(count), patterns(count, torch.Generator().manual_seed(count))
    tt.set_rule(net, rule)
    if frozen:
        net[0].requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=iterations, pct_start=0.1)
    generator = torch.Generator().manual_seed(1)
    for _ in range(iterations):
        y = torch.randint(count, (64,), generator=generator)
        tt.reset(net)
        loss = nn.functional.cross_entropy(tt.scan(net, spoil(stored[:, y], generator), out="last"), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net, stored


# %%
# How many spoiled patterns are recognised? New noise is drawn for the test.


@torch.no_grad()
def recall(net, stored, jitter=2.0):
    """Return the share of spoiled patterns that are recognised, in percent."""
    generator = torch.Generator().manual_seed(2)
    y = torch.randint(stored.shape[1], (tested,), generator=generator)
    tt.reset(net)
    answers = tt.scan(net, spoil(stored[:, y], generator, jitter), out="last").argmax(-1)
    return 100 * (answers == y).float().mean().item()


# %%
# How many can it hold?
# ---------------------
# ``eprop`` carries an eligibility that is filtered as the readout filters: for one hidden layer under a leaky
# readout this is the gradient of backpropagation through time. ``trace`` multiplies averages and drops how input
# and sensitivity vary together in time, which should matter if timing is the only information.

rules = {
    "frozen": (tt.rules.trace(), True),
    "sltt": (tt.rules.sltt(), False),
    "trace": (tt.rules.trace(), False),
    "eprop": (tt.rules.eprop(), False),
}
by_size, by_jitter, shifts = {}, {}, (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
print(f"\n{'patterns recognised, %':22} " + "  ".join(f"{count:3d} stored" for count in sizes))
for name, (rule, frozen) in rules.items():
    start = time.perf_counter()
    by_size[name] = []
    for count in sizes:
        net, stored = memorise(count, rule, frozen)
        by_size[name].append(recall(net, stored))
        if count == 20:
            by_jitter[name] = [recall(net, stored, jitter) for jitter in shifts]
    line = "  ".join(f"{score:10.1f}" for score in by_size[name])
    print(f"{name:22} {line}   {time.perf_counter() - start:.0f} s")

# %%
# How robust is it?
# -----------------
# The networks that stored 20 patterns were trained with spikes displaced by 2 steps or so. The right panel displaces
# them by more and by less.

figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.2), layout="constrained")
for ax in axes:
    dress(ax)
examples = patterns(2, torch.Generator().manual_seed(20))
for offset, (example, colour) in enumerate(zip(examples.unbind(1), COLOURS, strict=False)):
    t, channel = example.nonzero(as_tuple=True)
    axes[0].scatter(t, channel + 22 * offset, s=14, marker="|", color=colour)
axes[0].set_yticks([10, 32], ["one", "another"])
label(axes[0], title="two patterns", x="time step")
for (name, values), look in zip(by_size.items(), rule_styles(list(by_size)), strict=True):
    axes[1].plot(sizes, values, markersize=5, label=name, **look)
    axes[2].plot(shifts, by_jitter[name], markersize=5, label=name, **look)
axes[1].plot(
    sizes, [100 / count for count in sizes], color="#767676", linestyle=(0, (4, 3)), label="chance"
)
axes[1].set_xscale("log")
axes[1].set_xticks(sizes, [str(count) for count in sizes])
axes[1].minorticks_off()
label(axes[1], title="capacity", x="patterns stored", y="recognised, %")
label(axes[2], title="20 patterns, spoiled", x="jitter, steps", y="recognised, %")
for ax in axes[1:]:
    ax.set_ylim(0, 103)
legend(axes[1], loc="best")
plt.show()

# %%
# Try changing
# ------------
# - ``tt.rules.ottt()`` should equal ``eprop()`` up to the readout's filter: does it?
# - A half-life of 5 or 60 steps: which memory fits 60 steps of pattern?
# - No ``synapse.weight.mul_(3)``: print ``firing_rates`` and see why nothing is learned.
#
# What usually goes wrong
# -----------------------
# - *Nothing is learned*: three spikes a channel are little input. Print ``tracetorch.testing.firing_rates(net, x)``
#   before you train.
# - *Batch first*: a window is ``[T, B, channels]``. With the first two axes exchanged everything runs, on another
#   task.
# - *The control is too strong or too weak*: freeze ``net[0]`` only; the readout learns in the control too.
#
# What to read next
# -----------------
# With one seed per point, differences of a few percent between ``trace`` and ``eprop`` are not significant; those
# to the frozen layer at 40 patterns are. :doc:`/theory/eprop` shows why ``eprop`` is exact here.
