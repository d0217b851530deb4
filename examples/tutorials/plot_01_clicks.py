"""
A first network in ten minutes: counting clicks
===============================================

Clicks come from the left and from the right for five seconds. Four seconds of silence follow, then a cue asks: *on
which side were there more?* To answer, a network has to count, and to remember the count until the cue.

We build a small spiking network for it, train it without backpropagation through time, and check with two controls
that it works because of learning through time. Rats do this task well: B. W. Brunton, M. M. Botvinick, C. D. Brody,
`"Rats and humans can optimally accumulate evidence for decision-making"
<https://doi.org/10.1126/science.1233912>`_, 2013.
"""

import os
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import dress, label, legend, rule_styles

short = bool(os.environ.get("TRACETORCH_SHORT"))
iterations, trials = (12, 200) if short else (400, 2000)
print("Expect: the rule `trace` ends well above 90 % right, the two controls stay at chance (50 %).")
if short:
    print("TRACETORCH_SHORT is set: far too few iterations to learn anything.")

# %%
# The data
# --------
# One time step is a twentieth of a second. Ten noisy channels listen to each side, and one more carries the cue, so
# the network sees 21 zeros and ones per step. Time comes first in every array of the library: ``[time, batch,
# channels]``.

CLICKS, SILENCE, CUE = 100, 80, 20
STEPS = CLICKS + SILENCE + CUE


def draw(size, generator):
    """Return spikes ``[200, B, 21]`` and labels ``[B]``: 0 for more clicks on the left, else 1."""
    contrast = 2 * torch.rand(size, 1, generator=generator) - 1
    rates = torch.cat([1 + contrast, 1 - contrast], dim=1) / 2  # clicks per step, left and right
    clicks = torch.rand(CLICKS, size, 2, generator=generator) < 1 - torch.exp(-rates)
    chance = torch.full((STEPS, size, 21), 0.05)  # channels fire now and then by themselves
    chance[:CLICKS, :, :20][clicks.repeat_interleave(10, dim=-1)] = 0.9
    chance[-CUE:, :, 20] = 0.9
    left, right = clicks.sum(0).unbind(-1)
    spikes = (torch.rand(chance.shape, generator=generator) < chance).float()
    decided = left != right  # trials with equally many clicks have no answer
    return spikes[:, decided], (right > left)[decided].long()


x, y = draw(64, torch.Generator().manual_seed(1))
print("a batch:", tuple(x.shape), "labels:", tuple(y.shape))

# %%
# The network
# -----------
# A :class:`tracetorch.Layer` is a synapse followed by a neuron. The hidden layer has 64 leaky integrate-and-fire
# neurons, the readout two leaky integrators, one for each answer.
#
# A neuron's memory is its *half-life*: the number of steps after which half of its membrane potential has leaked
# away. All half-lives start at 10 steps, an eighth of the silence, so that almost nothing (a factor of 1/256)
# survives it. ``tt.Learnable`` makes them parameters like any other: one per hidden neuron, one for the readout.


def network():
    """Build 21 inputs, 64 spiking neurons and two leaky integrators."""
    torch.manual_seed(0)
    return nn.Sequential(
        tt.Layer(nn.Linear(21, 64), tt.LIF(half_life=tt.Learnable(10.0, shape=(64,)))),
        tt.Layer(nn.Linear(64, 2), tt.LI(half_life=tt.Learnable(10.0))),
    )


# %%
# Training
# --------
# ``tt.set_rule`` chooses how the error reaches earlier steps; everything else is ordinary PyTorch. ``tt.scan(...,
# out="last")`` runs the whole trial and returns the last output: the answer. Under a trace rule no step of the
# trial is stored for the backward pass. Each layer carries traces instead, and their size does not depend on the
# length of the trial.
#
# The half-lives get a larger learning rate than the weights: they are learned on a logistic scale, where one unit is
# a large step for a weight and a small one for a time constant.


def train(rule, frozen=False):
    """Train a new network by a rule; return it, and its accuracy on each iteration's training trials."""
    net = network()
    tt.set_rule(net, rule)
    if frozen:
        net[0].requires_grad_(False)
    neurons = [p for layer in net for p in layer.neuron.parameters() if p.requires_grad]
    synapses = [p for layer in net for p in layer.synapse.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam([{"params": synapses, "lr": 5e-3}, {"params": neurons, "lr": 3e-2}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [5e-3, 3e-2], total_steps=iterations, pct_start=0.05
    )
    generator = torch.Generator().manual_seed(1)
    history = []
    for _ in range(iterations):
        x, y = draw(64, generator)
        tt.reset(net)  # a new trial: states and traces begin at zero
        answer = tt.scan(net, x, out="last")  # [64, 2]
        loss = nn.functional.cross_entropy(answer, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        history.append((answer.argmax(-1) == y).float().mean().item())
    return net, history


# %%
# Accuracy is measured on trials that the network has never seen, without a gradient:


@torch.no_grad()
def accuracy(net):
    """Return the share of right answers on trials that were never trained on."""
    x, y = draw(trials, torch.Generator().manual_seed(2))
    tt.reset(net)
    return (tt.scan(net, x, out="last").argmax(-1) == y).float().mean().item()


# %%
# We make three runs: the rule ``trace``, which is cheap; the rule ``sltt``, which credits only the present step and so
# nothing before the last step; and ``trace`` with the hidden layer frozen, so that only the readout learns.

runs = {
    "trace": (tt.rules.trace(), False),
    "sltt (no credit through time)": (tt.rules.sltt(), False),
    "hidden layer frozen": (tt.rules.trace(), True),
}
nets, histories = {}, {}
for name, (rule, frozen) in runs.items():
    start = time.perf_counter()
    nets[name], histories[name] = train(rule, frozen)
    seconds = time.perf_counter() - start
    print(
        f"{name:30} {100 * accuracy(nets[name]):5.1f} % right on new trials, {seconds:.0f} s of training"
    )

# %%
# What it learned
# ---------------
# The left panel shows the running accuracy, the right one the half-lives of the hidden neurons. Nothing told the
# network how many neurons should remember, or for how long.

longer = (tt.half_life(nets["trace"][0].neuron.beta.detach()) > SILENCE).sum().item()
readout = tt.half_life(nets["trace"][1].neuron.beta.detach()).item()
print(f"trace: {longer} of 64 hidden half-lives are longer than the silence now;", end=" ")
print(f"the readout's is {readout:.0f} steps")

# %%
# Under ``trace`` a few neurons have learned half-lives longer than the silence, and the others stayed short: one
# neuron that remembers is enough to carry a count. ``sltt`` gives a time constant no credit for the past, so its
# half-lives have no reason to move that way, and in the frozen layer they cannot.

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for ax in (left, right):
    dress(ax)
looks = rule_styles(["trace", "sltt", "frozen"])
for (name, history), look in zip(histories.items(), looks, strict=True):
    window = min(25, len(history))
    smooth = torch.tensor(history).unfold(0, window, 1).mean(-1)
    left.plot(
        range(window, len(history) + 1), 100 * smooth, label=name, **look, markevery=60, markersize=5
    )
    half_lives = tt.half_life(nets[name][0].neuron.beta.detach()).sort().values
    right.plot(half_lives, label=name, **look, markevery=8, markersize=5)
left.axhline(50, color="#767676", linewidth=0.8)
right.axhline(SILENCE, color="#767676", linewidth=0.8, linestyle=(0, (4, 3)))
right.annotate("length of the silence", (1, SILENCE), fontsize=8, color="#555555", va="bottom")
right.set_yscale("log")
label(left, x="iteration", y="right answers, %")
label(right, x="hidden neuron, sorted", y="half-life, steps")
legend(left, loc="best")
plt.show()

# %%
# Try changing
# ------------
# - ``SILENCE = 200``, or half-lives that start at 40: how much does ``trace`` lose?
# - ``tt.rules.eprop()``, or the default, ``tt.rules.cascade()``: exact for this network. Does it need fewer iterations?
# - One half-life for the whole layer: ``tt.Learnable(10.0)``.
#
# What usually goes wrong
# -----------------------
# - *The answers stay at chance*: an optimizer over the synapses' parameters alone leaves every half-life at 10 steps.
#   Look at ``dict(net.named_parameters())``.
# - *An error about the batch size*: trials without an answer are left out, so batches differ in size, and
#   ``tt.reset(net)`` must come before each.
# - *ottt raises*: one trace per input cannot represent a decay for each neuron.
#
# What to read next
# -----------------
# The same at the command line, with more iterations and five seeds: ``tracetorch compare clicks --preset hard
# --rules frozen,sltt,eprop,trace --seeds 5``; its table is in the :doc:`results </results_tasks>`. The next step into
# this task is :doc:`/tutorials/plot_08_psychometric`, which compares the network with an ideal observer.
