"""The comparison in TensorBoard: its tables as the text of one run, and one more run per arm for the mean of its seeds."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from tietrain.report.arms import Arm, Comparison, common_points
from tietrain.report.pages.markup import escape
from tietrain.report.pages.tables import cost_table, score_table, shown_scores
from tietrain.report.pages.verdict_text import heading, verdict_blocks
from tietrain.report.verdicts import Verdicts
from tietrain.runs import record as runs
from tietrain.runs.events import FLOPS_A_STEP, EventFile

# File systems limit names to 255 bytes.
MAX_FOLDER = 120


def write_tensorboard_report(folder: Path, comparisons: Sequence[Comparison], verdicts: Mapping[str, Verdicts]) -> None:
    """Write into an empty `folder` the tables, and below it `SLUG/ARM`, whose curves have the same tags as those of the runs.

    Raises:
        StorageError: a file cannot be written.
    """
    with runs.writing(folder):
        now = time.time()
        tables = EventFile(folder, now)
        for comparison in comparisons:
            own = verdicts[comparison.slug]
            tables.text(f"comparison/{comparison.slug}", _page(comparison, own))
            plain = [re.sub(r"[^A-Za-z0-9_+.=,-]+", "_", arm.name).strip("._")[:MAX_FOLDER] for arm in comparison.arms]
            for arm, name in zip(comparison.arms, plain, strict=True):
                name = f"{name}-{arm.id}" if plain.count(name) > 1 else name
                _write_arm(EventFile(folder / comparison.slug / name, now), arm, comparison, own)


def _page(comparison: Comparison, verdicts: Verdicts) -> str:
    blocks = [f"# {escape(comparison.title)}", escape(heading(comparison, verdicts))]
    blocks += [*verdict_blocks(verdicts), "## Costs", cost_table(comparison, verdicts)]
    for split in comparison.splits:
        blocks += [f"## Scores on {escape(split)}", score_table(comparison, split)]
    return "\n\n".join(blocks)


def _write_arm(file: EventFile, arm: Arm, comparison: Comparison, verdicts: Verdicts) -> None:
    """Mean loss by tokens and by MFLOPs, and the mean scores by stored parameters and by MFLOPs of training."""
    for points in common_points(arm.done):
        loss = fmean(point.nats_per_token for point in points)
        flops = fmean(point.flops for point in points)
        file.scalar("valid/nats_per_token", loss, round(fmean(point.tokens for point in points)))
        file.scalar("by_flops/valid/nats_per_token", loss, round(flops / FLOPS_A_STEP))
    split = verdicts.declared.split
    spent = arm.total("flops")
    for score in shown_scores(comparison):
        stat = arm.score(split, score.name)
        if stat and arm.first.params:
            file.scalar(f"by_params/{split}/{score.name}", stat.mean, arm.first.params)
        if stat and spent:
            file.scalar(f"by_flops/{split}/{score.name}", stat.mean, round(spent.mean / FLOPS_A_STEP))
