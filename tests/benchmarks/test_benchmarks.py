"""The rivals' rows, their environments, the goals, the command line."""

import ast
import json
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import envs, goals
from benchmarks.registry import RIVALS
from benchmarks.results import Measured, Report, Table
from benchmarks.rows import Library, Row
from benchmarks.settings import WORKLOADS, quick

HOME = Path(envs.__file__).parent


def test_rivals_rows_have_names_of_their_own_in_every_group():
    for workload in WORKLOADS.values():
        for group in workload.groups():
            names = [row.name for library in RIVALS.values() for row in library.rows if row.fits(group)]
            assert len(set(names)) == len(names)
            assert names or workload.name in ("W1u", "W1l")


def test_every_rival_has_a_module_that_imports_nothing_of_this_library():
    for library in RIVALS.values():
        file = HOME / "rivals" / f"{library.module.rpartition('.')[2]}.py"
        for source in (file, HOME / "rivals" / "torch_case.py", HOME / "rivals" / "__init__.py", HOME / "__init__.py"):
            tree = ast.parse(source.read_text())
            names = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
            names += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
            assert not [n for n in names if n.split(".")[0] == "tracetorch"]
        tree = ast.parse(file.read_text())
        assert {"prepare", "versions"} <= {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


def test_words_choose_rivals():
    assert command.rivals("none") == []
    assert command.rivals("all") == list(RIVALS.values())
    assert [r.name for r in command.rivals("norse, snnTorch")] == ["Norse", "snnTorch"]
    with pytest.raises(ValueError, match="brian"):
        command.rivals("brian")


def test_torch_is_asked_for_in_the_release_that_runs_here(monkeypatch):
    monkeypatch.setattr(envs.torch, "__version__", "9.8.7+cpu")
    assert envs.requirements(Library("a", "b", [], ("torch=={torch}", "c"))) == ["torch==9.8.7", "c"]


def test_an_environment_is_made_once_and_a_failure_is_told(tmp_path, monkeypatch):
    commands = []

    class Done:
        returncode, stdout, stderr = 0, "", ""

    def fake(words, **_):
        commands.append(words)
        if words[1:3] == ["-m", "venv"]:
            Path(words[3]).mkdir(parents=True)
        return Done

    monkeypatch.setattr(envs.subprocess, "run", fake)
    library = Library("Some", "some", [Row("Some", "BPTT", ("W1",))], ("some==1.0",))
    first = envs.place(library, tmp_path, log=str)
    assert (first.problem, len(commands)) == ("", 2)
    assert first.python
    assert envs.place(library, tmp_path, log=str) == first
    assert len(commands) == 2
    Done.returncode, Done.stderr = 1, "warning\nERROR: no such release\n"
    other = envs.place(Library("Other", "other", [], ("other",)), tmp_path, log=str)
    assert other.python == ""
    assert "no such release" in other.problem


def table(workload, rows, **fields):
    base = {"name": f"{workload} {fields}", "title": "", "kind": "iteration", "steps": 1000, "loss": "every"}
    more = {"update": "end", "dtype": "float32", "settings": {}}
    made = [Measured(lib, m, [s], [s], peak_mb=p, agrees=True) for lib, m, s, p in rows]
    return Table(workload=workload, rows=made, **{**base, **more, **fields})


def test_goals_are_checked_against_the_fastest_rival_and_honestly():
    rows = [
        ("traceTorch", "trace", 1.0, 0.0),
        ("traceTorch", "inference", 0.9, 0.0),
        ("traceTorch", "drtrl, decays per neuron", 2.0, 0.0),
        ("snnTorch", "BPTT", 20.0, 0.0),
        ("snnTorch", "BPTT, layer by layer", 14.0, 0.0),
        ("BrainTrace", "pp_prop", 6.0, 0.0),
        ("BrainTrace", "D_RTRL, lean", 200.0, 0.0),
        ("BrainTrace", "D_RTRL, lean, windows", 20.0, 0.0),
    ]
    found = goals.check(Report({}, {}, [table("W1", rows)]))
    told = [(c.claim.partition(" times")[0], c.found, c.reached) for c in found]
    assert told == [
        ("trace 15.0", "14.0 times (snnTorch BPTT, layer by layer)", False),
        ("trace 5.00", "6.00 times (BrainTrace pp_prop)", True),
        ("trace 0.769", "0.900 times (traceTorch inference)", True),
        ("drtrl, decays per neuron 50.0", "100 times (BrainTrace D_RTRL, lean)", True),
        ("drtrl, decays per neuron 50.0", "10.0 times (BrainTrace D_RTRL, lean, windows)", False),
    ]
    text = goals.as_markdown(found)
    assert "3 of 5 reached" in text
    assert goals.as_markdown([]) == ""


def test_a_rival_with_another_network_counts_for_no_goal():
    made = table("W1", [("traceTorch", "trace", 1.0, 0.0), ("snnTorch", "BPTT", 20.0, 0.0)])
    made.rows[1].agrees = False
    assert {c.reached for c in goals.check(Report({}, {}, [made]))} == {None}


def test_memory_and_pairs_have_goals_of_their_own():
    short = table("W3", [("traceTorch", "trace", 1.0, 300.0)], steps=1000, kind="memory")
    long = table("W3", [("traceTorch", "trace", 1200.0, 304.0)], steps=10**6, kind="memory")
    pair = table("W9", [("traceTorch", "trace", 1.0, 0.0), ("against", "trace", 0.9, 0.0)])
    found = goals.check(Report({}, {}, [long, short, pair]))
    assert [(c.found, c.reached) for c in found] == [("+4.0 MB", True), ("+20 %", False), ("0.900 times", False)]


def test_the_command_reads_results_and_refuses_wrong_words(tmp_path, capsys):
    made = table("W1", [("traceTorch", "trace", 1.0, 1.0)])
    made.settings = {
        "network": {"inputs": [2], "hidden": [3], "outputs": 1, "half_life": 10.0},
        "batch": 1,
        "optimizer": "adam",
        "density": 0.05,
    }
    machine = {"date": "d", "processor": "p", "cores": 1, "threads": 1, "system": "s"}
    file = tmp_path / "results.json"
    file.write_text(Report(machine, {"quick": False}, [made]).as_json())
    markdown = tmp_path / "made" / "results.md"
    assert command.main(["--read", str(file), "--markdown", str(markdown)]) == 0
    assert "| traceTorch | trace |" in capsys.readouterr().out
    assert "## Goals" in markdown.read_text()
    for words in (["W9"], ["--rivals", "brian"], ["--read", str(tmp_path / "absent.json")]):
        with pytest.raises(SystemExit) as stopped:
            command.main(words)
        assert stopped.value.code == 2


def test_a_quick_run_of_this_library_alone_writes_results(tmp_path, monkeypatch):
    from dataclasses import replace

    from benchmarks import measure, settings
    from benchmarks.rows import OWN

    network = settings.Network((12,), (6, 5), 3)
    small = replace(quick(WORKLOADS["W1"]), network=network, batch=2, steps=(5,), losses=("last",))
    monkeypatch.setattr(command, "quick", lambda workload: small)
    rows = [row for row in OWN.rows if row.method in ("inference", "trace")]
    monkeypatch.setattr(measure, "OWN", replace(OWN, rows=rows))
    file = tmp_path / "results.json"
    words = ["W1", "--quick", "--rivals", "none", "--threads", "1", "--json", str(file)]
    assert command.main(words) == 0
    whole = json.loads(file.read_text())
    assert whole["options"]["quick"] is True
    names = [row["method"] for row in whole["tables"][0]["rows"]]
    assert names == ["inference", "trace"]
    assert sys.modules["benchmarks"] is not None
