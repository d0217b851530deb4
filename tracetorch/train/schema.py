"""Typed reading: what a run's files may hold, checked key by key before anything uses it."""

from __future__ import annotations

import json
import math
import reprlib
import types
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor
from typing_extensions import is_typeddict

from tracetorch.data import DamagedFileError


class RunFileError(DamagedFileError):
    """A run's file is damaged, or not of this run. The message names the file, the field, and what is wrong.

    Example:
        >>> import pathlib, tempfile, tracetorch as tt
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "config.json").write_text("{")
        >>> try:
        ...     tt.train.RunFolder.open(folder).config
        ... except tt.train.RunFileError as error:
        ...     print(error.path.name)
        config.json
    """


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both included, as the second argument of ``Annotated``; they leave NaN out."""

    least: float = -math.inf
    most: float = math.inf

    def __str__(self) -> str:
        return f"{self.least:g} or more" if self.most == math.inf else f"{self.least:g} to {self.most:g}"

    def holds(self, value: float) -> bool:
        """Return whether a number is within."""
        return self.least <= value <= self.most


Count = Annotated[int, Range(0, 2**53)]
Positive = Annotated[int, Range(1, 2**53)]
Seconds = Annotated[float, Range(0.0)]


def check(kind: Any, value: Any, path: Path, field: str = "") -> None:
    """Check that a value is of a kind, strictly: True is not a number, but a whole number is a float too.

    A kind is a class, ``Any``, ``Literal``, a union, ``list[...]``, ``dict[str, ...]``, ``Annotated`` with a `Range`,
    or a ``TypedDict`` or dataclass, all of whose keys must be there and no other. A RunFileError names file and place.

    >>> check(dict[str, Count], {"a": 1}, Path("x"))
    >>> check(dict[str, Count], {"a": -1}, Path("x"), "counts")
    Traceback (most recent call last):
    tracetorch.train.schema.RunFileError: 'x': counts.a: expected 0 to 9.0072e+15, got -1
    """
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return
    if origin is Annotated:
        check(args[0], value, path, field)
        for bounds in args[1:]:
            if not bounds.holds(value):
                raise RunFileError(path, field, f"expected {bounds}, got {shown(value)}")
    elif origin in (Union, types.UnionType):
        for arg in args:
            if arg is type(None) and value is None:
                return
        rest = [arg for arg in args if arg is not type(None)]
        if len(rest) == 1 and value is not None:
            check(rest[0], value, path, field)
        elif not any(_is(arg, value) for arg in rest):
            raise RunFileError(path, field, f"expected {_named(kind)}, got {shown(value)}")
    elif origin is Literal:
        if not any(type(value) is type(arg) and value == arg for arg in args):
            raise RunFileError(path, field, f"expected {' or '.join(map(repr, args))}, got {shown(value)}")
    elif is_typeddict(kind) or is_dataclass(kind):
        _check_keys(get_type_hints(kind, include_extras=True), value, path, field)
    elif not _is(origin or kind, value):
        raise RunFileError(path, field or "content", f"expected {_named(kind)}, got {shown(value)}")
    elif origin is list:
        for i, item in enumerate(value):
            check(args[0], item, path, join(field, i))
    elif origin is dict:
        for key, item in value.items():
            check(args[0], key, path, f"key {key!r} of {field or 'content'}")
            check(args[1], item, path, join(field, key))


def _check_keys(kinds: Mapping[str, Any], value: Any, path: Path, field: str) -> None:
    """Check a dict that has fixed keys."""
    if not isinstance(value, dict):
        raise RunFileError(path, field or "content", f"expected an object of names and values, got {shown(value)}")
    for key in value:
        if key not in kinds:
            raise RunFileError(path, join(field, key), f"unknown: expected one of {', '.join(kinds)}")
    for key, kind in kinds.items():
        if key not in value:
            raise RunFileError(path, join(field, key), "missing")
        check(kind, value[key], path, join(field, key))


def check_like(model: Any, value: Any, path: Path, field: str) -> None:
    """Check that a value is built as another one is: keys, lengths, kinds, and shape and dtype of tensors.

    Where the model has ``Any``, anything goes.
    """
    if model is Any:
        return
    if isinstance(model, Mapping):
        _check_keys(dict.fromkeys(model, Any), value, path, field)
        for key in model:
            check_like(model[key], value[key], path, join(field, key))
    elif isinstance(model, Tensor):
        check(Tensor, value, path, field)
        if (value.shape, value.dtype) != (model.shape, model.dtype):
            expected = f"{model.dtype} {list(model.shape)}"
            raise RunFileError(path, field, f"expected a tensor {expected}, got {value.dtype} {list(value.shape)}")
    elif isinstance(model, (list, tuple)):
        check(type(model), value, path, field)
        if len(value) != len(model):
            raise RunFileError(path, field, f"expected {len(model)} items, got {len(value)}")
        for i, (one, other) in enumerate(zip(model, value, strict=True)):
            check_like(one, other, path, join(field, i))
    else:
        check(type(model), value, path, field)
        if isinstance(value, float) and not math.isfinite(value) and math.isfinite(model):
            raise RunFileError(path, field, f"expected a finite number, got {value}")


def difference(a: Any, b: Any, field: str = "") -> tuple[str, Any, Any] | None:
    """Return the first place where two JSON values differ, with what is there; None where they are equal.

    >>> difference({"a": {"b": 1}}, {"a": {"b": 2}})
    ('a.b', 1, 2)
    """
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            found = difference(a.get(key, "nothing"), b.get(key, "nothing"), join(field, key))
            if found:
                return found
        return None
    return None if type(a) is type(b) and a == b else (field, a, b)


def read_json(path: Path, text: str | bytes, field: str = "content") -> Any:
    """Read the JSON of a file; raise RunFileError where it is none, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise RunFileError(path, field, "nested too deeply") from None
    except ValueError as error:  # also bytes that are no UTF-8, and numbers of too many digits
        raise RunFileError(path, field, f"no readable JSON: {error}") from None


def plain(value: Any) -> Any:
    """Return a value as strict JSON can hold it: text keys, NaN and infinity as None, the rest as its text.

    >>> plain({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value)


def shown(value: Any) -> str:
    """Return a value as a message shows it: short, on one line."""
    return " ".join(reprlib.repr(value).split())


def join(field: str, key: object) -> str:
    """Return the name of a place inside another."""
    return f"{field}.{key}" if field else str(key)


def _is(kind: Any, value: Any) -> bool:
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind if kind in (bool, int, str, list, dict, tuple) else isinstance(value, kind)


def _named(kind: Any) -> str:
    names = [_named(arg) for arg in get_args(kind)] if get_origin(kind) in (Union, types.UnionType) else []
    plain_names = {dict: "an object", list: "a list", str: "text", float: "a number", int: "a whole number"}
    plain_names |= {bool: "true or false", type(None): "null", Tensor: "a tensor"}
    origin = get_origin(kind) or kind
    return " or ".join(names) or plain_names.get(origin, getattr(origin, "__name__", str(origin)))
