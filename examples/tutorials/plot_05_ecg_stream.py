"""
A stream that does not end: an electrocardiogram
================================================

A heart monitor does not deliver batches or finite sequences. Here half an hour of one patient's electrocardiogram,
648,000 samples, passes through a network *once*, without a reset. A quarter of a second after each beat the network
decides whether it was a normal beat or a premature one of the ventricles (PVC). Then it gets the label, and learns
from that one beat. It never sees it again.

Backpropagation through time would have to store the whole stream, or cut it. The traces take a few kilobytes, at
sample 1,000 and at sample 648,000.

The record is number 106 of the MIT-BIH arrhythmia database (G. B. Moody, R. G. Mark, `2001
<https://doi.org/10.1109/51.932724>`_), read from ``mitbih12.npz`` in the directory that ``TRACETORCH_DATA`` names.
Without it a signal is generated that is far more regular than a real heart.
"""

import os
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.data import DataNotFoundError, mitbih
from tracetorch.plot import COLOURS, dress, label, legend, rule_styles
from tracetorch.train import resident_mb

short = bool(os.environ.get("TRACETORCH_SHORT"))
RATE = 360  # samples a second
seconds = 10 if short else 1800
print(
    "Expect: on the real record, about 95 % balanced accuracy in the last third under `trace`, less under"
)
print("`sltt`, and a resident memory that hardly grows, by a megabyte or so, over half an hour.")
if short:
    print("TRACETORCH_SHORT is set: ten seconds, far too few beats to learn anything.")

# %%
# The data
# --------
# First a stand-in, for readers who do not have the recording: beats at slightly irregular times, a quarter of them
# early and wide, with noise.


def generated(generator):
    """Return a made-up signal in millivolts, the steps of its beats, and which of them are PVC."""
    signal, beats, pvc = 0.03 * torch.randn(seconds * RATE, generator=generator), [], []
    step, t = RATE, torch.arange(seconds * RATE)
    while step < len(t) - RATE:
        early = bool(torch.rand((), generator=generator) < 0.25)
        gap = 0.8 * (1 + 0.04 * float(torch.randn((), generator=generator)))
        # each wave: height in millivolts, place from the beat's mark and width, both in seconds
        waves = (
            [(1.3, 0.0, 0.05), (-0.4, 0.28, 0.06)]
            if early
            else [(0.1, -0.16, 0.02), (1.1, 0.0, 0.015), (0.3, 0.25, 0.05)]
        )
        near = slice(max(step - RATE, 0), step + RATE)
        for height, place, width in waves:
            signal[near] += height * torch.exp(-0.5 * ((t[near] - step) / RATE - place).div(width) ** 2)
        beats.append(step)
        pvc.append(early)
        step += round((1.2 if early else 1.0) * gap * RATE)
    return signal, torch.tensor(beats), torch.tensor(pvc)


# %%
# The real record if it is there, else the stand-in. The network is asked a quarter of a second after each beat.
try:
    record = mitbih(106)
    signal, beats, pvc = record.signal[: seconds * RATE], record.beat, record.pvc
    print(f"MIT-BIH record 106: {len(signal)} samples, {len(signal) / RATE:.0f} s")
except DataNotFoundError:
    signal, beats, pvc = generated(torch.Generator().manual_seed(0))
    print(
        f"Stand-in: no mitbih12.npz, so a generated heart of {seconds} s. Scores on it mean nothing for",
        end=" ",
    )
    print("real ones.")
answers_at = beats + RATE // 4
pvc, answers_at = (
    pvc[: len(answers_at)][answers_at < len(signal)].long(),
    answers_at[answers_at < len(signal)],
)
print(f"{len(pvc)} beats, {int(pvc.sum())} of them PVC")

# %%
# Nothing may look ahead, so the signal is normalised by its own past: minus the mean of the last two seconds,
# divided by the standard deviation of the last ten. The other inputs are slopes: differences to the values 2, 6 and
# 18 samples before.


def past_mean(values, length):
    """Return the mean of the last `length` values up to each one; of all there are, at first."""
    total = torch.cat([values.new_zeros(1), values.cumsum(0)])
    now = torch.arange(1, len(values) + 1)
    start = (now - length).clamp(min=0)
    return (total[now] - total[start]) / (now - start)


centred = signal.double() - past_mean(signal.double(), 2 * RATE)
scaled = (centred / (past_mean(centred**2, 10 * RATE).sqrt() + 1e-3)).float()
slopes = [scaled - torch.cat([scaled[:1].expand(lag), scaled[:-lag]]) for lag in (2, 6, 18)]
inputs = torch.stack([scaled, *slopes], dim=-1).unsqueeze(1)  # a batch of one
print("samples, rows, channels:", tuple(inputs.shape))

# %%
# The network
# -----------
# 64 LIF neurons whose half-lives are spread from 4 to 200 samples (11 to 560 ms), so that there is one for each part
# of a beat. They are fixed here. The readout's half-life is 40 samples, and its first weights are small, because a
# leaky integrator sums what comes in.


def network():
    """Build 4 inputs, 64 LIF neurons with spread half-lives, two leaky integrators."""
    torch.manual_seed(0)
    readout = nn.Linear(64, 2)
    with torch.no_grad():
        readout.weight.mul_(1 - 0.5 ** (1 / 40))
        readout.bias.zero_()
    half_lives = torch.logspace(0.6, 2.3, 64)
    return nn.Sequential(
        tt.Layer(nn.Linear(4, 64), tt.LIF(half_life=half_lives)), tt.Layer(readout, tt.LI(half_life=40))
    )


# %%
# One pass
# --------
# The samples between two answers go through one ``tt.scan``, which returns the answer at the end. ``tt.reset`` is
# called once, before the stream. The loss weights each class by how rare it has been so far.


def live(rule):
    """Run a new network through the stream; return its answers, and the process's memory by sample."""
    net = network()
    tt.set_rule(net, rule)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    tt.reset(net)
    answers, memory, start, seen = [], [], 0, torch.ones(2)
    for step, y in zip(answers_at.tolist(), pvc.tolist(), strict=True):
        output = tt.scan(net, inputs[start : step + 1], out="last")
        answers.append(output.argmax().item())  # written down before the label is used
        seen[y] += 1
        loss = nn.functional.cross_entropy(output, torch.tensor([y])) * seen.sum() / (2 * seen[y])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        start = step + 1
        memory.append((start, resident_mb()))
    carried = sum(value.numel() * value.element_size() for value in tt.get_state(net).values())
    print(f"{carried / 1024:.1f} kB of state and traces go from sample to sample")
    return torch.tensor(answers), torch.tensor(memory)


# %%
# Most beats are normal, so a network that always says so would be right most of the time. Balanced accuracy is the
# mean of the accuracies of both classes. Two runs: the rule ``trace``, and ``sltt`` as a control.


def balanced(right, labels):
    """Return the mean of the two classes' accuracies, in percent."""
    shares = [right[labels == y].float().mean() for y in (0, 1) if bool((labels == y).any())]
    return 100 * float(torch.stack(shares).mean())


answers, memories = {}, {}
for name, rule in {"trace": tt.rules.trace(), "sltt": tt.rules.sltt()}.items():
    began = time.perf_counter()
    answers[name], memories[name] = live(rule)
    spent = time.perf_counter() - began
    late = slice(len(pvc) * 2 // 3, None)
    score = balanced(answers[name][late] == pvc[late], pvc[late])
    growth = memories[name][-1, 1] - memories[name][len(pvc) // 20, 1]
    each = 1e6 * spent / len(signal)
    print(f"{name:6} {score:5.1f} % balanced accuracy over the last third, {each:.0f} µs a sample;")
    print(f"{'':6} memory grew by {growth:.1f} MB from the first twentieth of the beats to the end")

# %%
# The figure
# ----------
# The upper panel shows the last eight seconds with the network's answers, the lower left one the running balanced
# accuracy: the mean of the two classes' scores, each averaged over about its last 40 beats. The lower right one
# shows by how much the whole process has grown since the first beat.

figure = plt.figure(figsize=(9, 4.6), layout="constrained")
grid = figure.add_gridspec(2, 2)
axes = [figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])]
for ax in axes:
    dress(ax)
first = len(signal) - 8 * RATE
axes[0].plot(torch.arange(first, len(signal)) / RATE, signal[first:], color="#222222", linewidth=0.8)
kinds = {
    (0, 0): ("normal, right", COLOURS[0], "o"),
    (1, 1): ("PVC, right", COLOURS[1], "s"),
    (0, 1): ("false alarm", COLOURS[3], "x"),
    (1, 0): ("missed PVC", COLOURS[6], "x"),
}
for (truth, answer), (name, colour, marker) in kinds.items():
    here = (answers_at >= first) & (pvc == truth) & (answers["trace"] == answer)
    if bool(here.any()):
        height = torch.full_like(answers_at[here], 0).float() + signal[first:].max() + 0.2
        axes[0].plot(answers_at[here] / RATE, height, marker, color=colour, label=name)
legend(axes[0], loc="center left", bbox_to_anchor=(1.0, 0.5))
label(axes[0], x="time, s", y="signal, mV")
for (name, given), look in zip(answers.items(), rule_styles(list(answers)), strict=True):
    share, points = [0.5, 0.5], []
    for truth, answer in zip(pvc.tolist(), given.tolist(), strict=True):
        share[truth] += 0.05 * (float(truth == answer) - share[truth])
        points.append(50 * sum(share))
    axes[1].plot(answers_at / RATE, points, label=name, **look, markevery=0.2, markersize=5)
    times, growth = memories[name][:, 0] / RATE, memories[name][:, 1] - memories[name][0, 1]
    axes[2].plot(times, growth, label=name, **look, markevery=0.2, markersize=5)
label(axes[1], x="time, s", y="running balanced accuracy, %")
label(axes[2], x="time, s", y="growth of memory, MB")
axes[2].set_ylim(-2, max(20, axes[2].get_ylim()[1]))
legend(axes[1], loc="lower right")
plt.show()

# %%
# Try changing
# ------------
# - ``tt.rules.eprop()``: an exact eligibility for each weight, since half-lives differ between units.
# - ``tt.reset(net)`` after each beat: what does the context between beats add?
# - A label for one beat in ten.
#
# What usually goes wrong
# -----------------------
# - *Looking ahead*: statistics over the whole signal know the future. Normalise by the past alone.
# - *Accuracy of an unbalanced stream*: most beats are normal, so report balanced accuracy.
# - *Memory that grows*: outputs or losses are gathered with their graph; store ``loss.item()``.
#
# What to read next
# -----------------
# The same stream under truncated backpropagation with two windows is in the :doc:`results </results_tasks>`: with a
# window as long as the interval between two beats, truncation is ahead of the trace, and with a window of 20
# samples it is behind.
#
# Here there is a label for one in 320 samples. If there is one for every sample, ``tt.Stream`` does forward, loss,
# credit and update in one compiled call: see :doc:`/howto/resets_and_streams`.
