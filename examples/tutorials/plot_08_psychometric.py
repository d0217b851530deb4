"""
Poisson clicks in depth: the network as a subject
=================================================

:doc:`/tutorials/plot_01_clicks` trained a network to say on which side there were more clicks. Here we examine it
as a psychologist examines a subject. How does its choice depend on the stimulus (the *psychometric curve*)? How
close does it come to an ideal observer, who makes the best possible use of the same noisy channels? And does it
give early and late clicks the same weight (the *kernel*), or does it forget?

The task, the ideal observer and the training loop are the library's own. The experiments of this kind with rats and
people are those of B. W. Brunton, M. M. Botvinick, C. D. Brody, `"Rats and humans can optimally accumulate evidence
for decision-making" <https://doi.org/10.1126/science.1233912>`_, 2013.
"""

import os
import time

import matplotlib.pyplot as plt
import torch

import tracetorch as tt
from tracetorch.plot import COLOURS, dress, label, legend, wilson
from tracetorch.train import Trainer, make

short = bool(os.environ.get("TRACETORCH_SHORT"))
iterations, trials = (3, 500) if short else (600, 4000)
print("Expect: an ideal observer gets about 94 % right, a network that learns its hidden layer nearly as")
print("many. A leaky one loses early clicks and gets fewer right, unless it may learn its half-lives.")
if short:
    print("TRACETORCH_SHORT is set: far too few iterations to learn anything.")

# %%
# Four subjects
# -------------
# ``make`` builds a task by name; its options are those of ``tracetorch train clicks``. A trial lasts 200 steps of 50
# ms: 100 with clicks, 80 of silence, 20 with the cue. The clicks are hard to hear: there are three channels per side,
# each of which fires in a fifth of the steps without a click, and only for every other click. So even an ideal
# observer makes mistakes.

experiment = {"channels": 3, "noise": 0.2, "signal": 0.5, "trials": trials}
example = make("clicks", experiment)
batch = example.batch(0)
print("a batch:", tuple(batch.x.shape), "labels:", tuple(batch.y.shape))
print(f"channels 0 to 2 are left, 3 to 5 right, 6 is the cue; {example.batch_size} trials in a batch")

# %%
# The first two subjects have half-lives of 200 steps in the hidden layer and 500 in the readout, longer than the
# silence, and differ in whether the hidden layer learns. The other two are *leaky*: their half-lives are 40 steps,
# half of the silence. In the third they are fixed, in the fourth they are learned, one for each neuron.
#
# A ``Trainer`` runs the iterations and reports its progress; here we only need the result.

leaky = {"half_life": 40.0, "readout_half_life": 40.0}
subjects = {
    "frozen": ({}, "frozen"),
    "trace": ({}, "trace"),
    "leaky, fixed": (leaky, "trace"),
    "leaky, learned": ({**leaky, "learned": True}, "trace"),
}


# %%
# Each subject is trained, then tested on trials that are new to all of them. *Close* trials are those in which the
# sides differ by less than 10 % of their clicks. In a mean over all trials they hardly show, as most trials are
# easy.
trainers, scores = {}, {}
for name, (own, rule) in subjects.items():
    task = make("clicks", {"steps": iterations, "eval_every": iterations, **experiment, **own})
    trainers[name] = Trainer(task, rule=rule)
    start = time.perf_counter()
    for _ in trainers[name].events():
        pass
    seconds = time.perf_counter() - start
    score = scores[name] = task.evaluate(trainers[name].net)
    right, close = 100 * score["accuracy"], 100 * score["accuracy_hard"]
    print(f"{name:15} {right:5.1f} % right ({close:4.1f} % of the close trials), {seconds:.0f} s")
right, close = 100 * score["observer"], 100 * score["observer_hard"]
print(f"{'ideal':15} {right:5.1f} % right ({close:4.1f} % of the close trials)")

# %%
# The psychometric curve
# ----------------------
# Trials are sorted by the difference of their clicks, and each bin gets the share of "left" answers. The task
# computes it for the network and for the ideal observer (``trainer.arrays()``), and ``tracetorch.plot.psychometric``
# draws one subject; here we put four into one figure, with Wilson's 95 % intervals.
#
# The kernel
# ----------
# A logistic regression of the answer on the evidence in ten intervals of ten steps shows how much a click in each
# of them changed the answer. Evidence is how many more left channels fired than right ones. An ideal observer gives all
# intervals the same weight. A leaky one gives more to the end, and one that decides early gives more to the
# beginning.


def kernel(trainer, bins=10):
    """Return the weight of the evidence in each interval, ``[bins]``, scaled to a mean of 1."""
    evidence, answers = [], []
    for batch in trainer.task.held_out(quick=False):
        left, right = batch.x[:100, :, :3].sum(-1), batch.x[:100, :, 3:6].sum(-1)  # [100, B]
        evidence.append((left - right).reshape(bins, -1, left.shape[1]).sum(1))  # [bins, B]
        answers.append(trainer.task.answers(trainer.net, batch) == 0)  # [B], true for "left"
    x, y = torch.cat(evidence, dim=1).T, torch.cat(answers).float()  # [trials, bins], [trials]
    x = x / x.std()
    weights, bias = torch.zeros(bins, requires_grad=True), torch.zeros(1, requires_grad=True)
    fit = torch.optim.LBFGS([weights, bias], max_iter=100)

    def closure():
        fit.zero_grad()
        error = torch.nn.functional.binary_cross_entropy_with_logits(x @ weights + bias, y)
        penalty = 1e-3 * weights.square().sum()  # keeps the fit finite where a subject never errs
        (error + penalty).backward()
        return error + penalty

    fit.step(closure)
    return weights.detach() / weights.detach().mean()


# %%
# The kernel of a subject that guesses is noise, so it is left out.
(held_out,) = example.held_out(quick=False)
print("held-out trials:", tuple(held_out.x.shape), "answers:", tuple(held_out.y.shape))
kernels = {name: kernel(t) for name, t in trainers.items() if scores[name]["accuracy"] > 0.8}
for name, weights in kernels.items():
    ratio = weights[:2].mean() / weights[-2:].mean()
    print(f"{name:15} weight of the first second over the last: {ratio:.2f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.4), layout="constrained")
for ax in (left, right):
    dress(ax)
for (name, trainer), colour in zip(trainers.items(), COLOURS, strict=False):
    difference, network, observer, count = trainer.arrays()["psychometric"].T.numpy()
    low, high = wilson(network, count)
    left.plot(difference, network, "o-", markersize=3, color=colour, label=name)
    left.fill_between(difference, low, high, color=colour, alpha=0.15, linewidth=0)
    if name in kernels:
        right.plot(
            torch.arange(0.25, 5.0, 0.5), kernels[name], "o-", markersize=3, color=colour, label=name
        )
left.plot(difference, observer, color="#767676", linestyle=(0, (5, 2)), label="ideal observer")
right.axhline(1, color="#767676", linestyle=(0, (5, 2)), label="all clicks alike")
label(left, x="(left - right) / all clicks", y="share of the answer 'left'")
label(right, x="time of the clicks, s", y="weight in the answer")
right.set_ylim(0, 2)
legend(left, loc="upper left")
legend(right, loc="lower right")
plt.show()

# %%
# The leaky subject whose half-lives are fixed gives the first second much less weight than the last. The one that
# learns its half-lives does not: it has stopped forgetting.
#
# What it learned to remember
# ---------------------------
# The half-lives of the fourth subject show how.

hidden, readout = (tt.half_life(layer.neuron.beta.detach()) for layer in trainers["leaky, learned"].net)
print("half-lives, in steps:", tuple(hidden.shape), "of the hidden layer, one of the readout")
print(f"hidden from {hidden.min():.0f} to {hidden.max():.0f} (they began at 40), readout {readout:.0f}")

# %%
# Try changing
# ------------
# - More noise: ``noise=0.3``. Does the kernel change?
# - ``tt.rules.eprop()`` for the fourth subject.
# - Two times the silence for the trained networks: who still answers?
#
# What usually goes wrong
# -----------------------
# - *A mean over all trials* hides what differs: most trials are easy. Look at the close ones.
# - *A kernel from few trials* is noise: 4,000 trials give ten weights.
# - *Half-lives that should be learned* need ``learned=True``; a half-life that is a number is a constant.
#
# What to read next
# -----------------
# :doc:`results </results_tasks>` has a less noisy version of the task with more iterations and five seeds, compared
# with ``eprop`` and ``ottt``. Rates, noise and silence are options of :func:`tracetorch.train.make`.
