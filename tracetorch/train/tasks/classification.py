"""The common part of tasks that put a label on a sequence."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.train.tasks.base import Batch, Outcome, Task, like, option
from tracetorch.train.tasks.kinds import OneOf, Probability, Size

UNLABELLED = -100
"""The target of a time step that has none; `torch.nn.functional.cross_entropy` leaves it out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassificationTask(Task):
    """The labelling of sequences, or of their time steps, by the readout's output, with a cross-entropy loss.

    A batch's targets are ``[B]``, one class per sequence, or ``[T, B]``, one per time step, `UNLABELLED` (-100)
    where a step has none. The loss is taken at the last step (one learning event a sequence) or as the mean over
    all steps that have a target. With a `window` the sequence is run in pieces of that many steps, each with its
    own backward where it has a loss: that is what a rule whose window is one call sees. Rules that need the whole
    sequence in one call (``bptt``, ``rate``) ignore it.

    Args:
        batch_size: sequences in a batch.
        loss: where the loss is: at the ``last`` step, or at ``every`` step.
        warmup: share of the run over which the learning rate rises; then it falls to 0.
        window: time steps in one call; None for the whole sequence.

    Example:
        >>> import tracetorch as tt
        >>> task = tt.train.make("digits", {"batch_size": 4, "hidden": 8, "window": 5})
        >>> isinstance(task, tt.train.ClassificationTask), task.batch(0).y.shape
        (True, torch.Size([4]))
    """

    metric: ClassVar[str] = "accuracy"

    batch_size: Size = option(64, "sequences in a batch")
    loss: Annotated[str, OneOf("last", "every")] = option(
        "last", "where the loss is: at the 'last' step, or at 'every' step"
    )
    warmup: Probability = option(0.05, "share of the run over which the learning rate rises; then it falls to 0")
    window: Size | None = option(None, "time steps in one call; none for the whole sequence")

    def lr_scale(self, iteration: int) -> float:
        """Rise linearly over the warm-up, then fall as half a cosine to 0 at the last iteration."""
        rise = max(1, round(self.warmup * self.steps))
        if iteration < rise:
            return (iteration + 1) / rise
        return 0.5 * (1.0 + math.cos(math.pi * (iteration - rise) / max(1, self.steps - rise)))

    @abstractmethod
    def held_out(self, *, quick: bool) -> Iterator[Batch]:
        """Yield the held-out data in batches, the same at every call.

        Args:
            quick: Whether a part of it is enough.

        Yields:
            Batches, whose ``y`` is ``[B]`` or ``[T, B]``.
        """

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Outcome]:
        """Yield the cross-entropy: once if it is at the last step, else once per window that has a target."""
        batch = batch.like(net)
        tt.reset(net)
        size = self.window_of(net) or batch.time_steps
        pieces = batch.x.split(size)
        if self.loss == "last":
            for piece in pieces[:-1]:
                tt.scan(net, piece, out="last")
            output = tt.scan(net, pieces[-1], out="last")
            yield classified(output, batch.y if batch.y.dim() == 1 else batch.y[-1])
            return
        targets = batch.y.expand(batch.time_steps, -1)
        total = int((targets != UNLABELLED).sum())
        for piece, target in zip(pieces, targets.split(size), strict=True):
            labelled = target != UNLABELLED
            share = int(labelled.sum()) / total
            if share == 0.0:
                tt.scan(net, piece, out="last")
                continue
            outputs = tt.scan(net, piece)
            loss = share * nn.functional.cross_entropy(outputs.flatten(0, 1), target.flatten(), ignore_index=UNLABELLED)
            right = (outputs.argmax(-1) == target)[labelled] if batch.y.dim() > 1 else outputs[-1].argmax(-1) == batch.y
            yield Outcome(loss, {"loss": float(loss.detach()) / share, "accuracy": float(right.float().mean())})

    def window_of(self, net: nn.Module) -> int | None:
        """Return `window`, or None where a layer's rule needs the whole sequence in one call.

        Args:
            net: The network.

        Returns:
            Number of time steps.
        """
        whole = (tt.rules.bptt(), tt.rules.rate())
        return None if any(layer.rule in whole for layer in tt.layers(net).values()) else self.window

    @torch.no_grad()
    def evaluate(self, net: nn.Module, *, quick: bool = False) -> dict[str, float]:
        """Return the share of right answers: at the last step, or at each step that a held-out batch labels."""
        right = total = 0
        for batch in self.held_out(quick=quick):
            right += int((self.answers(net, batch) == batch.y).sum())
            total += int((batch.y != UNLABELLED).sum())
        return {self.metric: right / total}

    @torch.no_grad()
    def answers(self, net: nn.Module, batch: Batch) -> Tensor:
        """Return the network's classes, on the CPU.

        Args:
            net: The network.
            batch: The data.

        Returns:
            Class numbers in the shape of ``batch.y``, ``[B]`` or ``[T, B]``.
        """
        tt.reset(net)
        x = like(batch.x, net)
        output = tt.scan(net, x, out="last") if batch.y.dim() == 1 else tt.scan(net, x)
        tt.reset(net)
        return output.argmax(-1).cpu()

    def figures(self, net: nn.Module) -> dict[str, Tensor]:
        """Return the raster, membranes and output of the first held-out sequence."""
        batch = next(iter(self.held_out(quick=True)))
        return record(net, batch.x[:, :1])


def classified(output: Tensor, target: Tensor) -> Outcome:
    """Return the cross-entropy of ``[B, classes]`` against ``[B]``, and the share of right answers."""
    loss = nn.functional.cross_entropy(output, target)
    accuracy = (output.argmax(-1) == target).float().mean()
    return Outcome(loss, {"loss": float(loss.detach()), "accuracy": float(accuracy)})


@torch.no_grad()
def record(net: nn.Module, xs: Tensor, *, units: int = 8) -> dict[str, Tensor]:
    """Run one sequence ``[T, 1, *in]`` from a reset; return the arrays of `Task.figures` of input, layers and output.

    Of membranes the first `units` are recorded.
    """
    membranes = {name: f"{name}.{layer.neuron.state[0]}" for name, layer in tt.layers(net).items()}
    spikes = {name: f"{name}.outputs" for name in list(membranes)[:-1]}
    tt.reset(net)
    with tt.record(net, *spikes.values(), *membranes.values(), last=len(xs)) as seen:
        outputs = torch.stack([net(x) for x in like(xs, net)])
    tt.reset(net)
    return {
        "input": xs[:, 0].flatten(1).cpu(),
        **{f"spikes.{name}": seen[key][:, 0].flatten(1).cpu() for name, key in spikes.items()},
        **{f"membrane.{name}": seen[key][:, 0].flatten(1)[:, :units].cpu() for name, key in membranes.items()},
        "output": outputs[:, 0].flatten(1).cpu(),
    }
