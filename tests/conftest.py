"""Settings for every test."""

from importlib import import_module
from typing import Any

import pytest
import torch

# The tests' tensors are small, and pytest-xdist already keeps each core busy.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=("auto", "numba", "triton"),
        default="auto",
        help="`numba` gives the compiled CPU kernels every window that they serve, whatever its size or density; "
        "`triton` gives all that its kernels serve to them, without a GPU where TRITON_INTERPRET=1 is set",
    )


@pytest.fixture(autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the kernels what they would leave to torch, where the command line says so."""
    name = request.config.getoption("--backend")
    if name == "triton":
        monkeypatch.setattr(import_module("tracetorch.engine.run"), "choose", _triton)
        monkeypatch.setattr("tracetorch.steps.single.LEAST", float("inf"))  # single steps are Numba's elsewhere
    if name == "numba":
        from tracetorch.backends import numba

        tuning = numba.Tuning(small=0, few=0, dense=2.0, convolution=2.0, run=1)
        monkeypatch.setattr(numba.backend(), "tuning", tuning)
        monkeypatch.setattr("tracetorch.steps.single.LEAST", 0)


def _triton(name: str, scan: Any) -> Any:
    """Choose Triton's kernels for all that they serve."""
    from tracetorch.backends import choose
    from tracetorch.backends.triton import backend, why_not

    if why_not():
        raise RuntimeError(f"--backend triton: {why_not()}")
    return choose(name, scan) if name != "auto" or backend().why_not(scan) else backend()
