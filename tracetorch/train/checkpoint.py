"""Write and read nested states as safetensors files: tensors by name, the rest as JSON in the file's header."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tracetorch.data.files import write_file
from tracetorch.ops.require import require
from tracetorch.train.schema import RunFileError, join, read_json

_KEY = "tracetorch"
_ZEROS = b"0" * 64
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')  # inside a text of the header its quotes would be escaped


def pack(tree: Any, prefix: str = "") -> tuple[Any, dict[str, Tensor]]:
    """Split dicts, lists, tuples, tensors and plain values into a structure for JSON, and the tensors by name.

    >>> packed, tensors = pack({"step": 3, 0: (torch.ones(2),)})
    >>> sorted(tensors), unpack(packed, tensors)[0][0].tolist()
    (['0.0'], [1.0, 1.0])
    """
    tensors: dict[str, Tensor] = {}
    return _pack(tree, prefix, tensors), tensors


def _pack(tree: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        tensors[name] = tree.detach()
        return {"tensor": name}
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    if isinstance(tree, Mapping) and all(type(key) in (int, str) for key in tree):
        return {"map": [[key, _pack(tree[key], join(name, key), tensors)] for key in tree]}
    if type(tree) in (list, tuple):
        return {type(tree).__name__: [_pack(item, join(name, i), tensors) for i, item in enumerate(tree)]}
    raise TypeError(
        f"cannot save {name!r}: it is a {type(tree).__name__}; a checkpoint holds tensors, dicts, lists, tuples, "
        "numbers, text and None"
    )


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Put together what `pack` split; raise ValueError or KeyError where it is another structure."""
    if not isinstance(packed, (dict, list)):
        return packed
    if len(packed) != 1 or isinstance(packed, list):
        raise ValueError(f"expected one kind of structure, got {len(packed)} things")
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "map":
        return {key: unpack(value, tensors) for key, value in content}
    if kind in ("list", "tuple"):
        items = [unpack(item, tensors) for item in content]
        return tuple(items) if kind == "tuple" else items
    raise ValueError(f"{kind!r} is no kind of structure")


def remove_parts(folder: Path) -> None:
    """Remove what a killed `write_file` left in a folder that no other process writes to."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def save_tree(path: Path, tree: Any) -> None:
    """Write a nested structure, as `pack` takes it, to one safetensors file, whole or not at all."""
    packed, tensors = pack(tree)
    write_file(path, encode(tensors, json.dumps(packed)))


def load_tree(path: Path) -> Any:
    """Read what `save_tree` wrote, tensors on the CPU; raise RunFileError where it is damaged. Nothing is executed."""
    _, load, error_type = _safetensors()
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    if not 2 <= size <= len(raw) - 8:
        raise RunFileError(path, "header", f"no readable safetensors file: a header of {size} in {len(raw)} bytes")
    found = _DIGEST.search(raw, 8, 8 + size)
    if found is None:
        raise RunFileError(path, "sha256", "missing: it was not written by this version of this library's trainer")
    if _digest(raw, found.start(1)) != found[1]:
        raise RunFileError(path, "sha256", "the content is not what was written: the file is damaged")
    header = read_json(path, raw[8 : 8 + size], "header")
    try:
        return unpack(read_json(path, header["__metadata__"][_KEY], "header"), load(raw))
    except RunFileError:
        raise
    except RecursionError:
        raise RunFileError(path, "header", "nested too deeply") from None
    except (error_type, ValueError, TypeError, KeyError) as error:
        raise RunFileError(path, "header", f"no readable safetensors file: {error!r}") from error


def encode(tensors: Mapping[str, Tensor], header: str | None = None) -> bytes:
    """Return the bytes of a safetensors file; each tensor is copied, so shared storage and strides do not matter.

    With a header's text, a checksum of the whole file stands beside it.
    """
    save, _, _ = _safetensors()
    copies = {
        name: torch.empty_like(t, device="cpu", memory_format=torch.contiguous_format).copy_(t.detach())
        for name, t in tensors.items()
    }
    if header is None:
        content: bytes = save(copies)
        return content
    content = save(copies, {_KEY: header, "sha256": _ZEROS.decode()})
    found = _DIGEST.search(content)
    start = found.start(1) if found is not None else 0
    return content[:start] + _digest(content, start) + content[start + len(_ZEROS) :]


def _digest(content: bytes, start: int) -> bytes:
    """Return the SHA-256 of a file, in hexadecimal digits, with zeros in the place where it stands itself."""
    digest = hashlib.sha256(content[:start])
    digest.update(_ZEROS)
    digest.update(memoryview(content)[start + len(_ZEROS) :])
    return digest.hexdigest().encode()


def _safetensors() -> tuple[Any, Any, Any]:
    """Import safetensors, an optional dependency."""
    functions = require("safetensors.torch")
    return functions.save, functions.load, require("safetensors").SafetensorError
