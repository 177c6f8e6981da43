"""Arms and runs as values: for the CSV and JSON files beside the page, `tietrain report --json`, and notebooks."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tietrain.report.arms import Arm, compare, count_statuses, make_arms, run_score
from tietrain.report.reads import FOLDER, earlier_reads, judge_after
from tietrain.report.ties import describe_ties
from tietrain.report.verdicts import Verdicts
from tietrain.runs.view import TOTALS, Run, collect

if TYPE_CHECKING:
    import pandas

RUN_COLUMNS = (
    *("path", "status", "reason", "task", "label", "study", "id", "seed", "arm", "plan_hash", "parent"),
    *("params", "params_untied", "params_saved", "steps", "tokens", "flops", "seconds", "checkpoint_step", "chosen_by"),
    *("started_at", "ended_at"),
)
ARM_COLUMNS = (
    *("arm", "name", "label", "task", "corpus", "target_vocabulary", "plan_hash"),
    *("params", "params_untied", "params_saved"),
)
DECLARED = ("metric", "split", "baseline", "margin")
TESTED = ("low", "high", "p_equivalent", "p_not_worse", "equal_noise")


def run_row(run: Run) -> dict[str, Any]:
    """One run for `runs.csv`: counts and scores, one column each."""
    row = {name: getattr(run, name) for name in RUN_COLUMNS}
    return row | {f"{split}.{name}": value for split, scores in run.scores.items() for name, value in scores.items()}


def run_json(run: Run) -> dict[str, Any]:
    """One run for `runs.json`: all except its plan and its curve, which is in a file beside the figures."""
    return {key: value for key, value in vars(run).items() if key not in ("curve", "owner", "shapes")}


def json_lines(rows: Sequence[Any]) -> str:
    """A list in JSON, one line per row: thousands of runs take a fifth of the time and memory of indented ones."""
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


def arm_json(arm: Arm, verdicts: Verdicts | None) -> dict[str, Any]:
    """One arm for `arms.json`, with scores as split -> score -> mean, sd, n; verdicts: None if it is in no comparison."""
    first = arm.first
    counts = ("params", "params_untied", "params_saved", "by_part", "saved_by_part")
    names: dict[str, dict[str, None]] = {}
    for run in arm.done:
        for split in run.scores:
            names.setdefault(split, {}).update(dict.fromkeys([*run.scores[split], "excess_bits_per_byte"]))
    scores: dict[str, dict[str, Any]] = {}
    for split, of_split in names.items():
        for name in of_split:
            if stat := arm.score(split, name):
                scores.setdefault(split, {})[name] = asdict(stat)
    return {
        "arm": arm.id,
        **{name: getattr(arm, name) for name in ("name", "label", "task", "corpus", "target_vocabulary")},
        "plan_hash": first.plan_hash,
        "ties": [line.replace("`", "") for line in describe_ties(first.owner, first.views)],
        "statuses": count_statuses(arm.runs),
        "seeds": [run.seed for run in arm.done],
        **{name: getattr(first, name) for name in counts},
        **{name: asdict(stat) if (stat := arm.total(name)) else None for name in TOTALS},
        "scores": scores,
        "verdict": verdict_json(arm, verdicts) if verdicts else None,
        "reasons": first.reasons,
        "settings": {k: v for k, v in first.settings.items() if k != "seed"},
        "runs": [{"path": run.path, "seed": run.seed, "status": run.status, "reason": run.reason} for run in arm.runs],
    }


def verdict_json(arm: Arm, verdicts: Verdicts) -> dict[str, Any]:
    """An arm's verdict and every number behind it, in the unit of the score."""
    declared = verdicts.declared
    arm_verdict = verdicts.of(arm)
    test = arm_verdict.test
    median = arm_verdict.median
    low, high = arm_verdict.two_level or (None, None)
    return {
        "metric": declared.score.name,
        "split": declared.split,
        "margin": declared.margin,
        "declared": not declared.doubt,
        "tuned": verdicts.tuned,
        "baseline": arm_verdict.base.arm.name if arm_verdict.base else None,
        "n_seeds": len(arm_verdict.values),
        "n_diverged": arm_verdict.n_diverged,
        "n_ended": arm_verdict.n_ended,
        "median": median if median is not None and math.isfinite(median) else None,
        "bad_seeds": list(arm_verdict.bad),
        "difference": arm_verdict.difference,
        **{name: test and getattr(test, name) for name in TESTED},
        "p_holm": test and test.p,
        "verdict": arm_verdict.verdict,
        "level": verdicts.level,
        "looks": list(declared.looks),
        **{name: getattr(arm_verdict, name) for name in ("seeds_needed", "smallest_effect")},
        "two_level_low": low,
        "two_level_high": high,
    }


def arm_row(body: dict[str, Any]) -> dict[str, Any]:
    """`arm_json` as one flat row for `arms.csv`."""
    row = {k: body[k] for k in ARM_COLUMNS}
    row |= {"n_seeds": len(body["seeds"]), "seeds": " ".join(map(str, body["seeds"]))}
    row["statuses"] = " ".join(f"{status}:{n}" for status, n in body["statuses"].items())
    nested = {name: body[name] for name in TOTALS}
    nested |= {f"{split}.{name}": stat for split, found in body["scores"].items() for name, stat in found.items()}
    for name, stat in nested.items():
        row |= {f"{name}.{part}": (stat or {}).get(part) for part in ("mean", "sd", "n")}
    return row | {f"verdict.{name}": value for name, value in (body["verdict"] or {}).items()}


def load_frame(directory: Path) -> pandas.DataFrame:
    """One row per run, finished or not; pandas is imported here.

    The columns are those of `runs.csv` (but `arm` is the arm's name, and `arm_id` its hash), then `vocabulary`,
    `flops_per_token` (training), `declared.*` (declared before training), `primary` (the score that decides), the arm's
    `verdict`, and as `settings.*` every setting in which some of the runs differ.

    Raises:
        DataError: the folder does not exist, or holds no run.
    """
    import pandas

    arms = make_arms(collect(directory))
    verdicts: dict[str, Verdicts] = {}
    reads = earlier_reads(directory / FOLDER)
    for comparison in compare(arms):
        verdicts |= dict.fromkeys((arm.id for arm in comparison.arms), judge_after(reads, comparison))
    found = [(run, arm) for arm in arms for run in arm.runs]
    settings = [run.settings for run, _ in found if run.settings]
    keys = dict.fromkeys(key for own in settings for key in own if key != "seed")
    differing = [key for key in keys if len({repr(own.get(key)) for own in settings}) > 1]
    rows = [_frame_row(run, arm, verdicts.get(arm.id), differing) for run, arm in found]
    return pandas.DataFrame(rows).sort_values(["task", "arm", "seed", "path"], ignore_index=True)


def _frame_row(run: Run, arm: Arm, verdicts: Verdicts | None, differing: list[str]) -> dict[str, Any]:
    row = run_row(run) | {"arm": arm.name, "arm_id": run.arm, "vocabulary": arm.target_vocabulary}
    row["flops_per_token"] = run.flops / run.tokens if run.flops and run.tokens else None
    row |= {f"declared.{name}": run.declared.get(name) for name in DECLARED}
    declared = verdicts.declared if verdicts else None
    row["primary"] = run_score(run, declared.split, declared.score.name) if declared else None
    row["verdict"] = verdicts.of(arm).verdict if verdicts else None
    return row | {f"settings.{key}": run.settings.get(key) for key in differing}
