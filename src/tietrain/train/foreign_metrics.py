"""Metrics that installed packages bring: a function of hypotheses and references, and whether more is better."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tietrain.errors import SettingsError
from tietrain.plan.installed import METRIC, NAMED_BY, find, guarded, load
from tietrain.runs.scores import foreign_signature


@dataclass(frozen=True)
class ForeignMetric:
    """A metric of a package. signature: of its scores."""

    name: str
    function: Callable[[list[str], list[str]], float]
    signature: str

    def score(self, hypotheses: Sequence[str], references: Sequence[str]) -> float:
        """The score of detokenised lines; SettingsError if it is not a finite number."""
        with guarded(METRIC, self.name):
            value = float(self.function(list(hypotheses), list(references)))
        if not math.isfinite(value):
            raise _refusal(self.name, f"its score of {len(hypotheses)} lines is {value}", "return a finite number")
        return value


def find_metric(name: str) -> ForeignMetric:
    """The metric `PACKAGE.NAME`.

    Raises:
        SettingsError: no installed package brings it, its code fails, or it does not say whether more is better.
    """
    function = load(METRIC, name)
    is_better = getattr(function, "higher_is_better", None)
    if not isinstance(is_better, bool):
        problem = "it does not say whether a higher score is better"
        raise _refusal(name, problem, f"set {name.rpartition('.')[2]}.higher_is_better to True or False in its package")
    return ForeignMetric(name, function, foreign_signature(find(METRIC, name).package, is_better))


def _refusal(name: str, problem: str, remedy: str) -> SettingsError:
    return SettingsError(f"{NAMED_BY[METRIC]}={name}", problem, remedy)
