"""TensorBoard: a view of the run's own files, never read back, and never a reason to stop training."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tietrain.config import RunConfig
from tietrain.config.identity import flat_settings
from tietrain.config.keys import NESTED, VOLATILE
from tietrain.runs import record as runs
from tietrain.runs.events import FLOPS_A_STEP, EventFile, clear_events, verbatim
from tietrain.runs.metrics import rows
from tietrain.runs.scores import NATS
from tietrain.train.experiment import Experiment
from tietrain.train.trackers import succeeds

AXES = ("step", "split", "tokens", "flops", "seconds")
# One quantity per chart: each title says its axes, and the tags it draws are regular expressions.
CHARTS = {
    "loss (nats per token) by target tokens": ("train/nats_per_token", "valid/nats_per_token"),
    "loss (nats per token) by training MFLOPs": ("by_flops/train/nats_per_token", "by_flops/valid/nats_per_token"),
    "learning rate by target tokens": ("train/lr",),
    "target tokens per second by target tokens": ("train/tokens_per_second",),
}
# Columns that the table of runs shows; the page offers the others, and opens with five.
FIRST = ("tying", "task.name", "seed", "optim.lr", "model.d_model")
# Where the final scores are: columns of the table of runs.
FINAL = "final/"


class TensorBoard:
    """The event file of a run directory: scalars by tokens under `split/name`, by MFLOPs under `by_flops/split/name`.

    It starts anew from the rows that are there, so a resumed run has no point twice; a page that is open drops what it had.
    After the first failure it logs the cause and stays silent.
    """

    def __init__(self, experiment: Experiment, log: Callable[[str], None]):
        self._log = log
        self._failed = False
        seconds = max((row["seconds"] for row in rows(experiment.directory)), default=0.0)
        self._guarded(lambda: self._open(experiment, seconds))
        for row in rows(experiment.directory):
            self.add_row(row)

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Add every score of a row of metrics."""
        self._guarded(lambda: self._write_row(row))

    def _guarded(self, action: Callable[[], None]) -> None:
        self._failed = self._failed or not succeeds("TensorBoard", action, self._log)

    def _open(self, experiment: Experiment, seconds: float) -> None:
        config, directory = experiment.config, experiment.directory
        folder = directory / runs.TENSORBOARD
        clear_events(folder)
        # Events are dated so that the page's relative time axis reads seconds of training.
        self._file = EventFile(folder, time.time() - seconds)
        self._file.charts("training", CHARTS)
        self._file.text("plan", verbatim(experiment.describe()))
        finals = [f"{FINAL}{name}" for name in _finals(config)]
        self._file.table_row(f"{config.study}/{directory.name}", settings_row(config), FIRST, finals)

    def _write_row(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name not in AXES and isinstance(value, int | float):
                self._file.scalar(f"{row['split']}/{name}", value, row["tokens"], row["seconds"])
                tag = f"by_flops/{row['split']}/{name}"
                self._file.scalar(tag, value, row["flops"] // FLOPS_A_STEP, row["seconds"])


def add_results(
    directory: Path,
    finals: Mapping[str, float],
    samples: Sequence[Mapping[str, str]],
    totals: Mapping[str, float],
    log: Callable[[str], None],
) -> None:
    """Add the final scores of a run, which the table of runs shows, and the text it wrote, to the event file it has.

    Args:
        finals: of `final_scalars`. samples: name -> text of each. totals: tokens, flops and seconds of training.
    """

    def write() -> None:
        file = EventFile(directory / runs.TENSORBOARD, time.time() - totals["seconds"])
        for tag, value in finals.items():
            file.scalar(tag, value, int(totals["tokens"]), totals["seconds"])
        texts = [f"{name:<12}{line}" for sample in samples for name, line in _lines(sample)]
        if texts:
            file.text("samples", verbatim(texts), int(totals["tokens"]), totals["seconds"])

    succeeds("TensorBoard", write, log)


def final_scalars(experiment: Experiment, flops: float, scores: Mapping[str, Any]) -> dict[str, float]:
    """Tag -> value of the final scores that exist: a language model has no BLEU.

    Args:
        flops: of training. scores: of the split that is to be compared.
    """
    known = {"params": experiment.params.params, "flops": flops, **scores}
    return {f"{FINAL}{name}": known[name] for name in _finals(experiment.config) if known.get(name) is not None}


def _finals(config: RunConfig) -> tuple[str, ...]:
    """Scores in the table of runs, the same for every task: one table may show several."""
    return ("params", "flops", *NATS, *config.task.metrics)


def settings_row(config: RunConfig) -> dict[str, Any]:
    """Setting -> bool, fraction, text or None, of those that decide a result; the same keys whatever the configuration.

    Whole numbers are text: the page writes a number 1 as 1.0000 and offers a range of them, of text each value.
    """
    flat = {k: v for k, v in flat_settings(config).items() if k not in VOLATILE and not k.startswith(NESTED)}
    shown = {k: v if isinstance(v, bool | float | str | None) else json.dumps(v) for k, v in flat.items()}
    return {"tying": config.tying_label, **shown}


def _lines(texts: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name if not i else "", line) for name, text in texts.items() for i, line in enumerate(text.split("\n"))]
