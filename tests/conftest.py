"""Settings for every test."""

import pytest
import torch

# The tests' tensors are small, and pytest-xdist already keeps each core busy.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=("auto", "numba"),
        default="auto",
        help="`numba` gives the compiled CPU kernels every window that they serve, whatever its size or density",
    )


@pytest.fixture(autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the kernels what they would leave to torch, where the command line says so."""
    if request.config.getoption("--backend") == "numba":
        from tracetorch.backends import numba

        tuning = numba.Tuning(small=0, few=0, dense=2.0, convolution=2.0, run=1)
        monkeypatch.setattr(numba.backend(), "tuning", tuning)
        monkeypatch.setattr("tracetorch.steps.single.LEAST", 0)
