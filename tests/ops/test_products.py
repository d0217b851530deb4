"""Large products are those of float64, values and gradients, whichever library serves them and whatever the layout."""

import pytest
import torch

from tracetorch.ops import products
from tracetorch.ops.products import outer_sum, product

SHAPES = [(1600, 128, 96), (1601, 257, 63), (100, 700, 256), (16, 1100, 1000), (7, 3000, 1000), (3, 2, 1)]
"""Rows, inputs, units: rows that make 16 images, and 1 image, fewer rows than images, and a small product."""


def near(found: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    a, b = a.double(), b.double()
    assert (found.double() - a @ b).abs().max() <= 1e-6 * (a.abs() @ b.abs()).max()


@pytest.mark.parametrize(("rows", "inputs", "units"), SHAPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_large_product_is_that_of_float64(rows, inputs, units, threads):
    torch.manual_seed(0)
    x, w, b, q = (torch.randn(*s) for s in ((rows, inputs), (units, inputs), (units,), (rows, units)))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        near(product(x, w), x, w.t())
        near(product(x, w, b) - b, x, w.t())
        near(product(x, w.t().contiguous().t()), x, w.t())
        near(product(x.t().contiguous().t(), w), x, w.t())
        near(outer_sum(q, x), q.t(), x)
    finally:
        torch.set_num_threads(before)


def test_gradients_pass_a_large_product():
    torch.manual_seed(0)
    x, w, q = (torch.randn(n, 256) for n in (400, 256, 400))
    x.requires_grad_(), w.requires_grad_()
    product(x, w).backward(q)
    near(x.grad, q, w.detach())
    near(w.grad, q.t(), x.detach())


def test_what_a_convolution_cannot_serve_stays_with_torch(monkeypatch):
    def refuse(*_):
        raise AssertionError("a convolution was taken")

    at_hand = products._at_hand()
    monkeypatch.setattr(products, "_image", refuse)
    x, w = torch.randn(400, 256), torch.randn(256, 256)
    if at_hand:
        with pytest.raises(AssertionError, match="convolution"):
            product(x, w)
    for a, b in ((x.double(), w.double()), (x[:3], w), (x.bfloat16(), w.bfloat16())):
        assert torch.equal(product(a, b), a @ b.t())
        assert torch.equal(outer_sum(a, a), a.t() @ a)
    monkeypatch.setattr(products, "_at_hand", lambda: False)
    assert torch.equal(product(x, w), x @ w.t())
