"""Watch an agent without teaching it: one episode, with what its layers do and what the environment shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import tracetorch as tt
from tracetorch import rl
from tracetorch.rl.body import AutogradBody, Memoryless
from tracetorch.rl.envs import Episodes
from tracetorch.train.tasks.seeds import derived_seed

if TYPE_CHECKING:
    from tracetorch.train.reward.base import RewardTask

LONGEST = 500
FRAMES = 12


@torch.no_grad()
def play(agent: rl.Agent, task: RewardTask) -> dict[str, Tensor]:
    """Play one episode greedily, with a twin of the network; the agent is left as it is.

    Return the arrays ``input``, ``spikes.<layer>``, ``membrane.<layer>`` and ``output`` of `Task.figures`, and
    ``frames``, ``[up to 12, height, width, 3]``, where the environment gives any.
    """
    net = rl.twin(agent.net).eval()
    body = AutogradBody(net) if tt.layers(net) else agent.body.another()
    named = {name: layer for name, layer in net.named_modules() if isinstance(layer, tt.Layer)}
    kept: dict[str, list[Tensor]] = {"input": [], "output": []}
    env = task.environment(render=True)
    episodes = Episodes(env, seed=derived_seed(task.seed, "play") % 2**31, keep=task.keep)
    frames: list[Any] = []
    hooks = [
        layer.register_forward_hook(lambda _m, _x, out, at=f"spikes.{name}": kept.setdefault(at, []).append(out[0]))
        for name, layer in named.items()
    ]
    for _ in range(LONGEST):
        x = agent.senses.observe(episodes.observation[None], learn=False)
        if isinstance(agent.body, Memoryless):
            body.forget()
        output = body.forward(x)
        kept["input"].append(x[0].flatten())
        kept["output"].append(output[0])
        for name, layer in named.items():
            kept.setdefault(f"membrane.{name}", []).append(layer.state[0][0].flatten()[:8].clone())
        render = getattr(env, "render", None)
        picture = render() if render is not None else None
        if picture is not None:
            frames.append(np.asarray(picture))
        _, _, terminated, truncated = episodes.step(agent.to_env(agent.greedy(output))[0])
        if terminated or truncated:
            break
    for hook in hooks:
        hook.remove()
    arrays = {name: torch.stack([x.cpu() for x in values]) for name, values in kept.items()}
    for name, layer in named.items():
        if isinstance(layer.neuron, tt.Readout):
            del arrays[f"spikes.{name}"]
    if frames:
        chosen = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int)
        arrays["frames"] = torch.from_numpy(np.stack([frames[i] for i in chosen]))
    return arrays
