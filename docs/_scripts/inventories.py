"""Write the small inventories that `docs/conf.py` reads where there is no net: `python docs/_scripts/inventories.py`.

Each holds the names of another project that this library's signatures and pages mention, with the address of the page
that explains them, in the format that Sphinx reads.
"""

from __future__ import annotations

import zlib
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "_inventories"

_TORCH_GENERATED = (
    "nn.Linear nn.Conv1d nn.Conv2d nn.Sequential nn.LayerNorm nn.BatchNorm1d nn.LSTM nn.GRU optim.Adam optim.SGD "
    "optim.Optimizer nn.parameter.Parameter nn.Module"
)
_TORCH_FUNCTIONS = "nn.functional.cross_entropy nn.functional.mse_loss no_grad compile func.vjp manual_seed bernoulli"


def torch() -> dict[tuple[str, str], str]:
    """Return names of PyTorch by domain and role, with their addresses."""
    names = {(n, "py:class"): f"generated/{n}.html#{n}" for n in (f"torch.{n}" for n in _TORCH_GENERATED.split())}
    names |= {(n, "py:function"): f"generated/{n}.html#{n}" for n in (f"torch.{n}" for n in _TORCH_FUNCTIONS.split())}
    names |= {
        ("torch.Tensor", "py:class"): "tensors.html#torch.Tensor",
        ("torch.Generator", "py:class"): "generated/torch.Generator.html#torch.Generator",
        ("torch.dtype", "py:class"): "tensor_attributes.html#torch.dtype",
        ("torch.device", "py:class"): "tensor_attributes.html#torch.device",
        ("torch.Tensor.backward", "py:method"): "generated/torch.Tensor.backward.html#torch.Tensor.backward",
        ("torch.nn.Parameter", "py:class"): "generated/torch.nn.parameter.Parameter.html#torch.nn.parameter.Parameter",
    }
    return names


def python() -> dict[tuple[str, str], str]:
    """Return names of Python's library."""
    names = {}
    for name in ["int", "float", "bool", "complex"]:
        names[name, "py:class"] = f"library/functions.html#{name}"
    for name in ["str", "list", "tuple", "dict", "set", "frozenset", "slice", "type", "object", "bytes"]:
        page = "functions" if name in ("slice", "type", "object") else "stdtypes"
        names[name, "py:class"] = f"library/{page}.html#{name}"
    for name in [
        "ValueError",
        "TypeError",
        "RuntimeError",
        "ImportError",
        "KeyError",
        "FileNotFoundError",
        "IndexError",
        "Warning",
    ]:
        names[name, "py:exception"] = f"library/exceptions.html#{name}"
    for name in ["UserWarning", "AssertionError", "ArithmeticError", "OSError", "NotImplementedError", "Exception"]:
        names[name, "py:exception"] = f"library/exceptions.html#{name}"
    for name in ["Callable", "Iterable", "Iterator", "Mapping", "Sequence", "Generator"]:
        names[f"collections.abc.{name}", "py:class"] = f"library/collections.abc.html#collections.abc.{name}"
    for name in ["None", "True", "False"]:
        names[name, "py:data"] = f"library/constants.html#{name}"
    for name in ["Any", "Literal", "Protocol", "Generic", "NamedTuple", "Optional", "Union"]:
        names[f"typing.{name}", "py:data"] = f"library/typing.html#typing.{name}"
    names["pathlib.Path", "py:class"] = "library/pathlib.html#pathlib.Path"
    names["os.PathLike", "py:class"] = "library/os.html#os.PathLike"
    names["abc.ABC", "py:class"] = "library/abc.html#abc.ABC"
    return names


def numpy() -> dict[tuple[str, str], str]:
    """Return names of NumPy."""
    names = {(f"numpy.{n}", "py:class"): f"reference/generated/numpy.{n}.html#numpy.{n}" for n in ("ndarray", "dtype")}
    for name in ("NDArray", "ArrayLike"):
        names[f"numpy.typing.{name}", "py:data"] = f"reference/typing.html#numpy.typing.{name}"
    names["numpy.random.Generator", "py:class"] = "reference/random/generator.html#numpy.random.Generator"
    return names


def matplotlib() -> dict[tuple[str, str], str]:
    """Return names of matplotlib."""
    axes = "matplotlib.axes.Axes"
    return {
        ("matplotlib.figure.Figure", "py:class"): "api/_as_gen/matplotlib.figure.Figure.html#matplotlib.figure.Figure",
        (axes, "py:class"): f"api/_as_gen/{axes}.html#{axes}",
    }


def inventory(project: str, names: dict[tuple[str, str], str]) -> bytes:
    """Return the bytes of an inventory, version 2."""
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n# The rest is compressed with zlib.\n"
    lines = (f"{name} {role} 1 {address} -\n" for (name, role), address in sorted(names.items()))
    return head.encode() + zlib.compress("".join(lines).encode(), 9)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for project in (torch, python, numpy, matplotlib):
        (FOLDER / f"{project.__name__}.inv").write_bytes(inventory(project.__name__, project()))
