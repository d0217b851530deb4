"""Give every example the same seed, so that its page does not depend on those built before it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed(gallery_conf: dict[str, Any], filename: str | None) -> None:
    """Seed the generators that an example could draw from without saying so."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global generator is what is meant
    torch.manual_seed(0)
