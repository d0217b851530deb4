"""The command ``tracetorch reproduce``: published numbers beside ours."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from tracetorch.cli.common import answer, clear_errors, out, set_threads
from tracetorch.train.reproduce import Reproduced, classification, regression

reproduce_app = typer.Typer(
    no_args_is_help=True, help="Repeat a published result and show it beside the published one."
)

_Iterations = Annotated[int, typer.Option(min=1, help="Iterations; the published losses are of the first 5.")]
_Threads = Annotated[int | None, typer.Option(help="Threads of torch.")]
_Json = Annotated[bool, typer.Option("--json", help='Answer in JSON: {"losses": [...], …}.')]


@reproduce_app.command("eprop-regression")
def eprop_regression(iterations: _Iterations = 5, threads: _Threads = None, json_: _Json = False) -> None:
    """Repeat e-prop's pattern generation (Bellec et al. 2020): the loss of each iteration."""
    with clear_errors():
        set_threads(threads)
        _show(regression(iterations), title="e-prop, pattern generation", json_=json_)


@reproduce_app.command("eprop-classification")
def eprop_classification(
    batch: Annotated[int, typer.Option(min=1, help="Trials in a batch; the published losses are for 1.")] = 1,
    iterations: _Iterations = 5,
    threads: _Threads = None,
    json_: _Json = False,
) -> None:
    """Repeat e-prop's evidence accumulation (Bellec et al. 2020): the loss of each iteration."""
    with clear_errors():
        set_threads(threads)
        result = classification(batch, iterations)
        _show(result, title=f"e-prop, evidence accumulation, batch {batch}", json_=json_)


def _show(result: Reproduced, *, title: str, json_: bool) -> None:
    """Show losses beside the published ones, where there are any."""
    if json_:
        published = {"published": result.published, "tensorflow": result.tensorflow}
        answer({"losses": result.losses, **{name: values for name, values in published.items() if values}})
        return
    table = Table(title=title, title_justify="left")
    columns = {"loss": result.losses, "published (NEST)": result.published, "TensorFlow": result.tensorflow}
    shown = {name: values for name, values in columns.items() if values}
    for name in ("iteration", *shown, *(["relative difference"] if result.published else [])):
        table.add_column(name, justify="right")
    for index, loss in enumerate(result.losses):
        row = [f"{values[index]:.12f}" if index < len(values) else "" for values in shown.values()]
        if index < len(result.published):
            row.append(f"{abs(loss / result.published[index] - 1):.1e}")
        table.add_row(str(index + 1), *row)
    out().print(table)
