"""Chains of dense layers that fire, with random weights, biases and feedback matrices; gradients over windows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import tracetorch as tt


def built(layers: list[tt.Layer], rule: tt.Rule) -> nn.Sequential:
    """Join layers of 9 inputs into a network in float64, after a reset."""
    torch.manual_seed(0)
    net = nn.Sequential(*layers).double()
    tt.set_rule(net, rule)
    with torch.no_grad():
        for layer in layers:
            layer.synapse.weight.normal_(0.25, 0.6).mul_((9 / layer.synapse.weight.shape[1]) ** 0.5)
            if layer.synapse.bias is not None:
                layer.synapse.bias.normal_(0, 0.1)
            if layer.feedback is not None:
                layer.feedback.normal_(0, 0.5)
    tt.reset(net)
    return net


def gradients(net: nn.Module, xs: Tensor, splits: list[int], *, sequences: int = 1) -> dict[str, Tensor]:
    """The gradients of the last of some sequences, given in windows; a window of none is a single step."""
    for _ in range(sequences):
        tt.reset(net)
        net.zero_grad()
        start = 0
        for size in splits:
            part = xs[start : start + max(size, 1)]
            ys = tt.scan(net, part) if size else net(part[0]).unsqueeze(0)
            ys.square().sum().backward()
            start += len(part)
    return {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
