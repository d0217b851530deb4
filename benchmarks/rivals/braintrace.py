"""BrainTrace (JAX): its ``pp_prop`` and ``D_RTRL``.

Form: ``braintrace.compile`` on a batch (not under vmap, which took four times as long), the whole sequence in one
compiled call by ``etrace_grad``; where the last output alone has a loss, ``etrace_evolve`` runs the steps before.
The row ``D_RTRL`` goes step by step, its default; ``D_RTRL, windows`` takes ``vjp_method="multi-step"`` and a chunk at
a time, its fast path, which is another estimate: backpropagation inside the window, traces before it. Two neurons:
``brainpy.state.LIF``, which keeps the gradient of its reset, and, for rows called ``lean``, one of our equation,
written for this benchmark in the way in which the documentation writes its own. A recurrent layer has one map of its
input beside its last spikes, as the documentation's recurrent networks have it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import brainpy.state
import brainstate
import braintools
import braintrace
import jax
import jax.numpy as jnp
import numpy as np

Array = Any


def versions() -> dict[str, str]:
    """Return the versions that the figures depend on."""
    names = ("braintrace", "brainstate", "brainpy_state", "jax", "jaxlib")
    return {**{n: metadata.version(n) for n in names}, "python": platform.python_version()}


def spike(v: Array) -> Array:
    """Return 1 above the threshold of 1, with the arctangent's derivative."""
    return braintools.surrogate.Arctan(alpha=2.0)(v - 1.0)


class Leaky(brainstate.nn.Module):
    """Integrate with a leak; subclasses fire.

    Args:
        unit: Shape of the units.
        beta: Decay per step, a number or one for each unit.
    """

    def __init__(self, unit: tuple[int, ...], beta: Array) -> None:
        super().__init__()
        self.unit, self.beta = unit, beta

    def init_state(self, batch_size: int | None = None, **_: Any) -> None:
        """Make the state."""
        batch = () if batch_size is None else (batch_size,)
        self.V = brainstate.HiddenState(jnp.zeros((*batch, *self.unit), jnp.float32))

    def reset_state(self, batch_size: int | None = None, **_: Any) -> None:
        """Reset the state."""
        self.V.value = jnp.zeros_like(self.V.value)

    def update(self, current: Array) -> Array:
        """Return the membrane after one step."""
        self.V.value = self.beta * self.V.value + current
        return self.V.value


class Lean(Leaky):
    """Fire, and reset with the gradient detached; see `Leaky`."""

    def update(self, current: Array) -> Array:
        """Return the spikes of one step."""
        v = self.V.value
        v = self.beta * (v - jax.lax.stop_gradient((v > 1).astype(v.dtype))) + current
        self.V.value = v
        return spike(v)

    def last_spikes(self) -> Array:
        """Return the spikes of the step before."""
        return spike(self.V.value)


class Stock(brainstate.nn.Module):
    """Wrap ``brainpy.state.LIF``, driven by jumps of its membrane.

    Args:
        unit: Shape of the units.
        beta: Decay per step, a number or one for each unit.
    """

    def __init__(self, unit: tuple[int, ...], beta: Array) -> None:
        super().__init__()
        self.lif = brainpy.state.LIF(
            unit,
            R=1.0,
            tau=-1 / np.log(beta),
            V_th=1.0,
            V_reset=0.0,
            V_rest=0.0,
            V_initializer=braintools.init.ZeroInit(),
            spk_fun=braintools.surrogate.Arctan(alpha=2.0),
            spk_reset="soft",
        )

    def update(self, current: Array) -> Array:
        """Return the spikes of one step."""
        self.lif.add_delta_input("synapse", current)
        return self.lif(0.0)


class Net(brainstate.nn.Module):
    """Hold the network of a workload.

    Args:
        arrays: The arrays of the group.
        network: The network's fields.
        neuron: The class of its neurons.
        decays: ``shared`` or ``neuron``.
    """

    def __init__(
        self, arrays: Mapping[str, Any], network: Mapping[str, Any], *, neuron: Callable[..., Any], decays: str
    ) -> None:
        super().__init__()
        beta = float(arrays["beta"])
        count = len(network["hidden"])
        self.synapses, self.neurons = [], []
        self.recurrent = "r0" in arrays
        size = (*network["inputs"][1:], network["inputs"][0])  # channels last, where there are any
        for i in range(count):
            weight = arrays[f"w{i}"]
            if self.recurrent:
                weight = np.concatenate([weight, arrays[f"r{i}"]], 1)
            if weight.ndim == 4:
                kernel = weight.transpose(2, 3, 1, 0)
                made = braintrace.nn.Conv2d(
                    size, weight.shape[0], 3, stride=network["stride"], padding=1, w_init=kernel, b_init=None
                )
                size = tuple(made.out_size)
            else:
                made = braintrace.nn.Linear(weight.shape[1], weight.shape[0], w_init=weight.T, b_init=None)
                size = (weight.shape[0],)
            self.synapses.append(made)
            self.neurons.append(neuron(size, arrays[f"beta{i}"] if decays == "neuron" else beta))
        weight = arrays[f"w{count}"]
        self.flat = len(size) == 3
        if self.flat:
            height, width, channels = size
            weight = weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(len(weight), -1)
        self.last = braintrace.nn.Linear(weight.shape[1], weight.shape[0], w_init=weight.T, b_init=None)
        self.readout = Leaky((weight.shape[0],), beta)

    def spikes(self, x: Array) -> tuple[list[Array], Array]:
        """Run one step; return the spikes of each hidden layer and the output."""
        found = []
        for synapse, neuron in zip(self.synapses, self.neurons, strict=True):
            x = neuron(synapse(jnp.concatenate([x, neuron.last_spikes()], -1) if self.recurrent else x))
            found.append(x)
        if self.flat:
            x = x.reshape(x.shape[0], -1)
        return found, self.readout(self.last(x))

    def update(self, x: Array) -> Array:
        """Run one step; return the output."""
        return self.spikes(x)[1]


class Case:
    """Train with BrainTrace as a row says.

    Args:
        job: The job; see `benchmarks.worker`.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        brainstate.environ.set(dt=1.0)
        self.group, self.workload, self.options = job["group"], job["workload"], job["row"]["options"]
        arrays = dict(np.load(job["data"]))
        x = arrays["x"].astype(np.float32)
        self.x = jnp.asarray(np.moveaxis(x, 2, -1))
        self.y = jnp.asarray(arrays["y"])
        neuron = Lean if self.options.get("lean") else Stock
        self.chunk = self.workload["window"] if self.options.get("chunked") else None
        if self.chunk is not None and self.workload["kind"] != "memory":
            self.chunk = min(self.chunk, self.group["steps"])

        def make() -> Net:
            return Net(arrays, self.workload["network"], neuron=neuron, decays=job["row"]["decays"])

        self.make = make
        self.net = make()
        self.batch = self.workload["batch"]
        options: dict[str, Any] = {"vjp_method": "multi-step"} if self.chunk else {}
        if self.options["method"] == "pp_prop":
            options["decay_or_rank"] = float(arrays["beta"])
        self.learner = braintrace.compile(self.net, self.options["method"], self.x[0], batch_size=self.batch, **options)
        optimizer = {"adam": braintools.optim.Adam, "sgd": braintools.optim.SGD}[self.workload["optimizer"]]
        self.opt = optimizer(lr=self.workload["learning_rate"])
        self.opt.register_trainable_weights(self.net.states(brainstate.ParamState))
        self.train = brainstate.transform.jit(self._train)
        self.restart = brainstate.transform.jit(self._reset)

    def _loss(self, x: Array) -> Array:
        out = self.learner(braintrace.MultiStepData(x) if self.chunk else x)
        target = jnp.broadcast_to(self.y, out.shape[:-1])
        return braintools.metric.softmax_cross_entropy_with_integer_labels(out, target).mean(-1)

    def _reset(self) -> None:
        brainstate.nn.reset_all_states(self.learner, batch_size=self.batch)

    def _train(self, xs: Array) -> Array:
        """Learn over a window and take one step of the optimizer; a whole sequence begins with a reset."""
        if self.workload["kind"] == "iteration":
            self._reset()
        if self.group["loss"] == "last":
            size = self.chunk or 1
            if xs.shape[0] > size:
                self.learner.etrace_evolve(xs[:-size], chunk_size=self.chunk)
            mask = jnp.zeros(size).at[-1].set(1.0)
            grads, loss = self.learner.etrace_grad(
                xs[-size:], step_fn=self._loss, chunk_size=self.chunk, mask=mask, return_value=True
            )
        else:
            grads, loss = self.learner.etrace_grad(xs, step_fn=self._loss, chunk_size=self.chunk, return_value=True)
        self.opt.update(grads)
        return loss[-1]

    def iterate(self) -> None:
        """Run one repetition and wait for its end."""
        kind = self.workload["kind"]
        if kind == "iteration":
            loss = self.train(self.x)
        else:
            self.restart()
            loss = self.windows()
        weights = [state.value for state in self.net.states(brainstate.ParamState).values()]
        jax.block_until_ready((loss, weights))

    def windows(self) -> Array:
        """Learn over a stream: step by step, window by window, or all of it in one call."""
        steps = self.group["steps"]
        size = steps
        if self.group["update"] == "each":
            size = 1
        elif self.workload["kind"] == "memory":
            size = self.workload["window"]
        loss = None
        for start in range(0, steps, size):
            at = start % self.x.shape[0]
            loss = self.train(self.x[at : at + size])
        return loss

    def warm(self) -> None:
        """Run a few windows of a long sequence, which compiles what there is to compile."""
        steps, self.group["steps"] = self.group["steps"], 3 * self.workload["window"]
        self.iterate()
        self.group["steps"] = steps

    def report(self) -> dict[str, Any]:
        """Return firing rates and loss as the network is now."""
        net = self.make()
        ours, theirs = (n.states(brainstate.ParamState) for n in (net, self.net))
        for key, state in ours.items():
            state.value = theirs[key].value
        brainstate.nn.init_all_states(net, batch_size=self.batch)

        def step(x: Array) -> tuple[list[Array], Array]:
            found, out = net.spikes(x)
            return [z.mean() for z in found], out

        rates, outs = brainstate.transform.for_loop(step, self.x)
        loss = braintools.metric.softmax_cross_entropy_with_integer_labels(outs[-1], self.y).mean()
        return {"rates": [float(r.mean()) for r in rates], "loss": float(loss), "convention": "decayed"}


def prepare(job: Mapping[str, Any]) -> Case:
    """Make the case of a job."""
    return Case(job)
