"""The NumPy oracle itself: against the published losses, and its draws against the published arrays."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from reproduce import oracle

NEST_REGRESSION = [101.964356999, 103.466731126, 103.340607075, 103.680244038, 104.412775749]
TENSORFLOW_REGRESSION = [101.964363098, 103.466735840, 103.340606689, 103.680244446, 104.412780762]
NEST_CLASSIFICATION = [0.741152550006, 0.740388187700, 0.665785233177, 0.663644193322, 0.729428962844]


@pytest.fixture(scope="module")
def arrays():
    place = os.environ.get("TRACETORCH_DATA")
    if not place:
        pytest.skip("the environment variable TRACETORCH_DATA names no directory with eprop_reference.npz")
    file = Path(place)
    file = file / "eprop_reference.npz" if file.is_dir() else file.parent / "eprop_reference.npz"
    if not file.is_file():
        pytest.skip(f"{file.name} is not in the directory that TRACETORCH_DATA names")
    with np.load(file, allow_pickle=False) as archive:
        return dict(archive)


def test_regression_meets_the_published_losses():
    losses = oracle.regression()
    np.testing.assert_allclose(losses, NEST_REGRESSION, rtol=1e-9)
    np.testing.assert_allclose(losses, TENSORFLOW_REGRESSION, rtol=1e-7)


def test_classification_meets_the_published_losses():
    np.testing.assert_allclose(oracle.classification(), NEST_CLASSIFICATION, rtol=1e-9)


def test_regression_draws_are_the_published_arrays(arrays):
    case = oracle.draw_regression()
    for name in ("w_in", "w_rec", "w_out", "feedback"):
        np.testing.assert_array_equal(getattr(case, name), arrays[f"reg_{name}"].astype(np.float64))
    np.testing.assert_array_equal(case.inputs[0][0], np.unpackbits(arrays["reg_input"], axis=-1, count=100))
    np.testing.assert_allclose(case.targets[0][0, :, 0], arrays["reg_target"], rtol=0, atol=1e-15)


def test_classification_draws_are_the_published_arrays(arrays):
    case = oracle.draw_classification()
    for name in ("w_in", "w_rec", "w_out", "feedback"):
        np.testing.assert_array_equal(getattr(case, name), arrays[f"cls1_{name}"].astype(np.float64))
    np.testing.assert_array_equal(np.stack(case.inputs), np.unpackbits(arrays["cls1_input"], axis=-1, count=40))
    np.testing.assert_array_equal(np.stack(case.targets).argmax(-1), arrays["cls1_label"])
