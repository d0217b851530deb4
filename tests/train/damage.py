"""Ways to damage files, by seed: bytes of any file, values of a JSON tree, members of an npz archive."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np

WRONG = (None, True, -5, 3.5, math.nan, math.inf, 10**30, "", "cpu:7", [], [[[]]], {}, {"map": []}, "x" * 5000)


def cut(data: bytes, r: Random) -> bytes:
    return data[: r.randrange(len(data))]


def flip(data: bytes, r: Random) -> bytes:
    i = r.randrange(len(data))
    return data[:i] + bytes([data[i] ^ 1 << r.randrange(8)]) + data[i + 1 :]


def flip_early(data: bytes, r: Random) -> bytes:
    i = r.randrange(min(200, len(data)))
    return data[:i] + bytes([data[i] ^ 1 << r.randrange(8)]) + data[i + 1 :]


def zeros(data: bytes, r: Random) -> bytes:
    i = r.randrange(len(data))
    return data[:i] + bytes(len(data[i : i + 64])) + data[i + 64 :]


def noise(data: bytes, r: Random) -> bytes:
    return r.randbytes(len(data))


def drop(data: bytes, r: Random) -> bytes:
    i = r.randrange(len(data))
    return data[:i] + data[i + r.randrange(1, 50) :]


def double(data: bytes, r: Random) -> bytes:
    i = r.randrange(len(data))
    return data[:i] + data[i : i + 50] + data[i:]


def huge_header(data: bytes, r: Random) -> bytes:
    return r.choice([2**63 - 1, 10**9, 0, 2**64 - 1]).to_bytes(8, "little") + data[8:]


def nested(data: bytes, r: Random) -> bytes:
    return b'{"format": 3, "options": ' + b"[" * 200_000


def text(data: bytes, r: Random) -> bytes:
    return r.choice([b"", b"null", b"[]", b"{}", b"3", b'"x"', b"\xff\xfe\x00", b"{\n", b"1" * 6000])


BYTES = (cut, flip, flip_early, zeros, noise, drop, double, huge_header, nested, text)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in nested dicts, lists and tuples."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def value_at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def changed(tree: Any, path: tuple[Any, ...], value: Any, *, delete: bool = False, add: bool = False) -> Any:
    """A copy of the tree in which one place has another value, or is deleted, or has a key beside it."""
    if len(path) == 0:
        return value
    key, rest = path[0], path[1:]
    if isinstance(tree, dict):
        if not rest and (delete or add):
            extra = {"stranger" if isinstance(key, str) else 99: value} if add else {}
            return {**{k: v for k, v in tree.items() if add or k != key}, **extra}
        return {k: changed(v, rest, value, delete=delete, add=add) if k == key else v for k, v in tree.items()}
    items = list(tree)
    items[key : key + 1] = [] if delete and not rest else [changed(items[key], rest, value, delete=delete, add=add)]
    return type(tree)(items)


def wrong_kind(value: Any, r: Random) -> Any:
    """A value of another kind than `value`."""

    def kind(x: Any) -> type:
        return float if type(x) is int and isinstance(value, float) else type(x)

    return r.choice([other for other in WRONG if kind(other) is not type(value)])


def mangled(tree: Any, r: Random, path: tuple[Any, ...] | None = None) -> tuple[Any, tuple[Any, ...], str]:
    """The tree with a key missing, a key too many, or a value of a wrong kind; where; and what was done."""
    path = r.choice(list(places(tree))) if path is None else path
    what = r.choice(["missing", "unknown", "kind"])
    wrong = wrong_kind(value_at(tree, path), r)
    return changed(tree, path, wrong, delete=what == "missing", add=what == "unknown"), path, what


def as_json(tree: Any) -> bytes:
    return json.dumps(tree, indent=2).encode()


def archive(data: bytes, r: Random) -> bytes:
    """An npz archive in which one member is no array, another kind of one, or one with a header that lies."""
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    victim, out = r.choice(names), io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(out, "w", r.choice([0, zipfile.ZIP_DEFLATED])) as new,
    ):
        for name in names:
            member = old.read(name)
            if name == victim:
                member = r.choice([plain, pickled, lying, long_header, deep_header, other_kind, huge_values])(member, r)
            if member:
                new.writestr(name, member)
    return out.getvalue()


def plain(member: bytes, r: Random) -> bytes:
    return r.choice([b"", b"hello", r.randbytes(300)])


def pickled(member: bytes, r: Random) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([print], dtype=object), allow_pickle=True)
    return out.getvalue()


def lying(member: bytes, r: Random) -> bytes:
    shape = r.choice(["(1000000000000000,)", "(-1,)", "('a',)", "(10000000000000000000000000,)", "None"])
    return _npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()) + member[-64:]


def long_header(member: bytes, r: Random) -> bytes:
    return _npy(b" " * 60_000)


def deep_header(member: bytes, r: Random) -> bytes:
    return _npy(b"(" * 9_000 + b")" * 900)


def other_kind(member: bytes, r: Random) -> bytes:
    out = io.BytesIO()
    np.save(out, r.choice([np.float64(math.nan), np.zeros((2, 3, 4, 5)), np.array(["a"]), np.array([1j]), np.zeros(0)]))
    return out.getvalue()


def huge_values(member: bytes, r: Random) -> bytes:
    array = np.load(io.BytesIO(member))
    out = io.BytesIO()
    np.save(out, np.full(array.shape, -(2**31), dtype=np.int64))
    return out.getvalue()


def _npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
