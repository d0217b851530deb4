"""This library's own rows: each runs, and each network is the one that was drawn."""

from dataclasses import asdict, replace

import pytest
import torch

from benchmarks.own import observe, prepare, versions
from benchmarks.problem import currents, spikes, write_arrays
from benchmarks.rows import OWN
from benchmarks.settings import WORKLOADS, Network, quick

TINY = Network(inputs=(12,), hidden=(6, 5), outputs=3)
LOOP = Network(inputs=(12,), hidden=(6,), outputs=3, recurrence=0.5)
QUICK = {name: quick(w) for name, w in WORKLOADS.items()}
SIZES = {
    "W1u": {"network": TINY, "batch": 3, "steps": (6,)},
    "W1l": {"network": TINY, "batch": 3, "steps": (6,)},
    "W2v": {"network": LOOP, "steps": (6,)},
    "W6": {"network": LOOP, "batch": 3, "steps": (6,)},
    "W1": {"network": TINY, "batch": 3, "steps": (6,), "window": 3},
    "W2": {"network": TINY, "steps": (6,), "window": 3},
    "W3": {"network": TINY, "steps": (12,), "window": 3},
    "W4": {"batch": 2, "steps": (4,), "window": 2},
    "W4e": {"batch": 2, "steps": (4,), "window": 2},
}
GROUPS = [g for name, sizes in SIZES.items() for g in replace(QUICK[name], learning_rate=0.01, **sizes).groups()]
CASES = [
    (group, row) for group in GROUPS for row in OWN.rows if row.fits(group) and row.options.get("way") != "compiled"
]


def job(group, row, folder):
    return {
        "data": str(write_arrays(group, folder)),
        "row": {"method": row.method, "options": dict(row.options), "decays": row.decays},
        "group": {"steps": group.steps, "loss": group.loss, "update": group.update, "dtype": group.dtype},
        "workload": asdict(group.workload),
        "threads": 1,
    }


@pytest.mark.parametrize(("group", "row"), CASES, ids=lambda v: v.name)
def test_every_row_runs_and_learns(group, row, tmp_path):
    case = prepare(job(group, row, tmp_path))
    before = case.report()
    if hasattr(case, "warm"):
        case.warm()
    case.iterate()
    assert len(before["rates"]) == len(group.workload.network.hidden)
    variant = {"neuron", "learned", "recurrent"} & set(row.options)
    assert before["convention"] == ("" if variant else "decayed")
    weight = next(case.net.parameters())
    drawn = case.arrays["w0"]
    moved = bool((weight.detach() - torch.from_numpy(drawn)).abs().max() > 0)
    assert moved == ("rule" in row.options)


def test_the_reference_has_each_convention_and_the_networks_differ(tmp_path):
    group = replace(QUICK["W1"], steps=(30,)).groups()[0]
    row = replace(OWN.rows[0], method="reference")
    found = prepare(job(group, row, tmp_path)).report()
    assert sorted(found) == ["decayed neuron", "decayed shared", "delayed neuron", "delayed shared"]
    assert found["decayed shared"]["rates"] != found["delayed shared"]["rates"]


def test_the_network_is_the_one_that_weights_were_scaled_with(tmp_path):
    group = replace(QUICK["W4"], steps=(10,)).groups()[0]
    case = prepare(job(group, next(r for r in OWN.rows if r.fits(group)), tmp_path))
    x = case.x
    for i, rate in enumerate(observe(case.net, case.x, case.y)["rates"]):
        x = spikes(
            currents(torch.from_numpy(case.arrays[f"w{i}"]), x, group.workload.network), float(case.arrays["beta"])
        )
        assert float(x.mean()) == pytest.approx(rate, rel=1e-6)


def test_windows_cover_a_sequence_longer_than_the_file(tmp_path):
    group = replace(QUICK["W3"], network=TINY, steps=(2500,), window=100).groups()[0]
    case = prepare(job(group, next(r for r in OWN.rows if r.fits(group)), tmp_path))
    windows = list(case.windows())
    assert [len(xs) for xs, _ in windows] == [100] * 25
    assert [final for _, final in windows] == [False] * 24 + [True]


def test_recurrent_weights_of_the_file_are_the_networks(tmp_path):
    group = replace(QUICK["W6"], steps=(30,)).groups()[0]
    rows = {row.method: row for row in OWN.rows if row.fits(group)}
    case = prepare(job(group, rows["eprop"], tmp_path))
    arrays, x = case.arrays, case.x
    current = currents(torch.from_numpy(arrays["w0"]), x, group.workload.network)
    z = spikes(current, float(arrays["beta"]), torch.from_numpy(arrays["r0"]))
    rate = float(z.mean())
    assert observe(case.net, x, case.y)["rates"] == pytest.approx([rate], rel=1e-6)
    plain = prepare(job(group, rows["feed-forward eprop"], tmp_path))
    assert observe(plain.net, x, plain.y)["rates"] != pytest.approx([rate], rel=1e-3)


def test_versions_are_told():
    assert {"tracetorch", "torch", "python"} <= versions().keys()
