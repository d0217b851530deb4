"""What a training task is: its options, its network, its data, its losses and its scores."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.train.schema import RunFileError, check
from tracetorch.train.tasks.kinds import Count, OneOf, Positive, Rate, kinds_of
from tracetorch.train.tasks.networks import freeze_hidden
from tracetorch.train.tasks.seeds import derived_seed

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
}
"""What the option ``optim`` chooses from."""


def option(default: Any, help: str) -> Any:  # noqa: A002 - the word that command lines use
    """Declare one option of a task: a dataclass field with a default and a line of help.

    Args:
        default: The value when the user gives none.
        help: One line that says what the option does, with its unit.

    Returns:
        A dataclass field whose ``metadata["help"]`` is the line.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Options:
        ...     hidden: int = option(32, "neurons in the hidden layer")
        >>> Options(hidden=8)
        Options(hidden=8)
    """
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Batch:
    """The data of one training iteration.

    Attributes:
        x: Inputs, ``[T, B, *in]``, time first.
        y: Targets; for classification class numbers, ``[B]``, or ``[T, B]`` where each step has its own.
        extra: Other tensors that `Task.losses` needs, by name.

    Example:
        >>> import torch
        >>> batch = Batch(torch.zeros(20, 64, 3), torch.zeros(64, dtype=torch.long))
        >>> batch.time_steps
        20
    """

    x: Tensor
    y: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def time_steps(self) -> int:
        """Return the number of time steps, T."""
        return int(self.x.shape[0])

    def like(self, net: nn.Module) -> Batch:
        """Return the batch on the network's device and in its number format; whole numbers stay as they are.

        Args:
            net: The network.

        Returns:
            The batch.
        """
        return Batch(like(self.x, net), like(self.y, net), {key: like(x, net) for key, x in self.extra.items()})

    def part(self, index: int, count: int) -> Batch:
        """Return one of `count` equal parts of the rows.

        Args:
            index: Which one, from 0.
            count: The number of parts.

        Returns:
            The rows of the part; tensors in `extra` that have a row for each sequence are divided too.

        Raises:
            ValueError: The number of rows cannot be divided by `count`.

        Example:
            >>> Batch(torch.zeros(9, 4, 2), torch.arange(4)).part(1, 2).y.tolist()
            [2, 3]
        """
        rows = self.x.shape[1]
        if rows % count:
            raise ValueError(f"{count} processes cannot share a batch of {rows}: choose a multiple for batch_size")
        mine = slice(index * rows // count, (index + 1) * rows // count)
        extra = {k: v[mine] if v.dim() and len(v) == rows else v for k, v in self.extra.items()}
        return Batch(self.x[:, mine], self.y[mine] if self.y.dim() == 1 else self.y[:, mine], extra)


@dataclass(frozen=True)
class Outcome:
    """What one window of a training iteration gave.

    Attributes:
        loss: A scalar, `[]`, with a graph, to call ``backward()`` on before the next window is asked for; None where
            the window carries no loss (a part of a stream without a decision).
        stats: Plain numbers for the log, for example ``{"loss": 0.3, "accuracy": 0.9}``.

    Example:
        >>> import tracetorch as tt
        >>> task = tt.train.make("digits", {"batch_size": 4, "hidden": 8})
        >>> outcomes = list(task.losses(task.build(), task.batch(0)))
        >>> len(outcomes), outcomes[0].loss.shape
        (1, torch.Size([]))
    """

    loss: Tensor | None
    stats: dict[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem(ABC):
    """Something to learn: options (the dataclass fields) and network; how it is learned is a subclass's.

    Attributes:
        name: The word that names the task on the command line.
        summary: One line for a list of tasks.
        metric: The score's name: the first key of a run's scores.
        higher_is_better: Whether a larger score is better.
        scored_on: What the scores are of.
        is_stream: Whether iterations follow each other in one pass without a reset.
        default_rule: The word of the rule that is taken where none is named.
        presets: Named sets of options, for example ``{"hard": {"half_life": 10.0}}``.
        script: Where the class was read from, ``/path/script.py:Name``; None for a task of the library.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    scored_on: ClassVar[str] = "all held-out data"
    is_stream: ClassVar[bool] = False
    default_rule: ClassVar[str] = "cascade"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    script: ClassVar[str | None] = None

    seed: int = option(0, "seed of the weights, the data order and the coding noise")
    steps: Count = option(1000, "number of training iterations")
    eval_every: Positive = option(100, "iterations between two points of the learning curve")

    def __post_init__(self) -> None:
        """Check the options that have a choice or a range."""
        self.check_options()

    def check_options(self) -> None:
        """Check every option against its annotation, or the bounded one of a class above; raise ValueError."""
        kinds = kinds_of(type(self))
        for name, value in self.options().items():
            try:
                check(kinds[name], value, Path(), name)
                if isinstance(value, float) and not math.isfinite(value):
                    raise RunFileError(Path(), name, f"expected a finite number, got {value}")
            except RunFileError as error:
                raise ValueError(f"option {name!r} of task {self.name!r}: {error.why}") from None

    def prepare(self) -> None:  # noqa: B027 - nothing to load is the common case
        """Load the data, once; raise DataNotFoundError here, before anything is built, where it is absent."""

    @abstractmethod
    def network(self) -> nn.Module:
        """Build the network, drawing the first weights from torch's default generator (seeded by `build`)."""

    @property
    def iterations(self) -> int:
        """Return how many iterations a run has: `steps` unless the data decides. Call `prepare` first."""
        return self.steps

    def build(self) -> nn.Module:
        """Build the network with weights that depend on `seed` alone.

        The caller's random state is left as it was. The rule is the caller's to set, with ``tt.set_rule``.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, "weights"))
            return self.network()

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a run adds to the task itself, for a checkpoint; empty for all but streams."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned; raise ValueError where a task that keeps nothing is given something."""
        if state:
            raise ValueError(f"task {self.name!r} keeps no state, got {sorted(state)}: is this another task's run?")

    def options(self) -> dict[str, Any]:
        """Return every option's value by name: what a run's configuration file holds."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


AnyProblem = TypeVar("AnyProblem", bound=Problem)


@dataclass(frozen=True, kw_only=True, eq=False)
class Task(Problem):
    """Something to learn: options (the dataclass fields), network, data, losses, scores, figures.

    A task is a frozen value: ``dataclasses.replace(task, frozen=True)`` gives a variant. Nothing in it
    changes while a run goes on, except in a `StreamTask`, whose answers so far are in `state_dict`. A
    training iteration is ::

        batch = task.batch(iteration)  # a pure function of task.seed and the iteration's number
        task.schedule(optimizer, iteration)  # likewise: sets the learning rates
        optimizer.zero_grad()
        for outcome in task.losses(net, batch):  # one or more windows; resets the net where a sequence begins
            if outcome.loss is not None:
                outcome.loss.backward()
        optimizer.step()  # skip it where no window had a loss

    for every iteration below `iterations`, so a run resumes bit for bit from the iteration's number, the
    weights, the optimizer's state, ``tt.get_state`` (streams) and `state_dict` (streams): no iterator and no
    generator needs to be saved.

    Args:
        lr: learning rate of the synapses.
        neuron_lr: learning rate of the neurons' parameters, on their raw scale.
        optim: the optimizer, ``adam`` or ``rmsprop``.
        frozen: whether the readout alone is trained.

    Example:
        >>> import dataclasses, tracetorch as tt
        >>> task = tt.train.make("digits", {"batch_size": 4, "hidden": 8})
        >>> variant = dataclasses.replace(task, frozen=True, lr=1e-2)
        >>> net = variant.build()
        >>> [layer.learns for layer in tt.layers(net).values()]
        [False, False, True]
    """

    lr: Rate = option(1e-3, "learning rate of the synapses (Adam)")
    neuron_lr: Rate = option(1e-3, "learning rate of the neurons' parameters (decays, thresholds), on their raw scale")
    optim: Annotated[str, OneOf("adam", "rmsprop")] = option(
        "adam", "the optimizer: 'adam' or 'rmsprop', both with torch's other defaults"
    )
    frozen: bool = option(False, "train the readout only: every other layer keeps its first weights and decays")

    def build(self) -> nn.Module:
        """Return the network, with weights that depend on `seed` alone, frozen where the task says so."""
        net = super().build()
        if self.frozen:
            freeze_hidden(net)
        return net

    def optimizer(self, net: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer `optim` with `lr` for the synapses and `neuron_lr` for what the neurons learn.

        Each group keeps its undecayed rate under ``"initial_lr"``, which `schedule` scales.

        Args:
            net: the network.

        Returns:
            The optimizer.
        """
        neurons = {id(p) for layer in tt.layers(net).values() for p in layer.neuron.parameters()}
        trainable = [p for p in net.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trainable if id(p) not in neurons], "lr": self.lr, "initial_lr": self.lr},
            {
                "params": [p for p in trainable if id(p) in neurons],
                "lr": self.neuron_lr,
                "initial_lr": self.neuron_lr,
            },
        ]
        return OPTIMIZERS[self.optim]([group for group in groups if group["params"]])

    def schedule(self, optimizer: torch.optim.Optimizer, iteration: int) -> None:
        """Set the learning rates of an iteration: each group's ``initial_lr`` times `lr_scale`.

        Args:
            optimizer: What `optimizer` returned.
            iteration: The iteration's number, from 0.
        """
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * self.lr_scale(iteration)

    def lr_scale(self, iteration: int) -> float:
        """Return the factor on the learning rates; constant 1 unless a task overrides it.

        Args:
            iteration: The iteration's number, from 0.

        Returns:
            The factor.
        """
        return 1.0

    @abstractmethod
    def batch(self, iteration: int) -> Batch:
        """Return the data of an iteration, on the CPU: a function of `seed` and the number alone.

        Args:
            iteration: The iteration's number, from 0.

        Returns:
            The data.
        """

    @abstractmethod
    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Outcome]:
        """Run the network over a batch, backward in between.

        Args:
            net: The network that `build` returned.
            batch: The data, on the network's device.

        Yields:
            An `Outcome` per window.
        """

    @abstractmethod
    def evaluate(self, net: nn.Module, *, quick: bool = False) -> dict[str, float]:
        """Score the network on held-out data without gradients; leaves weights as they are.

        Args:
            net: The network that `build` gave.
            quick: Use a fixed part of the held-out data: for points of the learning curve.

        Returns:
            Numbers by name, the one named `metric` first.
        """

    @abstractmethod
    def figures(self, net: nn.Module) -> dict[str, Tensor]:
        """Return arrays to draw.

        - ``input``: ``[T, channels]``, one example's input; ``spikes.<layer>``: ``[T, units]``, 0 or 1;
        - ``membrane.<layer>``: ``[T, up to 8 units]``; ``output``: ``[T, classes]``;
        - ``psychometric``: ``[points, 4]``: stimulus, P(answer) of the network, of the ideal observer,
          trials;
        - ``half_life.<layer>.before`` and ``.after``: ``[units]``, in steps, for layers that learn them;
        - ``prequential``: ``[points, 2]``: time step, running score (streams).

        Args:
            net: The network.

        Returns:
            The arrays by name, on the CPU.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamTask(Task):
    """A task that is one pass through one stream: predict, then learn, never reset in between.

    Iteration ``i`` is the part of the stream that ends with the ``i``-th decision. `losses` writes down
    the prediction before the caller learns from it, and resets the net at iteration 0 only. `evaluate` scores
    what is written down (so it runs nothing, and ``net`` may be anywhere in the stream).

    Example:
        >>> import tracetorch as tt
        >>> [name for name, task in tt.train.TASKS.items() if issubclass(task, tt.train.StreamTask)]
        ['ecg']
    """

    is_stream: ClassVar[bool] = True


def like(value: Tensor, net: nn.Module) -> Tensor:
    """Return a tensor on the device of the network's first parameter, in its number format unless of whole numbers."""
    weight = next(net.parameters())
    return value.to(weight.device, weight.dtype if value.is_floating_point() else value.dtype)
