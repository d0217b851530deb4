"""How an agent runs its network: values, credit into a trace, and a look ahead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from tracetorch.network import get_state, restart, set_state
from tracetorch.rl.look_ahead import LookAhead, twin
from tracetorch.rl.trace import ParameterTrace


class Body(ABC):
    """Run a network for an agent: one forward and at most one credit a step."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Advance by one step, `[R, *in] -> [R, n]`, without a graph outside."""

    @abstractmethod
    def ahead(self, x: Tensor) -> Tensor:
        """Return the output that the next input would give, `[R, n]`, and leave everything as it is."""

    @abstractmethod
    def credit(self, trace: ParameterTrace, cotangent: Tensor) -> None:
        """Add the gradient of the last output, met by a cotangent `[R, n]`, to a trace."""

    def credit_ahead(self, trace: ParameterTrace, cotangent: Tensor) -> None:
        """Add the gradient of the last output of `ahead`, met by a cotangent `[R, n]`, to a trace."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient of the next output")

    @abstractmethod
    def forget(self, mask: Tensor | None = None) -> None:
        """Begin new episodes in some rows, `[R]`, or in all."""

    @abstractmethod
    def another(self) -> Body:
        """Return a body of the same kind with the same parameters, and its own state, after a reset."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return what the network carries, between `credit` and the next `forward`."""

    @abstractmethod
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""


class AutogradBody(Body):
    """Run any network through torch's autograd, on the device where it is."""

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._look = LookAhead(net)
        self._output: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one step; see `Body.forward`."""
        output: Tensor = self._net(x)
        self._output = output
        return output.detach()

    def ahead(self, x: Tensor) -> Tensor:
        """Return the output at the next input; see `Body.ahead`."""
        return self._look(x)

    def credit(self, trace: ParameterTrace, cotangent: Tensor) -> None:
        """Send a cotangent back, one pass for each row; see `Body.credit`."""
        output, self._output = self._output, None
        if output is None:
            raise RuntimeError("there is no output to give credit for: call forward before credit, once")
        trace.add(output, cotangent)

    def forget(self, mask: Tensor | None = None) -> None:
        """Begin new episodes; see `Body.forget`."""
        restart(self._net, mask)

    def another(self) -> AutogradBody:
        """Return one on a twin of the network; see `Body.another`."""
        return AutogradBody(twin(self._net))

    def state(self) -> dict[str, Tensor]:
        """Return what the network carries; see `Body.state`."""
        return get_state(self._net)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self._output = None
        restart(self._net)
        set_state(self._net, state)


class DifferentiableAhead(AutogradBody):
    """Run any network through autograd, with a gradient of the output at the next input too."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self._next: Tensor | None = None

    def ahead(self, x: Tensor) -> Tensor:
        """Return the output at the next input, and save its graph; see `Body.ahead`."""
        self._next = self._look.with_graph(x)
        return self._next.detach()

    def credit_ahead(self, trace: ParameterTrace, cotangent: Tensor) -> None:
        """Send a cotangent back from the next output; see `Body.credit_ahead`."""
        output, self._next = self._next, None
        if output is None:
            raise RuntimeError("there is no next output to give credit for: call ahead before credit_ahead, once")
        trace.add(output, cotangent)

    def another(self) -> DifferentiableAhead:
        """Return one on a twin of the network; see `Body.another`."""
        return DifferentiableAhead(twin(self._net))


class Memoryless(Body):
    """Reset a network before each step, and for each look ahead: what is left of it without memory."""

    def __init__(self, body: Body) -> None:
        self._body, self._look = body, body.another()

    def forward(self, x: Tensor) -> Tensor:
        """Take the first step after a reset; see `Body.forward`."""
        self._body.forget()
        return self._body.forward(x)

    def ahead(self, x: Tensor) -> Tensor:
        """Return the output that the next input would give after a reset; see `Body.ahead`."""
        self._look.forget()
        return self._look.ahead(x)

    def credit(self, trace: ParameterTrace, cotangent: Tensor) -> None:
        """Add credit for the one step; see `Body.credit`."""
        self._body.credit(trace, cotangent)

    def credit_ahead(self, trace: ParameterTrace, cotangent: Tensor) -> None:
        """Add credit for the step ahead; see `Body.credit_ahead`."""
        self._look.credit_ahead(trace, cotangent)

    def forget(self, mask: Tensor | None = None) -> None:
        """Do nothing: it is done before each step."""

    def another(self) -> Memoryless:
        """Return one on another body of the kind; see `Body.another`."""
        return Memoryless(self._body.another())

    def state(self) -> dict[str, Tensor]:
        """Return nothing: nothing is carried."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Start again; there is nothing to take back."""
        self._body.forget()
