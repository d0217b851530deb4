"""How near each rule's policy gradient is to REINFORCE: python -m benchmarks.rl_cosines

`tt.rl.Reflect` with each rule beside autograd through the whole episode, on the same inputs, actions and rewards:
40 steps, float64, 12 LIF neurons (half-life 4) in a layer. Printed are the cosine's mean and its lowest over seeds; a
dash where the rule refuses the network.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.testing import oracle

INPUTS, HIDDEN, OUTPUTS, STEPS, GAMMA = 5, 12, 3, 40, 0.9
RULES: dict[str, Callable[[], tt.Rule]] = {
    "bptt": tt.rules.bptt,
    "eprop": tt.rules.eprop,
    "drtrl": tt.rules.drtrl,
    "ottt": tt.rules.ottt,
    "trace": tt.rules.trace,
    "sltt": tt.rules.sltt,
}
NETWORKS = {
    "one layer, leaky readout": (1, True),
    "one layer, readout without memory": (1, False),
    "two layers, leaky readout": (2, True),
}


def network(layers: int, leaky: bool, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    sizes = [INPUTS, *[HIDDEN] * layers]
    parts: list[nn.Module] = [
        tt.Layer(nn.Linear(a, b), tt.LIF(half_life=4.0, threshold=0.8)) for a, b in pairwise(sizes)
    ]
    last = nn.Linear(HIDDEN, OUTPUTS)
    net = nn.Sequential(*parts, tt.Layer(last, tt.LI(half_life=3.0)) if leaky else last).double()
    with torch.no_grad():
        for layer in parts:
            layer.synapse.weight.mul_(2.0)  # type: ignore[union-attr]
    return net


def cosine(rule: tt.Rule, layers: int, leaky: bool, seed: int) -> float:
    """Return the cosine of a rule's policy gradient to REINFORCE's on one episode."""
    net, policy = network(layers, leaky, seed), tt.rl.Categorical(OUTPUTS)
    draws = torch.Generator().manual_seed(seed)
    xs = torch.randn(STEPS, 1, INPUTS, generator=draws, dtype=torch.float64)
    with torch.no_grad():
        actions = torch.stack([policy.sample(head, draws) for head in oracle.run(net, xs)])
    rewards = torch.randn(STEPS, generator=draws, dtype=torch.float64).tolist()
    after, returns = 0.0, []
    for reward in reversed(rewards):
        after = reward + GAMMA * after
        returns.append(after)
    heads = oracle.run(net, xs)
    logs = torch.stack([policy.distribution(h).log_prob(a) for h, a in zip(heads, actions, strict=True)])
    objective = (logs[:, 0] * logs.new_tensor(returns[::-1])).sum()
    expected = torch.cat([g.flatten() for g in oracle.gradients_of(objective, net).values()])
    tt.set_rule(net, rule)
    tt.reset(net)
    reflect = tt.rl.Reflect(net, policy, gamma=GAMMA)
    for x, action, reward in zip(xs, actions, rewards, strict=True):
        reflect.act(x, action)
        reflect.reward([reward])
    reflect.finish()
    grads: list[Tensor] = [p.grad for p in net.parameters() if p.grad is not None]
    return float(torch.cosine_similarity(-torch.cat([g.flatten() for g in grads]), expected, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| rule | " + " | ".join(NETWORKS) + " |\n|" + "---|" * (1 + len(NETWORKS)))
    for name, rule in RULES.items():
        cells = []
        for layers, leaky in NETWORKS.values():
            try:
                found = [cosine(rule(), layers, leaky, seed) for seed in range(arguments.seeds)]
            except ValueError:
                cells.append("–")
            else:
                cells.append(f"{sum(found) / len(found):.4f} ({min(found):.4f})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
