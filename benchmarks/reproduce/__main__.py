"""Published losses beside ours: ``python -m benchmarks.reproduce eprop-regression|eprop-classification``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.reproduce import classification, regression


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the loss of each iteration, with the relative difference from the published one.

    Args:
        arguments: The words of the command line; those of the process by default.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.reproduce", description="Repeat a published result.")
    parser.add_argument("case", choices=("eprop-regression", "eprop-classification"))
    parser.add_argument("--iterations", type=int, default=5, help="the published losses are of the first 5")
    parser.add_argument("--batch", type=int, default=1, help="trials (classification); published for 1")
    words = parser.parse_args(arguments)
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
