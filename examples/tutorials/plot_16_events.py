"""
Events of a camera, through Tonic
=================================

An event camera (a dynamic vision sensor, DVS) reports only changes: at this microsecond this pixel became brighter,
or darker. `Tonic <https://tonic.readthedocs.io>`_ has the data sets of such events, among them N-MNIST, for which a
camera was moved in front of digits. Here we make events of the same kind: the digits that scikit-learn brings move
along a triangle in front of a sensor of 16 x 16 pixels, and Tonic slices and caches them like its own data sets.

``tt.data.TonicRecordings`` turns only the window that is asked for into a tensor. For N-MNIST replace one line:
``dataset = tonic.datasets.NMNIST("data")``.
"""

import os

import matplotlib.pyplot as plt
import numpy as np
import tonic
import torch
from torch import nn

import tracetorch as tt
from tracetorch.data import RowPool, TonicRecordings, digits
from tracetorch.plot import dress, label, legend

short = bool(os.environ.get("TRACETORCH_SHORT"))
epochs, examples = (1, 60) if short else (5, 600)
print("Expect: most digits are named from their events alone, while they still move. Chance is 10 %.")
if short:
    print("TRACETORCH_SHORT is set: far too few digits to learn anything.")

# %%
# The camera
# ----------
# A pixel sends an event whenever its brightness has changed by a fixed amount. The event is a row of a structured
# array with time (microseconds), place and polarity, as in every data set of Tonic.

SIZE, FRAMES, DT = 16, 60, 5000
KIND = np.dtype([("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.int8)])
ENLARGED = np.kron(np.eye(8), np.ones((2, 1)))  # each pixel of the image is two by two of the sensor's


def move(image, rng):
    """Return the events of an image, ``[8, 8]``, that moves once along a triangle."""
    corners = np.array([[0, 0], [3, 1.5], [0, 3], [0, 0]]) - 1.5 + rng.normal(0, 0.3, 2)
    path = np.stack(
        [np.interp(np.linspace(0, 3, FRAMES + 1), np.arange(4), corners[:, k]) for k in range(2)], 1
    )
    spectrum = np.fft.fft2(np.pad(ENLARGED @ image @ ENLARGED.T, 4))
    u, v = np.meshgrid(np.fft.fftfreq(SIZE + 8), np.fft.fftfreq(SIZE + 8), indexing="ij")
    shifts = np.exp(-2j * np.pi * (u[None] * path[:, :1, None] + v[None] * path[:, 1:, None]))
    seen = np.fft.ifft2(spectrum * shifts).real[:, 4:-4, 4:-4]  # shifted by parts of a pixel
    level, found = seen[0].copy(), []
    for frame, brightness in enumerate(seen[1:]):
        for polarity, sign in ((1, 1), (0, -1)):
            y, x = np.nonzero(sign * (brightness - level) > 0.4)
            events = np.zeros(len(x), KIND)
            events["t"] = frame * DT + rng.integers(0, DT, len(x))
            events["x"], events["y"], events["p"] = x, y, polarity
            level[y, x] += sign * 0.4
            found.append(events)
    events = np.concatenate(found)
    return events[np.argsort(events["t"], kind="stable")]


# %%
# A data set of Tonic is a class with a length and items; an item is events and a label.


class MovingDigits(tonic.Dataset):
    """Digits that move in front of an event camera."""

    sensor_size = (SIZE, SIZE, 2)

    def __init__(self, images, labels):
        super().__init__("")
        self.images, self.labels = images.numpy() / 16.0, labels.tolist()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return move(self.images[i], np.random.default_rng(i)), self.labels[i]


# %%
# ``TonicRecordings`` turns the events into frames when they are read: here one frame for three of the camera's.
data = digits()
dataset = tonic.MemoryCachedDataset(MovingDigits(data.x_train[:examples], data.y_train[:examples]))
held_out = tonic.MemoryCachedDataset(MovingDigits(data.x_test[:200], data.y_test[:200]))
size = {"sensor_size": MovingDigits.sensor_size, "dt": 3 * DT, "steps": FRAMES // 3}
recordings, test = TonicRecordings(dataset, **size), TonicRecordings(held_out, **size)
first = recordings[0][0]
x = first.window(0, first.steps)
print(f"{len(recordings)} recordings, {first.steps} steps of {tuple(first.shape)};", end=" ")
print(f"{int(x.sum())} events in the first")
print(f"{float((x > 0).float().mean()):.1%} of its entries are not zero")

# %%
# Learn
# -----
# Rows of a batch read recordings side by side, and each takes the next when its recording ends. There is an update
# every ten steps, so nothing of a recording needs to be kept until it is over.

torch.manual_seed(0)
net = nn.Sequential(
    tt.Layer(nn.Conv2d(2, 12, 3, padding=1), tt.LIF(half_life=4)),
    nn.AvgPool2d(2),
    tt.Layer(nn.Conv2d(12, 24, 3, padding=1), tt.LIF(half_life=4)),
    nn.AvgPool2d(2),
    nn.Flatten(),
    tt.Layer(nn.Linear(24 * 16, 10), tt.LI(half_life=8)),
)
tt.set_rule(net, tt.rules.trace())
with torch.no_grad():
    net[0].synapse.weight.mul_(3)  # events are sparse
    net[2].synapse.weight.mul_(4)
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
losses = []
for window in RowPool(recordings, rows=25, steps=10, epochs=epochs):
    tt.reset(net, window.resets[0])
    outputs = tt.scan(net, window.xs)
    loss = nn.functional.cross_entropy(outputs[window.valid], window.labels[window.valid])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"cross-entropy: {np.mean(losses[:4]):.2f} at first, {np.mean(losses[-4:]):.2f} at last")

# %%
# The answer while the digit moves
# --------------------------------

batch = tt.data.collate_ragged([test[i] for i in range(len(test))])
tt.reset(net)
with torch.no_grad():
    answers = tt.scan(net, batch.xs).argmax(-1)
right = (answers == batch.labels).float().mean(1)
print(
    f"digits never seen: {right[4]:.0%} right after a quarter of the movement, {right[-1]:.0%} at its end"
)
events, _ = held_out[0]

# %%
figure = plt.figure(figsize=(9.6, 3.6), layout="constrained")
space = figure.add_subplot(1, 2, 1, projection="3d")
for polarity, name in ((1, "brighter"), (0, "darker")):
    some = events[events["p"] == polarity][::2]
    space.scatter(some["t"] / 1000, some["x"], SIZE - some["y"], s=2, label=name)
space.set_xlabel("ms")
space.set_zticks([])
space.set_yticks([])
space.legend(frameon=False, loc="upper left")
time = figure.add_subplot(1, 2, 2)
dress(time)
time.plot(np.arange(1, len(right) + 1) * 3 * DT / 1000, right, label="digits never seen")
time.axhline(0.1, color="#555555", linestyle="--", linewidth=0.8, label="chance")
legend(time)
label(time, x="ms of movement", y="share of right answers")
plt.show()

# %%
# Try changing
# ------------
# - ``tonic.SlicedDataset`` with ``SliceByTime`` cuts recordings of hours; give it to ``TonicRecordings`` as it is.
# - ``dt``: what is lost, or gained, with steps of 5 and of 60 ms?
# - :doc:`/howto/own_data` has HDF5, sound and tables.
#
# What usually goes wrong
# -----------------------
# - *ToFrame in the data set*: give Tonic's events as they are; the reader makes the frames of a window.
# - *A silent network*: events are sparse; scale the weights, or call ``tt.init_firing``.
# - *Axes*: ``sensor_size`` is width, height, polarities, as in Tonic; a step is ``[polarity, height, width]``.
