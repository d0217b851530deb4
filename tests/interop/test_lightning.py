"""Lightning's Trainer against loops written out: windows, streams, bf16, resumed runs, two processes."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import tracetorch as tt

pytest.importorskip("lightning", reason="the package lightning is not installed")

import lightning.pytorch as pl

from tracetorch.interop.lightning import OnlineModule, Stream, StreamState, Windows

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's about workers, logs and its own dependencies


def network(rule=None, dtype=torch.float32):
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(5, 16), tt.LIF(half_life=6)),
        tt.Layer(nn.Linear(16, 16), tt.LIF(half_life=6), recurrent=nn.Linear(16, 16)),
        tt.Layer(nn.Linear(16, 3), tt.LI(half_life=8)),
    ).to(dtype)
    with torch.no_grad():
        for layer in net[:2]:
            layer.synapse.weight.mul_(3)
    tt.set_rule(net, rule or tt.rules.trace())
    return net


def blank(net):
    """The same network with weights of zero."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    return other


def recordings(count=16, steps=24, dtype=torch.float32):
    source = torch.Generator().manual_seed(1)
    xs = (torch.rand(count, steps, 5, generator=source) < 0.4).to(dtype)
    return [(x, k % 3) for k, x in enumerate(xs)]


def cross_entropy(ys, window):
    return nn.functional.cross_entropy(ys.flatten(0, 1), window.labels.flatten())


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def trainer(tmp_path, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    options = {"devices": 1, "enable_checkpointing": False, **quiet, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pl.Trainer(default_root_dir=tmp_path, **options)


def by_hand(net, data, *, rows, steps, epochs=1, every="window", clip=None):
    """The loop that Lightning is to run."""
    optimizer = sgd(net.parameters())
    for _ in range(epochs):
        for start in range(0, len(data), rows):
            xs = torch.stack([x for x, _ in data[start : start + rows]], 1)
            y = torch.tensor([y for _, y in data[start : start + rows]])
            tt.reset(net)
            parts = xs.split(steps)
            for k, part in enumerate(parts):
                ys = tt.scan(net, part)
                loss = nn.functional.cross_entropy(ys.flatten(0, 1), y.repeat(len(part)))
                (loss if every == "window" else loss / len(parts)).backward()
                if every == "window" or k + 1 == len(parts):
                    if clip is not None:
                        nn.utils.clip_grad_norm_(net.parameters(), clip)
                    optimizer.step()
                    optimizer.zero_grad()
    return net


def same(a, b, **tolerance):
    for (name, x), (_, y) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=tolerance.get("atol", 0), msg=name)


@pytest.mark.parametrize("rule", [tt.rules.trace(), tt.rules.drtrl(), tt.rules.traced_bptt()], ids=lambda r: r.name)
@pytest.mark.parametrize("steps", [1, 10, 24])
def test_an_update_per_window_is_the_loop_by_hand(steps, rule, tmp_path):
    data, net = recordings(), network(rule)
    module = OnlineModule(copy.deepcopy(net), cross_entropy, sgd)
    trainer(tmp_path, max_epochs=2).fit(module, Windows(data, steps=steps, batch_size=8))
    expected = by_hand(copy.deepcopy(net), data, rows=8, steps=steps, epochs=2)
    same(module.net, expected)
    assert not torch.equal(expected[0].synapse.weight, net[0].synapse.weight)


def test_accumulation_gives_one_update_per_sequence_and_clipping_is_lightnings(tmp_path):
    data, net = recordings(), network()
    module = OnlineModule(copy.deepcopy(net), cross_entropy, sgd)
    options = {"accumulate_grad_batches": 3, "gradient_clip_val": 0.3}
    trainer(tmp_path, max_epochs=1, **options).fit(module, Windows(data, steps=8, batch_size=8))
    same(module.net, by_hand(copy.deepcopy(net), data, rows=8, steps=8, every="sequence", clip=0.3))
    other = by_hand(copy.deepcopy(net), data, rows=8, steps=8)
    assert not torch.allclose(other[0].synapse.weight, module.net[0].synapse.weight)


def test_bf16_mixed_is_the_loop_under_autocast(tmp_path):
    data, net = recordings(), network()
    module = OnlineModule(copy.deepcopy(net), cross_entropy, sgd)
    trainer(tmp_path, max_epochs=1, precision="bf16-mixed").fit(module, Windows(data, steps=8, batch_size=8))
    expected = copy.deepcopy(net)
    optimizer = sgd(expected.parameters())
    for start in (0, 8):
        tt.reset(expected)
        xs, y = torch.stack([x for x, _ in data[start : start + 8]], 1), torch.tensor([y for _, y in data[start:][:8]])
        for part in xs.split(8):
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(tt.scan(expected, part).flatten(0, 1), y.repeat(8))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    same(module.net, expected)
    single = by_hand(copy.deepcopy(net), data, rows=8, steps=8)
    assert not torch.equal(single[0].synapse.weight, expected[0].synapse.weight)
    assert all(p.dtype == torch.float32 for p in module.parameters())


class Lengths(pl.Callback):
    """Note each window's number of steps and whether a recording began."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append((len(batch.xs), bool(batch.resets[0].all())))


def test_ragged_batches_and_their_masks(tmp_path):
    data = [(x[: 10 + k], y) for k, (x, y) in enumerate(recordings(8))]
    windows = list(Windows(data, steps=6, batch_size=8, collate_fn=tt.data.collate_ragged))
    assert [len(w.xs) for w in windows] == [6, 6, 5]
    assert sum(int(w.valid.sum()) for w in windows) == sum(len(x) for x, _ in data)
    assert torch.cat([w.ends for w in windows]).nonzero().tolist() == [[9 + k, k] for k in range(8)]
    seen = Lengths()
    module = OnlineModule(network(), lambda ys, w: ys[w.valid].square().mean() if w.valid.any() else None, sgd)
    loader = Windows(data, steps=6, batch_size=4, collate_fn=tt.data.collate_ragged)
    trainer(tmp_path, max_epochs=1, callbacks=[seen]).fit(module, loader)
    assert seen.seen == [(6, True), (6, False), (1, False), (6, True), (6, False), (5, False)]


def pool(**options):
    data = [(tt.data.DenseRecording(x[: 9 + 2 * k].numpy()), y) for k, (x, y) in enumerate(recordings(7))]
    return tt.data.RowPool(data, rows=3, steps=4, seed=3, epochs=None, **options)


def masked(ys, window):
    return nn.functional.cross_entropy(ys[window.valid], window.labels[window.valid])


class Stop(pl.Callback):
    """Save a checkpoint in the midst of an epoch, then stop."""

    def __init__(self, at, path):
        self.at, self.path = at, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.at:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


@pytest.mark.parametrize("validate", [False, True])
def test_a_stream_is_resumed_in_the_midst_of_an_epoch_bit_for_bit(validate, tmp_path):
    net = network(tt.rules.drtrl())
    held_out = {"val_dataloaders": Windows(recordings(4), batch_size=4)} if validate else {}

    def run(module, **options):
        path = options.pop("ckpt_path", None)
        t = trainer(tmp_path, max_epochs=3, val_check_interval=2, **options)
        t.fit(module, Stream(pool(), windows=10), ckpt_path=path, **held_out)
        return module

    straight = run(OnlineModule(copy.deepcopy(net), masked, sgd))
    file = tmp_path / "middle.ckpt"
    run(OnlineModule(copy.deepcopy(net), masked, sgd), callbacks=[Stop(14, file)], min_epochs=0)
    again = run(OnlineModule(blank(net), masked, sgd), ckpt_path=file)
    same(again.net, straight.net)
    ours, theirs = tt.get_state(straight.net), tt.get_state(again.net)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    # the control: without the stream's state the run comes out otherwise
    content = torch.load(file, weights_only=False)
    content["tracetorch"] = [{"state": {}, "position": content["tracetorch"][0]["position"]}]
    torch.save(content, tmp_path / "bare.ckpt")
    bare = run(OnlineModule(blank(net), masked, sgd), ckpt_path=tmp_path / "bare.ckpt")
    assert not torch.equal(bare.net[0].synapse.weight, straight.net[0].synapse.weight)


def test_validation_leaves_a_stream_as_it_is(tmp_path):
    net = network()
    plain, validated = (OnlineModule(copy.deepcopy(net), masked, sgd) for _ in range(2))
    trainer(tmp_path, max_epochs=2).fit(plain, Stream(pool(), windows=6))
    held_out = Windows(recordings(4), batch_size=4)
    t = trainer(tmp_path, max_epochs=2, val_check_interval=2)
    t.fit(validated, Stream(pool(), windows=6), held_out)
    same(plain.net, validated.net)
    assert t.callback_metrics["val_loss"] > 0


class Own(pl.LightningModule):
    """A LightningModule as a user writes it, with the callback beside it."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def training_step(self, x, index):
        return tt.scan(self.net, x).square().mean()

    def configure_optimizers(self):
        return sgd(self.parameters())


def test_the_callback_serves_any_module(tmp_path):
    source = torch.Generator().manual_seed(0)
    xs = DataLoader([(torch.rand(4, 3, 5, generator=source) < 0.4).float() for _ in range(8)], batch_size=None)
    net = network()
    straight = Own(copy.deepcopy(net))
    trainer(tmp_path, max_epochs=2, callbacks=[StreamState()]).fit(straight, xs)
    first = trainer(tmp_path, max_epochs=1, callbacks=[StreamState()])
    first.fit(Own(copy.deepcopy(net)), xs)
    first.save_checkpoint(tmp_path / "epoch.ckpt")
    again = Own(blank(net))
    trainer(tmp_path, max_epochs=2, callbacks=[StreamState()]).fit(again, xs, ckpt_path=tmp_path / "epoch.ckpt")
    same(again.net, straight.net)


def test_bad_input():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Windows(recordings(2), steps=0)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Stream(pool(), windows=0)
    module = OnlineModule(network(), masked, sgd)
    window = next(w for w in pool(join=True) if w.resets[1:].any())
    with pytest.raises(ValueError, match="join=False"):
        module.training_step(window, 0)
    with pytest.raises(TypeError, match="when the batches are read"):
        len(Windows(recordings(2)))


SCRIPT = """
import sys
import torch
from interop import test_lightning as t

def main():
    strategy, devices, path, source, rows = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
    t.run_distributed(path, source, strategy=strategy, devices=devices, rows=rows)

if __name__ == "__main__":
    main()
"""


class Pools(OnlineModule):
    """A stream whose rows are shared out to the processes."""

    rows = 4

    def train_dataloader(self):
        own = recordings(8, dtype=torch.float64)[self.trainer.global_rank :: self.trainer.world_size]
        data = [(tt.data.DenseRecording(x.numpy()), y) for x, y in own]
        rows = self.rows // self.trainer.world_size
        return Stream(tt.data.RowPool(data, rows=rows, steps=5, seed=None, epochs=None), windows=6)


class Doubles(Pools):
    """Windows of a pool are float32; this network computes in float64."""

    def forward(self, xs):
        return super().forward(xs.double())


def run_distributed(path, source, *, strategy, devices, rows):
    torch.set_num_threads(1)

    def options():  # the processes write the checkpoint: they end with the training
        saver = pl.callbacks.ModelCheckpoint(path, filename=f"{source}-{devices}", enable_version_counter=False)
        return {"strategy": strategy, "devices": devices, "enable_checkpointing": True, "callbacks": [saver]}

    if source == "windows":
        module = OnlineModule(network(dtype=torch.float64), cross_entropy, sgd)
        loader = Windows(recordings(dtype=torch.float64), steps=8, batch_size=rows, shuffle=False)
        trainer(path, max_epochs=2, **options()).fit(module, loader)
        return
    for epochs, resume in ((1, None), (2, f"{path}/{source}-{devices}.ckpt")):
        module = Doubles(network(tt.rules.drtrl(), dtype=torch.float64), masked, sgd)
        trainer(path, max_epochs=epochs, **options()).fit(module, ckpt_path=resume)


@pytest.mark.parametrize("source", ["windows", "stream"])
def test_two_processes_learn_what_one_learns(source, tmp_path):
    """Windows are shared out by Lightning's sampler; the stream is saved after an epoch and resumed."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    here = str(Path(__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])}
    for strategy, devices, rows in (("auto", 1, 8), ("ddp_spawn", 2, 4)):
        command = [sys.executable, str(script), strategy, str(devices), str(tmp_path), source, str(rows)]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / f"{source}-{n}.ckpt", weights_only=False) for n in (1, 2))
    start = OnlineModule(network(dtype=torch.float64), cross_entropy, sgd).state_dict()
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=0, atol=1e-10, msg=name)
    assert not torch.equal(one["state_dict"]["net.0.synapse.weight"], start["net.0.synapse.weight"])
    states = [process["state"] for process in two["tracetorch"]]
    assert len(states) == 2
    whole = one["tracetorch"][0]["state"]["net.0/s.0"]
    order = torch.cat([s["net.0/s.0"] for s in states])
    torch.testing.assert_close(order.sort(0).values, whole.sort(0).values, rtol=0, atol=1e-10)
