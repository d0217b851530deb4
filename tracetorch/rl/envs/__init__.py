"""Small environments of our own, and what runs one episode after the other; gymnasium's work likewise."""

from tracetorch.rl.envs.episodes import Environment, EnvironmentDied, Episodes, gym
from tracetorch.rl.envs.memory_chain import MemoryChain
from tracetorch.rl.envs.minatar import MinAtar
from tracetorch.rl.envs.tmaze import TMaze

__all__ = ["Environment", "EnvironmentDied", "Episodes", "MemoryChain", "MinAtar", "TMaze", "gym"]
