"""
Rules compared on your own task, in one command
===============================================

Which rule is good enough for *your* data? Write the task once, as a class in a script, and ``tracetorch compare
my_task.py:First`` gives a table of rules and seeds, each run in its own process, with resumable folders; ``train``
and ``audit`` take the same script. Here we do in Python what the command does.

The task: two lamps light up at random times. Which was first? The answer is asked for at the end, so the network must
remember the earlier one, and the loss must reach the step at which it came.
"""

import os
import tempfile
from pathlib import Path

from tracetorch.train import audit_task, compare, comparison_figure, make, summarise

short = bool(os.environ.get("TRACETORCH_SHORT"))
steps, rules, seeds = (
    (2, ["sltt", "trace"], [0]) if short else (400, ["frozen", "sltt", "trace", "bptt"], [0, 1])
)
print("Expect, over two seeds: `bptt` about 99 % right, `trace` 98 %; `frozen`, with no credit in the")
print("hidden layer, 95 %, and `sltt`, with no credit through time, 92 %.")
if short:
    print("TRACETORCH_SHORT is set: far too few iterations to learn anything.")

# %%
# The script
# ----------
# A task is a frozen dataclass: its fields are the options of the command line, ``--set hidden=128``. Three functions
# define the network, the data of an iteration, and the held-out data: a ``Batch`` of inputs ``[T, B, inputs]`` and
# labels ``[B]``. The data depend on the seed and the iteration's number alone, so that a run that is cut short goes
# on bit for bit.

SCRIPT = '''
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

import tracetorch as tt
from tracetorch.train import Batch, ClassificationTask, option


@dataclass(frozen=True, kw_only=True, eq=False)
class First(ClassificationTask):
    """Which of two lamps was first?"""

    name: ClassVar[str] = "first"

    length: int = option(40, "time steps")
    hidden: int = option(64, "neurons in the hidden layer")
    steps: int = option(400, "number of training iterations")
    lr: float = option(5e-3, "learning rate")

    def network(self):
        return nn.Sequential(
            tt.Layer(nn.Linear(2, self.hidden), tt.LIF(half_life=15)),
            tt.Layer(nn.Linear(self.hidden, 2), tt.LI(half_life=15)),
        )

    def draw(self, seed, size):
        source = torch.Generator().manual_seed(seed)
        order = torch.rand(size, self.length - 5, generator=source).argsort(1)
        times = order[:, :2]  # [B, 2]: two different steps, one for each lamp
        x = torch.zeros(self.length, size, 2)
        for lamp in range(2):
            for late in range(4):  # each is on for four steps
                x[times[:, lamp] + late, torch.arange(size), lamp] = 1.0
        return Batch(x, (times[:, 1] < times[:, 0]).long())

    def batch(self, iteration):
        return self.draw(1_000_000 * self.seed + iteration, self.batch_size)

    def held_out(self, *, quick):
        yield self.draw(999_999, 200 if quick else 2000)
'''
folder = Path(tempfile.mkdtemp())
(folder / "my_task.py").write_text(SCRIPT)

# %%
# The batch size, 64, is an option of the base class, as ``--set batch_size=32`` shows. A task is an object like any
# other, so you can look at what it draws before you train:

task = make(f"{folder / 'my_task.py'}:First", {"steps": steps, "eval_every": max(1, steps // 10)})
batch = task.batch(0)
print("inputs:", tuple(batch.x.shape), "labels:", tuple(batch.y.shape))
print("outputs:", tuple(task.network()(batch.x[0]).shape), "for one step")

# %%
# Compare
# -------
# The same as ``tracetorch compare my_task.py:First --rules frozen,sltt,trace,bptt --seeds 2``.

results = list(compare(task, rules, folder=folder / "runs", seeds=seeds))
for row in summarise(results):
    right = 100 * row["scores"]["accuracy"]["mean"]
    print(f"{row['rule']:8} {right:5.1f} % right, {row['seeds']} seeds, {row['seconds']:.1f} s a run")

# %%
# Audit
# -----
# Where does a rule lose? ``tracetorch audit my_task.py:First`` compares its gradients with BPTT's, layer by layer.
# A cosine of 1 is the same direction.

audit = audit_task(task, ["trace", "sltt"])
for rule, layers in audit.agreements.items():
    cosines = ", ".join(f"layer {name}: {found[0].cosine:.3f}" for name, found in layers.items())
    print(f"{rule:8} cosine to BPTT's gradient: {cosines}")

# %%
# A notebook shows the figure; in a program ``figure.savefig("rules.png")`` writes it.
figure = comparison_figure(results, metric="accuracy", title="Which lamp was first?")
figure

# %%
# Try changing
# ------------
# - ``--set length=80``: which rule loses first?
# - ``eprop`` among the rules: it is exact here.
# - A third lamp.
#
# What usually goes wrong
# -----------------------
# - *Data that depend on more than the seed and the iteration*: a run that is resumed is then another run.
# - *No controls*: with ``frozen`` and ``sltt`` in ``--rules`` you see whether the task needs credit through time at
#   all.
# - *A value is refused*: options keep the bounds of the class above; the message names the option.
#
# :doc:`/howto/own_task` has the commands, and :doc:`/howto/own_data` readers for your own recordings.
