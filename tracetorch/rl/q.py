"""Learn what actions are worth, under the best policy: Watkins's Q(lambda)."""

from __future__ import annotations

from torch import Tensor

from tracetorch.rl.sarsa import ActionValues


class Q(ActionValues):
    r"""Learn the worth of actions under the greedy policy, off the policy that is followed.

    .. math:: \delta_t = r_t + \gamma \max_a Q(s_{t+1}, a) - Q(s_t, a_t), \qquad
        z_t = [a_t \text{ is greedy}]\,\gamma\lambda\,z_{t-1} + \nabla Q(s_t, a_t)

    What follows an exploratory action says nothing about the greedy policy from before it, so the trace is cut there.
    Arguments are those of `ActionValues`.

    Source: C. J. C. H. Watkins, "Learning from Delayed Rewards" (1989),
    https://www.cs.rhul.ac.uk/~chrisw/new_thesis.pdf.

    Example:
        >>> import torch, tracetorch as tt
        >>> agent = tt.rl.Q(tt.Layer(torch.nn.Linear(2, 3), tt.LI(half_life=1)), epsilon=lambda steps: 0.1)
        >>> agent.act([1.0, 0.0]) in (0, 1, 2)
        True
        >>> agent.learn(1.0, [0.0, 1.0], terminated=True, truncated=False)
    """

    def choose(self, head: Tensor) -> Tensor:
        """Draw the rows' actions; cut the traces of those that explore."""
        action = self.explore(head)
        explores = head.gather(-1, action.unsqueeze(-1)).squeeze(-1) < head.amax(-1)
        if bool(explores.any()):
            self.trace.clear(None if len(action) == 1 else explores)
        return action

    def targets(self, head: Tensor) -> list[float]:
        """Return what the best next actions are worth."""
        best: list[float] = head.amax(-1).tolist()
        return best
