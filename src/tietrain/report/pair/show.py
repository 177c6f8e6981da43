"""A comparison of two runs, for people and as JSON."""

from dataclasses import asdict
from typing import Any

from tietrain.report.pages.markup import count
from tietrain.report.pair.pair import PairComparison
from tietrain.runs.scores import METRICS, SCORES

SCOPE = (
    "These two trained models on these lines only: the tests redraw the lines and hold the models fixed. They say nothing "
    "about other seeds, and so nothing about the schemes."
)


def to_json(found: PairComparison) -> dict[str, Any]:
    """The comparison for programs."""
    heads = [{k: getattr(side.run, k) for k in ("path", "id", "label", "seed", "arm")} for side in found.pair]
    results = {
        name: {**asdict(paired), "difference": paired.b - paired.a, "lower_is_better": SCORES[name].sign < 0}
        for name, paired in found.results.items()
    }
    where = {"split": found.split, "n_lines": found.n_lines, **asdict(found.draws)}
    return {"a": heads[0], "b": heads[1], **where, "metrics": results, "notes": found.notes, "scope": SCOPE}


def describe(found: PairComparison) -> list[str]:
    """The comparison for people."""
    lines = [
        f"{name}: {side.run.label}, seed {side.run.seed}, {count(side.run.params)} parameters, {side.run.path}"
        for name, side in zip("AB", found.pair, strict=True)
    ]
    draws = found.draws
    drawn = f"{draws.n_bootstrap:,} bootstrap samples and {draws.n_exchanged:,} exchanges, seed {draws.seed}"
    lines.append(f"{found.split}, {found.n_lines:,} lines; {drawn}")
    lines += _table(found)
    lines.append("±: half of the interval that holds 95 % of the bootstrap samples; p: two-sided, of no difference")
    if any(name in METRICS for name in found.results):
        lines.append("for translations the bootstrap p is sacrebleu's: one tail, about half of a two-sided p")
    signatures = {name: paired.signature for name, paired in found.results.items() if paired.signature}
    lines += [f"signature of {SCORES[name].title}: {signature}" for name, signature in signatures.items()]
    return [*lines, *found.notes, SCOPE]


def _table(found: PairComparison) -> list[str]:
    rows = [["", "A", "B", "B - A", "p bootstrap", "p randomisation"]]
    for name, paired in found.results.items():
        score = SCORES[name]
        places = score.decimals + 1
        values = [(paired.a, paired.a_ci), (paired.b, paired.b_ci)]
        rows.append(
            [
                score.title + (", lower is better" if score.sign < 0 else ""),
                *(f"{value:.{places}f} ± {ci:.{places}f}" for value, ci in values),
                f"{paired.b - paired.a:+.{places}f}",
                *(f"{p:.4f}" for p in (paired.p_bootstrap, paired.p_randomisation)),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"{row[0]:<{widths[0]}}" + "".join(f"  {c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
