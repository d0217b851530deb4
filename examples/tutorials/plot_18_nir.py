"""
Out to other simulators and back: NIR
=====================================

The `Neuromorphic Intermediate Representation <https://neuroir.org>`_ is a file of differential equations that other
simulators and chips read. We train a network, write it, read it back, and run the same file through the
equations of the standard, integrated in a few lines of NumPy that know nothing of this library. All three must give the
same spikes, at the same steps.

A *soft* reset, the default here, is not in the standard: we see what a reader makes of it.
"""

import os
import tempfile
import textwrap
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import nir
import numpy as np
import torch
from torch import nn

import tracetorch as tt
from tracetorch import encoding
from tracetorch.data import digits
from tracetorch.plot import COLOURS, dress, label

short = bool(os.environ.get("TRACETORCH_SHORT"))
iterations = 3 if short else 200
print("Expect: not one spike differs with a hard reset, in three programs. A network trained with a soft")
print("reset fires other spikes in programs that follow the standard.")
if short:
    print("TRACETORCH_SHORT is set: far too few iterations to learn anything.")

# %%
# Train with the reset of the standard
# ------------------------------------

data = digits()


def encode(images):
    """Turn bytes ``[B, 8, 8]`` into currents ``[32, B, 8]``."""
    return encoding.rows(images * (3.0 / 255.0), repeat=4)


# %%
# The output neurons spike too: the answer is the one that fires most.


def train(reset):
    """Train a network with a kind of reset; the output neurons spike too."""
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(8, 96), tt.LIF(half_life=8, reset=reset)),
        tt.Layer(nn.Linear(96, 96), tt.LIF(half_life=8, reset=reset)),
        tt.Layer(nn.Linear(96, 10), tt.LIF(half_life=16, reset=reset)),
    )
    tt.set_rule(net, tt.rules.eprop())
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(iterations):
        chosen = torch.randint(len(data.x_train), (64,), generator=generator)
        tt.reset(net)
        counts = tt.scan(net, encode(data.x_train[chosen])).sum(0)
        loss = nn.functional.cross_entropy(counts, data.y_train[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.double()  # so that no membrane ends on the other side of its threshold by rounding


# %%
# We train with the hard reset, as NIR defines it, and store the output spikes to compare with later:
net = train(tt.HardReset())
xs = encode(data.x_test).double()
print("test digits:", tuple(xs.shape))


def spikes(net):
    """Return the output spikes ``[32, N, 10]``."""
    tt.reset(net)
    with torch.no_grad():
        return tt.scan(net, xs).numpy()


own = spikes(net)
right = (own.sum(0).argmax(-1) == data.y_test.numpy()).mean()
print(f"{right:.0%} of the test digits are right, by counting the spikes of each output")
print(f"an output fires {own.sum(0).mean():.2f} spikes per digit")

# %%
# Write, read
# -----------

file = Path(tempfile.mkdtemp()) / "digits.nir"
nir.write(file, tt.interop.to_nir(net))
graph = nir.read(file)
kinds = ", ".join(f"{name} {type(node).__name__}" for name, node in graph.nodes.items())
print(textwrap.fill(f"{file.stat().st_size} bytes: {kinds}", 100))
back = spikes(tt.interop.from_nir(graph, dtype=torch.float64))
print(f"read back: {int((back != own).sum())} of {own.size} steps differ")

# %%
# The equations of the standard
# -----------------------------
# A node ``LIF`` is :math:`\tau \dot v = v_{leak} - v + R I`, and :math:`v = v_{reset}` where
# :math:`v > v_{threshold}`; one Euler step per time step.


def integrate(graph, xs):
    """Integrate a chain of affine maps and LIF nodes; return the spikes of the last."""
    dt, after = graph.metadata["dt"], dict(graph.edges)
    name, signal = after["input"], xs
    while name != "output":
        node = graph.nodes[name]
        if isinstance(node, nir.Affine):
            signal = signal @ node.weight.T + node.bias
        else:
            v, spikes = np.zeros_like(signal[0]), []
            for current in signal:
                v = v + dt / node.tau * (node.v_leak - v + node.r * current)
                spikes.append((v > node.v_threshold).astype(float))
                v = np.where(spikes[-1] > 0, node.v_reset, v)
            signal = np.stack(spikes)
        name = after[name]
    return signal


numpy_spikes = integrate(graph, xs.numpy())
print(f"the equations in NumPy: {int((numpy_spikes != own).sum())} of {own.size} steps differ")

# %%
# A soft reset
# ------------
# ``to_nir`` refuses it unless you choose what to do. The warning shows which share of the spikes another program
# would change.

soft = train(tt.SoftReset())
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    as_hard = tt.interop.to_nir(soft, other_reset="metadata", sample=xs[:, :50])
print(textwrap.fill(str(caught[0].message), 100))
soft_own = spikes(soft)
soft_back = spikes(tt.interop.from_nir(as_hard, dtype=torch.float64))
print(f"a reader of this library: {int((soft_back != soft_own).sum())} steps differ;")
other = integrate(as_hard, xs.numpy())
print(f"a reader of the equations alone: {int((other != soft_own).sum())}")

# %%
# The spike trains
# ----------------

figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.6), layout="constrained", sharex=True)
shown = int(own.sum((0, 2)).argmax())
for ax, title, trains in (
    (axes[0], "hard reset", (own, back, numpy_spikes)),
    (axes[1], "soft reset", (soft_own, soft_back, other)),
):
    dress(ax)
    for k, (found, mark) in enumerate(zip(trains, ("o", "+", "|"), strict=True)):
        step, unit = np.nonzero(found[:, shown])
        name = ("here", "read back", "equations of the file")[k]
        ax.scatter(step, unit, s=(60, 40, 120)[k], marker=mark, color=COLOURS[k], label=name, alpha=0.8)
    ax.set_title(title)
    ax.set_yticks(range(10))
    label(ax, x="step", y="output neuron")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
plt.show()

# %%
# Try changing
# ------------
# - ``tt.interop.Exponential`` instead of Euler's step, in writing and in reading.
# - :doc:`/howto/nir` shows what snnTorch and Norse do with a graph, and :doc:`/howto/coming_from` brings networks here.
#
# What usually goes wrong
# -----------------------
# - *A soft reset* is not in the standard: train with ``tt.HardReset()`` if the network has to leave.
# - *Single precision*: a membrane next to its threshold may fire on one side only; compare in double precision.
# - *Recurrent or adaptive layers*: ``to_nir`` names what does not fit; :doc:`/howto/nir` has the table.
