"""Arms and runs as values for the CSV and JSON files beside the page, and for `tietrain report --json`."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from tietrain.report.arms import Arm
from tietrain.report.statistics import smallest_sign_flip_p
from tietrain.report.ties import describe_ties
from tietrain.report.verdicts import Verdicts
from tietrain.runs.view import TOTALS, Run

RUN_COLUMNS = (
    *("path", "status", "reason", "task", "label", "study", "id", "seed", "arm", "plan_hash", "parent"),
    *("params", "params_untied", "params_saved", "steps", "tokens", "flops", "seconds", "checkpoint_step", "chosen_by"),
    *("started_at", "ended_at"),
)
ARM_COLUMNS = (
    *("arm", "name", "label", "task", "corpus", "target_vocabulary", "plan_hash"),
    *("params", "params_untied", "params_saved"),
)


def run_row(run: Run) -> dict[str, Any]:
    """One run for `runs.csv`: counts and scores, a column each."""
    row = {name: getattr(run, name) for name in RUN_COLUMNS}
    return row | {f"{split}.{name}": value for split, scores in run.scores.items() for name, value in scores.items()}


def run_json(run: Run) -> dict[str, Any]:
    """One run for `runs.json`: all but its curve, which lies beside the figures, and its plan."""
    return {key: value for key, value in vars(run).items() if key not in ("curve", "owner", "shapes")}


def arm_json(arm: Arm, judgement: Verdicts | None) -> dict[str, Any]:
    """One arm for `arms.json`: scores as split -> score -> mean, sd, n; judgement: None for an arm that is in none."""
    first = arm.first
    names = [
        (split, name)
        for run in arm.done
        for split in run.scores
        for name in [*run.scores[split], "excess_bits_per_byte"]
    ]
    scores: dict[str, dict[str, Any]] = {}
    for split, name in dict.fromkeys(names):
        if stat := arm.score(split, name):
            scores.setdefault(split, {})[name] = asdict(stat)
    return {
        "arm": arm.id,
        "name": arm.name,
        "label": arm.label,
        "task": arm.task,
        "corpus": arm.corpus,
        "target_vocabulary": arm.target_vocabulary,
        "plan_hash": first.plan_hash,
        "ties": [line.replace("`", "") for line in describe_ties(first.owner)],
        "statuses": arm.statuses,
        "seeds": [run.seed for run in arm.done],
        "params": first.params,
        "params_untied": first.params_untied,
        "params_saved": first.params_saved,
        "by_part": first.by_part,
        "saved_by_part": first.saved_by_part,
        **{name: asdict(stat) if (stat := arm.total(name)) else None for name in TOTALS},
        "scores": scores,
        "verdict": judged_json(arm, judgement) if judgement else None,
        "reasons": first.reasons,
        "settings": {k: v for k, v in first.settings.items() if k != "seed"},
        "runs": [{"path": run.path, "seed": run.seed, "status": run.status, "reason": run.reason} for run in arm.runs],
    }


def judged_json(arm: Arm, judgement: Verdicts) -> dict[str, Any]:
    """An arm's verdict and every number behind it, in the unit of the score."""
    declared, one = judgement.declared, judgement.of(arm)
    test = one.paired
    return {
        "metric": declared.score.name,
        "split": declared.split,
        "margin": declared.margin,
        "declared": not declared.doubt,
        "tuned": judgement.tuned,
        "baseline": one.base.arm.name if one.base else None,
        "n_seeds": len(one.values),
        "n_diverged": one.n_diverged,
        "n_ended": one.n_ended,
        "median": one.median if one.median is not None and math.isfinite(one.median) else None,
        "n_pairs": len(one.differences),
        "difference": test.mean if test else next(iter(one.differences), None),
        "low": test and test.low,
        "high": test and test.high,
        "p_t": test and test.p,
        "p_sign_flip": test and test.p_sign_flip,
        "p_sign_flip_smallest": test and smallest_sign_flip_p(test.n),
        "p_holm": one.p_holm,
        "p_equivalent": one.p_equivalent,
        "verdict": one.verdict,
        "level": judgement.level,
        "seeds_needed": one.seeds_needed,
        "smallest_effect": one.smallest_effect,
        "two_level_low": one.two_level and one.two_level[0],
        "two_level_high": one.two_level and one.two_level[1],
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
