"""
Recordings of unequal length
============================

Words have a variable length. Padding them to one length is not harmless: a network that leaks goes on leaking in
the padding, and a loss at the last step reads what is left. ``tt.scan(..., lengths=)`` freezes each row at its own end,
so that a batch gives what each recording gives alone. We show that it does, and what padding costs.

The recordings are generated, in the form of the Spiking Heidelberg Digits (B. Cramer and others, `"The Heidelberg
spiking data sets for the systematic evaluation of spiking neural networks" <https://arxiv.org/abs/1910.07407>`_, 2020):
an HDF5 file with the times and units of spikes of an artificial cochlea, ragged. For the real ones give the path of
``shd_train.h5``, and ``units=700``.
"""

import os
import tempfile
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

import tracetorch as tt
from tracetorch.data import HDF5Events, collate_ragged
from tracetorch.plot import COLOURS, dress, label, legend

short = bool(os.environ.get("TRACETORCH_SHORT"))
epochs, count = (1, 60) if short else (6, 400)
print(
    "Expect: with `lengths` each row of a batch gives what its recording gives alone, to rounding; read"
)
print("at the padded end it gives other numbers. Most words never heard are named.")
if short:
    print("TRACETORCH_SHORT is set: far too few words to learn anything.")

# %%
# A file of ragged spikes
# -----------------------
# Ten words: two resonances that rise or fall, each its own way, at the speaker's speed. Units are frequency channels.

UNITS = 64


def speak(word, rng):
    """Return the times (s) and units of one word's spikes."""
    seconds = rng.uniform(0.25, 0.9)
    start, end = divmod(word * 7 % 10, 5)[0] * 20 + 10, 12 + 10 * (word % 5)
    times, units = [], []
    for resonance, shift in ((start, 0), (end, 12)):
        t = np.sort(rng.uniform(0, 1, rng.poisson(30)))
        place = resonance + (end - start + shift) * t + rng.normal(0, 4, len(t))
        times.append(seconds * t)
        units.append(place.clip(0, UNITS - 1).astype(np.uint16))
    return np.concatenate(times).astype(np.float32), np.concatenate(units)


# %%
# The file has one array of times and one of units for each word, of any length:


def write(file, count, seed):
    """Write `count` words as the Heidelberg digits are stored."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    spoken = [speak(word, rng) for word in labels]
    with h5py.File(file, "w") as store:
        store["labels"] = labels
        for name, kind, values in (("times", np.float32, 0), ("units", np.uint16, 1)):
            ragged = store.create_dataset(f"spikes/{name}", (count,), dtype=h5py.vlen_dtype(kind))
            for i, word in enumerate(spoken):
                ragged[i] = word[values]


# %%
# ``HDF5Events`` reads such a file in time steps of 10 ms, and ``collate_ragged`` pads a batch:
folder = Path(tempfile.mkdtemp())
write(folder / "train.h5", count, seed=0)
write(folder / "test.h5", 200, seed=1)
train, test = (HDF5Events(folder / f"{name}.h5", units=UNITS, dt=0.01) for name in ("train", "test"))
batch = collate_ragged([test[i] for i in range(200)])
lengths = batch.lengths
print("a padded batch:", tuple(batch.xs.shape), "lengths:", tuple(lengths.shape))
print(f"words of {int(lengths.min())} to {int(lengths.max())} steps of 10 ms;", end=" ")
print(f"{batch.valid.float().mean():.0%} of the padded batch are recordings")


# %%
# Together is as if alone
# -----------------------


def network():
    """Return a network with the same first weights at each call."""
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(UNITS, 96), tt.LIF(half_life=8)),
        tt.Layer(nn.Linear(96, 10), tt.LI(half_life=15)),
    )
    tt.set_rule(net, tt.rules.eprop())
    with torch.no_grad():
        net[0].synapse.weight.mul_(4)
    return net


net = network()
with torch.no_grad():
    together = tt.scan(net, batch.xs, out="last", lengths=lengths)
    padded = tt.scan(network(), batch.xs, out="last")
    alone = []
    for i in range(20):
        tt.reset(net)
        alone.append(tt.scan(net, batch.xs[: lengths[i], i : i + 1], out="last")[0])
with_lengths, with_silence = ((ys[:20] - torch.stack(alone)).abs().max() for ys in (together, padded))
print(f"greatest difference to each word alone: {with_lengths:.1e} with lengths,")
print(f"{with_silence:.1e} with padding that counts as silence")

# %%
# Learn
# -----

net = network()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
order = torch.Generator().manual_seed(0)
for _ in range(epochs):
    for part in DataLoader(
        train, batch_size=30, shuffle=True, generator=order, collate_fn=collate_ragged
    ):
        tt.reset(net)
        outputs = tt.scan(net, part.xs, out="last", lengths=part.lengths)
        loss = nn.functional.cross_entropy(outputs, part.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# %%
# The answer is taken at each word's own end, and, to compare, at the end of the padded batch:


def answers(**options):
    """Return the outputs for the test words."""
    tt.reset(net)
    with torch.no_grad():
        return tt.scan(net, batch.xs, **options)


for name, outputs in (
    ("at each word's end", answers(out="last", lengths=lengths)),
    ("at the padded end", answers(out="last")),
):
    right = (outputs.argmax(-1) == batch.labels).float()
    short_ones = right[lengths < 50].mean()
    print(f"{name}: {right.mean():.0%} of the words never heard, {short_ones:.0%} of the short ones")

# %%
# Words, and an answer
# --------------------
# On the left three words; on the right the network's output for the shortest. After the word's end its padded row goes
# on: the readout forgets, and its answer is that of its bias.

figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained")
for ax in axes:
    dress(ax)
for k in range(3):
    t, unit = batch.xs[: lengths[k], k].nonzero().T
    axes[0].scatter(t, unit + 70 * k, s=2, color=COLOURS[k])
    axes[0].vlines(lengths[k], 70 * k, 70 * k + 64, color=COLOURS[k])
label(axes[0], x="step of 10 ms", y="unit, three words")
short_one = int(lengths.argmin())
shares = answers()[:, short_one].softmax(-1)
for word in range(10):
    mine = word == int(batch.labels[short_one])
    axes[1].plot(
        shares[:, word], color=COLOURS[0] if mine else COLOURS[6], linewidth=1.6 if mine else 0.6,
        label="the word" if mine else None,
    )  # fmt: skip
axes[1].axvline(int(lengths[short_one]), color=COLOURS[1], label="its end")
legend(axes[1])
label(axes[1], x="step of 10 ms", y="probability")
plt.show()

# %%
# Try changing
# ------------
# - ``out="all"`` and ``batch.valid`` for a loss at every step of a recording.
# - A :class:`tracetorch.data.RowPool` wastes no padding at all: :doc:`/tutorials/plot_14_lightning`.
# - :doc:`/howto/resets_and_streams` has masks, and resets within a window.
#
# What usually goes wrong
# -----------------------
# - *Reading the padded end*: pass ``lengths``.
# - *A loss at every step* of a padded batch counts the filling: index with ``batch.valid``.
# - *Filling with zeros is not silence for a bias*: the current is the bias, and neurons go on firing.
