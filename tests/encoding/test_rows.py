"""Images are shown row by row, each row as long as asked."""

from __future__ import annotations

import pytest
import torch

from tracetorch.encoding import rows


def test_step_t_shows_row_t() -> None:
    images = torch.arange(2 * 3 * 4).view(2, 3, 4)
    xs = rows(images)
    assert xs.shape == (3, 2, 4)
    for t in range(3):
        assert torch.equal(xs[t], images[:, t])


def test_a_row_stays_for_repeat_steps() -> None:
    images = torch.randn(2, 3, 4)
    xs = rows(images, repeat=3)
    assert xs.shape == (9, 2, 4)
    for t in range(9):
        assert torch.equal(xs[t], images[:, t // 3])


def test_channels_of_a_row_stand_side_by_side() -> None:
    images = torch.randn(2, 3, 5, 4)
    xs = rows(images)
    assert xs.shape == (5, 2, 12)
    assert torch.equal(xs[2, 1], images[1, :, 2].flatten())


def test_wrong_shapes_and_repeats_raise() -> None:
    with pytest.raises(ValueError, match=r"got shape \(3, 4\)"):
        rows(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        rows(torch.zeros(1, 3, 4), repeat=0)
