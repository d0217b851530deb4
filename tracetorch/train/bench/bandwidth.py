"""Bytes per second of the scan kernels beside a copy on the same device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tracetorch.ops import linear_scan, reverse_scan


class Kernel:
    r"""Run one kernel over a window, `[T, B, units]`.

    The forward scan reads A and B and writes the states before each step; the reverse scan reads A, D and the outputs'
    cotangent and writes the states' cotangents. The copy reads and writes as often as it says.

    Args:
        job: The job; see `tracetorch.train.bench.worker`. Option ``kernel``: forward, reverse or copy.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        workload = job["workload"]
        torch.set_num_threads(job["threads"])
        generator = torch.Generator().manual_seed(workload["seed"])
        steps = job["group"]["steps"]
        shape = (steps, workload["batch"], workload["network"]["hidden"][0])
        self.steps = steps

        def draw() -> Tensor:
            values = torch.rand(shape, generator=generator)
            return values.to(workload["device"], getattr(torch, job["group"]["dtype"]))

        self.a, self.b, self.c = draw(), draw(), draw()
        self.target = torch.empty_like(self.a)
        self.kernel = job["row"]["options"]["kernel"]
        table: dict[str, Callable[[], Any]] = {"forward": self.forward, "reverse": self.reverse, "copy": self.copy}
        self.call = table[self.kernel]

    def forward(self) -> Any:
        """Run the forward scan."""
        return linear_scan([[self.a]], [self.b], [None], self.steps, rank=3)

    def reverse(self) -> Any:
        """Run the reverse scan."""
        return reverse_scan([[self.a]], [self.b], self.c, [None], self.steps, rank=3)

    def copy(self) -> Any:
        """Copy one tensor into another."""
        return self.target.copy_(self.a)

    def iterate(self) -> None:
        """Run the kernel once and wait for it."""
        self.call()
        if self.a.is_cuda:
            torch.cuda.synchronize()

    def report(self) -> dict[str, Any]:
        """Return the bytes that one call has to read and write."""
        tensors = {"forward": 3, "reverse": 4, "copy": 2}[self.kernel]
        return {"bytes": tensors * self.a.numel() * self.a.element_size()}
