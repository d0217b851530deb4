"""
Quickstart
==========

In ten minutes: data from a ``DataLoader``, a spiking network, a training loop, an accuracy, a look inside, and another
learning rule. You need PyTorch, and the library with its extra ``train`` (:doc:`/start/installation`). The buttons
at the end of the page download it as a notebook or as a program; ``examples/quickstart.ipynb`` in the repository is a
notebook for Colab.

**What to expect:** about 85 % of handwritten digits, read row by row, and a figure of spikes. About 20 seconds.
"""

import os

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tracetorch as tt
from tracetorch.data import digits
from tracetorch.plot import raster
from tracetorch.testing import firing_rates

torch.manual_seed(0)
epochs = 1 if os.environ.get("TRACETORCH_SHORT") else 12

# %%
# The data
# --------
# scikit-learn brings 1,797 digits of 8 × 8 pixels. The network sees one row of pixels at a time, from the top, so the
# label depends on the order of what it sees. Any ``Dataset`` serves: a batch is ``[B, T, features]`` here.
data = digits()
train_set = TensorDataset(data.x_train / 255, data.y_train)
test_set = TensorDataset(data.x_test / 255, data.y_test)
train = DataLoader(train_set, batch_size=64, shuffle=True)
test = DataLoader(test_set, batch_size=360)
images, labels = next(iter(train))
print("a batch:", tuple(images.shape), "labels:", tuple(labels.shape))

# %%
# The network
# -----------
# A layer is a synapse, which has weights, and a neuron, which has a memory. ``LIF`` neurons leak, integrate and fire;
# the half-life is the number of steps after which half of what came in has leaked away. ``LI`` only leaks and
# integrates; it is the readout: the network's last layer, whose outputs are the answer.
net = nn.Sequential(
    tt.Layer(nn.Linear(8, 128), tt.LIF(half_life=8)),
    tt.Layer(nn.Linear(128, 128), tt.LIF(half_life=8)),
    tt.Layer(nn.Linear(128, 10), tt.LI(half_life=8)),
)
print(net)


def steps(images: torch.Tensor) -> torch.Tensor:
    """Return the rows of the images as time steps, [16, B, 8], each for two steps."""
    return images.transpose(0, 1).repeat_interleave(2, dim=0)


xs = steps(images)
print("a window:", tuple(xs.shape), "outputs:", tuple(tt.scan(net, xs).shape))

# %%
# A network that does not fire learns nothing. This scales each unit's weights so that it fires in 20 % of the steps:
print("before")
for name, firing in firing_rates(net, xs).items():
    print(f"layer {name}: {firing}")
tt.init_firing(net, xs, rate=0.2)
print("after")
for name, firing in firing_rates(net, xs).items():
    print(f"layer {name}: {firing}")

# %%
# Training
# --------
# The rule decides how the error reaches earlier time steps. ``cascade()`` is the default, so the line that sets it
# could be left out. The rest is the loop that you know, with one line more: ``tt.reset`` begins a new sequence.


def accuracy() -> float:
    right = 0
    with torch.no_grad():
        for images, labels in test:
            tt.reset(net)
            answers = tt.scan(net, steps(images), out="last").argmax(1)
            right += int((answers == labels).sum())
    return right / len(test_set)


tt.set_rule(net, tt.rules.cascade())
opt = torch.optim.Adam(net.parameters(), lr=5e-3)
for epoch in range(epochs):
    for images, labels in train:
        tt.reset(net)
        y = tt.scan(net, steps(images), out="last")
        loss = nn.functional.cross_entropy(y, labels)
        loss.backward()
        opt.step()
        opt.zero_grad()
    if epoch % 3 == 2 or epoch == epochs - 1:
        print(f"epoch {epoch + 1:2d}: loss {loss:.2f}, held-out accuracy {accuracy():.1%}")

# %%
# A look inside
# -------------
# Spikes of the first layer for one image. ``net[0]`` is a layer like any module. A notebook shows the figure; in a
# program ``figure.savefig("spikes.png")`` writes it.
tt.reset(net)
with torch.no_grad():
    spikes = tt.scan(net[0], steps(images[:1]))
figure = raster(spikes[:, 0], title="First hidden layer, one digit: a dot is a spike")
figure

# %%
# One step at a time
# ------------------
# The same network, with the weights that it has, as a stream: one row of pixels comes in, an answer goes out.
tt.reset(net)
with torch.no_grad():
    for t, x in enumerate(steps(images[:1])):
        answer = net(x)
        if t % 5 == 0:
            print(f"after step {t + 1:2d} of 16: a {answer.argmax().item()}, it is a {labels[0].item()}")

# %%
# Try changing
# ------------
# - The rule: ``tt.rules.trace()`` is cheaper, ``eprop()`` is exact for one hidden layer, ``bptt()`` is the reference,
#   and ``sltt()`` gives no credit for the past: how much does each cost in accuracy?
# - ``half_life=2``: the network forgets the first rows. A half-life that is learned, ``tt.Learnable(8.0,
#   shape=128)``, works with most rules; ``ottt`` refuses it.
# - A loss at every step: ``ys = tt.scan(net, xs)`` and the mean of the cross entropies.
#
# What usually goes wrong
# -----------------------
# - *The loss stays at 2.30*: the layers are silent. Print ``firing_rates``.
# - *A batch of another size is an error*: ``tt.reset(net)`` is missing before the batch.
# - *Shapes*: time comes first, ``[T, B, features]``.
#
# Next: the lessons, :doc:`plot_01_why_not_bptt`; or the task that you have, :doc:`/howto/choosing_a_rule`.
