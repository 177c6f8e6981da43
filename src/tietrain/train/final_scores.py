"""The scores of a trained model on every split, as in `eval.json`."""

import json
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tietrain.config import RunConfig
from tietrain.plan.installed import is_foreign
from tietrain.runs import record as runs
from tietrain.runs.scores import METRICS, NATS
from tietrain.train.experiment import Experiment
from tietrain.train.stop import StopRequest
from tietrain.train.tasks.scoring import SplitScores

if TYPE_CHECKING:
    from tietrain.data.prepared import Prepared
    from tietrain.model.transformer import Transformer
    from tietrain.train.tasks.task import Task


def score_all(
    experiment: Experiment,
    task: "Task",
    model: "Transformer",
    prepared: "Prepared",
    log: Callable[[str], None],
    stop: StopRequest,
) -> dict[str, Any]:
    """Final scores of every split but train, in every direction, each scored once with the weights chosen on valid; and samples.

    A trial of a tuning list has scores of valid alone: nobody sees what its test scores would be before the choice.
    """
    directory = experiment.directory
    scores = no_scores(experiment.config)
    documents: list[dict[str, Any]] = []
    trial = experiment.config.is_trial
    for split in [name for name, (of, _) in prepared.scored.items() if of == "valid" or not trial]:
        with stop.interruptible(), task.team.order("score", model, split=split):
            result = task.score(model, split)
        add_scores(scores, split, result)
        documents += [{"split": split, **document} for document in result.documents]
        for name, lines in result.texts.items():
            runs.write_text(directory / f"{name}.{split}.txt", "".join(line + "\n" for line in lines))
        log(f"{split}: {brief(result.scores)}")
    for name, means in add_means(scores, experiment.config, prepared).items():
        log(f"{name}: {brief(means)}")
    runs.write_text(directory / runs.DOCUMENTS, "".join(json.dumps(document) + "\n" for document in documents))
    with task.team.order("samples", model):
        scores["samples"] = task.samples(model)
    return scores


def no_scores(config: RunConfig) -> dict[str, Any]:
    """The content of `eval.json` before a split is scored."""
    task = config.task
    windows = {"window": task.window, "stride": task.eval_stride or task.window} if task.name == "lm" else {}
    return {"splits": {}, "signatures": {}, "reasons": {}, "windows": windows, "samples": []}


def eval_json(
    progress: dict[str, Any], scored: dict[str, Any], model: "Transformer", scores: dict[str, Any]
) -> dict[str, Any]:
    """The content of `eval.json`. progress: budget unit -> amount used. scored: which weights these are."""
    from tietrain.train.probe import row_norms

    return {**progress, "checkpoint": scored, "row_norms": row_norms(model), **scores}


def add_scores(scores: dict[str, Any], split: str, result: SplitScores) -> None:
    """Add those of one split."""
    scores["splits"][split] = result.scores
    scores["signatures"] |= result.signatures
    scores["reasons"] |= {f"{split}.{name}": why for name, why in result.reasons.items()}


def add_means(scores: dict[str, Any], config: RunConfig, prepared: "Prepared") -> dict[str, dict[str, Any]]:
    """Add, if a split was scored in several directions, the mean over those that are trained, and over the others.

    Returns:
        `SPLIT.mean` and `SPLIT.zero_shot` -> mean of each of task.metrics and of the nats, and the directions meant.
    """
    means: dict[str, dict[str, Any]] = {}
    for split in prepared.corpus.splits if len(prepared.layout.directions) > 1 else ():
        for suffix, directions in (("mean", config.directions), ("zero_shot", config.zero_shot)):
            names = [(d.name, f"{split}.{d.name}") for d in directions]
            of = {name: scores["splits"][place] for name, place in names if place in scores["splits"]}
            if of:
                found = {key: [one.get(key) for one in of.values()] for key in (*config.task.metrics, *NATS)}
                mean = {key: statistics.fmean(values) for key, values in found.items() if None not in values}
                means[f"{split}.{suffix}"] = mean | {"directions": list(of)}
    scores["splits"] |= means
    return means


def brief(scores: dict[str, Any]) -> str:
    """The scores people look at first, in one line."""
    names = ("ppl_token", "ppl_word", "bits_per_byte", "excess_nats", *METRICS, "legal", *filter(is_foreign, scores))
    return ", ".join(f"{name} {scores[name]:.4g}" for name in names if scores.get(name) is not None)
