"""The protocol between a run and the process of a row."""

import sys
import textwrap
from pathlib import Path

import pytest

import benchmarks
from benchmarks.process import Process, WorkerError, environment
from benchmarks.worker import lasting, timed

MODULE = """
    import os
    import time

    print("this must not disturb the answers")

    def versions():
        return {"library": "1.0"}

    class Case:
        def __init__(self, job):
            print("nor this")
            self.row = job["row"]
            self.count = 0

        def iterate(self):
            self.count += 1
            if self.row == "dies":
                raise RuntimeError("out of luck")
            if self.row == "sleeps":
                time.sleep(60)

        def report(self):
            return {"count": self.count, "threads": os.environ["OMP_NUM_THREADS"]}

    class Apart(Case):
        def optimizer(self):
            pass

        def warm(self):
            self.count += 100

        def device_mb(self):
            return 12.5

    def prepare(job):
        return Apart(job) if job["row"] == "apart" else Case(job)
"""


ONCE = {"do": "run", "lead": 0.0, "seconds": 0.0}


@pytest.fixture
def start(tmp_path):
    (tmp_path / "fake.py").write_text(textwrap.dedent(MODULE))
    processes = []

    def make(row):
        process = Process(sys.executable, "fake", path=[str(tmp_path)], threads=1)
        processes.append(process)
        answer = process.ask({"do": "prepare", "job": {"row": row, "threads": 1}}, limit=60)
        assert answer == {"versions": {"library": "1.0"}}
        return process

    yield make
    for process in processes:
        process.close()


def test_requests_are_answered_one_by_one(start):
    process = start("plain")
    assert process.ask({"do": "warm"}, limit=60)["seconds"][0] >= 0
    ran = process.ask({"do": "run", "lead": 0.01, "seconds": 0.02}, limit=60)
    assert sum(ran["seconds"]) >= 0.02 > sum(ran["seconds"][:-1])
    assert ran["peak_mb"] >= ran["start_mb"] > 0
    assert "device_mb" not in ran
    after = process.ask({"do": "report"}, limit=60)
    assert after["threads"] == "1"
    assert after["count"] > 1 + len(ran["seconds"])
    assert process.ask({"do": "optimizer", "count": 2}, limit=60) == {"seconds": []}


def test_a_case_may_have_more(start):
    process = start("apart")
    process.ask({"do": "warm"}, limit=60)
    assert process.ask(ONCE, limit=60)["device_mb"] == 12.5
    assert len(process.ask({"do": "optimizer", "count": 2}, limit=60)["seconds"]) == 2
    assert process.ask({"do": "report"}, limit=60)["count"] == 101


def test_a_process_that_ends_says_why(start):
    process = start("dies")
    with pytest.raises(WorkerError, match="out of luck"):
        process.ask(ONCE, limit=60)
    with pytest.raises(WorkerError, match="out of luck"):
        process.ask({"do": "report"}, limit=60)
    assert not process.alive


def test_a_process_that_does_not_answer_is_not_waited_for(start):
    process = start("sleeps")
    with pytest.raises(WorkerError, match="no answer to 'run' within"):
        process.ask(ONCE, limit=0.2)


def test_a_module_that_is_not_there_is_told():
    process = Process(sys.executable, "no_such_module_anywhere", path=[], threads=1)
    with pytest.raises(WorkerError, match="no_such_module_anywhere"):
        process.ask({"do": "report"}, limit=60)
    process.close()


def test_closing_ends_the_process(start):
    process = start("plain")
    assert process.alive
    process.close()
    assert not process.alive


def test_a_process_finds_this_package_without_the_clone_on_its_path(tmp_path):
    (tmp_path / "fake.py").write_text(
        "import benchmarks.settings, sys\n"
        "def versions():\n    return {'benchmarks': str(benchmarks.__path__), 'path': str(sys.path)}\n"
        "def prepare(job):\n    return None\n"
    )
    with Process(sys.executable, "fake", path=[str(tmp_path)], threads=1) as process:
        told = process.ask({"do": "prepare", "job": {"threads": 1}}, limit=60)["versions"]
    root = Path(benchmarks.__file__).resolve().parents[1]
    assert str(root / "benchmarks") in told["benchmarks"]
    assert f"'{root}'" not in told["path"] and f"'{root / 'benchmarks'}'" not in told["path"]


def test_the_environment_sets_threads_and_folders():
    variables = environment(["a"], 3)
    assert (variables["OMP_NUM_THREADS"], variables["PYTHONPATH"]) == ("3", "a")


def test_one_repetition_lasts_where_no_time_is_given():
    assert len(lasting(lambda: None, 0.0)) == 1


def test_every_repetition_is_timed():
    calls = []
    assert len(timed(lambda: calls.append(1), 4)) == len(calls) == 4
