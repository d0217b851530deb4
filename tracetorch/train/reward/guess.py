"""Classes guessed from reward alone: one guess at the end of a trial, right or wrong, and no label shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.rl import Categorical
from tracetorch.train.tasks.base import Batch, Outcome, like, option
from tracetorch.train.tasks.classification import ClassificationTask
from tracetorch.train.tasks.digits import Digits
from tracetorch.train.tasks.images import MNIST
from tracetorch.train.tasks.kinds import Coding, Count, Positive, Probability, Rate, Size, Span
from tracetorch.train.tasks.seeds import generator

if TYPE_CHECKING:
    Labelled = ClassificationTask
else:
    Labelled = object  # a dataclass as the base would put its own defaults before those of the task beside it


class Guessing(Labelled):
    r"""Turn a labelled task, the next base class, into one with rewards.

    At the end of a trial the network's outputs are a policy over classes and, last, a value of the trial. A class is
    drawn and rewarded with 1 if right and 0 if not; nothing else about the label is used. All steps but the last are
    free of decisions, so with weights fixed over a trial Reflect's trace is the gradient of the one guess, and rows of
    a batch are credited in one backward pass:

    .. math:: c = (r - V)\,(\mathbf 1_a - \pi) + \tau\,\nabla H, \qquad c_V = w\,(r - V)

    The value is the baseline of each trial by itself: it lifts the plateau on which a class is never guessed, as does
    the entropy.
    """

    entropy: float
    value_weight: float

    def network(self) -> nn.Module:
        """Build the labelled task's network with one more output, the value."""
        net = super().network()  # type: ignore[safe-super]
        parts = list(net.children()) if isinstance(net, nn.Sequential) else []
        last = parts[-1] if parts else None
        if not isinstance(last, tt.Layer) or not isinstance(last.synapse, nn.Linear):
            raise TypeError("guessing needs an nn.Sequential that ends with a tt.Layer under an nn.Linear")
        wider = nn.Linear(last.synapse.in_features, last.synapse.out_features + 1)
        with torch.no_grad():
            wider.weight[-1].mul_(0.1)
        return nn.Sequential(*parts[:-1], tt.Layer(wider, last.neuron, rule=last.rule))

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Outcome]:
        """Guess once at the end; yield a loss whose gradient is that of the reward."""
        batch = batch.like(net)
        tt.reset(net)
        output = tt.scan(net, batch.x, out="last")
        yield guessed(output, batch.y, entropy=self.entropy, value_weight=self.value_weight)

    @torch.no_grad()
    def answers(self, net: nn.Module, batch: Batch) -> Tensor:
        """Return the most probable guess for each trial of `batch`, ``[B]``, on the CPU."""
        tt.reset(net)
        output = tt.scan(net, like(batch.x, net), out="last")
        tt.reset(net)
        return output[..., :-1].argmax(-1).cpu()


def guessed(output: Tensor, label: Tensor, *, entropy: float, value_weight: float) -> Outcome:
    """Draw guesses, reward them, and return a loss with the gradient of both, and the mean reward as ``accuracy``.

    The output has the logits of the classes and the value, ``[B, classes + 1]``; labels, ``[B]``, are for rewards only.
    """
    head = output.detach()
    policy = Categorical(head.shape[-1] - 1)
    action = policy.sample(head[:, :-1])
    reward = (action == label).to(head.dtype)
    error = (reward - head[:, -1]).unsqueeze(-1)
    score = policy.slope(head[:, :-1], action)
    spread = policy.slope(head[:, :-1], action, entropy) - score
    slope = score * error + spread
    cotangent = torch.cat([slope, value_weight * error], -1) / -len(head)
    value_error = float(error.square().mean())
    return Outcome((output * cotangent).sum(), {"loss": value_error, "accuracy": float(reward.mean())})


ENTROPY = "weight of the policy's entropy"
VALUE = "weight of the value's squared error; the value is the baseline of each trial"


@dataclass(frozen=True, kw_only=True, eq=False)
class ClicksReward(Guessing, ClassificationTask):
    """Hear clicks left and right for 50 steps and say on which side they came faster; a bit at the end is all.

    In each step the faster side clicks with probability `fast`, the other with `slow`. Given the counts, the faster
    side is more probably the one with more clicks, so the ideal observer names that one, and either where they are
    equal. Time constants start shorter than the trial and are learned.

    Source: "Rats and humans can optimally accumulate evidence for decision-making", B. W. Brunton, M. M. Botvinick, C.
    D. Brody, 2013, https://doi.org/10.1126/science.1233912
    """

    name: ClassVar[str] = "clicks-reward"
    summary: ClassVar[str] = "hear clicks, name the faster side; the only signal is right or wrong"
    default_rule: ClassVar[str] = "eprop"

    time_steps: Size = option(50, "steps of a trial")
    fast: Probability = option(0.3, "probability of a click in a step on the faster side")
    slow: Probability = option(0.15, "probability of a click in a step on the other side")
    trials: Size = option(4000, "held-out trials")
    hidden: Size = option(32, "hidden neurons")
    half_life: Span = option(10.0, "first half-life of the hidden neurons, one each, steps")
    readout_half_life: Span = option(10.0, "first half-life of the readout, steps")
    steps: Count = option(2000, "number of training iterations")
    batch_size: Size = option(32, "trials in a batch")
    lr: Rate = option(5e-3, "highest learning rate of the synapses (Adam)")
    neuron_lr: Rate = option(2e-2, "highest learning rate of the learned half-lives, on their raw scale")
    entropy: Rate = option(0.01, ENTROPY)
    value_weight: Rate = option(0.5, VALUE)

    def network(self) -> nn.Module:
        """Build two inputs, LIF neurons, leaky integrators for the two sides and the value."""
        hidden = tt.LIF(half_life=tt.Learnable(self.half_life, shape=(self.hidden,)))
        readout = tt.LI(half_life=tt.Learnable(self.readout_half_life))
        return nn.Sequential(tt.Layer(nn.Linear(2, self.hidden), hidden), tt.Layer(nn.Linear(self.hidden, 3), readout))

    def batch(self, iteration: int) -> Batch:
        """Draw the trials of `iteration`."""
        return self.draw(self.batch_size, generator(self.seed, self.name, iteration))

    def draw(self, size: int, source: torch.Generator) -> Batch:
        """Return trials, ``[T, B, 2]`` clicks left and right, and the faster side ``[B]`` (0 left, 1 right)."""
        side = torch.randint(2, (size,), generator=source)
        chance = torch.full((size, 2), self.slow)
        chance[torch.arange(size), side] = self.fast
        draws = torch.rand((self.time_steps, size, 2), generator=source)
        return Batch((draws < chance).float(), side)

    def held_out(self, *, quick: bool) -> Iterator[Batch]:
        """Yield the held-out trials; a quick look takes a quarter."""
        yield self.draw(self.trials // 4 if quick else self.trials, generator(self.seed, self.name, "held out"))

    def evaluate(self, net: nn.Module, *, quick: bool = False) -> dict[str, float]:
        """Score the network and the ideal observer on the same held-out trials; see `Task.evaluate`.

        ``of_observer`` (their ratio), ``accuracy``, ``observer``, and the mean half-lives of the layers, steps.
        """
        (batch,) = self.held_out(quick=quick)
        accuracy = float((self.answers(net, batch) == batch.y).float().mean())
        left, right = batch.x.sum(0).unbind(-1)
        ideal = torch.where(left == right, 0.5, ((right > left).long() == batch.y).float())
        observer = float(ideal.mean())
        scores = {"accuracy": accuracy, "observer": observer, "of_observer": accuracy / observer}
        for name, layer in tt.layers(net).items():
            scores[f"half_life_{name}"] = float(tt.half_life(layer.neuron.beta.detach()).mean())
        return scores


@dataclass(frozen=True, kw_only=True, eq=False)
class DigitsReward(Guessing, Digits):
    """Guess the digit once after 20 rate-coded steps: 1 if right, 0 if wrong, and the label is never shown."""

    name: ClassVar[str] = "digits-reward"
    summary: ClassVar[str] = "guess scikit-learn's digits; the only signal is right or wrong"

    coding: Coding = option("rate", "'rate' (Bernoulli spikes) or 'rows' (row by row, as currents)")
    batch_size: Size = option(5, "images in a batch")
    steps: Count = option(20_000, "number of training iterations")
    eval_every: Positive = option(2000, "iterations between two points of the learning curve")
    lr: Rate = option(2e-3, "highest learning rate (Adam)")
    warmup: Probability = option(0.002, "share of the run over which the learning rate rises; then it falls to 0")
    entropy: Rate = option(0.02, ENTROPY)
    value_weight: Rate = option(0.5, VALUE)


@dataclass(frozen=True, kw_only=True, eq=False)
class MNISTReward(Guessing, MNIST):
    """Guess the digit of MNIST once after some rate-coded steps: 1 if right, 0 if wrong."""

    name: ClassVar[str] = "mnist-reward"
    summary: ClassVar[str] = "guess MNIST's digits; the only signal is right or wrong (needs --data)"

    batch_size: Size = option(100, "images in a batch")
    entropy: Rate = option(0.01, ENTROPY)
    value_weight: Rate = option(0.5, VALUE)
