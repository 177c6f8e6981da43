"""Run directories with made-up numbers, written by the writers of `runs.py`; for tests of the report alone."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from tietrain.config import RunConfig, TaskConfig, TyingConfig
from tietrain.config.describe import ledger_json
from tietrain.config.identity import result_settings, run_name
from tietrain.config.layout import make_shape
from tietrain.plan.schemes import make_plan
from tietrain.runs import record as runs
from tietrain.runs.metrics import append_metrics

TIES: dict[str, dict[str, Any]] = {
    **{name: {name: {"rule": name}} for name in ("none", "shared_vocab", "embeddings", "pre_softmax", "three_way")},
    "cross_layer": {"cross_layer": {"rule": "cross_layer", "n_unique": 1}},
}
MACHINE = {"device": "cpu", "precision": "fp32", "compile": False, "threads": 2, "torch": "2.13.0"}
N_POINTS = 10


def make_config(task: str, label: str, seed: int) -> RunConfig:
    """The default configuration of a task under one scheme."""
    return RunConfig(task=TaskConfig(name=task), tying=TyingConfig(TIES[label]), seed=seed, study="demo")


def write_run(
    root: Path,
    config: RunConfig,
    *,
    status: str = "done",
    reason: str = "",
    loss: float = 3.0,
    folder: str | None = None,
    **changes: Any,
) -> Path:
    """One run directory; `loss` is the nats a token it ends with, `changes` replace fields of its record."""
    directory = root / (folder or run_name(config))
    directory.mkdir(parents=True)
    joint = "joint" if config.joint_vocabulary else "own"
    plan = make_plan(make_shape(config), config.tying.ties)
    vocabulary = {
        f"vocabulary.{stack.name}": digest(f"{joint} {'' if joint == 'joint' else stack.name}")
        for stack in plan.slots.shape.stacks
    }
    settings = result_settings(config)
    conditions = {k: v for k, v in settings.items() if k != "seed" and not k.startswith("tying.")}
    record = runs.RunRecord(
        id=directory.name,
        study=config.study,
        label=config.tying_label,
        task=config.task.name,
        status=status,
        seed=config.seed,
        arm=digest(f"{plan.hash}{sorted(conditions.items())}{vocabulary}")[:12],
        plan_hash=plan.hash,
        reason=reason,
        settings=settings,
        fingerprints={
            "corpus": digest("corpus"),
            **vocabulary,
            "batches": digest(f"batches {config.seed}"),
        },
        machine=dict(MACHINE),
        declared=config.declared,
        notes=["train and test share 0 lines"],
        started_at="2026-01-02T03:04:05+00:00",
        ended_at="2026-01-02T03:09:05+00:00",
        total_seconds=300.0,
    )
    record = replace(record, **changes)
    runs.write_record(directory, record)
    if status == "not_applicable":
        return directory
    runs.write_json(directory / runs.PLAN, plan.to_json())
    ledger = ledger_json(plan, config)
    runs.write_json(directory / runs.LEDGER, ledger)
    rows = metric_rows(sum(ledger["flops"]["coefficients"].values()), loss, status)
    append_metrics(directory, rows)
    if status == "done":
        runs.write_json(directory / runs.EVAL, eval_body(config, rows[-1], loss))
    return directory


def metric_rows(flops_per_token: int, loss: float, status: str) -> list[dict[str, Any]]:
    """A smooth loss curve; a diverged run turns upwards, an interrupted one stops halfway."""
    rows = []
    for i in range(1, (N_POINTS if status == "done" else N_POINTS // 2) + 1):
        step = 30 * i
        nats = (
            loss + 3.5 * math.exp(-3.2 * i / N_POINTS) + (9.0 if status == "diverged" and i == N_POINTS // 2 else 0.0)
        )
        rows.append(
            {
                "step": step,
                "tokens": step * 2048,
                "flops": 3 * step * 2048 * flops_per_token,
                "seconds": 0.1 * step,
                "split": "valid",
                "nats_per_token": nats,
            }
        )
    return rows


def eval_body(config: RunConfig, last: dict[str, Any], loss: float) -> dict[str, Any]:
    """Scores that agree with one another, from a loss in nats a token."""
    splits = {
        split: split_scores(config.task.name, loss + extra)
        for split, extra in (("valid", 0.0), ("test", 0.02), ("held", 0.3))
    }
    totals = {name: last[name] for name in ("tokens", "flops", "seconds")}
    signatures = (
        {} if config.task.name == "lm" else {"bleu": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.5.1"}
    )
    return {
        "checkpoint": {"step": last["step"], "chosen_by": "lowest nats_per_token on valid"},
        "steps": last["step"],
        **totals,
        "splits": splits,
        "signatures": signatures,
        "reasons": {"held.bits_per_byte": "3 tokens are <unk> and spell no bytes"},
        "windows": {"window": 128, "stride": 128} if config.task.name == "lm" else {},
    }


def split_scores(task: str, loss: float) -> dict[str, Any]:
    """Scores of one split with 10,000 tokens."""
    tokens, n_bytes = 10_000, 42_000
    scores: dict[str, Any] = {
        "nats": loss * tokens,
        "tokens": tokens,
        "words": 8_000,
        "bytes": n_bytes,
        "nats_per_token": loss,
        "ppl_token": math.exp(loss),
        "ppl_word": math.exp(loss * tokens / 8_000),
        "bits_per_byte": loss * tokens / (math.log(2) * n_bytes),
        "generator_nats": 2.0 * tokens,
        "excess_nats": loss - 2.0,
    }
    if task == "mt":
        scores |= {"bleu": 60 - 12 * loss, "chrf": 80 - 9 * loss, "legal": 0.9 - loss / 10, "oracle_bleu": 61.2}
    return scores


def write_study(root: Path, seeds: tuple[int, ...] = (1,)) -> Path:
    """The study of the demo: both tasks, their schemes, every seed."""
    for task, labels in (("lm", ("none", "pre_softmax", "cross_layer")), ("mt", tuple(TIES))):
        for i, label in enumerate(labels):
            for seed in seeds:
                write_run(root, make_config(task, label, seed), loss=2.9 - 0.07 * i + 0.015 * (seed % 4))
    return root


def digest(text: str) -> str:
    """A content hash like those of a record."""
    return hashlib.sha256(text.encode()).hexdigest()
