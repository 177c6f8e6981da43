"""Refusals under test: caught, and spelled as a golden file holds them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tietrain.errors import TietrainError


def refusal(call: Callable[..., Any], *args: Any) -> TietrainError:
    """What a call refuses with."""
    with pytest.raises(TietrainError) as caught:
        call(*args)
    return caught.value


def spelled(error: TietrainError, folder: Path) -> str:
    """Exit code and message, without what differs between machines: the folder, and what other libraries say."""
    message = str(error).replace(str(folder), "DIR")
    return f"exit {error.exit_code}: " + re.sub(
        r"(damaged|JSON object|find it|load it|reached) \(.*\)", r"\1 (...)", message
    )
