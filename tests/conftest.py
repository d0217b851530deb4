"""Settings for every test."""

import pytest
import torch

# The tests' tensors are small, and pytest-xdist already keeps each core busy.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fused", action="store_true", help="walk every window by the fused CPU kernels, whatever its size or density"
    )


@pytest.fixture(autouse=True)
def fused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernels serve what they would leave to torch, in all tests but those of the choice itself."""
    if request.config.getoption("--fused"):
        monkeypatch.setattr("tracetorch.ops.walk.SMALL", 0)
        monkeypatch.setattr("tracetorch.single.LEAST", 0)
        monkeypatch.setattr("tracetorch.layer.FEW", 0)
        monkeypatch.setattr("tracetorch.layer.DENSE", 2.0)
