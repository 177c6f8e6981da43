"""tietrain: which parts of a Transformer should share parameters, and what does it cost or buy?"""

import importlib
from typing import Any

__version__ = "0.6.0"

# Functions of the package -> the module they are in, which is loaded when one is first asked for: some load torch.
PROVIDED = {"tie": "tietrain.model.tie", "audit": "tietrain.model.sharing"}


def __getattr__(name: str) -> Any:
    if name in PROVIDED:
        return getattr(importlib.import_module(PROVIDED[name]), name)
    raise AttributeError(f"module 'tietrain' has no attribute {name!r}")
