"""What Python programs call: commands as functions, which leave the process as they found it. Each loads only what it needs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tietrain.config.compose import compose_config
from tietrain.errors import SettingsError
from tietrain.plan.plan import TyingPlan
from tietrain.train.experiment import Experiment
from tietrain.train.outcome import Outcome

if TYPE_CHECKING:  # they load torch or pandas
    from tietrain.model.transformer import Transformer
    from tietrain.report.pair.pair import PairComparison
    from tietrain.train.saved import SavedRun


def make_plan(overrides: Sequence[str] = ()) -> TyingPlan:
    """Which slot reads whose parameters, in the model that these settings make.

    Args:
        overrides: words of a command line: `["task=mt", "tying=three_way"]`.
    Raises:
        SettingsError: a word is not a setting, or its value is out of range. TyingError: the ties do not fit the model.
    """
    return Experiment(compose_config(overrides)).plan


def build(plan: TyingPlan | Sequence[str], seed: int = 1) -> Transformer:
    """A model in float32 on the CPU, with its initial values; `model(sources, ids)` gives hidden states [B, T, D], and
    `model.logits(hidden)` scores of all pieces [B, T, V].

    Args:
        plan: from `make_plan`, or settings. Settings also say dropout, how tables begin and are read, and the seed.
        seed: of the initial values, for a plan.
    Raises:
        SettingsError, TyingError: of `make_plan`.
    """
    from tietrain.model.transformer import Transformer

    if not isinstance(plan, TyingPlan):
        return Experiment(compose_config(plan)).build_model()
    model = Transformer(plan)
    model.initialize(seed)
    return model


def run(overrides: Sequence[str] = ()) -> Outcome:
    """Run one experiment to its end, as `tietrain key=value ...` does; one that is there is continued, or found finished.

    A failure is not raised: the outcome has `status`, `exit_code` and `message`, as the run directory has.

    Raises:
        SettingsError: a word is not a setting, its value is out of range, or the settings need a grid.
    """
    config = compose_config(overrides)
    if config.tune.name is not None:
        problem = "it makes several runs, and this function makes one"
        raise SettingsError(f"tune={config.tune.name}", problem, "use the command line: tietrain tune=...")
    from tietrain.train.job import run_job

    with _restored():
        return run_job(config, list(overrides))


def open_run(directory: str | Path, checkpoint: str = "scored") -> SavedRun:
    """The model of a run, with its vocabularies, configuration and plan, checked against one another.

    Args:
        checkpoint: scored, last, best, average, final, or a step.
    Raises:
        SettingsError: it is not a run directory. DataError: something in it is missing or damaged.
    """
    from tietrain.train.saved import open_run

    with _restored():
        return open_run(Path(directory), checkpoint)


def compare(
    a: str | Path, b: str | Path, split: str | None = None, metrics: Sequence[str] = (), seed: int | None = None
) -> PairComparison:
    """Whether the scores of two finished runs on one test set could differ by chance.

    Args:
        split: None for test, else the first that did not choose the weights. metrics: none for those both recorded.
        seed: of the samples; None for that of sacrebleu.
    Raises:
        SettingsError, DataError: the two cannot be compared.
    """
    from tietrain.report.pair.pair import compare_runs
    from tietrain.report.statistics import Draws

    return compare_runs(Path(a), Path(b), split, metrics, Draws() if seed is None else Draws(seed=seed))


@contextmanager
def _restored() -> Iterator[None]:
    """Torch's threads and determinism, and the handlers of signals, are afterwards what they were."""
    import torch

    from tietrain.train.stop import SIGNALS

    threads = torch.get_num_threads()
    mode = torch.get_deterministic_debug_mode()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    in_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in SIGNALS} if in_main else {}
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
        for number, handler in handlers.items():
            signal.signal(number, handler)
