"""The rate coding draws what it says, and refuses what is no probability."""

from __future__ import annotations

import pytest
import torch

from tracetorch.encoding import bernoulli, constant


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_bernoulli_fires_as_often_as_its_probability() -> None:
    p = torch.tensor([[0.0, 0.2], [0.7, 1.0]])
    spikes = bernoulli(p, steps=20_000, generator=source())
    assert spikes.shape == (20_000, 2, 2)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(spikes.mean(0), p, atol=0.015)
    assert spikes[:, 0, 0].sum() == 0 and spikes[:, 1, 1].mean() == 1


def test_bernoulli_steps_are_independent() -> None:
    spikes = bernoulli(torch.tensor(0.3), steps=50_000, generator=source())
    both = (spikes[1:] * spikes[:-1]).mean()
    assert abs(float(both) - 0.09) < 0.006


def test_gain_scales_the_probability() -> None:
    spikes = bernoulli(torch.tensor([1.0]), steps=20_000, gain=0.25, generator=source())
    assert abs(float(spikes.mean()) - 0.25) < 0.015


def test_bytes_are_shares_of_255() -> None:
    image = torch.tensor([0, 51, 255], dtype=torch.uint8)
    a = bernoulli(image, steps=500, generator=source())
    b = bernoulli(image.float() / 255, steps=500, generator=source())
    assert torch.equal(a, b) and a.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_and_the_seed_are_kept(dtype: torch.dtype) -> None:
    p = torch.full((4,), 0.5, dtype=dtype)
    a, b = (bernoulli(p, steps=30, generator=source(7)) for _ in range(2))
    assert torch.equal(a, b) and a.dtype == dtype
    assert not torch.equal(a, bernoulli(p, steps=30, generator=source(8)))


def test_booleans_are_certain() -> None:
    p = torch.tensor([True, False])
    assert torch.equal(bernoulli(p, steps=3, generator=source()), p.float().expand(3, 2))


@pytest.mark.parametrize(
    ("p", "match"),
    [
        (torch.tensor([1.5]), r"in \[0, 1\], got values from 1.5 to 1.5"),
        (torch.tensor([-0.1, 0.5]), r"in \[0, 1\]"),
        (torch.tensor([float("nan")]), r"in \[0, 1\]"),
        (torch.tensor([1, 2]), "int64"),
    ],
)
def test_values_that_are_no_probabilities_raise(p: torch.Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        bernoulli(p, steps=2)


def test_bad_steps_and_gains_raise() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        bernoulli(torch.tensor([0.5]), steps=0)
    with pytest.raises(ValueError, match="gain must be in"):
        bernoulli(torch.tensor([0.5]), steps=1, gain=1.5)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        constant(torch.tensor([0.5]), steps=-1)


def test_constant_repeats_without_copying() -> None:
    values = torch.randn(3, 4)
    xs = constant(values, steps=5)
    assert xs.shape == (5, 3, 4) and xs.data_ptr() == values.data_ptr()
    assert torch.equal(xs[4], values)
