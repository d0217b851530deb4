"""Tables of the literature beside ours: runs that advance together and resume, rows, the table in text.

All runs of a table advance by one evaluation in turn, so that whatever is there compares at one budget.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import tracetorch as tt
from benchmarks import lines
from tracetorch.neurons.spiking import Spiking
from tracetorch.train.tasks.seeds import derived_seed, examples

ROWS = Path(__file__).parents[2] / "docs" / "results" / "published.jsonl"
JOB = ("table", "case", "row", "seed")
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Examples:
    """A fixed set of sequences.

    Args:
        x: to learn from, bytes ``[N, T, channels]``.
        y: their labels, ``[N]``.
        x_test: held out, bytes.
        y_test: their labels.
        batch: sequences in a batch.
        scale: what a byte of one stands for.
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    batch: int
    scale: float = 1.0

    @property
    def iterations(self) -> int:
        """Iterations in an epoch."""
        return len(self.x) // self.batch

    def batch_of(self, seed: int, iteration: int) -> Batch:
        """Return inputs ``[T, B, channels]`` and labels of an iteration."""
        index = examples(seed, iteration, size=len(self.x), batch_size=self.batch)
        return self._coded(self.x[index]), self.y[index]

    def held_out(self, limit: int | None = None) -> Iterator[Batch]:
        """Yield the held-out sequences, the first `limit` of them if it is set."""
        for x, y in zip(self.x_test[:limit].split(self.batch), self.y_test[:limit].split(self.batch), strict=True):
            yield self._coded(x), y

    def _coded(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).float() * self.scale


class Sequences(Protocol):
    """What a table learns from and is scored on: `Examples`, or a draw."""

    @property
    def iterations(self) -> int:
        """Iterations in an epoch."""

    def batch_of(self, seed: int, iteration: int) -> Batch:
        """Return inputs ``[T, B, channels]`` and labels of an iteration."""

    def held_out(self, limit: int | None = None) -> Iterator[Batch]:
        """Yield the held-out sequences, the first `limit` of them if it is set."""


class Table(Protocol):
    """A published table and how it is run again."""

    name: str
    title: str
    source: str
    rows: tuple[str, ...]
    epochs: int
    parts: int
    """Evaluations in an epoch."""
    best: bool
    """Whether the published figures are those of the best evaluation, not of the last."""
    optimizer: type[torch.optim.Optimizer]

    @property
    def published(self) -> Mapping[tuple[str, str], float]:
        """Accuracies in %, by case and row."""

    @property
    def cases(self) -> tuple[str, ...]:
        """The columns."""

    @property
    def cells(self) -> tuple[tuple[str, str], ...]:
        """What is run, column and row."""

    def data(self, folder: str | None) -> Sequences:
        """Read or draw the sequences."""

    def network(self, case: str, row: str) -> nn.Module:
        """Build the network of a cell, its rule set."""

    def outputs(self, net: nn.Module, x: Tensor, case: str, row: str) -> Tensor:
        """Run sequences."""

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss."""

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the classes that the outputs state, ``[B]``."""

    def rate(self, case: str, row: str, epoch: int) -> float:
        """Return the learning rate of an epoch, from 0."""


@dataclass
class Run:
    """One cell of a table with one seed.

    Args:
        table: the table.
        data: its sequences.
        job: table, case, row and seed by name.
        checkpoint: the file from which the run resumes, absent at first.
        epochs: where it ends.
        held_out: number of held-out sequences that are scored, None for all.
    """

    table: Table
    data: Sequences
    job: Mapping[str, Any]
    checkpoint: Path
    epochs: float
    held_out: int | None = None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Train; yield a row after each part of an epoch."""
        table, case, row, seed = self.table, *(self.job[name] for name in JOB[1:])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "weights"))
            net = table.network(case, row)
        optimizer = table.optimizer(net.parameters(), weight_decay=0.0)
        part, seconds = self._resume(net, optimizer)
        for done in range(part, round(self.epochs * table.parts)):
            begun, losses = time.perf_counter(), []
            for iteration in self._iterations(done):
                optimizer.param_groups[0]["lr"] = table.rate(case, row, done // table.parts)
                x, y = self.data.batch_of(seed, iteration)
                tt.reset(net)
                optimizer.zero_grad()
                loss = table.loss(table.outputs(net, x, case, row), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            seconds += time.perf_counter() - begun
            scores = self.score(net)
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "part": done + 1, "seconds": seconds}
            torch.save(state, self.checkpoint)
            epochs = (done + 1) / table.parts
            mean = float(torch.stack(losses).mean())
            yield {**self.job, "epochs": epochs, **scores, "loss": mean, "seconds": round(seconds, 1)}

    def _iterations(self, part: int) -> range:
        """Return the iterations of a part of an epoch."""
        epoch, at = divmod(part, self.table.parts)
        begin, end = ((self.data.iterations * k) // self.table.parts for k in (at, at + 1))
        return range(epoch * self.data.iterations + begin, epoch * self.data.iterations + end)

    def _resume(self, net: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
        if not self.checkpoint.is_file():
            return 0, 0.0
        state = torch.load(self.checkpoint)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        return state["part"], state["seconds"]

    @torch.no_grad()
    def score(self, net: nn.Module) -> dict[str, Any]:
        """Return accuracy, number of sequences, and the firing rate of each layer whose units spike."""
        right = total = 0
        case, row = self.job["case"], self.job["row"]
        for x, y in self.data.held_out(self.held_out):
            tt.reset(net)
            right += int((self.table.answers(self.table.outputs(net, x, case, row)) == y).sum())
            total += len(y)
        return {"accuracy": right / total, "held_out": total, "firing": self._firing(net)}

    def _firing(self, net: nn.Module) -> list[float]:
        x, _ = next(self.data.held_out(64))
        tt.reset(net)
        rates = []
        for module in net.children():
            spikes = isinstance(module, tt.Layer) and isinstance(module.neuron, Spiking)
            x = tt.scan(module, x) if isinstance(module, tt.Layer) else module(x)
            if spikes:
                rates.append(round(float(x.mean()), 4))
        return rates


def work(runs: Sequence[Run], path: Path) -> Iterator[dict[str, Any]]:
    """Advance all runs together; append and yield each row that is not there."""
    done = {lines.text_of(row, *JOB, "epochs") for row in lines.read(path)}
    going = [run.rows() for run in runs]
    while going:
        for run in list(going):
            row = next(run, None)
            if row is None:
                going.remove(run)
            elif lines.text_of(row, *JOB, "epochs") not in done:
                lines.append(path, [row])
                yield row


def markdown(table: Table, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the table in text; of ours the evaluation at the epochs that all rows of a column have, or the best."""
    mine = [row for row in rows if row["table"] == table.name and (row["case"], row["row"]) in table.cells]
    common = {case: _common(row for row in mine if row["case"] == case) for case in table.cases}
    heads = [(f"{case}, {common[case]:g} epochs", f"published, {table.epochs}") for case in table.cases]
    found = []
    for name in table.rows:
        cells = []
        for case in table.cases:
            seeds: dict[int, float] = {}
            for row in sorted(mine, key=lambda row: float(row["accuracy" if table.best else "epochs"])):
                if (row["case"], row["row"]) == (case, name) and row["epochs"] <= common[case]:
                    seeds[row["seed"]] = row["accuracy"]
            stated = table.published.get((case, name))
            cells.append(f"{100 * statistics.fmean(seeds.values()):.1f}" if seeds else "–")
            cells.append("–" if stated is None else f"{stated:.1f}")
        found.append([name, *cells])
    text = lines.markdown(["", *(head for pair in heads for head in pair)], found)
    return f"### {table.title}\n\nAccuracy, %.\n\n{text}\n\nPublished: {table.source}"


def _common(rows: Iterable[Mapping[str, Any]]) -> float:
    """Return the epochs that every run has."""
    reached: dict[tuple[str, int], float] = {}
    for row in rows:
        key = (row["row"], row["seed"])
        reached[key] = max(reached.get(key, 0.0), row["epochs"])
    return min(reached.values(), default=0.0)
