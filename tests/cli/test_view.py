"""What a run shows: a bar on a terminal, one line per evaluation elsewhere, nothing where JSON is the answer."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tracetorch.cli.view import View
from tracetorch.train.events import Evaluated, Evaluating, Progressed
from tracetorch.train.recording import make_runner
from tracetorch.train.tasks import make


@pytest.mark.parametrize(("terminal", "quiet"), [(True, True), (True, False), (False, False), (False, True)])
def test_what_is_shown(terminal, quiet):
    written = io.StringIO()
    trainer = make_runner(make("digits", {"steps": 4, "batch_size": 4, "hidden": 8}))
    with View(trainer, Console(file=written, force_terminal=terminal, width=120, highlight=False), quiet=quiet) as view:
        for i in (1, 2):
            view.show(Progressed(i, 100 * i, {"loss": 2.0 * i, "accuracy": 0.5}, float(i)))
        view.show(Evaluating(2, quick=True))
        record = {"kind": "eval", "iteration": 2, "time_step": 200, "accuracy": 0.25, "seconds": 2.0}
        view.show(Evaluated(2, record))
        view.show(Progressed(3, 300, {"loss": 1.0}, 3.0))
    text = written.getvalue()
    assert ("iteration      2  loss 3.0000  accuracy 0.2500  2.0 s" in text) == (terminal or not quiet)
    assert ("evaluating" in text) == terminal
    assert bool(text) == (terminal or not quiet)
