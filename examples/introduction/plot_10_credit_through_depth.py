r"""
10. Credit through the layers above: ``cascade()``
==================================================

Lesson 9 ended with a missing term: a spike stays in the membrane of the layer above, and most rules forget that. The
library's default rule carries this term forward. This lesson builds the rule in three steps: by hand for two units,
where it equals backpropagation through time (BPTT); in networks of growing depth, where it comes close; and with less
memory, as pairs of vectors. You need lessons 6 and 9.

**What to expect:** the same number in two ways by hand, an error of 1e-15 for two layers, a figure of agreement with
BPTT from one to six hidden layers, and a table of what is stored. About a minute.
"""

import os

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import dress, label, legend, rule_styles
from tracetorch.testing import calibrate, gradient_audit

short = bool(os.environ.get("TRACETORCH_SHORT"))
torch.manual_seed(0)

# %%
# The idea
# --------
# The upper membrane multiplies what it holds by :math:`\beta` at each step, so it is a filter of the spikes that it
# receives. If the lower layer's eligibility passes through *the same filter*, it meets the error at the moment when
# the spike's effect does:
#
# .. math:: \frac{dL}{dW^{(1)}} = \sum_t L_t \, F_\beta(e)_t, \qquad F_\beta(e)_t = \beta F_\beta(e)_{t-1} + e_t ,
#
# where :math:`e_t` is the eligibility of lesson 6 and :math:`L_t` the error that arrives through the upper layer's
# slope and weights at step :math:`t`. e-prop does this for the memory of the readout; ``cascade()`` for every layer.
#
# .. figure:: /_static/figures/rule_cascade.svg
#    :alt: Three layers and a readout. The eligibility of each layer goes through one filter for every layer above it.
#    :figclass: tt-figure
#
# By hand
# -------
# Two units, one above the other, three steps. The lower unit's output is a weight times its input; the upper one
# leaks with :math:`\beta = 0.5` and has the slope :math:`\psi_t` at step :math:`t`. The loss is the sum of the upper
# unit's outputs. Autograd goes back through all steps; the filter goes forward and stores one number.
x, psi, beta = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.2, 0.4, 0.8]), 0.5
w = torch.tensor(1.0, requires_grad=True)
v, loss = torch.zeros(()), torch.zeros(())
for t in range(3):
    v = beta * v + w * x[t]  # the upper membrane
    loss = loss + psi[t] * v  # its output, with the slope of this step
loss.backward()

filtered, by_filter, at_once = torch.zeros(()), torch.zeros(()), torch.zeros(())
for t in range(3):
    e = x[t]  # the eligibility of w: how it moves the lower unit's output now
    filtered = beta * filtered + e
    by_filter += psi[t] * filtered
    at_once += psi[t] * e
print(f"autograd, backwards through all steps: {w.grad:.2f}")
print(f"filtered eligibility, forwards:        {by_filter:.2f}")
print(f"without the filter, as in lesson 9:    {at_once:.2f}")

# %%
# In the library: two spiking layers under a readout without memory. The neurons of the lower layer may be of any
# kind; here they adapt.
two = nn.Sequential(
    tt.Layer(nn.Linear(10, 20), tt.ALIF(half_life=8, adaptation_half_life=30)),
    tt.Layer(nn.Linear(20, 20), tt.LIF(half_life=5)),
    nn.Linear(20, 3),
)
xs = (torch.rand(60, 4, 10) < 0.3).float()
calibrate(two, xs)  # so that the layers fire
target = torch.randn(60, 4, 3, dtype=torch.float64)
for rule in (tt.rules.cascade(), tt.rules.drtrl()):
    audit = gradient_audit(two, xs, lambda ys, steps: ((ys - target[steps]) ** 2).sum(), rule, window=1)
    print(f"{rule.name:8} relative difference to BPTT {audit.total.relative_error:.0e}")

# %%
# Deeper
# ------
# With a third layer, or a readout that leaks, a slope :math:`\psi` stands *between* two filters. To carry that
# exactly would take one number per weight and upper unit. ``cascade()`` takes the mean slope out of the filter
# instead, and so drops how the upper slopes and the lower eligibilities vary *together* in time
# (:doc:`/theory/cascade` derives it). How much is that? Networks of one to six hidden layers under a leaky readout,
# inputs in bursts, one loss at the end: the direction of the lowest layer's gradient compared with BPTT's. A cosine
# of 1 is the same direction.
T, B, UNITS = 48, 4, 24
depths, seeds = ((1, 2), range(1)) if short else ((1, 2, 4, 6), range(3))


def network(depth: int) -> nn.Sequential:
    hidden = [
        tt.Layer(nn.Linear(20 if i == 0 else UNITS, UNITS), tt.LIF(half_life=8)) for i in range(depth)
    ]
    return nn.Sequential(*hidden, tt.Layer(nn.Linear(UNITS, 3), tt.LI(half_life=8)))


def bursts() -> torch.Tensor:
    """Return spikes [T, B, 20]: each input has one burst of 12 steps, at its own time."""
    since = torch.arange(T)[:, None, None] - torch.randint(0, T - 12, (1, B, 20))
    return (torch.rand(T, B, 20) < 0.02 + 0.6 * ((since >= 0) & (since < 12))).float()


def lowest(rule: tt.Rule, depth: int, seed: int) -> float:
    """Return the cosine of the lowest layer's gradient to BPTT's."""
    torch.manual_seed(seed)
    net, xs = network(depth), bursts()
    calibrate(net, xs)
    target = torch.randn(1, B, 3, dtype=torch.float64)
    audit = gradient_audit(net, xs, lambda ys, _: ((ys - target) ** 2).sum(), rule, window=1, out="last")
    return audit.rows["0.synapse.weight"].cosine


print("inputs:", tuple(bursts().shape), "outputs:", tuple(tt.scan(network(2), bursts()).shape))

# %%
rules = {
    "cascade": tt.rules.cascade(pairs=None),  # one number per weight
    "cascade:pairs=10": tt.rules.cascade(pairs=10),
    "cascade:pairs=1": tt.rules.cascade(pairs=1),
    "eprop": tt.rules.eprop(),
}
cosines = {}
for name, rule in rules.items():
    cosines[name] = torch.tensor([[lowest(rule, d, seed) for d in depths] for seed in seeds])
    print(f"{name:17}", "  ".join(f"{c:+.2f}" for c in cosines[name].mean(0)))

# %%
figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
dress(ax)
ax.axhline(1, color="#222222", linewidth=0.9, label="bptt: itself")
for (name, found), look in zip(cosines.items(), rule_styles(list(cosines)), strict=True):
    low, mean, high = found.amin(0), found.mean(0), found.amax(0)
    ax.errorbar(depths, mean, (mean - low, high - mean), elinewidth=0.8, label=name, **look)
ax.set_xticks(depths)
label(
    ax,
    title="Lowest layer: agreement with BPTT (bars: least and greatest of the seeds)",
    x="hidden layers",
    y="cosine to BPTT",
)
legend(ax, loc="lower left")
plt.show()

# %%
# With one hidden layer e-prop and ``cascade()`` are exact. With two, e-prop is at about 0.7, because the lower layer's
# spikes act through the upper membranes for long, and with six at about 0.2. ``cascade()`` stays above 0.9. Its form
# with a single pair lies between, and ten pairs are nearly as good as one number per weight.
#
# Pairs: less memory
# ------------------
# A full eligibility has one number for each weight and filter, for each row of the batch. In wide layers that is
# large. The eligibility is a sum over past steps of products of two vectors: what the *unit* contributes, and the
# *inputs* of that step. ``cascade(pairs=m)`` stores the vectors of :math:`m` such products, and merges neighbours in
# time when there are more. Without a number, ``cascade()`` chooses by size for each layer: full where it is small,
# ten pairs where it is large. After 20 steps:
print("units   full (numbers per row)   ten pairs   one pair")
for units in (64, 256) if short else (64, 256, 1024):
    counts = []
    for rule in (
        tt.rules.cascade(pairs=None),
        tt.rules.cascade(pairs=10),
        tt.rules.cascade(pairs=1),
    ):
        net = nn.Sequential(
            tt.Layer(nn.Linear(units, units), tt.LIF(half_life=8)),
            tt.Layer(nn.Linear(units, 10), tt.LI(half_life=8)),
        )
        tt.set_rule(net, rule)
        tt.scan(net, torch.rand(20, 1, units))
        state = tt.get_state(net)
        counts.append(sum(v.numel() for name, v in state.items() if name.startswith("0/")))
    print(f"{units:5d}   {counts[0]:22,}   {counts[1]:9,}   {counts[2]:8,}")

# %%
# In training
# -----------
# So far the networks were untrained. On scikit-learn's digits, row by row, the lowest layer's gradient was compared
# with BPTT's six times during training, in networks that BPTT trains, for three seeds (``python -m
# benchmarks.depth``, the tables in :doc:`/results_credit`):
#
# .. figure:: /_static/figures/depth_training.svg
#    :alt: Cosine of the lowest layer's gradient to BPTT's against the number of hidden layers, one line per rule.
#       cascade falls from 0.99 at 2 layers to 0.87 at 6, trace from 0.95 to 0.78, the rules with instantaneous
#       credit from 0.69 to 0.37, sltt from 0.60 to 0.34.
#    :figclass: tt-figure
#
# Networks that each rule trains itself reach, with 4 hidden layers, 90.9 % (``bptt``), 90.0 (``cascade``), 87.6
# (``drtrl``), 83.1 (``eprop``) and 81.9 (``trace``): a better direction and a better accuracy go together, but not
# one for one. (These layers were scaled to fire first; lesson 9 has the table of :doc:`/results`, which starts from
# PyTorch's own weights.)
#
# What it does not credit: paths through dense recurrent spikes, except as many as ``hops=`` names, and modules with a
# memory of their own between layers.
#
# Try changing
# ------------
# - Half-lives of 1 in the upper layers: without memory above, e-prop is as good.
# - ``nn.Linear`` instead of the leaky readout: which depth is exact now?
# - Steady inputs instead of ``bursts()``: the covariance in time is small, and so is what is dropped.
#
# Summary
# -------
# - Credit that goes through the same filters as the spike is exact for two layers, in memory that does not grow.
# - In deeper networks one covariance is dropped; the direction stays close to BPTT's.
# - The eligibilities may be stored as a few pairs of vectors.
#
# The mathematics in full: :doc:`/theory/cascade`; more than one filter above a layer: :doc:`/theory/cascade_filters`.
#
# Next: :doc:`plot_11_when_to_use`.
