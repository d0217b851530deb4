"""Training by Lightning: one window of a batch, or of a stream, is one batch of its Trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

try:
    import lightning.pytorch as pl
except ImportError as error:
    raise ImportError("this needs the package lightning: pip install lightning") from error

import tracetorch as tt
from tracetorch.data import RowPool, Window

__all__ = ["OnlineModule", "Stream", "StreamState", "Windows"]

KEY = "tracetorch"


class OnlineModule(pl.LightningModule):
    """A network that learns online in a Lightning Trainer: each window is a training step with its own update.

    Precision, device, strategy, clipping, accumulation, logging and checkpoints are Lightning's. With
    `accumulate_grad_batches` set to the number of windows in a sequence there is one update per sequence.

    Override what you need, such as `configure_optimizers` for a schedule. `StreamState` comes with it.

    Args:
        net: any module with layers in it.
        loss: from the outputs, `[T, B, *out]`, and the window to a scalar, or None where the window has no label.
        optimizer: makes the optimizer of the network's parameters.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.interop.lightning import OnlineModule
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5)))
        >>> module = OnlineModule(net, lambda ys, window: torch.nn.functional.cross_entropy(ys[-1], window.labels[-1]))
        >>> module.configure_optimizers().__class__.__name__
        'Adam'
    """

    def __init__(
        self,
        net: nn.Module,
        loss: Callable[[Tensor, Window], Tensor | None],
        optimizer: Callable[[Any], torch.optim.Optimizer] = torch.optim.Adam,
    ) -> None:
        super().__init__()
        self.net, self.loss, self.optimizer = net, loss, optimizer

    def forward(self, xs: Tensor) -> Tensor:
        """Run the network over a window.

        Args:
            xs: inputs, `[T, B, *in]`.

        Returns:
            The outputs, `[T, B, *out]`.
        """
        return tt.scan(self.net, xs)

    def training_step(self, window: Window, batch_idx: int) -> Tensor | None:
        """Return the loss of a window, whose rows are reset where recordings begin."""
        return self._loss("train_loss", window)

    def validation_step(self, window: Window, batch_idx: int) -> None:
        """Log the loss of a window as `val_loss`."""
        self._loss("val_loss", window)

    def _loss(self, name: str, window: Window) -> Tensor | None:
        begin(self.net, window)
        loss = self.loss(self(window.xs), window)
        if loss is not None:
            self.log(name, loss, prog_bar=True, batch_size=window.xs.shape[1])
        return loss

    def configure_optimizers(self) -> Any:
        """Return the optimizer."""
        return self.optimizer(self.net.parameters())

    def configure_callbacks(self) -> Sequence[pl.Callback]:
        """Return `StreamState`."""
        return [StreamState()]


def begin(net: nn.Module, window: Window) -> None:
    """Reset the rows of a network in which a window begins a recording; one that begins inside it is refused."""
    if bool(window.resets[1:].any()):
        raise ValueError("a recording begins within a window: use a RowPool with join=False")
    resets = window.resets[0]
    if bool(resets.all()):
        tt.reset(net)
    elif bool(resets.any()):
        tt.reset(net, resets)


class StreamState(pl.Callback):
    """States of the layers in Lightning's checkpoints, put aside while the network is validated.

    For any LightningModule with layers in it. A checkpoint has the state of every process's rows, and the position of a
    `Stream`; a run that is resumed from it goes on with the stream as if it had not stopped.

    Example:
        >>> from tracetorch.interop.lightning import StreamState
        >>> StreamState().state_key
        'StreamState'
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None
        self._aside: dict[str, Tensor] | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the states of all processes."""
        loader = trainer.train_dataloader
        position = loader.pool.state_dict() if isinstance(loader, Stream) else {}
        state = self._aside if self._aside is not None else tt.get_state(pl_module)
        own = {"state": {name: value.cpu() for name, value in state.items()}, "position": position}
        every: list[Any] = [own]
        if trainer.world_size > 1:
            every = [None] * trainer.world_size
            torch.distributed.all_gather_object(every, own)
        checkpoint[KEY] = every

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take this process's state, for the beginning of the training."""
        every = checkpoint.get(KEY)
        if every is None:
            return
        if len(every) != trainer.world_size:
            raise ValueError(
                f"the checkpoint has the streams of {len(every)} processes, this run has {trainer.world_size}: resume "
                f"with as many, or load the weights alone"
            )
        self._loaded = every[trainer.global_rank]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put in what was loaded."""
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return
        tt.reset(pl_module)
        tt.set_state(pl_module, {name: value.to(pl_module.device) for name, value in loaded["state"].items()})
        loader = trainer.train_dataloader
        if loaded["position"] and isinstance(loader, Stream):
            loader.pool.load_state_dict(loaded["position"])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the stream's state aside."""
        self._aside = tt.get_state(pl_module)
        tt.reset(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go back to the stream's state."""
        aside, self._aside = self._aside, None
        tt.reset(pl_module)
        if aside:
            tt.set_state(pl_module, aside)


class Windows(DataLoader[Any]):
    """A DataLoader that cuts batches into windows: one window is one training step.

    The layers keep their state from one window of a batch to the next. Under DDP each process gets its part of the data
    set; all recordings should then be of one length, so that all processes have as many windows.

    Args:
        dataset: recordings `[T, *in]` with targets: a class, or tensors `[T, ...]` with one for each step.
        steps: number of steps of a window, 1 for an update at each step; None for the whole sequence.
        **options: those of `torch.utils.data.DataLoader`; `collate_fn` returns inputs `[T, B, *in]` and targets,
            `[B]` or `[T, B, ...]`, or a `tt.data.RaggedBatch`.

    Raises:
        ValueError: if the number of steps is not positive.

    Example:
        >>> import torch
        >>> from tracetorch.interop.lightning import Windows
        >>> data = [(torch.rand(25, 3), k % 2) for k in range(8)]
        >>> [(len(w.xs), bool(w.resets.any())) for w in Windows(data, steps=10, batch_size=8)]
        [(10, True), (10, False), (5, False)]
    """

    def __init__(self, dataset: Any, steps: int | None = None, **options: Any) -> None:
        if steps is not None and steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.steps = steps
        super().__init__(dataset, **{"collate_fn": time_first, **options})

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Return the windows of all batches."""
        for batch in super().__iter__():
            yield from cut(batch, self.steps)

    def __len__(self) -> int:
        """Raise TypeError: how many windows there are is known when the batches are read."""
        raise TypeError("the number of windows is known when the batches are read")


class Stream:
    """Windows of a `tt.data.RowPool` for a Trainer, whose epoch is a number of windows.

    The pool goes on from epoch to epoch, and its position is in the checkpoint. Under DDP each process needs a pool of
    its own recordings: make it in `train_dataloader`, from `trainer.global_rank`.

    Args:
        pool: the pool, with `join=False`.
        windows: number of windows of an epoch; fewer where the pool ends.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.interop.lightning import Stream
        >>> data = [(tt.data.DenseRecording(torch.rand(25, 3).numpy()), k % 2) for k in range(8)]
        >>> pool = tt.data.RowPool(data, rows=4, steps=5, epochs=None)
        >>> len(list(Stream(pool, windows=7)))
        7
    """

    def __init__(self, pool: RowPool, *, windows: int) -> None:
        if windows < 1:
            raise ValueError(f"windows must be at least 1, got {windows}")
        self.pool, self.windows = pool, windows

    def __len__(self) -> int:
        """Return the number of windows of an epoch."""
        return self.windows

    def __iter__(self) -> Iterator[Window]:
        """Return the next windows of the pool."""
        for _ in range(self.windows):
            window = self.pool.next()
            if window is None:
                return
            yield window


def time_first(items: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Put recordings `[T, *in]` of one length, with targets, side by side: `[T, B, *in]`, `[B]` or `[T, B, ...]`."""
    xs, targets = default_collate(list(items))
    return xs.transpose(0, 1), targets if targets.dim() == 1 else targets.transpose(0, 1)


def cut(batch: Any, steps: int | None) -> Iterator[Window]:
    """Yield windows of a batch: inputs `[T, B, *in]` and targets `[B]` or `[T, B, ...]`, or a `tt.data.RaggedBatch`."""
    if isinstance(batch, tt.data.RaggedBatch):
        xs, targets, valid = batch.xs, batch.labels, batch.valid
    else:
        xs, targets = batch
        valid = torch.ones(xs.shape[:2], dtype=torch.bool)
    labels = targets.expand(xs.shape[:2]) if targets.dim() == 1 else targets
    resets, ends = torch.zeros_like(valid), torch.zeros_like(valid)
    resets[0] = True
    ends[valid.sum(0) - 1, torch.arange(valid.shape[1])] = True
    places = torch.arange(valid.shape[1]).expand(valid.shape)
    whole = Window(xs, resets, ends, valid, labels, places)
    for start in range(0, len(xs), len(xs) if steps is None else steps):
        yield Window(*(part[start : start + (steps or len(xs))] for part in whole))
