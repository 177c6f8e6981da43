"""The figures of a comparison, each with the rows it was drawn from."""

import matplotlib

from tietrain.report.arms import Comparison
from tietrain.report.figures.canvas import RC_PARAMS, ArmStyles, Drawing
from tietrain.report.figures.flops import draw_flops_by_length, draw_training_flops
from tietrain.report.figures.losses import UNITS, draw_loss
from tietrain.report.figures.model import draw_owner_map, draw_parameters
from tietrain.report.figures.scores import draw_differences, draw_quality
from tietrain.report.figures.tuning import draw_tuning
from tietrain.report.verdicts import Verdicts


def draw_all(comparison: Comparison, verdicts: Verdicts, styles: ArmStyles) -> list[Drawing]:
    """Every figure that has something to show."""
    with matplotlib.rc_context(RC_PARAMS):
        drawings = [
            draw_differences(verdicts, styles),
            draw_quality(comparison, styles),
            draw_parameters(comparison, styles),
            draw_owner_map(comparison, styles),
            *(draw_loss(comparison, styles, unit) for unit in UNITS),
            draw_training_flops(comparison, styles),
            draw_flops_by_length(comparison),
            *draw_tuning(comparison, styles),
        ]
    return [drawing for drawing in drawings if drawing]
