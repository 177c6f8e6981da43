"""How a setting is refused: what was asked, what is so, what to do."""

from __future__ import annotations

import math
from typing import Any

from tietrain.errors import SettingsError
from tietrain.errors import check_choice as check_choice


def check(holds: bool, requested: str, problem: str, remedy: str) -> None:
    """Raise SettingsError where something does not hold."""
    if not holds:
        raise SettingsError(requested, problem, remedy)


def check_range(key: str, value: Any, low: float, high: float = math.inf, *, optional: bool = False) -> None:
    """Raise SettingsError for a number out of range or not finite; `optional` says whether None will do."""
    if value is None and optional:
        return
    bound = f"at least {low}" if high == math.inf else f"from {low} to {high}"
    check(
        math.isfinite(value) and low <= value <= high,
        f"{key}={value}",
        "the value is out of range",
        f"give a number {bound}",
    )
