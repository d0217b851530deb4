"""The published classification through the public layers, and larger batches against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from reproduce import oracle

from benchmarks import reproduce


@pytest.mark.parametrize("split", [None, 137])
def test_published_losses(split):
    result = reproduce.classification(split=split)
    np.testing.assert_allclose(result.losses, result.published, rtol=1e-9)


def test_single_steps_meet_the_published_losses():
    result = reproduce.classification(iterations=3, split=1)
    assert len(result.losses) == 3
    assert result.worst < 1e-9


@pytest.mark.parametrize(("batch", "split"), [(4, None), (4, 137), (3, 1000)])
def test_a_batch_goes_with_the_oracle(batch, split):
    iterations = 5 if batch == 4 else 2
    result = reproduce.classification(batch=batch, iterations=iterations, split=split)
    assert result.published == ()
    np.testing.assert_allclose(result.losses, oracle.classification(batch, iterations), rtol=1e-9)


@pytest.mark.parametrize("arguments", [{"batch": 0}, {"iterations": 0}, {"split": 0}])
def test_bad_arguments_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        reproduce.classification(**arguments)
