"""Half an hour of one heart as one stream: each beat classified as it passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.data import ECGRecord, mitbih
from tracetorch.encoding import DeltaModulation
from tracetorch.train.memory import resident_mb
from tracetorch.train.tasks.base import Batch, Outcome, StreamTask, option
from tracetorch.train.tasks.classification import classified, record
from tracetorch.train.tasks.kinds import Count, OneOf, Rate, Size, Span

UNANSWERED = -1
RSS_STEP = 10_000


@dataclass(frozen=True, kw_only=True, eq=False)
class ECG(StreamTask):
    """Recognition of premature ventricular beats (PVC), online, in one MIT-BIH record.

    All samples of the record pass through the network once, without a reset. At `delay` seconds after each
    beat's mark the network answers; then the label comes, and it learns from that one beat. Its score is that
    of the answers given before learning: the balanced accuracy over the last third of the record. Nothing
    looks ahead: the signal is standardised by its own past, and classes are weighted by how often each has
    come so far. When to answer is given (the beat's mark); what to answer is not.

    Source: Prequential scoring: "Issues in evaluation of stream learning algorithms", J. Gama, R. Sebastião, P. P.
    Rodrigues, 2009, https://doi.org/10.1145/1557019.1557060
    """

    name: ClassVar[str] = "ecg"
    summary: ClassVar[str] = "an MIT-BIH record as one stream: each beat classified as it passes (needs mitbih12.npz)"
    metric: ClassVar[str] = "balanced accuracy"

    data: str | None = option(None, "the npz file or its directory; none: the environment variable TRACETORCH_DATA")
    record: int = option(106, "the record's number; 106, 119 and 200 have 400 PVC and more")
    delay: Rate = option(0.25, "time from a beat's mark to the answer, s")
    coding: Annotated[str, OneOf("currents", "delta")] = option(
        "currents", "'currents' (standardised values) or 'delta' (level crossings)"
    )
    baseline: Span = option(2.0, "stretch whose mean is the signal's zero, s")
    scale: Span = option(10.0, "stretch whose standard deviation is the signal's unit, s")
    hidden: Size = option(64, "hidden neurons")
    half_life: Span = option(4.0, "shortest half-life of the hidden neurons, steps")
    longest_half_life: Span = option(200.0, "longest half-life of the hidden neurons, steps")
    readout_half_life: Span = option(40.0, "half-life of the readout, steps")
    window: Size | None = option(None, "time steps before an answer that one call takes; none for all since the last")

    steps: Count = option(0, "number of beats; 0 for the whole record")
    lr: Rate = option(3e-3, "learning rate of the synapses (Adam)")

    def prepare(self) -> None:
        """Load and code the record."""
        _ = self._inputs

    @cached_property
    def _record(self) -> ECGRecord:
        return mitbih(self.record, self.data)

    @cached_property
    def _inputs(self) -> Tensor:
        """The whole stream, ``[T, channels]``; row t depends on samples up to t only."""
        ecg = self._record
        signal = standardised(ecg.signal, round(self.baseline * ecg.rate), round(self.scale * ecg.rate))
        if self.coding == "currents":
            return torch.stack([signal, *(lagged(signal, lag) for lag in LAGS)], dim=-1)
        code = DeltaModulation(torch.tensor(LEVELS))
        return code(signal.unsqueeze(-1).expand(-1, len(LEVELS))).flatten(1)

    @cached_property
    def _decisions(self) -> Tensor:
        """The time step of each answer, ``[beats]``: beats whose answer falls within the record."""
        steps = self._record.beat + round(self.delay * self._record.rate)
        steps = steps[steps < len(self._record.signal)]
        return steps[: self.steps] if self.steps else steps

    @cached_property
    def _answers(self) -> Tensor:
        """The answers given so far, ``[beats]``: 0, 1, or -1 for none yet."""
        return torch.full_like(self._decisions, UNANSWERED, dtype=torch.int8)

    @cached_property
    def _resident(self) -> Tensor:
        """Resident megabytes after step 10,000 and now."""
        return torch.zeros(2, dtype=torch.float64)

    @property
    def iterations(self) -> int:
        """Return the number of answers, and one more for what comes after the last."""
        return len(self._decisions) + (0 if self.steps else 1)

    def network(self) -> nn.Module:
        """Build LIF neurons with log-spaced half-lives, then two leaky integrators."""
        ends = torch.tensor([self.half_life, self.longest_half_life]).log()
        half_life = torch.linspace(float(ends[0]), float(ends[1]), self.hidden).exp()
        inputs = 1 + len(LAGS) if self.coding == "currents" else 2 * len(LEVELS)
        readout = tt.Layer(nn.Linear(self.hidden, 2), tt.LI(half_life=self.readout_half_life))
        with torch.no_grad():  # as large as of a readout without memory, so that the first answers are mild
            for parameter in readout.synapse.parameters():
                parameter.mul_(1.0 - 0.5 ** (1.0 / self.readout_half_life))
        return nn.Sequential(tt.Layer(nn.Linear(inputs, self.hidden), tt.LIF(half_life=half_life)), readout)

    def batch(self, iteration: int) -> Batch:
        """Return the part that ends with answer number `iteration` (or the rest), ``[T, 1, channels]``."""
        decisions = self._decisions
        start = int(decisions[iteration - 1]) + 1 if iteration else 0
        stop = int(decisions[iteration]) + 1 if iteration < len(decisions) else len(self._inputs)
        label = self._record.pvc[iteration : iteration + 1].long()
        extra = {"iteration": torch.tensor(iteration), "step": torch.tensor(stop)}
        return Batch(self._inputs[start:stop].unsqueeze(1), label, extra)

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Outcome]:
        """Write down the answer, then yield the cross-entropy, weighted by the classes seen so far."""
        iteration = int(batch.extra["iteration"])
        batch = batch.like(net)
        if iteration == 0:
            tt.reset(net)
        window = min(self.window or batch.time_steps, batch.time_steps)
        before, x = batch.x.split([batch.time_steps - window, window])
        if len(before):
            tt.scan(net, before, out="last")
        output = tt.scan(net, x, out="last")
        self._note_memory(int(batch.extra["step"]))
        if iteration >= len(self._decisions):
            yield Outcome(None, {})
            return
        self._answers[iteration] = output.detach().argmax(-1).item()
        outcome = classified(output, batch.y)
        if outcome.loss is None:
            raise RuntimeError("classified always gives a loss")
        yield Outcome(outcome.loss * self._weight(iteration), outcome.stats)

    def _weight(self, iteration: int) -> float:
        """Return total / (classes * number of this beat's class), over this beat and those before it."""
        seen = self._record.pvc[: iteration + 1]
        same = int((seen == seen[-1]).sum())
        return len(seen) / (2.0 * same)

    def _note_memory(self, step: int) -> None:
        now = resident_mb()
        if step <= RSS_STEP or self._resident[0] == 0:
            self._resident[0] = now
        self._resident[1] = now

    def evaluate(self, net: nn.Module, *, quick: bool = False) -> dict[str, float]:
        """Score the answers so far; nothing is run. See `Task.evaluate`.

        ``balanced accuracy`` over the last third of the steps seen, ``sensitivity`` and ``specificity`` there,
        ``beats`` answered, ``pvc`` among the last third, ``rss_growth_mb`` since step 10,000.
        """
        done = int((self._answers != UNANSWERED).sum())
        whole = done == len(self._decisions) and not self.steps
        end = len(self._record.signal) if whole else int(self._decisions[done - 1]) if done else 0
        late = self._decisions[:done] >= end * 2 / 3
        answer, label = self._answers[:done][late] == 1, self._record.pvc[:done][late]
        sensitivity, specificity = _share(answer[label]), _share(~answer[~label])
        first, last = self._resident.tolist()
        return {
            self.metric: (sensitivity + specificity) / 2.0,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "beats": float(done),
            "pvc": float(label.sum()),
            "rss_10k_mb": first,
            "rss_growth_mb": last - first,
        }

    def figures(self, net: nn.Module) -> dict[str, Tensor]:
        """Return three seconds' raster from a reset, and the running score; put the stream back."""
        saved = tt.get_state(net)
        result = record(net, self._inputs[: 3 * round(self._record.rate)].unsqueeze(1))
        tt.set_state(net, saved)
        points = []
        share = [0.5, 0.5]
        done = int((self._answers != UNANSWERED).sum())
        for step, answer, label in zip(
            self._decisions[:done].tolist(),
            self._answers[:done].tolist(),
            self._record.pvc[:done].tolist(),
            strict=True,
        ):
            share[label] += 0.05 * (float(answer == label) - share[label])
            points.append([step, sum(share) / 2.0])
        result["prequential"] = torch.tensor(points)
        return result

    def state_dict(self) -> dict[str, Tensor]:
        """Return the answers so far and the memory readings."""
        return {"answers": self._answers.clone(), "resident": self._resident.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the `state` that `state_dict` returned; ValueError where it has answers of another record."""
        if state["answers"].shape != self._answers.shape:
            raise ValueError(
                f"{len(state['answers'])} answers for {len(self._answers)} beats: is this another record's run?"
            )
        self._answers.copy_(state["answers"])
        self._resident.copy_(state["resident"])


LAGS = (2, 6, 18)
LEVELS = (0.1, 0.3, 1.0)


def standardised(signal: Tensor, baseline: int, scale: int) -> Tensor:
    """Subtract the mean of the last `baseline` samples, divide by the root mean square over the last `scale`.

    >>> import torch
    >>> signal = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    >>> whole, part = standardised(signal, 50, 200), standardised(signal[:600], 50, 200)
    >>> bool(torch.equal(whole[:600], part))  # nothing looks ahead
    True
    """
    signal = signal.double()
    centred = signal - _past_mean(signal, baseline)
    unit = _past_mean(centred.square(), scale).sqrt()
    return (centred / (unit + 1e-3)).float()


def lagged(signal: Tensor, lag: int) -> Tensor:
    """Return ``x[t] - x[t - lag]``, with the first value before the start."""
    before = torch.cat([signal[:1].expand(lag), signal[:-lag]])
    return signal - before


def _past_mean(values: Tensor, length: int) -> Tensor:
    """Return the mean of the last `length` values up to each one; of all there are, at first."""
    total = torch.cat([values.new_zeros(1), values.cumsum(0)])
    now = torch.arange(1, len(values) + 1)
    start = (now - length).clamp(min=0)
    return (total[now] - total[start]) / (now - start)


def _share(right: Tensor) -> float:
    return float(right.float().mean()) if len(right) else 0.0
