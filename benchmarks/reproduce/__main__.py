"""Published results beside ours, from the root of a clone: ``python -m benchmarks.reproduce NAME``.

The losses of the e-prop paper, and tables: `adding`, `psmnist`, `randman`. ``tracetorch reproduce NAME`` is the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks import lines
from benchmarks.envs import default_folder
from benchmarks.reproduce import classification, regression
from benchmarks.reproduce.neuroseqbench import ADDING, PSMNIST
from benchmarks.reproduce.otpe import RANDMAN
from benchmarks.reproduce.published import JOB, ROWS, Run, Table, markdown, work

TABLES: Mapping[str, Table] = {table.name: table for table in (ADDING, PSMNIST, RANDMAN)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the loss of each iteration with the relative difference from the published one, or run and print a table.

    Args:
        arguments: The words of the command line; those of the process by default.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.reproduce", description="Repeat a published result.")
    cases = parser.add_subparsers(dest="case", required=True)
    for name in ("eprop-regression", "eprop-classification"):
        case = cases.add_parser(name, help="losses of the e-prop paper, number for number")
        case.add_argument("--iterations", type=int, default=5, help="the published losses are of the first 5")
        case.add_argument("--batch", type=int, default=1, help="trials (classification); published for 1")
    for table in TABLES.values():
        case = cases.add_parser(table.name, help=f"the table: {table.title}")
        case.add_argument("--cases", nargs="+", choices=table.cases, default=table.cases, help="columns to run")
        case.add_argument("--rules", nargs="+", choices=table.rows, default=table.rows, help="rows to run")
        case.add_argument("--seeds", nargs="+", type=int, default=[0])
        case.add_argument("--epochs", type=float, default=table.epochs, help=f"published with {table.epochs}")
        case.add_argument("--held-out", type=int, help="score the first of the held-out sequences; all by default")
        case.add_argument("--data", help="the folder of data files, where the table needs one")
        case.add_argument("--rows", type=Path, default=ROWS, help="file of JSON lines to which rows are appended")
        case.add_argument("--checkpoints", type=Path, default=default_folder() / "reproduce", help="to resume from")
        case.add_argument("--threads", type=int, default=1)
        case.add_argument("--table", action="store_true", help="print the table of the file's rows and end")
    words = parser.parse_args(arguments)
    if words.case in TABLES:
        run_table(TABLES[words.case], words)
    else:
        print_losses(words)


def run_table(table: Table, words: argparse.Namespace) -> None:
    """Advance a table's runs, then print it."""
    if not words.table:
        torch.set_num_threads(words.threads)
        data, runs = table.data(words.data), []
        for seed in words.seeds:
            for case, row in table.cells:
                if case in words.cases and row in words.rules:
                    job = dict(zip(JOB, (table.name, case, row, seed), strict=True))
                    checkpoint = words.checkpoints / ("-".join(map(str, job.values())) + ".pt")
                    runs.append(Run(table, data, job, checkpoint, words.epochs, words.held_out))
        for done in work(runs, words.rows):
            print(*(done[name] for name in (*JOB, "epochs")), f"{100 * done['accuracy']:.1f} %", flush=True)
    chosen = (row for row in lines.read(words.rows) if row["case"] in words.cases and row["row"] in words.rules)
    print(markdown(table, chosen))


def print_losses(words: argparse.Namespace) -> None:
    """Print an e-prop case."""
    if words.case == "eprop-regression":
        result = regression(words.iterations)
    else:
        result = classification(words.batch, words.iterations)
    print(f"{'iteration':>9}  {'loss':>16}  {'published (NEST)':>16}  relative difference")
    for index, loss in enumerate(result.losses):
        line = f"{index + 1:9}  {loss:16.12f}"
        if index < len(result.published):
            line += f"  {result.published[index]:16.12f}  {abs(loss / result.published[index] - 1):19.1e}"
        print(line)


if __name__ == "__main__":
    main()
