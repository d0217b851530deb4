"""Write and read nested states as safetensors files: tensors by name, the rest as JSON in the file's header."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_KEY = "tracetorch"


def pack(tree: Any, prefix: str = "") -> tuple[Any, dict[str, Tensor]]:
    """Split a nested structure into JSON and tensors.

    Args:
        tree: Dicts (keys: text or whole numbers), lists, tuples, tensors, text, numbers, booleans, None.
        prefix: Begin of the tensors' names.

    Returns:
        A structure that JSON can hold, with the names of the tensors in it, and the tensors by name.

    Raises:
        TypeError: Something else is in the structure.

    Example:
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
        return {"map": [[key, _pack(tree[key], _join(name, key), tensors)] for key in tree]}
    if type(tree) in (list, tuple):
        return {type(tree).__name__: [_pack(item, _join(name, i), tensors) for i, item in enumerate(tree)]}
    raise TypeError(
        f"cannot save {name!r}: it is a {type(tree).__name__}; a checkpoint holds tensors, dicts, lists, tuples, "
        "numbers, text and None"
    )


def _join(name: str, key: int | str) -> str:
    return f"{name}.{key}" if name else str(key)


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Put together what `pack` split.

    Args:
        packed: The JSON structure.
        tensors: The tensors by name.

    Returns:
        The nested structure.
    """
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "map":
        return {key: unpack(value, tensors) for key, value in content}
    items = [unpack(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: under another name, to the disk, then renamed.

    Args:
        path: The file; an older one is replaced.
        content: Its bytes.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_tree(path: Path, tree: Any) -> None:
    """Write a nested structure to one safetensors file, whole or not at all.

    Args:
        path: The file.
        tree: What `pack` takes.

    Raises:
        ImportError: safetensors is not installed.
    """
    packed, tensors = pack(tree)
    write_file(path, encode(tensors, json.dumps(packed)))


def load_tree(path: Path) -> Any:
    """Read what `save_tree` wrote.

    Args:
        path: The file.

    Returns:
        The nested structure, tensors on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or of another kind.
        ImportError: safetensors is not installed.
    """
    _, safe_open, error_type = _safetensors()
    try:
        with safe_open(str(path), framework="pt") as file:
            header = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except error_type as error:
        raise ValueError(f"{str(path)!r} is no readable safetensors file: {error}") from error
    if header is None:
        raise ValueError(f"{str(path)!r} holds tensors but no structure: it was not written by this library's trainer")
    return unpack(json.loads(header), tensors)


def encode(tensors: Mapping[str, Tensor], header: str | None = None) -> bytes:
    """Return the bytes of a safetensors file.

    Args:
        tensors: Tensors by name; each is copied, so shared storage and strides do not matter.
        header: Text to keep in the file's header.

    Returns:
        The bytes.

    Raises:
        ImportError: safetensors is not installed.
    """
    save, _, _ = _safetensors()
    plain = {
        name: torch.empty_like(t, device="cpu", memory_format=torch.contiguous_format).copy_(t.detach())
        for name, t in tensors.items()
    }
    content: bytes = save(plain, {_KEY: header} if header is not None else None)
    return content


def _safetensors() -> tuple[Any, Any, Any]:
    """Import safetensors, an optional dependency."""
    try:
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import save
    except ImportError as error:
        raise ImportError(
            "checkpoints need safetensors, which is not installed: pip install 'tracetorch[train]'"
        ) from error
    return save, safe_open, SafetensorError
