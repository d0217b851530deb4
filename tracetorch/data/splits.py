"""Splits that depend on names alone, with a hash that says which split it was."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Split:
    """Parts of a set of recordings.

    Attributes:
        parts: the places of the recordings of each part, by its name, in increasing order.
        digest: SHA-256 of the names in each part: two splits with one digest are the same split of the same names.

    Example:
        >>> import tracetorch as tt
        >>> split = tt.data.split_by_hash(range(100), {"train": 0.8, "test": 0.2})
        >>> len(split["train"]) + len(split["test"]), len(split.digest)
        (100, 64)
    """

    parts: Mapping[str, tuple[int, ...]]
    digest: str

    def __getitem__(self, name: str) -> tuple[int, ...]:
        """Return the places of one part."""
        return self.parts[name]


def split_by_hash(
    names: Sequence[Hashable],
    fractions: Mapping[str, float],
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Split:
    """Split recordings by a hash of their names, or of the groups (persons, days) that must stay together.

    A group goes where its own hash says, whatever else is in the set: recordings that are added later move no other,
    and the sizes of the parts meet the fractions in the mean only.

    Args:
        names: a name for each recording, all different.
        fractions: the share of each part, by its name; they add up to 1.
        groups: the group of each recording; each recording is its own by default.
        seed: of the hash.

    Returns:
        The split.

    Raises:
        ValueError: if names are not different, the fractions do not add up, a part is empty, or groups are not as many.

    Example:
        >>> import tracetorch as tt
        >>> people = [i % 5 for i in range(20)]
        >>> split = tt.data.split_by_hash(range(20), {"train": 0.6, "test": 0.4}, groups=people)
        >>> {people[i] for i in split["train"]} & {people[i] for i in split["test"]}
        set()
    """
    keys = [str(name) for name in names]
    if len(set(keys)) != len(keys):
        twice = next(k for i, k in enumerate(keys) if k in keys[:i])
        raise ValueError(f"names must be different, {twice!r} is there twice")
    if any(f <= 0 for f in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-9:
        raise ValueError(f"fractions must be positive and add up to 1, got {dict(fractions)}")
    owners = keys if groups is None else [str(group) for group in groups]
    if len(owners) != len(keys):
        raise ValueError(f"groups must be as many as names, got {len(owners)} and {len(keys)}")
    parts: dict[str, list[int]] = {name: [] for name in fractions}
    for place, owner in enumerate(owners):
        parts[_part(owner, fractions, seed)].append(place)
    empty = [name for name, places in parts.items() if not places]
    if empty:
        raise ValueError(
            f"the part {empty[0]!r} is empty: {len(set(owners))} groups are few for {dict(fractions)}; try another seed"
        )
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(repr((name, sorted(keys[i] for i in parts[name]))).encode())
    return Split({name: tuple(places) for name, places in parts.items()}, digest.hexdigest())


def _part(owner: str, fractions: Mapping[str, float], seed: int) -> str:
    number = int.from_bytes(hashlib.sha256(f"{seed}/{owner}".encode()).digest()[:8], "big") / 2**64
    total = 0.0
    for name, fraction in fractions.items():
        total += fraction
        if number < total:
            return name
    return name
