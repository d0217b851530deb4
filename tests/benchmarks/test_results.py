"""Results: medians, ratios, JSON there and back, tables, the figure."""

import json
import math

import pytest

from benchmarks.figure import draw
from benchmarks.measure import compare
from benchmarks.results import Measured, Report, Table, read
from benchmarks.settings import WORKLOADS
from benchmarks.tables import as_markdown, number


def make_table(kind="iteration", steps=100, **fields):
    rows = [
        Measured(
            "traceTorch", "trace", [0.03, 0.01, 0.02], peak_mb=300.0, growth_mb=10.0, rates=[0.1, 0.11], agrees=True
        ),
        Measured("snnTorch", "BPTT", [0.2, 0.2], peak_mb=400.0, growth_mb=100.0, agrees=True, notes=["a loop"]),
        Measured("Norse", "BPTT", [0.001], agrees=False, notes=["another network"]),
        Measured("BrainTrace", "pp_prop", error="no environment"),
    ]
    name = {"iteration": "W1", "stream": "W2", "memory": "W3"}[kind]
    from dataclasses import asdict

    settings = asdict(WORKLOADS[name])
    base = {"workload": name, "name": f"{name}, T={steps}", "title": "some network", "kind": kind, "steps": steps}
    more = {"loss": "every", "update": "each", "dtype": "float32", "settings": settings, "rows": rows}
    return Table(**{**base, **more, **fields})


def make_report(*tables):
    machine = {"processor": "p", "cores": 2, "threads": 1, "system": "s", "date": "d", "load": 0.1, "load_after": 0.2}
    return Report(machine, {"quick": True}, list(tables))


def test_medians_quartiles_and_ratios():
    table = make_table()
    own, other, wrong, failed = table.rows
    assert own.median == 0.02
    assert own.quartiles() == pytest.approx((0.015, 0.025))
    assert table.ratio(own) == 1
    assert table.ratio(other) == pytest.approx(10)
    assert math.isnan(table.ratio(wrong))
    assert math.isnan(table.ratio(failed))
    assert math.isnan(failed.median)


def test_a_run_with_a_failed_or_another_network_is_not_sound():
    assert not make_report(make_table()).sound
    assert make_report(make_table(rows=make_table().rows[:2])).sound


def test_json_there_and_back(tmp_path):
    report = make_report(make_table(), make_table("memory"), make_table(rows=[], skipped="no GPU"))
    file = tmp_path / "results.json"
    file.write_text(report.as_json())
    row = json.loads(file.read_text())["tables"][0]["rows"][3]
    assert (row["median"], row["error"]) == (None, "no environment")
    again = read(file)
    assert again.as_json() == report.as_json()
    assert as_markdown(again) == as_markdown(report)


def test_another_format_is_refused(tmp_path):
    file = tmp_path / "results.json"
    file.write_text('{"format": 99}')
    with pytest.raises(ValueError, match="format 1"):
        read(file)


def test_the_document_tells_machine_times_rates_notes_and_failures():
    text = as_markdown(make_report(make_table(), make_table(rows=[], skipped="it needs a GPU")))
    assert "2 cores of which each row has 1" in text
    assert "| traceTorch | trace | 20.0 | 15.0 to 25.0 | 1.00 | 300 | 10.0 | 10.0 %, 11.0 % |" in text
    assert "1. a loop" in text
    assert "BrainTrace pp_prop failed: no environment" in text
    assert "Skipped: it needs a GPU" in text


def test_streams_are_told_in_microseconds_per_step():
    table = make_table("stream", steps=1000)
    table.rows[0].optimizer = 12e-6
    assert "| traceTorch | trace | 20.0 | 12.0 |" in as_markdown(make_report(table))


def test_another_version_is_paired_turn_by_turn(tmp_path):
    rows = [
        Measured("traceTorch", "trace", [1.0, 2.0, 4.0], [1.0, 2.0, 4.0], agrees=True),
        Measured("against", "trace", [2.0, 2.0, 5.0], [2.0, 2.0, 5.0], agrees=True),
        Measured("traceTorch", "new", [1.0], [1.0], agrees=True),
        Measured("against", "new", error="KeyError: 'new'"),
    ]
    report = make_report(make_table(rows=rows))
    assert report.tables[0].pairs() == {"trace": [2.0, 1.0, 1.25]}
    assert report.sound, "another version may lack a row"
    assert "| trace | 1.25 | 1.12 to 1.62 |" in as_markdown(report)
    file = tmp_path / "results.json"
    file.write_text(report.as_json())
    assert read(file).as_json() == report.as_json()


def test_the_figure_has_bars_for_times_and_curves_for_memory():
    pytest.importorskip("matplotlib")
    tables = [make_table("memory", steps=steps) for steps in (100, 1000)]
    figure = draw(make_report(make_table(), *tables, make_table(rows=[], skipped="no GPU")))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["W1, T=100", "W3: memory"]
    with pytest.raises(ValueError, match="no row"):
        draw(make_report(make_table(rows=[])))


@pytest.mark.parametrize(
    ("rates", "loss", "agrees"),
    [([0.1, 0.1004], 2.0, True), ([0.1, 0.102], 2.0, False), ([0.1, 0.1], 2.5, False), ([0.1, 0.1], 2.05, True)],
)
def test_networks_are_the_same_where_rates_and_loss_are(rates, loss, agrees):
    row = Measured("a", "b")
    compare(row, {"rates": rates, "loss": loss, "convention": "decayed"}, {"rates": [0.1, 0.1], "loss": 2.0})
    assert row.agrees is agrees
    assert bool(row.notes) is not agrees


def test_another_convention_of_the_reset_is_noted():
    row = Measured("a", "b")
    seen = {"rates": [0.1], "loss": 2.0, "convention": "delayed"}
    compare(row, seen, {"rates": [0.1], "loss": 2.0})
    assert row.agrees
    assert "after the decay" in row.notes[0]


def test_numbers_have_three_digits_that_count():
    assert [number(x) for x in (0.000123, 1.0, 99.95, 123456.0)] == ["0.000123", "1.00", "100", "123456"]
