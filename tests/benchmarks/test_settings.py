"""Workloads as data: sizes, groups, rows, and weights that make every layer fire as wanted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.problem import currents, make_arrays, pooled, scaled_weights, spikes
from benchmarks.rows import OWN, Row
from benchmarks.settings import WORKLOADS, chosen, quick

QUICK = {name: quick(w) for name, w in WORKLOADS.items()}
ALL = [*WORKLOADS.values(), *QUICK.values()]
NETWORKS = list(dict.fromkeys((w.network, w.density, w.seed) for w in ALL))


def test_the_sizes_are_those_that_were_agreed():
    w1, w2, w3, w4, w5 = (WORKLOADS[name] for name in ("W1", "W2", "W3", "W4", "W5"))
    assert (w1.network.inputs, w1.network.hidden, w1.network.outputs) == ((700,), (256, 256), 20)
    assert (w1.batch, w1.steps, w1.losses, w1.density, w1.optimizer) == (
        64,
        (100, 1000),
        ("last", "every"),
        0.05,
        "adam",
    )
    assert (w2.network, w2.batch, w2.optimizer, w2.updates) == (w1.network, 1, "sgd", ("each", "end"))
    assert w3.steps == tuple(10**n for n in range(2, 7))
    assert (w4.network.inputs, w4.batch, w4.steps) == ((1, 28, 28), 32, (20,))
    w4e = WORKLOADS["W4e"]
    assert (w4e.network.inputs, w4e.batch, w4e.steps, w4e.density) == ((2, 34, 34), 50, (20,), 0.05)
    assert w4e.network.units() == [(12, 30, 30), (32, 11, 11)]
    assert (w5.network.inputs, w5.network.hidden, w5.batch, w5.steps) == ((1024,), (1024, 1024), 256, (1000,))
    w6 = WORKLOADS["W6"]
    assert (w6.network.inputs, w6.network.hidden, w6.network.outputs, w6.batch) == ((700,), (256,), 20, 64)
    assert (w6.steps, w6.losses, w6.network.recurrence > 0) == ((100,), ("last", "every"), True)
    assert (w5.device, w5.dtypes) == ("cuda", ("float32", "bfloat16"))


def test_quick_ones_are_the_same_workloads_made_small():
    assert QUICK.keys() == WORKLOADS.keys()
    for name, small in QUICK.items():
        large = WORKLOADS[name]
        assert (small.kind, small.losses, small.updates) == (large.kind, large.losses, large.updates)
        assert max(small.steps) <= max(large.steps)


@pytest.mark.parametrize("workload", ALL, ids=lambda w: w.name)
def test_groups_have_names_of_their_own(workload):
    names = [group.name for group in workload.groups()]
    assert len(set(names)) == len(names) > 0


def test_names_choose_workloads():
    assert [w.name for w in chosen([])] == list(WORKLOADS)
    assert [w.name for w in chosen(["w5", "W1"])] == ["W1", "W5"]
    with pytest.raises(ValueError, match="W9"):
        chosen(["W9"])


def test_own_rows_fit_every_group_and_have_names_of_their_own():
    for workload in ALL:
        for group in workload.groups():
            names = [row.method for row in OWN.rows if row.fits(group)]
            assert len(set(names)) == len(names) > 0


def test_a_row_says_where_it_is_measured():
    short, long = WORKLOADS["W3"].groups()[0], WORKLOADS["W3"].groups()[-1]
    row = Row("a", "b", ("W3",), longest=1000)
    assert row.fits(short)
    assert not row.fits(long)
    assert not replace(row, workloads=("W2",)).fits(short)


@pytest.mark.parametrize(("network", "density", "seed"), NETWORKS)
def test_hidden_layers_fire_at_about_their_rate(network, density, seed):
    x = (torch.rand(60, 4, *network.inputs, generator=torch.Generator().manual_seed(1)) < density).float()
    weights, recurrent = scaled_weights(network, density=density, seed=seed)
    for i, (weight, unit) in enumerate(zip(weights, network.units(), strict=False)):
        x = spikes(currents(weight, x, network), network.beta, recurrent[i] if recurrent else None)
        assert x.shape[2:] == unit
        assert 0.5 < float(x.mean()) / network.rate < 1.5
        x = pooled(x, network)


def test_groups_of_one_network_share_its_weights_and_data_are_drawn_alike():
    first, second = (make_arrays(QUICK["W1"].groups()[i]) for i in (0, -1))
    np.testing.assert_array_equal(first["w1"], second["w1"])
    again = make_arrays(QUICK["W1"].groups()[0])
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])


def test_long_sequences_take_a_file_of_a_thousand_steps():
    group = replace(QUICK["W3"], steps=(5000,)).groups()[0]
    assert make_arrays(group)["x"].shape[:2] == (1000, 1)
