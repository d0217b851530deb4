"""What the reference shows of a class's methods; its tests ask the same."""

from __future__ import annotations

import inspect
import re

SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example):", re.MULTILINE)

INTERNAL = {
    "Layer": {"synapses", "follow_parts", "prepare_rule", "take_rule", "spec", "carry", "carries", "settle", "scan"},
    "Neuron": {"pack_currents", "blocks", "is_constant", "constant"},
    "Spiking": {"set_leak"},
    "AllMemory": {"apart"},
    "LeakyCredit": {"leaky"},
}
"""Methods that other parts of the library call, by class: no page lists them."""


def is_internal(cls: type, name: str) -> bool:
    """Return whether a method is for other parts of the library, or is a hook that another package calls."""
    if any(name in INTERNAL.get(base.__name__, ()) for base in cls.__mro__ if _ours(base)):
        return True
    hook = any(name in vars(base) for base in cls.__mro__ if not _ours(base) and base is not object)
    return hook and name != "forward" and "Args:" not in _own(cls, name)


def described(cls: type, name: str) -> str:
    """Return a method's docstring, with what the method that it overrides says of arguments that it does not name."""
    docs = [_own(base, name) for base in cls.__mro__ if name in vars(base) and _ours(base)]
    if SECTION.search(docs[0]) or len(docs) == 1:
        return docs[0]
    for doc in docs[1:]:
        if found := SECTION.search(doc):
            return f"{docs[0]}\n\n{doc[found.start() :].partition('Example:')[0]}"
    return docs[0] if "`" in docs[0] else f"{docs[0]}\n\n{docs[-1]}"


def _own(cls: type, name: str) -> str:
    return inspect.cleandoc(getattr(vars(cls).get(name), "__doc__", None) or "")


def _ours(cls: type) -> bool:
    return cls.__module__.startswith("tracetorch")
