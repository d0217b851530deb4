"""The command line's tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from tracetorch.cli.audit import audit_command
from tracetorch.cli.common import out
from tracetorch.cli.compare import compare_command
from tracetorch.cli.data import data
from tracetorch.cli.evaluate import evaluate
from tracetorch.cli.listing import info, list_command
from tracetorch.cli.reproduce import reproduce
from tracetorch.cli.train import train
from tracetorch.train.folder import versions

app = typer.Typer(
    help="Train spiking networks online: no backpropagation through time, flat memory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train)
app.command("eval")(evaluate)
app.command("compare")(compare_command)
app.command("audit")(audit_command)
app.command("data")(data)
app.command(
    "reproduce",
    # Help and options, of which this command knows nothing, go to the module that it runs.
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)(reproduce)
app.command("list")(list_command)
app.command("info")(info)


def _version(show: bool) -> None:
    if show:
        out().print(versions()["tracetorch"])
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train spiking networks online: no backpropagation through time, flat memory."""
