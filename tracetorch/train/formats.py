"""What the files of a run folder hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

from tracetorch.train.schema import Count, Positive, Range, Seconds

FORMAT = 3
THREADS = 1024


class Config(TypedDict):
    """What ``config.json`` holds: everything needed to repeat a run."""

    format: Literal[3]
    task: str
    options: dict[str, Any]
    rule: str
    rule_in_full: str
    seed: int
    log_every: Positive
    device: str
    devices: Positive
    precision: str
    threads: Annotated[int, Range(1, THREADS)]
    started: str
    versions: dict[str, str]


class Checkpoint(TypedDict):
    """What ``state.safetensors`` holds: the run's state, and which configuration and log it belongs to."""

    run: dict[str, Any]
    config: dict[str, Any]
    log_bytes: Count
    log_sha256: str


class Record(TypedDict):
    """What every line of ``metrics.jsonl`` holds; the others are numbers by name."""

    kind: Literal["train", "eval", "test"]
    iteration: Count
    time_step: Count
    seconds: Seconds
