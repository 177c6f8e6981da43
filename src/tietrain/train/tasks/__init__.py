"""The tasks: what a model learns, and how it is scored."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tietrain.config import RunConfig

if TYPE_CHECKING:
    from tietrain.data.prepared import Prepared
    from tietrain.train.processes import Alone
    from tietrain.train.tasks.task import Task


def make_task(config: RunConfig, prepared: "Prepared", team: "Alone | None" = None) -> "Task":
    """The task that a configuration names. team: the processes that work at it; None for this one alone."""
    from tietrain.train.processes import ALONE
    from tietrain.train.tasks.lm import LanguageModelling
    from tietrain.train.tasks.mlm import MaskedLanguageModelling
    from tietrain.train.tasks.mt import Translation

    tasks: dict[str, Callable[[RunConfig, Prepared, Alone], Task]] = {
        "lm": LanguageModelling,
        "mlm": MaskedLanguageModelling,
        "mt": Translation,
    }
    return tasks[config.task.name](config, prepared, team or ALONE)
