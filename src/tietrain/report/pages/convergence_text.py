"""How fast arms learn: a table, and its rows for a file."""

from typing import Any

from tietrain.report.convergence import FRACTIONS, Convergence, Paired, convergence
from tietrain.report.pages.markup import bullets, code, fixed, markdown_table
from tietrain.report.verdicts import Verdicts

EXPLANATION = (
    "Loss: nats per token on valid, minus those of the baseline's run of the same seed, at parts of the FLOPs that both spent, "
    "and its mean over these FLOPs.",
    "Updates and FLOPs: needed until the loss that the baseline's run ends with, as a multiple of what that run itself needed "
    "until then (geometric mean).",
    "Brackets: 95 % t interval over pairs of seeds, for each number by itself. None of them is a verdict: a run of a shorter "
    "budget would have had other learning rates.",
)


def convergence_text(verdicts: Verdicts) -> str:
    """The table; empty if no arm shares vocabulary and seeds with its baseline."""
    found = convergence(verdicts)
    if not found:
        return ""
    header = ["arm", "baseline", *(f"loss at {100 * part:g} %" for part in FRACTIONS), "mean loss", "updates", "FLOPs"]
    rows = [_row(one) for one in found]
    return "\n\n".join([markdown_table(header, rows, n_text=2), bullets(EXPLANATION)])


def _row(one: Convergence) -> list[str]:
    never = f"never for {one.never} of {one.n} seeds"
    losses = [_cell(one.at[part], signed=True) for part in FRACTIONS]
    needed = [never if one.never else _cell(ratio, signed=False) for ratio in (one.updates, one.flops)]
    return [code(one.arm.name), code(one.base.name), *losses, _cell(one.area, signed=True), *needed]


def _cell(value: Paired | None, *, signed: bool) -> str:
    if value is None:
        return "—"

    def text(x: float) -> str:
        return ("+" if signed and x > 0 else "") + fixed(x, 3)

    interval = "" if value.low is None or value.high is None else f" [{text(value.low)}, {text(value.high)}]"
    return text(value.mean) + interval


def convergence_rows(verdicts: Verdicts) -> list[dict[str, Any]]:
    """One row per arm and measure."""
    rows: list[dict[str, Any]] = []
    for one in convergence(verdicts):
        measures = {f"nats_per_token_at_{part:g}": one.at[part] for part in FRACTIONS}
        measures |= {"mean_nats_per_token": one.area, "updates_ratio": one.updates, "flops_ratio": one.flops}
        for measure, value in measures.items():
            numbers = {name: getattr(value, name, None) for name in ("mean", "low", "high")}
            names = {"arm": one.arm.name, "baseline": one.base.name, "measure": measure}
            rows.append(names | numbers | {"pairs": one.n, "never": one.never})
    return rows
