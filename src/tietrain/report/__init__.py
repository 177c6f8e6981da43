"""What runs say when they are put side by side. `load` is for notebooks; `tietrain report DIR` writes pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


def load(directory: str | Path) -> pandas.DataFrame:
    """One row per run at or below a folder; see `exports.load_frame`."""
    from tietrain.report.pages.exports import load_frame

    return load_frame(Path(directory))
