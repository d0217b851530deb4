"""
Learning from reward: a pole, and a memory
==========================================

Here there are no labels: a network acts, and is rewarded from time to time. Two things have to be remembered:
*which action* led to a later reward, and *which earlier input* led to that action. The library carries a trace for
each, so that an agent learns at every step, without a replay buffer and without a record of the episode.

First a spiking network balances a pole, learning from one stream of experience, each step used once. Then a network
has to remember a cue in order to be rewarded, and is trained by REINFORCE's gradient, which a trace accumulates
instead of a record (``tt.rl.Reflect``).
"""

import os
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import tracetorch as tt
from tracetorch.plot import dress, label, legend, rule_styles
from tracetorch.rl.envs import Episodes, MemoryChain, gym

short = bool(os.environ.get("TRACETORCH_SHORT"))
steps, updates, length = (300, 5, 4) if short else (100_000, 400, 10)
print(
    "Expect: on CartPole the mean return of 100 episodes climbs from about 20 to several hundred of 500."
)
print("In the memory task `drtrl` comes near to 1 (always right); `sltt`, which gives no credit for the")
print("past, stays near 0 (chance).")
if short:
    print("TRACETORCH_SHORT is set: far too few steps to learn anything.")

# %%
# Balance a pole
# --------------
# ``CartPole-v1`` of gymnasium gives a reward of 1 for each step that the pole stands, 500 at most. The *return* of an
# episode is the sum of its rewards. An observation is four numbers (position and speed of the cart, angle and angular
# speed of the pole), an action is 0 or 1 (push to the left or to the right). One network serves as actor and critic:
# its three outputs are the preferences for left and right, and the value of the state.
#
# Learning from a single stream is delicate: successive steps are similar, and one large step in weight space
# destroys what was learned before. Three measures keep it stable: sparse first weights, running scales of
# observations and rewards, and a step that is bounded by how far it would move the output. They are those of M.
# Elsayed, G. Vasan, A. R. Mahmood, `"Streaming Deep Reinforcement Learning Finally Works"
# <https://arxiv.org/abs/2410.14606>`_, 2024.


def balancing(seed, lam):
    """Return an agent of 64 spiking neurons; its trace over parameters decays by gamma × `lam`."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        tt.Layer(nn.Linear(4, 64), tt.LIF(half_life=0.5)),
        tt.Layer(nn.Linear(64, 3), tt.LI(half_life=0.5, normalized=True)),
    )
    tt.rl.sparse_init(net)
    with torch.no_grad():
        net[1].synapse.weight.mul_(0.1)  # begin with mild preferences
    tt.set_rule(net, tt.rules.drtrl())
    agent = tt.rl.ActorCritic(
        net,
        tt.rl.Categorical(2),
        gamma=0.995,
        lam=lam,
        step=tt.rl.ObGD(kappa=3.0),
        senses=tt.rl.Senses(norm=tt.rl.RunningNorm(4), rewards=tt.rl.RewardScale(0.995)),
    )
    agent.seed(seed)
    try:
        agent.compile()
    except RuntimeError as error:
        print(f"autograd runs the network, many times slower: {error}")
    return agent


agent = balancing(seed=0, lam=0.8)
observation = np.zeros(4, np.float32)
outputs = agent.net(torch.from_numpy(observation)[None])  # one row: one stream
print(
    "an observation:",
    observation.shape,
    "outputs:",
    tuple(outputs.shape),
    "an action:",
    agent.act(observation),
)

# %%
# The loop is the usual one: act, step, learn. ``Episodes`` runs one episode after the other. The control has
# :math:`\lambda = 0`: each reward is credited to the last action only.


def returns(agent, env):
    """Let an agent live for some steps; return the steps at which episodes ended, and their returns."""
    episodes, ends, totals, total = Episodes(env, seed=0), [], [], 0.0
    for step in range(steps):
        action = agent.act(episodes.observation)
        reward, observation, terminated, truncated = episodes.step(action)
        agent.learn(reward, observation, terminated=terminated, truncated=truncated)
        total += reward
        if terminated or truncated:
            ends.append(step + 1)
            totals.append(total)
            total = 0.0
    return np.array(ends), np.array(totals)


poles = {}
try:
    for name, lam in (("traces over parameters, λ = 0.8", 0.8), ("without, λ = 0", 0.0)):
        start = time.perf_counter()
        poles[name] = returns(balancing(0, lam), gym("CartPole-v1"))
        late, seconds = poles[name][1][-100:].mean(), time.perf_counter() - start
        print(f"CartPole, {name}: mean return {late:.0f} at the end, {seconds:.0f} s")
except ImportError as error:
    print(f"CartPole is left out: {error}")

# %%
# CartPole needs no memory in the network: what the agent sees is the whole state. The trace that matters here is
# the one over parameters, which remembers the actions. Learning is possible without it: in some runs the control is
# faster. But with it the pole stays up: over ten seeds of 500,000 steps all agents with it ended at 450 or more
# (:doc:`/results_control`); without it, in a separate program, only six of ten did.
#
# Remember a cue
# --------------
# In ``MemoryChain`` a cue is shown once, among two flickering distractors. Ten steps later there is a question:
# naming the cue gives 1, the other answer -1. An observation is four numbers: the cue, the question, two
# distractors. So the network itself has to remember the cue, and its traces have to assign the credit for this to
# weights.
#
# The hidden units are leaky integrators whose time constants start at a quarter of the delay and are learned. For
# such a layer under a readout without memory, ``drtrl`` gives the exact gradient.
#
# ``Reflect`` runs 16 chains side by side. Actions before the question have no consequences, so the discount
# ``gamma``, which decides how far a reward reaches back over *actions*, may be short. It has nothing to do with how
# far credit reaches back inside the network.


def remember(rule):
    """Train by a rule; return the mean reward of each update, and the time constants, in steps."""
    torch.manual_seed(0)
    hidden = tt.Layer(nn.Linear(4, 16), tt.LI(tau=tt.Learnable(length / 4, shape=(16,))))
    net = nn.Sequential(hidden, nn.Linear(16, 2))
    tt.set_rule(net, rule)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    reflect = tt.rl.Reflect(net, tt.rl.Categorical(2), gamma=0.5, rows=16)
    chains = [MemoryChain(length) for _ in range(16)]
    history = []
    for update in range(updates):
        observations = np.stack(
            [chain.reset(seed=16 * update + row)[0] for row, chain in enumerate(chains)]
        )
        for _ in range(length + 1):
            actions = reflect.act(torch.from_numpy(observations))
            outcomes = [chain.step(int(action)) for chain, action in zip(chains, actions, strict=True)]
            rewards = [outcome[1] for outcome in outcomes]
            reflect.reward(rewards)
            observations = np.stack([outcome[0] for outcome in outcomes])
        reflect.finish()  # the gradient of the mean return, into .grad
        optimizer.step()
        history.append(float(np.mean(rewards)))
    return history, tt.tau(hidden.neuron.beta.detach())


first = np.stack([MemoryChain(length).reset(seed=row)[0] for row in range(16)])
print("observations of one step, a row for each chain:", first.shape)

# %%
# The same network, twice: under ``drtrl`` and under the control.

memories = {}
for name, rule in {"drtrl": tt.rules.drtrl(), "sltt": tt.rules.sltt()}.items():
    start = time.perf_counter()
    memories[name], time_constants = remember(rule)
    late, seconds = np.mean(memories[name][-50:]), time.perf_counter() - start
    print(f"memory chain, {name}: mean reward {late:+.2f} over the last 50 updates, {seconds:.0f} s;")
    print(
        f"  time constants {tuple(time_constants.shape)}, the longest is {time_constants.max():.0f} steps"
    )

# %%
# The figure shows both; returns are means over 50 episodes (left) and 20 updates (right).

figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.2), layout="constrained")
for ax in (left, right):
    dress(ax)
for (name, (ends, totals)), look in zip(poles.items(), rule_styles(list(poles)), strict=True):
    window = min(50, len(totals))
    smooth = np.convolve(totals, np.ones(window) / window, "valid")
    left.plot(ends[window - 1 :], smooth, label=name, **look, markevery=0.2, markersize=5)
left.axhline(500, color="#767676", linewidth=0.8, linestyle=(0, (4, 3)))
label(left, title="CartPole", x="step of the environment", y="return of an episode")
legend(left, loc="best")
for (name, values), look in zip(memories.items(), rule_styles(list(memories)), strict=True):
    window = min(20, len(values))
    smooth = np.convolve(values, np.ones(window) / window, "valid")
    right.plot(smooth, label=name, **look, markevery=0.2, markersize=5)
right.axhline(0, color="#767676", linewidth=0.8)
label(right, title="memory chain", x="update", y="mean reward")
legend(right, loc="best")
plt.show()

# %%
# Try changing
# ------------
# - A longer chain: how far back does the cue reach before learning fails?
# - ``tracetorch train acrobot`` and ``pendulum`` use the same agents.
# - Other seeds: learning from reward varies.
# - ``tt.rl.ThreeFactor``: any loss under any rule, times a reward that comes later, without an agent.
#
# What usually goes wrong
# -----------------------
# - *No learning at all*: call ``agent.learn`` after each step, also the last of an episode, with ``terminated`` and
#   ``truncated`` apart.
# - *It learns, then forgets*: one large step destroys what was learned. Keep the bounded step (``ObGD``) and the
#   running scales.
# - *One good seed*: run several before you compare.
#
# What to read next
# -----------------
# One seed each is an illustration, not a result: learning from reward varies a lot between seeds.
# :doc:`/results_control` has several seeds of these and other tasks; the derivation is in :doc:`/theory/reward`.
