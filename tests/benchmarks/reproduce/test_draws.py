"""The library's draws: equal to the oracle's, for any batch, apart from the process-wide generators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reproduce import oracle

from benchmarks.reproduce.draws import evidence_trials, evidence_weights, generator, pattern


def same_weights(weights, case):
    np.testing.assert_array_equal(weights.feedback.numpy(), case.feedback.T)
    for name in ("w_in", "w_rec", "w_out"):
        np.testing.assert_array_equal(getattr(weights, name).numpy(), getattr(case, name))


def test_regression_case():
    case = oracle.draw_regression(1)
    weights, xs, target = pattern(generator())
    same_weights(weights, case)
    np.testing.assert_array_equal(xs[:, 0].numpy(), case.inputs[0][0])
    np.testing.assert_allclose(target[:, 0].numpy(), case.targets[0][0], rtol=0, atol=1e-15)


@pytest.mark.parametrize("batch", [1, 3])
def test_classification_case(batch):
    case = oracle.draw_classification(batch, 2)
    draw = generator()
    same_weights(evidence_weights(draw), case)
    for inputs, targets in zip(case.inputs, case.targets, strict=True):
        xs, labels = evidence_trials(draw, batch=batch)
        np.testing.assert_array_equal(xs.numpy().swapaxes(0, 1), inputs)
        np.testing.assert_array_equal(labels.numpy(), targets.argmax(-1))


def test_global_generators_stay_where_they_are():
    from benchmarks import reproduce

    np.random.seed(5)
    torch.manual_seed(5)
    expected = np.random.rand(), torch.rand(1)
    np.random.seed(5)
    torch.manual_seed(5)
    reproduce.regression(iterations=1)
    assert (np.random.rand(), torch.rand(1)) == expected
