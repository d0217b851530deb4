"""Compile functions that only compiled functions call.

Numba's own form, a dispatcher, gives each function an entry for Python and one for C, with machine code that nobody
calls here, and optimizes a function by itself and again in each of its callers: a third of the compiler's time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tracetorch.backends.numba.options import FAST


def inner(function: Callable[..., Any], *, reassociated: bool = False) -> Any:
    """Return a function in a form that other compiled functions may call; `reassociated` lets the order of sums change.

    It is compiled once for each kind of arguments; integers of any width, constants among them, are of one kind.
    """
    from numba.core.compiler import compile_internal
    from numba.core.registry import cpu_target
    from numba.extending import intrinsic

    compiled: dict[Any, Any] = {}

    def typed(typing: Any, *arguments: Any) -> Any:
        kinds = tuple(_kind(a) for a in arguments)
        if kinds not in compiled:
            target, flags = cpu_target.target_context, _flags(reassociated=reassociated)
            library = target.codegen().create_library(function.__name__)
            compiled[kinds] = compile_internal(typing, target, library, function, kinds, None, flags, locals={})
        found = compiled[kinds]

        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _link(context.active_code_library, found.library)
            return context.call_internal(builder, found.fndesc, signature, args)

        return found.signature.return_type(*kinds), build

    names = ", ".join(inspect.signature(function).parameters)
    scope: dict[str, Any] = {"typed": typed}
    exec(f"def call(typing, {names}):\n    return typed(typing, {names})", scope)  # an intrinsic has no *arguments
    return intrinsic(scope["call"])


def _kind(argument: Any) -> Any:
    from numba import types

    kind = types.unliteral(argument)
    return types.int64 if isinstance(kind, types.Integer) else kind


def _flags(*, reassociated: bool) -> Any:
    from numba.core.compiler import Flags
    from numba.core.cpu_options import FastMathOptions

    flags = Flags()
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.nrt = True
    flags.fastmath = FastMathOptions(FAST["fastmath"] | ({"reassoc"} if reassociated else set()))
    flags.error_model = FAST["error_model"]
    return flags


def _link(into: Any, library: Any) -> None:
    """Add a function's module to that of its caller as it is, so that all of them are optimized once, together."""
    from llvmlite import binding

    seen = into.__dict__.setdefault("_tracetorch_linked", set())
    if id(library) in seen:
        return
    seen.add(id(library))
    if not hasattr(library, "_final_module") or getattr(library, "_finalized", True):
        into.add_linking_library(library)  # Numba has changed inside: its own way is slower, and always right
        return
    module = library._final_module.clone()
    for part in module.functions:
        if not part.is_declaration and part.linkage == binding.Linkage.external:
            part.linkage = "weak_odr"  # one that may be left out would be, as its caller is not there yet
    into._final_module.link_in(module)
    for other in library._linking_libraries:
        into.add_linking_library(other)
