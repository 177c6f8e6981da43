"""The sections of a report, which both of its pages show, and the page in Markdown.

A colleague who has not seen the runs can read either page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tietrain.report import differences
from tietrain.report.arms import Arm, Comparison, count_statuses, show_value
from tietrain.report.figures.canvas import Drawing
from tietrain.report.pages.convergence_text import convergence_text
from tietrain.report.pages.factorial_text import factorial_text
from tietrain.report.pages.headline import make_headline
from tietrain.report.pages.markup import bullets, code, escape, join_some, join_words, markdown_table
from tietrain.report.pages.method import method_details, method_sentences
from tietrain.report.pages.starts import starts_text
from tietrain.report.pages.tables import cost_table, left_out_table, score_table, shown_scores
from tietrain.report.pages.tuning_text import doubts, tuned_arms, tuning_text
from tietrain.report.pages.uses_text import uses_text
from tietrain.report.pages.verdict_text import heading, verdict_blocks
from tietrain.report.ties import describe_ties
from tietrain.report.verdicts import Verdicts
from tietrain.runs.view import Run

INTRODUCTION = (
    "An arm is everything except the seed: the tying plan, the vocabulary and every setting. Numbers are means over finished "
    "runs, one per seed; with several seeds they are shown as mean ± sample standard deviation (number of seeds). Parameters "
    "count a shared tensor once; FLOPs count every use."
)
WARNINGS, LEFT_OUT = "Warnings", "Runs left out of every mean"
# What lies beside the pages, apart from the files of figures and comparisons.
FILES = {
    "report.html": "this report as one page that needs no other file",
    "report.md": "this report as text",
    "arms.csv": "one row per arm: every score with its standard deviation and number of seeds, and the verdict",
    "arms.json": "the same, nested",
    "runs.csv": "one row per run, including failed ones",
    "runs.json": "the same, nested",
    "reads.json": "when this report was written, and with how many seeds",
}


@dataclass(frozen=True)
class Section:
    """Part of a comparison: its title and text as Markdown, and the figures that follow the text."""

    title: str
    text: str
    figures: tuple[Drawing, ...] = ()

    @property
    def n_lines(self) -> int:
        return self.text.count("\n") + 1


def make_sections(comparison: Comparison, verdicts: Verdicts, drawings: Sequence[Drawing]) -> list[Section]:
    """Everything about a comparison below its headline, in reading order; empty sections are left out."""
    finished = comparison.seeds[1] > 0
    sections = [
        Section("Verdicts", "\n\n".join(verdict_blocks(verdicts)) if finished else ""),
        Section(WARNINGS, bullets(_warnings(comparison))),
        Section("Figures", "", tuple(drawings)),
        Section("Costs", cost_table(comparison, verdicts)),
        *_scores(comparison, verdicts),
        Section("About the scores", bullets(_score_notes(comparison))),
        Section("Tuning", tuning_text(comparison)),
        Section("Depth or convergence", factorial_text(verdicts)),
        Section("How the arms begin", starts_text(comparison, verdicts)),
        Section("How fast the arms learn", convergence_text(verdicts)),
        Section("What the uses of shared parameters ask for", uses_text(comparison)),
        Section("What differs between the arms", _differences(comparison)),
        Section("What is tied", _ties(comparison)),
        Section("Method, to paste", _method(comparison, verdicts)),
        Section("Every setting", bullets(method_details(comparison))),
    ]
    return [section for section in sections if section.text or section.figures]


def make_markdown(
    found: Sequence[Run],
    comparisons: Sequence[Comparison],
    verdicts: Mapping[str, Verdicts],
    sections: Mapping[str, Sequence[Section]],
) -> str:
    """The whole of `report.md`, from verdicts and sections by slug; equal runs give equal text."""
    blocks = [f"# {title(found)}", f"{run_counts(found, comparisons)} {INTRODUCTION}"]
    for comparison in comparisons:
        own = verdicts[comparison.slug]
        blocks.append(f"## {escape(comparison.title)} ({escape(heading(comparison, own))})")
        blocks.append(_headline(comparison, own))
        for section in sections[comparison.slug]:
            blocks += [f"### {section.title}", section.text]
            blocks += [_figure(comparison, drawing) for drawing in section.figures]
    if left_out := left_out_table([run for run in found if run.status != "done"]):
        blocks += [f"## {LEFT_OUT}", left_out]
    files = [f"[{name}]({name}): {holds}" for name, holds in FILES.items() if name != "report.md"]
    blocks += ["## Files", bullets(files)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def title(found: Sequence[Run]) -> str:
    """What the report is about, in one line."""
    studies = [code(study) for study in sorted({run.study for run in found if run.study})]
    if not studies:
        return "Runs without a readable study"
    return f"{'Study' if len(studies) == 1 else 'Studies'} {join_words(studies)}"


def run_counts(found: Sequence[Run], comparisons: Sequence[Comparison]) -> str:
    """How many runs, arms and comparisons there are."""
    counts = join_words([f"{n} {status.replace('_', ' ')}" for status, n in count_statuses(found).items()])
    n_arms = sum(len(c.arms) for c in comparisons)
    nothing = "" if comparisons else " No run got as far as an arm, so there is nothing to compare."
    return f"{_n(len(found), 'run')}: {counts}. {_n(n_arms, 'arm')} in {_n(len(comparisons), 'comparison')}.{nothing}"


def _n(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _headline(comparison: Comparison, verdicts: Verdicts) -> str:
    headline = make_headline(comparison, verdicts)
    facts = {"Saves": headline.saves, "Costs": headline.costs, "How sure": headline.sure}
    lines = bullets([f"{name}: {escape(text)}" for name, text in facts.items()])
    return f"**{escape(headline.answer)}**\n\n{lines}"


def _figure(comparison: Comparison, drawing: Drawing) -> str:
    stem = f"{comparison.slug}_{drawing.name}"
    links = f"Data: [{stem}.csv]({stem}.csv), vector: [{stem}.svg]({stem}.svg)"
    return f"![{drawing.name.replace('_', ' ')}]({stem}.png)\n\n*{drawing.caption}* {links}"


def _warnings(comparison: Comparison) -> list[str]:
    """Whatever makes the tables less than a clean comparison."""
    checks = (differences.signature_warnings, differences.machine_warnings, differences.fingerprint_warnings)
    lines = [f"**Warning:** {text}." for check in checks for text in check(comparison)]
    tuned = tuned_arms(comparison)
    lines += [f"**Warning:** {code(arm.name)}: {text}." for arm, tuning in tuned for text in doubts(tuning)]
    seeds = {tuple(run.seed for run in arm.done) for arm in comparison.arms if arm.done}
    if len(seeds) > 1:
        lines.append("**Warning:** the arms were not run with the same seeds; see the column.")
    for arm in comparison.arms:
        lines += [
            f"{code(run.path)} repeats seed {run.seed} of {code(arm.name)} and is not counted again."
            for run in arm.repeated
        ]
        lines += [f"{code(run.path)} has no curve: {escape(run.no_curve)}." for run in arm.runs if run.no_curve]
    return lines


def _scores(comparison: Comparison, verdicts: Verdicts) -> list[Section]:
    declared = verdicts.declared
    sections = []
    for split in comparison.splits:
        about = ["chose the checkpoint"] if split.partition(".")[0] == "valid" else []
        about += ["exploratory"] if declared.doubt or split != declared.split else []
        head = f"Scores on {escape(split)}" + (f" ({', '.join(about)})" if about else "")
        sections.append(Section(head, score_table(comparison, split)))
    return sections


def _score_notes(comparison: Comparison) -> list[str]:
    lines = []
    if len(comparison.vocabularies) > 1:
        sizes = [f"{letter}: {_vocabulary(comparison, content)}" for content, letter in comparison.vocabularies.items()]
        lines.append(
            f"† Target vocabularies differ ({'; '.join(sizes)}): perplexities and nats per token are comparable only "
            "between arms with the same vocabulary, and are not ranked across vocabularies; bits per byte, BLEU and chrF "
            "can be compared."
        )
    lines += [f"{score.meaning}." for score in shown_scores(comparison) if score.meaning]
    signatures = dict.fromkeys(
        f"{escape(name)}: {code(signature, in_table=False)}"
        for arm in comparison.arms
        for run in arm.done
        for name, signature in run.signatures.items()
    )
    return lines + [f"Signature of {text}" for text in signatures]


def _vocabulary(comparison: Comparison, content: str) -> str:
    size = next(arm.vocab_size for arm in comparison.arms if arm.target_vocabulary == content)
    return (f"{size:,} pieces, " if size else "") + (code(content[:12]) if content else "not recorded")


def _differences(comparison: Comparison) -> str:
    if len(comparison.arms) == 1:
        return "There is one arm."
    lines = differences.describe_differences(comparison) or ["There is no untied arm to compare the others with."]
    lines += differences.describe_matching(comparison)
    settings = differences.differing_settings(comparison)
    if not settings:
        return bullets([*lines, "No setting besides the tie and the hardware differs between the arms."])
    rows = [
        [code(arm.name), *(code(show_value(values[arm.name])) for values in settings.values())]
        for arm in comparison.arms
    ]
    table = markdown_table(["arm", *map(code, settings)], rows, n_text=1 + len(settings))
    return f"{bullets(lines)}\n\nSettings besides the tie that differ:\n\n{table}"


def _ties(comparison: Comparison) -> str:
    by_plan: dict[str, list[Arm]] = {}
    for arm in comparison.arms:
        by_plan.setdefault(arm.first.plan_hash or arm.name, []).append(arm)
    lines = []
    for arms in by_plan.values():
        first = arms[0].first
        ties = describe_ties(first.owner, first.views)
        unknown = "nothing" if first.owner else "not recorded"
        plan = f" (plan {code(first.plan_hash)})" if first.plan_hash else ""
        lines.append(f"{join_some([code(arm.name) for arm in arms])}{plan}: {'; '.join(ties) or unknown}")
    return bullets(lines)


def _method(comparison: Comparison, verdicts: Verdicts) -> str:
    slug = comparison.slug
    files = (
        f"As a file: [method]({slug}_method.txt). Tables in LaTeX: [arms]({slug}_arms.tex), "
        f"[verdicts]({slug}_verdicts.tex)."
    )
    # Sentence by sentence, because `escape` bounds the length of a text.
    paragraph = " ".join(map(escape, method_sentences(comparison, verdicts)))
    return f"> {paragraph}\n\n{files}"
