"""
A wearable's stream with Lightning, on two processes
====================================================

Sensors of movement give a stream, and what a person does changes within it. Here rows of a batch read recordings side
by side: each row goes through one recording, learns at every window, is reset where the recording ends, and takes the
next. The loop is Lightning's: two processes, mixed precision, clipping, validation, checkpoints.

With the file ``har_geotec.npz`` in the directory that ``TRACETORCH_DATA`` names, the recordings are of real persons
(telephones and watches, 100 samples a second), and those who are tested are not those who are learned from. Without it
the recordings are generated: five kinds of movement, each with its own rhythms, under noise.
"""

import itertools
import logging
import os
import tempfile
import warnings

import lightning.pytorch as pl
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import tracetorch as tt
from tracetorch.data import DataNotFoundError, DenseRecording, RowPool, find_file, load_arrays
from tracetorch.interop.lightning import OnlineModule, Stream
from tracetorch.plot import COLOURS, dress, label, legend

short = bool(os.environ.get("TRACETORCH_SHORT"))
epochs, windows = (2, 4) if short else (10, 100)
print(
    "Expect, of the generated recordings: about 69 % of the held-out steps right after 100 windows, about"
)
print("80 % at the end. Always naming the commonest activity is right in 23 %.")
if short:
    print("TRACETORCH_SHORT is set: far too few windows to learn anything.")
warnings.filterwarnings("ignore", module="lightning")
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)

# %%
# The recordings
# --------------
# Each recording is ``[T, 7]``, a step of 20 ms per line. The first six columns are the sensor's channels, in units of
# the training persons' standard deviation. The seventh is the activity, 0 to 4, which the network does not see.


def real():
    """Return two lists of recordings: of persons to learn from, and of every fifth person, to test on."""
    arrays = load_arrays(find_file("har_geotec.npz"), ("x", "label", "offsets", "subject"))
    x, y, offsets, person = (arrays[key] for key in ("x", "label", "offsets", "subject"))
    held_out = np.unique(person, return_inverse=True)[1] % 5 == 0
    learned = ~np.repeat(held_out, np.diff(offsets))
    x = (x - x[learned].mean(0)) / x[learned].std(0)
    parts = ([], [])
    for i, (start, stop) in enumerate(itertools.pairwise(offsets)):
        stop -= (stop - start) % 2
        pairs = x[start:stop].reshape(-1, 2, 6).mean(1)
        parts[int(held_out[i])].append(np.column_stack([pairs, y[start:stop:2]]))
    return parts


# %%
# A stand-in for readers who do not have them: five rhythms that follow each other.


def generated():
    """Return recordings of five rhythms that follow each other."""
    source = np.random.default_rng(0)
    found = []
    for _ in range(100):
        kinds = np.repeat(source.integers(5, size=6), source.integers(60, 140, size=6))
        angle = np.cumsum(0.1 + 0.12 * kinds) + source.uniform(0, 6)
        x = np.stack([np.sin(angle + k * kinds) for k in range(6)], 1) + 0.7 * source.standard_normal(
            (len(kinds), 6)
        )
        found.append(np.column_stack([x, kinds]))
    return found[:80], found[80:]


# %%
# The recordings if they are there, else the stand-in:
try:
    train, test = real()
    print("recordings of real persons")
except DataNotFoundError:
    train, test = generated()
    print("TRACETORCH_DATA has no har_geotec.npz: generated recordings")
labels = np.concatenate([x[:, 6] for x in test]).astype(int)
chance = 100 * np.bincount(labels).max() / len(labels)
print(f"{len(train)} recordings to learn from, {len(test)} to test on; the first is {train[0].shape}")
print(f"the commonest activity: {chance:.0f} % of the steps")

# %%
# The module
# ----------
# ``OnlineModule`` resets the rows that begin a recording and runs one window. We override what is particular: the
# network sees six of the seven channels, each process reads its own recordings, and validation counts right steps.

rows, steps = 32, 25
pool = RowPool([(DenseRecording(x.astype(np.float32)), 0) for x in train], rows=rows, steps=steps)
window = next(iter(pool))
print("a window:", tuple(window.xs.shape), "valid steps:", tuple(window.valid.shape))
print("rows that begin a recording:", int(window.resets[0].sum()), "of", rows)


def loss(ys, window):
    """Compare the output of each step with its activity."""
    return nn.functional.cross_entropy(ys[window.valid], window.xs[..., 6][window.valid].long())


class Wearable(OnlineModule):
    """Name the activity at each step."""

    def forward(self, xs):
        """Run a window without its labels."""
        return tt.scan(self.net, xs[..., :6])

    def stream(self, recordings, *, epochs):
        """Return this process's part of the recordings as a pool of rows."""
        mine = recordings[self.trainer.global_rank :: self.trainer.world_size]
        pairs = [(DenseRecording(x.astype(np.float32)), 0) for x in mine]
        return RowPool(pairs, rows=rows // self.trainer.world_size, steps=steps, epochs=epochs)

    def train_dataloader(self):
        """Read the recordings without end; an epoch of the trainer is a number of windows."""
        return Stream(self.stream(train, epochs=None), windows=windows)

    def val_dataloader(self):
        """Read the first windows of the held-out recordings."""
        return Stream(self.stream(test, epochs=None), windows=4 if short else 60)

    def on_train_epoch_end(self):
        """Print the accuracy so far, from the first process."""
        if self.trainer.is_global_zero:
            value = 100 * float(self.trainer.callback_metrics["accuracy"])
            print(
                f"after {self.trainer.global_step:5} windows: {value:5.1f} % of the held-out steps",
                flush=True,
            )

    def validation_step(self, window, batch_idx):
        """Log the share of right steps."""
        if bool(window.resets[0].any()):
            tt.reset(self.net, window.resets[0])
        right = self(window.xs)[window.valid].argmax(-1) == window.xs[..., 6][window.valid].long()
        self.log("accuracy", right.float().mean(), batch_size=len(right), sync_dist=True)


# %%
# The network is an ordinary one, and its rule is set as always. An output is five numbers, one for each activity:
torch.manual_seed(0)
net = nn.Sequential(
    tt.Layer(nn.Linear(6, 96), tt.LIF(half_life=10)),
    tt.Layer(nn.Linear(96, 96), tt.LIF(half_life=10)),
    tt.Layer(nn.Linear(96, 5), tt.LI(half_life=20)),
)
tt.set_rule(net, tt.rules.trace())
with torch.no_grad():
    print("outputs:", tuple(tt.scan(net, window.xs[..., :6]).shape))
tt.reset(net)

# %%
# Train
# -----
# ``ddp_notebook`` starts the processes from within a running program; a separate script takes ``ddp``. Each window is
# one update, with the gradients of both processes. The checkpoint has the weights, the optimizer, and for each process
# the state of its rows and their places in the recordings, so ``fit(..., ckpt_path=...)`` would go on with the stream.

folder = tempfile.mkdtemp()
trainer = pl.Trainer(
    accelerator="cpu",
    devices=2,
    strategy="ddp_notebook",
    precision="bf16-mixed",
    gradient_clip_val=1.0,
    max_epochs=epochs,
    num_sanity_val_steps=0,
    default_root_dir=folder,
    logger=False,
    callbacks=[pl.callbacks.ModelCheckpoint(folder, filename="stream")],
    enable_progress_bar=False,
    enable_model_summary=False,
)
module = Wearable(net, loss, lambda parameters: torch.optim.Adam(parameters, lr=2e-3))
trainer.fit(module)
checkpoint = torch.load(f"{folder}/stream.ckpt", weights_only=True)
for rank, process in enumerate(checkpoint["tracetorch"]):
    tensors, begun = len(process["state"]), process["position"]["taken"]
    print(f"process {rank}: {tensors} tensors of state, {begun} recordings begun")

# %%
# One held-out recording
# ----------------------
# Above a channel of the sensor, below the probability of each activity; the line at the top is the right answer.

x = torch.from_numpy(test[0].astype(np.float32))[:1000]
net.load_state_dict({k.removeprefix("net."): v for k, v in checkpoint["state_dict"].items()})
tt.reset(net)
with torch.no_grad():
    p = tt.scan(net, x[:, None, :6])[:, 0].softmax(-1)
figure, axes = plt.subplots(2, 1, figsize=(9.6, 4.0), layout="constrained", sharex=True)
for ax in axes:
    dress(ax)
axes[0].plot(x[:, 1], color=COLOURS[0], linewidth=0.8)
label(axes[0], y="acceleration, s.d.")
for k in range(5):
    axes[1].plot(p[:, k], color=COLOURS[k], linewidth=1.0, label=f"activity {k}")
    here = torch.where(x[:, 6] == k, 1.06, float("nan"))
    axes[1].plot(here, color=COLOURS[k], linewidth=4)
legend(axes[1], loc="center left", ncols=1)
label(axes[1], x="step of 20 ms", y="probability")
plt.show()

# %%
# Try changing
# ------------
# - ``tt.rules.cascade()`` instead of ``trace()``.
# - Windows of 5 and of 100 steps: what changes, speed or accuracy?
# - ``devices=1``: are the numbers the same?
#
# What usually goes wrong
# -----------------------
# - *A process waits for ever*: processes must take the same number of windows. ``Stream(..., windows=)`` fixes it.
# - *A row carries the last recording's state on*: ``tt.reset(net, window.resets[0])`` before the window;
#   ``OnlineModule`` does it.
# - *A loss over filled-up steps*: index with ``window.valid``.
#
# :doc:`/howto/lightning` has windows of whole sequences, and what your own module needs. ``tracetorch train har``
# learns from windows of two seconds of the same recordings.
