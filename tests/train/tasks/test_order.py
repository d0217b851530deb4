"""Every epoch shows each example once, in an order that needs no memory."""

from __future__ import annotations

import pytest
import torch

from tracetorch.train.tasks.seeds import derived_seed, examples


def test_an_epoch_has_every_example_once_and_the_next_another_order() -> None:
    first = torch.cat([examples(3, i, size=20, batch_size=5) for i in range(4)])
    second = torch.cat([examples(3, i, size=20, batch_size=5) for i in range(4, 8)])
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(20))
    assert not torch.equal(first, second)


def test_any_iteration_may_be_asked_for_at_any_time() -> None:
    wanted = {i: examples(0, i, size=50, batch_size=8) for i in (30, 2, 17)}
    assert all(torch.equal(examples(0, i, size=50, batch_size=8), index) for i, index in wanted.items())
    assert not torch.equal(wanted[2], examples(1, 2, size=50, batch_size=8))


def test_a_batch_larger_than_the_set_raises() -> None:
    with pytest.raises(ValueError, match="between 1 and 4 examples, got 5"):
        examples(0, 0, size=4, batch_size=5)


def test_derived_seeds_differ_by_every_part() -> None:
    seeds = {derived_seed(s, name, i) for s in (0, 1) for name in ("a", "b") for i in range(50)}
    assert len(seeds) == 200 and all(0 <= seed < 2**63 for seed in seeds)
