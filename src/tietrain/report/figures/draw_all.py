"""The figures of a comparison, each with the rows it was drawn from."""

from __future__ import annotations

import matplotlib

from tietrain.report.arms import Comparison
from tietrain.report.figures.canvas import STYLE, Drawing, Looks
from tietrain.report.figures.effects import draw_effects
from tietrain.report.figures.flops import draw_by_length, draw_flops
from tietrain.report.figures.losses import UNITS, draw_loss
from tietrain.report.figures.model import draw_owner_map
from tietrain.report.figures.parameters import draw_parts
from tietrain.report.figures.scores import draw_quality
from tietrain.report.figures.tuning import draw_tuning
from tietrain.report.verdicts import Verdicts


def draw_all(comparison: Comparison, judgement: Verdicts, looks: Looks) -> list[Drawing]:
    """One that would be empty is left out."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        drawings = [
            draw_effects(judgement, looks),
            draw_quality(comparison, looks),
            draw_parts(comparison, looks),
            draw_owner_map(comparison, looks),
            *(draw_loss(comparison, looks, unit) for unit in UNITS),
            draw_flops(comparison, looks),
            draw_by_length(comparison),
            *draw_tuning(comparison, looks),
        ]
    return [drawing for drawing in drawings if drawing]
