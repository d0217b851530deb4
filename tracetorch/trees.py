"""Tensors, and tuples, lists and dictionaries of them, as one input or output of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

Tree = Any
"""A tensor, or a tuple, list or dictionary of trees."""


def leaves(tree: Tree) -> list[Any]:
    """Return the values of a tree, in order."""
    return [tree] if isinstance(tree, Tensor) else _pytree.tree_leaves(tree)


def mapped(change: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Return a tree of the same form with every value changed, alone or together with those of other trees."""
    return change(tree, *others) if isinstance(tree, Tensor) else _pytree.tree_map(change, tree, *others)


def joined(trees: list[Tree]) -> Tree:
    """Return trees of one form as one, their values put one after the other along the first dimension."""
    return trees[0] if len(trees) == 1 else mapped(lambda *values: torch.cat(values), trees[0], *trees[1:])


def stacked(trees: list[Tree]) -> Tree:
    """Return trees of one form as one, their values stacked along a new first dimension."""
    return mapped(lambda *values: torch.stack(values), trees[0], *trees[1:])
