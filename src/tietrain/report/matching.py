"""Which arms were made equal to which, by what, and how equal they came out, from what their runs recorded."""

from __future__ import annotations

from collections.abc import Callable

from tietrain.report.arms import Arm, Comparison, show_value
from tietrain.report.pages.markup import code, escape
from tietrain.runs.view import Run, Scalar

BUDGETS = tuple(f"train.max_{unit}" for unit in ("steps", "tokens", "flops", "seconds"))


def layers_run(run: Run) -> int:
    """Layers of the route of a run's model, each time a shared one is run."""
    places = {tuple(f"{slot}.".split(".")[:2]) for slot in run.owner}
    return sum(layer.isdecimal() and (not run.route or stack in run.route) for stack, layer in places)


# match.by -> what was made equal, and what a run recorded of it.
MATCHED: dict[str, tuple[str, Callable[[Run], float | None]]] = {
    "params": ("stored parameters", lambda run: run.params),
    "flops": ("training FLOPs", lambda run: run.flops),
    "depth": ("layers run", layers_run),
    "seconds": ("seconds of training", lambda run: run.seconds),
}
# As in match.py: percent from which arms are not called matched.
WARN_PERCENT = 2.0


def describe_matching(comparison: Comparison) -> list[str]:
    """One sentence an arm, where some arm was matched."""
    if not any(arm.first.settings.get("match.by") for arm in comparison.arms):
        return []
    return [_sentence(arm, comparison) for arm in comparison.arms]


def _sentence(arm: Arm, comparison: Comparison) -> str:
    settings = arm.first.settings
    if settings.get("match.by") not in MATCHED:
        return f"{code(arm.name)} was not matched."
    unit, count = MATCHED[str(settings["match.by"])]
    base = _baseline_arm(settings, comparison)
    if base is arm:
        return f"{code(arm.name)} is what others are matched to, by {unit}."
    said = (
        f"{code(arm.name)} was matched to {code(str(settings.get('match.baseline')))} by {unit} ({_varied(settings)})"
    )
    if base is None:
        notes = [note.removeprefix("match: ") for note in arm.first.notes if note.startswith("match: ")]
        recorded = f" Its runs recorded: {escape('; '.join(notes))}." if notes else ""
        return f"{said}; no arm here is that baseline.{recorded}"
    ours, theirs = arm.stat(count), base.stat(count)
    if not ours or not theirs or not theirs.mean:
        return f"{said}."
    percent = 100 * (ours.mean / theirs.mean - 1)
    verdict = "" if abs(percent) <= WARN_PERCENT else ": these are **not matched**"
    alike = arm.first.shapes == base.first.shapes
    shapes = "" if alike else " Shapes differ: initial values are the same only where name and shape are."
    return f"{said}: {ours.mean:,.0f} against {theirs.mean:,.0f}, {percent:+.2f} %{verdict}.{shapes}"


def _varied(settings: dict[str, Scalar]) -> str:
    """The size or budget that was solved for, and what it was."""
    keys = (f"model.{settings.get('match.vary')}", *BUDGETS)
    key = next((key for key in keys if settings.get(key) is not None), None)
    was, now = (show_value(settings.get(of)) for of in ("match.solved.was", key or ""))
    return f"{code(key)} {now}, was {was}" if key else "its budget"


def _baseline_arm(settings: dict[str, Scalar], comparison: Comparison) -> Arm | None:
    """The arm that settings of match.* describe: its ties, the size before it was varied, and what else it has."""
    wanted, vary = _under("match.solved.model.", settings), str(settings.get("match.vary"))
    if vary != "steps":
        wanted = {vary: settings.get("match.solved.was"), **wanted}
    for arm in comparison.arms:
        there = arm.first.settings
        if _under("tying.ties.", there) == _under("match.solved.ties.", settings):
            model = _under("model.", there)
            if all(model.get(key) == value for key, value in wanted.items()):
                return arm
    return None


def _under(prefix: str, settings: dict[str, Scalar]) -> dict[str, Scalar]:
    return {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
