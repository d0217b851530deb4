"""The published regression through the public layers: one scan, several scans, single steps."""

from __future__ import annotations

import numpy as np
import pytest
from reproduce import oracle

from benchmarks import reproduce
from benchmarks.reproduce.__main__ import main


@pytest.mark.parametrize("split", [None, 137, 1])
def test_published_losses(split):
    result = reproduce.regression(split=split)
    np.testing.assert_allclose(result.losses, result.published, rtol=1e-9)
    np.testing.assert_allclose(result.losses, result.tensorflow, rtol=1e-7)
    assert result.worst < 1e-9


def test_beyond_the_published_iterations_it_goes_with_the_oracle():
    result = reproduce.regression(iterations=7)
    np.testing.assert_allclose(result.losses, oracle.regression(7), rtol=1e-9)


@pytest.mark.parametrize("arguments", [{"iterations": 0}, {"split": 0}])
def test_bad_arguments_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        reproduce.regression(**arguments)


def test_the_command_prints_losses_beside_the_published(capsys):
    main(["eprop-regression", "--iterations", "1"])
    assert "101.964356999" in capsys.readouterr().out
    main(["eprop-classification", "--iterations", "1", "--batch", "2"])
    assert len(capsys.readouterr().out.splitlines()) == 2
