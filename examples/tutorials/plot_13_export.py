"""
Out to a runtime: ONNX, and weights of eight bits
=================================================

A network that was trained here is to run where there is no PyTorch. We train a recurrent network on digits that come
row by row, write *one step* of it as an ONNX file with the state going in and coming out, run it in onnxruntime step
by step, and compare it with the network itself. Then its weights get eight bits, and we count what that changes.
"""

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import torch
from torch import nn

import tracetorch as tt
from tracetorch import encoding
from tracetorch.data import digits
from tracetorch.plot import COLOURS, dress, label, legend

short = bool(os.environ.get("TRACETORCH_SHORT"))
iterations = 3 if short else 300
print(
    "Expect: the same outputs in torch and in onnxruntime, to rounding. With eight bits a few spikes in a"
)
print("hundred change, the accuracy hardly changes, and the file is half as large: a quarter for the")
print("weights, the same for the graph.")
if short:
    print("TRACETORCH_SHORT is set: far too few iterations to learn anything.")

# %%
# Train
# -----

data = digits()
torch.manual_seed(0)
net = nn.Sequential(
    tt.Layer(nn.Linear(8, 128), tt.LIF(half_life=8), recurrent=nn.Linear(128, 128)),
    tt.Layer(nn.Linear(128, 10), tt.LI(half_life=16)),
)
tt.set_rule(net, tt.rules.eprop())
nn.init.normal_(net[0].recurrent.weight, std=0.05)


def encode(images):
    """Turn bytes ``[B, 8, 8]`` into currents ``[16, B, 8]``."""
    return encoding.rows(images * (3.0 / 255.0), repeat=2)


print("a batch:", tuple(encode(data.x_train[:64]).shape))


optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
generator = torch.Generator().manual_seed(0)
for _ in range(iterations):
    chosen = torch.randint(len(data.x_train), (64,), generator=generator)
    tt.reset(net)
    loss = nn.functional.cross_entropy(
        tt.scan(net, encode(data.x_train[chosen]), out="last"), data.y_train[chosen]
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
# Export
# ------
# ``tt.export.step`` copies the network into a module ``(x, state) -> (y, state)``. ``torch.export`` takes it as it is;
# ``to_onnx`` writes it with named inputs and outputs, for any batch size.

step = tt.export.step(net)
xs, labels = encode(data.x_test), data.y_test.numpy()
folder = Path(tempfile.mkdtemp())
tt.export.to_onnx(step, xs[0], folder / "float.onnx")
small = tt.export.int8(step)
tt.export.to_onnx(small, xs[0], folder / "int8.onnx")


def run(file):
    """Run a file over all steps; return outputs ``[16, N, 10]`` and hidden membranes ``[16, N, 128]``."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    state = {name: value.numpy() for name, value in zip(step.names, step.zeros(xs[0]), strict=True)}
    outputs, membranes = [], []
    for x in xs:
        y, *after = session.run(None, {"x": x.numpy(), **state})
        state = dict(zip(step.names, after, strict=True))
        outputs.append(y)
        membranes.append(state["0/v"])
    return np.stack(outputs), np.stack(membranes)


tt.reset(net)
with torch.no_grad():
    own = tt.scan(net, xs).numpy()
found, membranes = run(folder / "float.onnx")
rounded, rounded_membranes = run(folder / "int8.onnx")
print(f"state: {', '.join(step.names)}")
print(f"onnxruntime against torch, greatest difference of an output: {abs(found - own).max():.1e}")

# %%
# What eight bits change
# ----------------------
# ``difference`` runs both on the same data. The network's answer is the largest output of the last step.

gap = tt.export.difference(step, small, xs)
print(f"changed: {gap.spikes['0']:.2%} of the spikes, {gap.decisions:.2%} of the answers,", end=" ")
print(f"outputs by at most {gap.outputs:.2g}")
accuracies = {}
for name, ys in (("torch", own), ("onnxruntime", found), ("int8", rounded)):
    accuracies[name] = 100 * (ys[-1].argmax(-1) == labels).mean()
    print(f"{name:12} {accuracies[name]:5.1f} % right")
sizes = {name: sum(f.stat().st_size for f in folder.glob(f"{name}.onnx*")) for name in ("float", "int8")}
print(f"files: {sizes['float'] / 1024:.0f} KB and {sizes['int8'] / 1024:.0f} KB")

# %%
# Left: the outputs for one digit, lines from torch, dots from onnxruntime. Right: a membrane of the hidden layer, with
# weights of 32 and of 8 bits.

figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.2), layout="constrained")
for ax in axes:
    dress(ax)
for i, k in enumerate(np.argsort(own[-1, 0])[-4:]):
    axes[0].plot(own[:, 0, k], color=COLOURS[i], label=f"digit {k}")
    axes[0].plot(found[:, 0, k], "o", color=COLOURS[i], markersize=4)
legend(axes[0], loc="upper left")
label(axes[0], x="step", y="output")
unit = int((np.abs(membranes - rounded_membranes).max(0)[0]).argmax())
axes[1].plot(membranes[:, 0, unit], color=COLOURS[0], label="32 bits")
axes[1].plot(rounded_membranes[:, 0, unit], color=COLOURS[1], linestyle=(0, (4, 2)), label="8 bits")
legend(axes[1], loc="upper left")
label(axes[1], x="step", y="membrane of the unit that differs most")
plt.show()

# %%
# Try changing
# ------------
# - ``tt.export.window(net, 16)``: a digit in one call.
# - Weights pruned before ``int8``: which layer suffers?
# - A net of ``tt.ALIF``: which states has the file?
#
# What usually goes wrong
# -----------------------
# - *Exporting the network itself* makes its state a constant; export ``tt.export.step(net)``.
# - *The state is lost between calls*: feed each ``next/`` output back as the input of that name; zeros are a reset.
# - *Another accuracy in the runtime*: inputs must be encoded as in training, and divided alike.
#
# :doc:`/howto/export` lists what can be exported and what is refused. For simulators and neuromorphic chips there is
# :doc:`/howto/nir`.
