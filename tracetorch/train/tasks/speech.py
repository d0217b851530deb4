"""Ten spoken words of unseen speakers, as on and off events of forty frequency bands."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from tracetorch.data import find_file, load_arrays
from tracetorch.encoding import DeltaModulation
from tracetorch.train.schema import Range
from tracetorch.train.tasks.base import Batch, option
from tracetorch.train.tasks.classification import ClassificationTask
from tracetorch.train.tasks.kinds import Count, Fold, OneOf, Rate, Size, Span
from tracetorch.train.tasks.networks import stack
from tracetorch.train.tasks.recordings import held_out_persons
from tracetorch.train.tasks.seeds import examples

RATE = 8000
FRAME, HOP = 256, 80
WORDS = 10
EVALUATION_BATCH = 400
QUICK = 400


class Clips(NamedTuple):
    """Coded clips: events, bool, or currents, ``[T, N, channels]``, labels 0 to 9 and speakers, ``[N]`` each."""

    x: Tensor
    y: Tensor
    speaker: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Speech(ClassificationTask):
    """The recognition of ten words (yes, no, up, down, left, right, on, off, stop, go) of unseen speakers.

    A clip of one second is turned into the logarithms of the energies of `bands` mel bands, 100 steps of 10 ms, in
    units of the training clips' standard deviations. Coded as ``events``, each band has an on and an off channel: a
    spike for each rise or fall by `threshold`; as ``currents``, the energies are the input. Clips of silence and of
    unknown words have no known speaker and are left out. Every fifth speaker is held out; `fold` says from which one
    on. The network learns from about 3,300 clips, not from the 85,000 of the training set, so its scores cannot be
    compared with published ones.

    Source: P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition" (2018),
    https://arxiv.org/abs/1804.03209.
    """

    name: ClassVar[str] = "speech"
    summary: ClassVar[str] = "ten spoken words of unseen speakers, mel bands as events (needs gsc_test_8k.npz)"

    data: str | None = option(None, "the npz file or its directory; none: the environment variable TRACETORCH_DATA")
    fold: Fold = option(0, "which fifth of the speakers is held out, 0 to 4")
    coding: Annotated[str, OneOf("events", "currents")] = option(
        "events", "'events' (on and off channels) or 'currents' (energies)"
    )
    bands: Size = option(40, "mel bands")
    time_steps: Annotated[int, Range(1, RATE // HOP)] = option(100, "time steps of 10 ms, 1 to 100")
    threshold: Span = option(0.5, "change of a band's log energy that makes an event, in standard deviations")
    hidden: Size = option(128, "neurons in each hidden layer")
    hidden_layers: Size = option(2, "number of hidden layers")
    half_life: Span = option(10.0, "half-life of the hidden neurons, steps")
    readout_half_life: Span = option(30.0, "half-life of the readout, steps")
    input_scale: Rate = option(4.0, "factor on the first layer's first weights: events are sparse")

    lr: Rate = option(2e-3, "highest learning rate (Adam)")
    steps: Count = option(600, "number of training iterations")
    batch_size: Size = option(64, "clips in a batch")
    loss: str = option("every", "where the loss is: at the 'last' step, or at 'every' step")

    def prepare(self) -> None:
        """Load the clips, split them by speaker, code them."""
        _ = self._parts

    @cached_property
    def _parts(self) -> tuple[Clips, Clips]:
        """The training speakers' and the held-out speakers' clips."""
        arrays = load_arrays(find_file("gsc_test_8k.npz", self.data), ("wave", "label", "speaker"))
        label, speaker = (torch.from_numpy(arrays[key]).long() for key in ("label", "speaker"))
        known = (speaker >= 0) & (label >= 2)
        waves = torch.from_numpy(arrays["wave"]).reshape(-1, RATE)[known].float() / 32768.0
        label, speaker = label[known] - 2, speaker[known]
        test = held_out_persons(speaker, self.fold)
        energy = torch.cat([log_mel(part, self.bands)[: self.time_steps] for part in waves.split(500)], dim=1)
        train = energy[:, ~test]
        energy = (energy - train.mean((0, 1))) / train.std((0, 1))
        x = energy
        if self.coding == "events":
            x = DeltaModulation(self.threshold)(energy).flatten(2).bool()
        return tuple(Clips(x[:, chosen], label[chosen], speaker[chosen]) for chosen in (~test, test))  # type: ignore[return-value]

    def network(self) -> nn.Module:
        """Build 2 channels per band (or 1), hidden layers of LIF neurons, ten leaky integrators."""
        inputs = 2 * self.bands if self.coding == "events" else self.bands
        return stack(
            (inputs, *[self.hidden] * self.hidden_layers, WORDS),
            half_life=self.half_life,
            readout_half_life=self.readout_half_life,
            input_scale=self.input_scale,
        )

    def batch(self, iteration: int) -> Batch:
        """Return clips of the training speakers, in epochs."""
        part = self._parts[0]
        index = examples(self.seed, iteration, size=len(part.y), batch_size=self.batch_size)
        return Batch(part.x[:, index].float(), part.y[index], {"speaker": part.speaker[index]})

    def held_out(self, *, quick: bool) -> Iterator[Batch]:
        """Yield the held-out speakers' clips; a quick look takes the first 400."""
        part = self._parts[1]
        for index in torch.arange(len(part.y))[: QUICK if quick else None].split(EVALUATION_BATCH):
            yield Batch(part.x[:, index].float(), part.y[index], {"speaker": part.speaker[index]})


def log_mel(waves: Tensor, bands: int) -> Tensor:
    """Return the logarithms of the energies of mel bands, every 10 ms, ``[1 + samples // 80, N, bands]``, at 8 kHz."""
    window = torch.hann_window(FRAME)
    power = torch.stft(waves, FRAME, HOP, window=window, return_complex=True).abs().square()
    return torch.log(mel_bank(bands) @ power + 1e-6).permute(2, 0, 1)


def mel_bank(bands: int) -> Tensor:
    r"""Return triangular filters that are evenly spaced on the mel scale, :math:`2595 \log_{10}(1 + f / 700)`.

    Each filter is at least as wide as the spacing of the Fourier transform, so that none is empty. They are
    ``[bands, 129]``, weights of the energies of 0 to 4,000 Hz, from 60 to 3,800 hertz.

    >>> bool((mel_bank(40).sum(-1) > 0).all())
    True
    """
    first, last = (2595.0 * math.log10(1.0 + f / 700.0) for f in (60.0, 3800.0))
    ends = torch.linspace(first, last, bands + 2)
    edges = 700.0 * (10.0 ** (ends / 2595.0) - 1.0)
    frequency = torch.linspace(0.0, RATE / 2.0, FRAME // 2 + 1)
    centre = edges[1:-1, None]
    spacing = RATE / FRAME
    rising = 1.0 - (centre - frequency) / (centre - edges[:-2, None]).clamp(min=spacing)
    falling = 1.0 - (frequency - centre) / (edges[2:, None] - centre).clamp(min=spacing)
    return torch.minimum(rising, falling).clamp(min=0.0)
