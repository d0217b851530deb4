"""
Convolution: shared weights, and traces of images
=================================================

A convolution reuses each weight at many positions, so one trace per input pixel is enough, and the gradient of the
shared weight is a sum over all positions, which is again a convolution. So ``nn.Conv2d`` is a synapse like any
other, and every rule works with it.

We train two spiking convolutions on MNIST, compare with frozen filters, and look at the learned filters. Modules
without a memory may stand between layers: here a pooling layer.

The images are read from ``mnist.npz`` in the directory that ``TRACETORCH_DATA`` names. Without it the small digits of
scikit-learn stand in.
"""

import os
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch import encoding
from tracetorch.data import DataNotFoundError, digits, mnist
from tracetorch.plot import dress, label
from tracetorch.testing import gradient_audit

short = bool(os.environ.get("TRACETORCH_SHORT"))
iterations, tested = (2, 100) if short else (250, 2000)
print(
    "Expect: learned filters do clearly better than frozen ones under the same readout, after a quarter"
)
print("of an epoch.")
if short:
    print("TRACETORCH_SHORT is set: far too few iterations to learn anything.")

# %%
# The data
# --------
# An image becomes spikes ``[10, B, 1, H, W]``: time first, then the batch, then the channel.

try:
    data = mnist()
    print(f"MNIST: {len(data.x_train)} images to train on, {len(data.x_test)} to test on")
except DataNotFoundError:
    data = digits()
    print(
        f"Stand-in: no mnist.npz, so scikit-learn's digits of 8 x 8 pixels, {len(data.x_train)} to",
        end=" ",
    )
    print(f"train on and {len(data.x_test)} to test on.")
side = data.x_train.shape[-1]


def encode(images, generator):
    """Turn bytes ``[B, H, W]`` into spikes ``[10, B, 1, H, W]``."""
    return encoding.bernoulli(images.unsqueeze(1), steps=10, generator=generator)


print("a batch:", tuple(encode(data.x_train[:64], torch.Generator().manual_seed(0)).shape))

# %%
# The network
# -----------
# The first convolution's filters are 5 x 5. The pooling between the layers averages spikes, and gets credit for the
# present step. ``nn.Flatten`` keeps the batch, so it needs no change for time.


def network():
    """Build two spiking convolutions and the mean of ten currents; 28 x 28 pixels become 7 x 7."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 12, 5, padding=2), nn.Conv2d(12, 24, 3, stride=2, padding=1)
    return nn.Sequential(
        tt.Layer(first, tt.LIF(half_life=3)),
        nn.AvgPool2d(2),
        tt.Layer(second, tt.LIF(half_life=3, threshold=0.5)),
        nn.Flatten(),
        tt.Layer(nn.Linear(24 * (side // 4) ** 2, 10), tt.Mean()),
    )


# %%
# Training
# --------
# The loop is the one of :doc:`/tutorials/plot_03_mnist`: nothing in it knows about convolutions.


def train(frozen):
    """Train a new network; return it, with its loss at each iteration."""
    net = network()
    tt.set_rule(net, tt.rules.trace())
    if frozen:
        net[:3].requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=iterations, pct_start=0.1)
    generator = torch.Generator().manual_seed(1)
    for _ in range(iterations):
        chosen = torch.randint(len(data.x_train), (64,), generator=generator)
        tt.reset(net)
        outputs = tt.scan(net, encode(data.x_train[chosen], generator), out="last")
        loss = nn.functional.cross_entropy(outputs, data.y_train[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net


# %%
# Accuracy on test images, in parts of 250:


@torch.no_grad()
def accuracy(net):
    """Return the accuracy on test images, in percent."""
    generator, right = torch.Generator().manual_seed(2), []
    for images, y in zip(data.x_test[:tested].split(250), data.y_test[:tested].split(250), strict=True):
        tt.reset(net)
        right.append(tt.scan(net, encode(images, generator), out="last").argmax(-1) == y)
    return 100 * torch.cat(right).float().mean().item()


# %%
# Two runs: with filters that learn, and with filters that stay as they were drawn.
nets = {}
for name, frozen in (("learned filters", False), ("frozen filters", True)):
    start = time.perf_counter()
    nets[name] = train(frozen)
    seconds = time.perf_counter() - start
    print(f"{name:16} {accuracy(nets[name]):5.1f} % of the test images, {seconds:.0f} s of training")

# %%
# Is a shared weight's gradient right?
# ------------------------------------
# An audit on the trained network compares the gradient with that of backpropagation through time. The input is four
# images as constant currents, and the loss is at the end. The second layer's input are pooled spikes, which are not
# constant, so the rule is approximate there, and the first layer's credit passes through it.

images = encoding.constant(data.x_test[:4].unsqueeze(1) / 255.0, steps=10)


def at_the_end(outputs, steps):
    """Return the cross-entropy at the last step."""
    return nn.functional.cross_entropy(outputs[-1], data.y_test[:4])


for name in ("trace", "sltt"):
    audit = gradient_audit(
        nets["learned filters"], images, at_the_end, tt.rules.PRESETS[name](), out="last"
    )
    shown = ", ".join(
        f"{key} {audit.rows[key].cosine:+.3f}" for key in audit.rows if key.endswith("synapse.weight")
    )
    print(f"{name}: cosine with BPTT of {shown}")

# %%
# The filters, before and after
# -----------------------------
# Each column is one of the 12 filters of the first layer: before and after training, and below it how often its
# neurons fire at each position when one test image is shown.

image = encode(data.x_test[:1], torch.Generator().manual_seed(3))
with torch.no_grad():
    tt.reset(nets["learned filters"])
    rates = tt.scan(nets["learned filters"][0], image)[:, 0].mean(0)
    tt.reset(nets["learned filters"])

# %%
figure, axes = plt.subplots(3, 12, figsize=(9, 2.6), layout="constrained")
before, after = (net[0].synapse.weight.detach()[:, 0] for net in (network(), nets["learned filters"]))
scale = after.abs().max()
for column in range(12):
    axes[0, column].imshow(before[column], cmap="RdBu_r", vmin=-scale, vmax=scale)
    axes[1, column].imshow(after[column], cmap="RdBu_r", vmin=-scale, vmax=scale)
    axes[2, column].imshow(rates[column], cmap="Greys", vmin=0, vmax=1)
for ax in axes.flat:
    dress(ax)
    ax.grid(visible=False)
    ax.set_xticks([])
    ax.set_yticks([])
for ax, text in zip(axes[:, 0], ("before", "after", "firing"), strict=True):
    label(ax, y=text)
plt.show()

# %%
# Try changing
# ------------
# - ``tt.rules.drtrl()``: how much better is the gradient of the first layer?
# - Stride 2 instead of pooling.
# - ``groups=``: one filter bank per channel.
#
# What usually goes wrong
# -----------------------
# - *Shapes*: a window is ``[T, B, C, H, W]``, and modules between layers see ``[B, C, H, W]``.
# - *The second layer hardly fires*: pooling averages spikes to small values; lower its threshold or scale its
#   weights.
# - *A frozen net[:2]* leaves the second convolution learning: the pooling counts as a module.
#
# What to read next
# -----------------
# ``nn.Conv1d`` and ``nn.Conv3d`` work in the same way, with stride, padding, dilation and groups. Your own module
# becomes a synapse with ``tt.LinearInWeights(module)`` if it is linear in its weights.
