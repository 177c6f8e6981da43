"""Runs as a pandas frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas

from tietrain.report.arms import Arm, compare, make_arms, run_score
from tietrain.report.pages.exports import run_row
from tietrain.report.verdicts import Verdicts, judge
from tietrain.runs.view import Run, collect

DECLARED = ("metric", "split", "baseline", "margin")


def load_frame(directory: Path) -> pandas.DataFrame:
    """A row for every run, finished or not.

    Columns are those of `runs.csv` (`arm` is there the arm's name, `arm_id` its hash), then `vocabulary`, `flops_per_token`
    (training), what was stated before training as `declared.*`, `primary` (the score that decides), the arm's `verdict`,
    and as `settings.*` every setting in which some of the runs differ.

    Raises:
        DataError: there is no such folder, or no run in it.
    """
    arms = make_arms(collect(directory))
    judged = {arm.id: judge(c, tuned=c.tuned) for c in compare(arms) for arm in c.arms}
    differing = _differing([run for arm in arms for run in arm.runs])
    rows = [_row(run, arm, judged.get(arm.id), differing) for arm in arms for run in arm.runs]
    return pandas.DataFrame(rows).sort_values(["task", "arm", "seed", "path"], ignore_index=True)


def _row(run: Run, arm: Arm, judgement: Verdicts | None, differing: list[str]) -> dict[str, Any]:
    row = run_row(run) | {"arm": arm.name, "arm_id": run.arm, "vocabulary": arm.target_vocabulary}
    row["flops_per_token"] = run.flops / run.tokens if run.flops and run.tokens else None
    row |= {f"declared.{name}": run.declared.get(name) for name in DECLARED}
    declared = judgement.declared if judgement else None
    row["primary"] = run_score(run, declared.split, declared.score.name) if declared else None
    row["verdict"] = judgement.of(arm).verdict if judgement else None
    return row | {f"settings.{key}": run.settings.get(key) for key in differing}


def _differing(runs: list[Run]) -> list[str]:
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    return [
        key for key in keys if key != "seed" and len({repr(run.settings.get(key)) for run in runs if run.settings}) > 1
    ]
