"""tietrain: which parts of a Transformer should share parameters, and what does it cost or buy?

The functions of `__all__` are the contract of the package (docs/python.md); everything else may change.
"""

import importlib
from typing import Any

__version__ = "0.10.0"

# Functions of the package -> the module they are in, which is loaded when one is first asked for.
PROVIDED = {
    "audit": "tietrain.model.sharing",
    "build": "tietrain.train.api",
    "compare": "tietrain.train.api",
    "load": "tietrain.report",
    "make_plan": "tietrain.train.api",
    "open_run": "tietrain.train.api",
    "run": "tietrain.train.api",
    "tie": "tietrain.model.tie",
}
__all__ = ["__version__", *PROVIDED]


def __getattr__(name: str) -> Any:
    if name in PROVIDED:
        return getattr(importlib.import_module(PROVIDED[name]), name)
    raise AttributeError(f"module 'tietrain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *PROVIDED]
