"""
4. A trace instead of the graph
===============================

The idea of the whole library fits on one page. The gradient of a leaky neuron is a sum over pairs of times: when an
input came, and when it mattered. BPTT sums over one of the two first, a trace sums over the other. The pairs and
the sum are the same, but one order needs a recording of all steps, and the other needs one number per input.

**What to expect:** one gradient, computed four ways, with differences of about 1e-16, and a figure of the sum. A few
seconds.
"""

import os
import textwrap

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import dress, label
from tracetorch.testing import agreement

torch.manual_seed(1)
short = bool(os.environ.get("TRACETORCH_SHORT"))
torch.set_default_dtype(torch.float64)

# %%
# One neuron
# ----------
# A neuron has weights :math:`w`, a membrane and spikes. A loss at every step asks for spikes at given times:
#
# .. math:: v_t = \beta\,(v_{t-1} - z_{t-1}) + w \cdot x_t, \qquad z_t = [v_t > 1], \qquad
#           L = \sum_t \tfrac12 (z_t - z^*_t)^2.
#
# We write :math:`L_t = z_t - z^*_t` for the derivative of the loss with respect to the spike at step :math:`t`, and
# :math:`\psi_t` for the surrogate derivative. The reset is treated as a constant; no gradient passes through it
# (the library's default; more below).
T, inputs, beta = 40, 6, 0.9
surrogate = tt.surrogates.ATan()
xs, target = (torch.rand(T, inputs) < 0.3).double(), (torch.rand(T) < 0.2).double()
w = (0.4 * torch.rand(inputs)).requires_grad_()


def membrane(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the distances to the threshold and the spikes, each [T], with their graph."""
    v, z, distances, zs = torch.zeros(()), torch.zeros(()), [], []
    for x in xs:
        v = beta * (v - z.detach()) + w @ x
        z = surrogate(v - 1)
        distances.append(v - 1)
        zs.append(z)
    return torch.stack(distances), torch.stack(zs)


distance, z = membrane(w)
(by_autograd,) = torch.autograd.grad(0.5 * ((z - target) ** 2).sum(), w)
L, psi = (z - target).detach(), surrogate.derivative(distance.detach())
print(f"the neuron fires {int(z.sum())} times in {T} steps")

# %%
# All the pairs
# -------------
# An input at step :math:`k` moves the membrane at every later step :math:`t`, by :math:`\beta^{\,t-k}`. So
#
# .. math:: \frac{dL}{dw} = \sum_{t} \sum_{k \le t} L_t\, \psi_t\, \beta^{\,t-k}\, x_k .
#
# .. figure:: /_static/figures/orders.svg
#    :alt: Two triangles of pairs of times. BPTT sums each column from the last step back and stores all steps; a trace
#       sums each row as it happens and stores one number per input.
#    :figclass: tt-figure
#
# The next picture shows the pairs of our neuron, summed over the six inputs: column :math:`k`, row :math:`t` is what
# the inputs at step :math:`k` contribute to the gradient through the spike at step :math:`t`. (Colours saturate at
# 30 % of the largest value, so that the many small ones are visible.)
when = torch.arange(T)
lag = when[:, None] - when[None, :]
pairs = torch.where(lag >= 0, (L * psi)[:, None] * beta ** lag.clamp(min=0), 0.0)
triangle = pairs * xs.sum(1)

# %%
figure, ax = plt.subplots(figsize=(5.6, 4.6), layout="constrained")
dress(ax)
ax.grid(visible=False)
top = 0.3 * float(triangle.abs().max())  # stronger colours for the many small ones
image = ax.imshow(triangle, cmap="PuOr", vmin=-top, vmax=top, interpolation="nearest")
ax.annotate("", (38, 3), (38, 32), arrowprops={"arrowstyle": "<-", "color": "#0072B2", "lw": 2})
ax.text(36.5, 8, "a trace takes row after row,\nas they happen", color="#0072B2", ha="right", fontsize=9)
ax.annotate("", (18, 17.2), (37, 17.2), arrowprops={"arrowstyle": "->", "color": "#A04000", "lw": 2})
ax.text(
    37,
    16.2,
    "BPTT takes columns,\nfrom the last back",
    color="#A04000",
    ha="right",
    va="bottom",
    fontsize=9,
)
bar = figure.colorbar(image, ax=ax, shrink=0.8, extend="both")
bar.set_label("contribution to the gradient", fontsize=9)
label(
    ax,
    title="One gradient, a sum over pairs of times",
    x="when the input came, k",
    y="when it mattered, t",
)
plt.show()

# %%
# By columns: backpropagation through time
# ----------------------------------------
# For each input time :math:`k`, sum over everything that comes *after*. Computed from the end, this is a running
# sum:
#
# .. math:: \lambda_k = \psi_k L_k + \beta\, \lambda_{k+1}, \qquad \frac{dL}{dw} = \sum_k \lambda_k\, x_k .
#
# This needs all :math:`\psi_k`, :math:`L_k` and :math:`x_k` at the end: the recording.
by_columns, lam = torch.zeros(inputs), 0.0
for k in reversed(range(T)):
    lam = psi[k] * L[k] + beta * lam
    by_columns += lam * xs[k]

# %%
# By rows: a trace
# ----------------
# For each time :math:`t`, sum over everything that came *before*. Computed from the start, this is a running sum
# too:
#
# .. math:: \hat x_t = \beta\, \hat x_{t-1} + x_t, \qquad \frac{dL}{dw} = \sum_t L_t\, \psi_t\, \hat x_t .
#
# Only :math:`\hat x` is stored, the trace of lesson 3, with the membrane's decay. At each step the gradient of that
# step's loss is known and can be used at once.
by_rows, x_hat = torch.zeros(inputs), torch.zeros(inputs)
for t in range(T):
    x_hat = beta * x_hat + xs[t]
    by_rows += L[t] * psi[t] * x_hat

# %%
# Now the library, as you would use it: a layer, one step at a time, with a backward pass after each. The graph of a
# step is freed before the next begins. ``ottt()`` is the rule that uses this trace.
layer = tt.Layer(nn.Linear(inputs, 1, bias=False), tt.LIF(beta=torch.tensor(beta)), rule=tt.rules.ottt())
with torch.no_grad():
    layer.synapse.weight.copy_(w)
tt.reset(layer)
for x, want in zip(xs, target, strict=True):
    (0.5 * (layer(x[None]) - want) ** 2).sum().backward()

for name, found in (
    ("by columns (BPTT by hand)", by_columns),
    ("by rows (trace by hand)", by_rows),
    ("tt.Layer with ottt(), 40 backward calls", layer.synapse.weight.grad[0]),
):
    print(f"{name:40} relative difference to autograd {agreement(found, by_autograd).relative_error:.1e}")

# %%
# Forward mode and reverse mode
# -----------------------------
# In terms of automatic differentiation, BPTT is reverse mode and a trace is forward mode. Reverse mode is the usual
# choice because one backward pass serves all parameters; forward mode carries :math:`\partial s_t / \partial w` for
# each of them. For a general recurrent network of :math:`n` units that is an :math:`n \times n^2` matrix,
# multiplied by an :math:`n \times n` Jacobian at every step: real-time recurrent learning (R. Williams, D. Zipser,
# 1989, https://doi.org/10.1162/neco.1989.1.2.270), with a cost of :math:`n^4`.
n = 128
print(f"general network of {n} units: {n**3:,} numbers carried, {n**4:,} products a step")
print(f"{n} units that do not mix, full eligibility: {n**2:,} numbers, {n**2:,} products")
print(f"the same if all units share one decay: {n} numbers, {n} products")

# %%
# Two properties of spiking layers reduce the cost. Units do not mix inside the neuron, so the Jacobian is diagonal:
# :math:`n^2` numbers. And if the decay is shared and constant, the trace of a weight depends on its input only, so
# all units share one trace per input: :math:`n` numbers.
#
# In general: states and their blocks
# -----------------------------------
# A neuron may have several state variables, and a decay that changes with what it does. Then :math:`\beta` becomes
# a block :math:`A_t = \partial s_t / \partial s_{t-1}`, and the derivative of the state with respect to the weight,
# the *eligibility* :math:`E`, follows
#
# .. math:: e_t = D_t E_{t-1} + \psi_t\, x_t, \qquad E_t = A_t E_{t-1} + B_t\, x_t, \qquad
#           \frac{dL}{dw} = \sum_t L_t\, e_t,
#
# with :math:`B_t = \partial s_t / \partial I_t` and :math:`D_t = \partial z_t / \partial s_{t-1}`. If gradients
# pass through a hard reset, for example, :math:`A_t` differs between steps and neurons. One trace per input cannot
# represent this, but one per weight can, and the rule that uses it (``drtrl()``, lesson 8) is exact:
hard = tt.LIF(beta=torch.tensor(beta), reset=tt.HardReset(gradient=True))
layer = tt.Layer(nn.Linear(inputs, 1, bias=False), hard, rule=tt.rules.drtrl())
with torch.no_grad():
    layer.synapse.weight.copy_(w)


def loss(ys: torch.Tensor, steps: slice) -> torch.Tensor:
    return 0.5 * ((ys[:, 0, 0] - target[steps]) ** 2).sum()


audit = tt.testing.gradient_audit(layer, xs[:, None], loss, window=1)
error = audit.total.relative_error
print(f"hard reset, with its gradient, drtrl(): relative difference to BPTT {error:.1e}")
try:
    tt.testing.gradient_audit(layer, xs[:, None], loss, tt.rules.ottt(), window=1)
except (TypeError, ValueError) as error:
    print(textwrap.fill(f"ottt() on the same neuron: {error}", 100))
torch.set_default_dtype(torch.float32)  # as it was, for whatever runs next in this process

# %%
# The following lessons use ``tracetorch.testing.gradient_audit``: it runs a copy of your network under a rule, with
# the graph cut at every window as in real use, and compares the gradients with those of BPTT by autograd.
#
# Summary
# -------
# - The gradient is a sum over pairs (input time, loss time). BPTT sums over the future of each input; a trace sums
#   over the past of each loss. For one layer the results are equal.
# - The trace needs no recording, and gives a gradient at every step.
# - It costs one number per weight (full eligibility), or one per input if the decay is shared and constant.
#
# Next: :doc:`plot_05_averaged_rule`.
