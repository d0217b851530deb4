"""Reused memory: what is out is never given twice, and unused blocks are bounded and of the sizes that are needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tracetorch.ops import pool as module
from tracetorch.ops.pool import LARGE, Pool


def _held(pool: Pool) -> int:
    return sum(size * len(blocks) for size, blocks in pool.free.items())


def test_a_block_that_a_tensor_shares_is_not_given_again() -> None:
    pool = Pool()
    first = pool.empty((LARGE,), torch.float32)
    second = pool.empty((LARGE,), torch.float32)
    assert first.data_ptr() != second.data_ptr()
    place, view = first.data_ptr(), first[7:]
    del first
    assert pool.empty((LARGE,), torch.float32).data_ptr() != place
    del view
    assert _held(pool) == pool.idle == 2 * 4 * LARGE


def test_unused_blocks_are_bounded_and_those_of_the_last_sizes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 20 * LARGE)
    pool = Pool()
    for extra in range(200):  # windows of ever another length
        pool.empty((LARGE + extra,), torch.int32)
    assert _held(pool) == pool.idle <= 20 * LARGE
    assert len(pool.free) <= 6
    last = pool.empty((LARGE + 199,), torch.int32)
    place = last.data_ptr()
    del last
    assert pool.empty((LARGE + 199,), torch.int32).data_ptr() == place


def test_threads_share_it() -> None:
    pool = Pool()

    def use(number: int) -> bool:
        alike = True
        for step in range(300):
            mine = pool.empty((LARGE + step % 3,), torch.float32)
            mine[:64] = number
            alike = alike and bool((mine[:64] == number).all())
        return alike

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(use, range(4)))
    assert _held(pool) == pool.idle
