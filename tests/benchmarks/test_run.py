"""A whole run of this library alone, on networks so small that times say nothing."""

import sys
from dataclasses import replace

import pytest
import torch

from benchmarks.measure import QUICK_EFFORT, Place, Turns, against_place, own_place, run
from benchmarks.rows import AGAINST, OWN, Library, Row
from benchmarks.settings import WORKLOADS, Network, quick

TINY = Network(inputs=(12,), hidden=(6, 5), outputs=3)
QUICK = {name: quick(w) for name, w in WORKLOADS.items()}


def measure(group, places, log=str):
    return Turns(group, places, threads=1, effort=QUICK_EFFORT, log=log).measure()


def place(*methods):
    rows = [row for row in OWN.rows if row.method in methods]
    return replace(own_place(sys.executable), library=replace(OWN, rows=rows))


def test_rows_take_turns_and_failures_stay_with_their_row():
    group = replace(QUICK["W1"], network=TINY, batch=2, steps=(5,), window=5).groups()[0]
    absent = Place(
        Library("Absent", "absent", [Row("Absent", "BPTT", ("W1",))]), "", problem="it could not be installed"
    )
    broken = Place(Library("Broken", "absent", [Row("Broken", "BPTT", ("W1",))]), sys.executable)
    said = []
    table = measure(group, [place("trace"), absent, broken], said.append)
    own, missing, dead = table.rows
    assert (own.error, own.agrees) == ("", True)
    assert len(own.seconds) >= QUICK_EFFORT.rounds
    assert own.rates_after == pytest.approx(own.rates, rel=0.05)
    assert own.peak_mb > own.growth_mb > 0
    assert missing.error == "it could not be installed"
    assert "No module named 'absent'" in dead.error
    assert table.basis is own
    assert any("round 2 of 2" in line for line in said)


def test_a_stream_tells_the_optimizer_apart_and_memory_runs_once():
    stream = replace(QUICK["W2"], network=TINY, steps=(5,), window=5).groups()[0]
    row = measure(stream, [place("sltt")]).rows[0]
    assert row.optimizer is not None
    assert row.optimizer > 0
    long = replace(QUICK["W3"], network=TINY, steps=(20,), window=5).groups()[0]
    row = measure(long, [place("ottt")]).rows[0]
    assert len(row.seconds) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_needs_a_gpu_is_skipped_with_a_reason_where_there_is_none():
    report = run([QUICK["W5"]], threads=1, effort=QUICK_EFFORT)
    assert {table.skipped for table in report.tables} == {"it needs a GPU that torch can use, and there is none"}
    assert report.sound


def test_another_version_takes_turns_with_ours_and_may_lack_rows():
    group = replace(QUICK["W1"], network=TINY, batch=2, steps=(5,), window=5).groups()[0]
    other = against_place(sys.executable)
    own = place("trace")
    other = replace(
        other,
        path=own.path,
        library=replace(other.library, rows=[replace(r, library=AGAINST) for r in own.library.rows]),
    )
    lacks = Row(AGAINST, "later rule", ("W1",), {"rule": "none such"})
    table = measure(group, [own, other, replace(other, library=replace(other.library, rows=[lacks]))])
    assert [row.library for row in table.rows] == ["traceTorch", AGAINST, AGAINST]
    assert len(table.pairs()["trace"]) == QUICK_EFFORT.rounds
    assert "none such" in table.rows[2].error
    with pytest.raises(ValueError, match="interpreter of an environment"):
        against_place("no/such/python")


def test_threads_are_checked():
    with pytest.raises(ValueError, match="threads must be 1 to"):
        run([], threads=0)
