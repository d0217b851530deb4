"""Chains of dense layers that fire, with random weights, biases and ways back."""

from __future__ import annotations

import torch
from torch import nn

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
