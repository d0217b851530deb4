"""
MNIST, coded as spikes
======================

The handwritten digits of MNIST (Y. LeCun et al., `1998 <https://doi.org/10.1109/5.726791>`_), each shown for 20
steps in which every pixel fires with its brightness as probability. This task needs little memory: every step shows
the same image, and the evidence adds up. It shows that a rule whose memory does not grow with time can be as
accurate as backpropagation through time, and what a network with fixed hidden layers reaches.

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
from tracetorch.plot import dress, label, legend, rule_styles
from tracetorch.testing import calibrate

short = bool(os.environ.get("TRACETORCH_SHORT"))
iterations, tested = (3, 200) if short else (500, 2000)
print("Expect: `trace` and `bptt` end close to each other, near 96 %; frozen hidden layers end below.")
if short:
    print("TRACETORCH_SHORT is set: far too few iterations to learn anything.")

# %%
# The data
# --------

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
pixels = data.x_train[0].numel()


def encode(images, generator):
    """Turn bytes ``[B, H, W]`` into spikes ``[20, B, pixels]``."""
    return encoding.bernoulli(images.flatten(1), steps=20, generator=generator)


print("a batch:", tuple(encode(data.x_train[:64], torch.Generator().manual_seed(0)).shape))

# %%
# The network
# -----------
# Two hidden layers of 256 LIF neurons. The readout, :class:`tracetorch.Mean`, averages its current over all steps, so
# that every step of the sequence counts alike.


def network():
    """Build two layers of 256 LIF neurons under the mean of ten currents."""
    torch.manual_seed(0)
    return nn.Sequential(
        tt.Layer(nn.Linear(pixels, 256), tt.LIF(half_life=5)),
        tt.Layer(nn.Linear(256, 256), tt.LIF(half_life=5)),
        tt.Layer(nn.Linear(256, 10), tt.Mean()),
    )


# %%
# Training
# --------
# There is one loss per sequence, at the last step, where the mean is over all steps.
#
# With PyTorch's initial weights the second layer hardly fires, so the control with frozen hidden layers would be
# too weak. ``calibrate`` scales them until each layer fires in about a quarter of the steps.


def train(rule, frozen=False):
    """Train a new network by a rule; return it and its loss at each iteration."""
    net = network()
    tt.set_rule(net, rule)
    if frozen:
        calibrate(net, encode(data.x_train[:16], torch.Generator().manual_seed(0)))
        net[:2].requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=iterations, pct_start=0.1)
    generator, losses = torch.Generator().manual_seed(1), []
    for _ in range(iterations):
        chosen = torch.randint(len(data.x_train), (128,), generator=generator)
        tt.reset(net)
        outputs = tt.scan(net, encode(data.x_train[chosen], generator), out="last")
        loss = nn.functional.cross_entropy(outputs, data.y_train[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return net, losses


# %%
# The readout gives an answer after each of the 20 steps, so accuracy is a curve.


@torch.no_grad()
def accuracy(net):
    """Return the accuracy after each of the 20 steps on test images, ``[20]``, in percent."""
    generator, right = torch.Generator().manual_seed(2), []
    for images, y in zip(data.x_test[:tested].split(500), data.y_test[:tested].split(500), strict=True):
        tt.reset(net)
        right.append(tt.scan(net, encode(images, generator)).argmax(-1) == y)
    return 100 * torch.cat(right, dim=1).float().mean(-1)


# %%
# Three runs: the online rule, BPTT to compare it with, and a control in which only the readout learns.
runs = {
    "trace": (tt.rules.trace(), False),
    "bptt": (tt.rules.bptt(), False),
    "frozen": (tt.rules.trace(), True),
}
losses, accuracies = {}, {}
for name, (rule, frozen) in runs.items():
    start = time.perf_counter()
    net, losses[name] = train(rule, frozen)
    seconds = time.perf_counter() - start
    accuracies[name] = accuracy(net)
    print(f"{name:8} {accuracies[name][-1]:5.1f} % of the test images, {seconds:.0f} s of training")

# %%
# Accuracy over time
# ------------------
# The readout gives an answer at every step, so we can ask how fast the evidence adds up: the right panel shows the
# accuracy after 1, 2, ... 20 steps. A device that may stop when it is confident can answer early.

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.0), layout="constrained")
for ax in (left, right):
    dress(ax)
for (name, values), look in zip(losses.items(), rule_styles(list(losses)), strict=True):
    window = min(20, len(values))
    left.plot(
        torch.tensor(values).unfold(0, window, 1).mean(-1),
        label=name,
        **look,
        markevery=0.2,
        markersize=5,
    )
    right.plot(range(1, 21), accuracies[name], markersize=4, label=name, **look)
left.set_yscale("log")
label(left, x="iteration", y="loss")
right.set_xticks(range(2, 21, 3))
label(right, x="steps of the image seen", y="test accuracy, %")
legend(left, loc="best")
legend(right, loc="lower right")
plt.show()

# %%
# Try changing
# ------------
# - A loss at every step: ``tt.scan(net, x)`` without ``out``. It costs more time; is it better?
# - ``tt.LI(half_life=5)`` instead of ``tt.Mean()``.
# - Five steps instead of 20: how much accuracy do the other 15 add?
#
# What usually goes wrong
# -----------------------
# - *The second layer is silent* with PyTorch's initial weights: ``tt.init_firing(net, x, rate=0.2)`` or
#   ``calibrate``.
# - *Another readout*: ``out="last"`` gives the mean over all steps with ``tt.Mean``, and the last step alone with the
#   others.
# - *Accuracy varies between evaluations*: the spikes are drawn; give the encoder a generator with a seed.
#
# What to read next
# -----------------
# With more iterations and images shifted by a pixel, ``trace`` and ``bptt`` reached 98.75 % on all 10,000 test images
# and ``cascade`` 98.78 (``tracetorch compare mnist --rules trace,cascade,bptt --seeds 1``,
# :doc:`results </results_tasks>`). :doc:`/tutorials/plot_07_convolution` does the same with
# convolutions.
