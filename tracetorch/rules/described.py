"""A rule as the call that makes it."""

from __future__ import annotations

import inspect
from typing import Any

from tracetorch.rules.presets import PRESETS
from tracetorch.rules.rule import Rule
from tracetorch.traces import Full


def no_rule(found: Any) -> str:
    """Return the message for what stands where a rule should."""
    name = found if isinstance(found, str) else getattr(found, "__name__", "")
    hint = f": write tt.rules.{name}()" if name in PRESETS else ""
    return f"rule must be a tt.Rule such as tt.rules.drtrl(), got {found!r}{hint}"


def described(rule: Rule) -> str:
    """Return a rule as the call of a preset that makes it, with the arguments that are not the default.

    Args:
        rule: the rule.

    Returns:
        The call; the rule's name and parts where no preset makes it.

    Example:
        >>> import tracetorch as tt
        >>> from tracetorch.rules.described import described
        >>> described(tt.rules.cascade(pairs=10))
        'cascade(pairs=10)'
    """
    preset = PRESETS.get(rule.name)
    if preset is not None:
        default, parts = preset(), (rule, rule.weight, rule.above)
        found: dict[str, Any] = {}
        for name in inspect.signature(preset).parameters:
            own = [getattr(part, name) for part in parts if hasattr(part, name)]
            usual = [getattr(part, name) for part in (default, default.weight, default.above) if hasattr(part, name)]
            if own and own != usual:
                found[name] = own[0]
        if "pairs" in inspect.signature(preset).parameters and isinstance(rule.weight, Full):
            found["pairs"] = None
        if preset(**found) == rule:
            return f"{rule.name}({', '.join(f'{name}={value!r}' for name, value in found.items())})"
    return f"{rule.name}(weight={rule.weight!r}, input={rule.input!r}, window={rule.window!r})"
