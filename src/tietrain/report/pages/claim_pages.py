"""Claim cards as pages: one for each card that was run, and an index of all."""

import shlex
from collections.abc import Mapping, Sequence

from tietrain.report import contrasts
from tietrain.report.claims import NOT_RUN, NOT_TESTABLE, REPEATS, Card, Finding, Pair
from tietrain.report.pages.markup import bullets, code, escape, fixed, markdown_table
from tietrain.report.pages.verdict_text import p_text
from tietrain.runs.scores import SCORES

FIGURES = {
    "read": "The figure was read in the source.",
    "second-hand": "The figure is second-hand: it was not read in the source itself.",
    "none": "No figure of a source is tested.",
}
INDEX = "README.md"


def verdict_line(finding: Finding | None) -> str:
    """`confirmed at 0.23 M parameters, ...`: a verdict and of which runs it is."""
    if finding is None:
        return NOT_RUN
    if not finding.scope:
        return finding.verdict
    return f"{finding.verdict}{',' if finding.verdict == NOT_TESTABLE else ' at'} {finding.scope}"


def claim_page(card: Card, finding: Finding, n_tested: int) -> str:
    """The page of a card that was run; n_tested: of how many cards q is counted."""
    verdict = verdict_line(finding)
    blocks = [f"# {card.claim}", f"**{verdict[0].upper()}{verdict[1:]}.**"]
    if finding.text:
        blocks.append(
            f"Text: {code(finding.text.name)}, a preset and a hash of text and settings; its lines have the sha256 "
            f"{code(finding.text.content or 'unknown')}. What was found on the card's own text is another finding."
        )
    if finding.doubts:
        blocks.append(bullets([escape(doubt) for doubt in finding.doubts]))
    blocks.append(_rows(finding) if card.exact else _pairs(card, finding))
    if finding.pairs:
        blocks += ["## Controls", bullets(_controls(card, finding, n_tested))]
    blocks += ["## Source", bullets(_source(card)), "## Run it", _commands(card)]
    return "\n\n".join(blocks) + "\n"


def _rows(finding: Finding) -> str:
    rows = [[escape(text) for text in row] for row in finding.rows]
    return markdown_table(["what", "stated", "computed here"], rows, n_text=3)


def _pairs(card: Card, finding: Finding) -> str:
    unit = f"{SCORES[card.metric].title} on {card.split}" if card.metric in SCORES else card.metric.replace("_", " ")
    header = ["expected", *("arm", "against"), "difference [95 %]", "p of the test", "found", "power at the margin"]
    rows = [_pair(card, pair) for pair in finding.pairs]
    scores = f"Scores are {escape(unit)}; the margin is {card.margin:g}."
    if card.paired:
        scores += " Arms are compared seed by seed."
    several = "The claim needs all rows." if len(rows) > 1 else ""
    return f"{markdown_table(header, rows)}\n\n{scores} {several}".rstrip()


def _pair(card: Card, pair: Pair) -> list[str]:
    decimals = SCORES[card.metric].decimals + 1 if card.metric in SCORES else 3
    show = [fixed(value, decimals) for value in (*pair.means, pair.difference, pair.low, pair.high)]
    interval = f"{show[2]} [{show[3]}, {show[4]}]"
    expected = f"{code(pair.arm)} {pair.relation} {'to' if pair.relation == 'equal' else 'than'} {code(pair.base)}"
    return [expected, show[0], show[1], interval, p_text(pair.p), _found(pair), f"{100 * pair.power:.0f} %"]


def _found(pair: Pair) -> str:
    if pair.relation in ("higher", "lower"):
        return {contrasts.BETTER: "higher", contrasts.WORSE: "lower"}.get(pair.found, pair.found)
    return pair.found


def _controls(card: Card, finding: Finding, n_tested: int) -> list[str]:
    power, false = 100 * (finding.power or 0.0), 100 * (finding.false or 0.0)
    lines = [
        f"Positive: an effect of {card.margin:g}, planted in {REPEATS:,} simulated grids with the spread of these seeds, is found in "
        f"{power:.0f} %; a verdict needs {100 * contrasts.POWER:.0f} %.",
        f"Negative: arms that are alike are called different in {false:.1f} % of such grids. Of every arm, half of the seeds was "
        "also compared with the other half.",
    ]
    if finding.q is not None:
        q = p_text(finding.q)
        counted = f"counted together with all cards that have a verdict, {n_tested} here (Benjamini & Hochberg 1995)"
        lines.append(f"q {q if q.startswith('<') else f'= {q}'}: the p of this claim, {counted}.")
    return lines


def _source(card: Card) -> list[str]:
    lines = [f"{card.source}.", f"Reported there: {card.reported}. {FIGURES[card.figure]}"]
    if card.source_params:
        lines.append(
            f"Its models have about {card.source_params / 1e6:.0f} M parameters; nothing here contradicts it at its size."
        )
    if card.leaves_out:
        lines.append(f"Not as in the source: {card.leaves_out}.")
    return lines


def _commands(card: Card) -> str:
    name = card.name.removesuffix(f".{card.text.name}") if card.text else card.name
    command = f"    tietrain claim {shlex.join([name, *(card.text.words if card.text else ())])}"
    if card.exact:
        return f"{command}\n\nCard {code(card.hash)}; {card.budget}."
    grid = "\n".join(f"    tietrain {shlex.join(words)}" for words in card.grid)
    own = " on its own text" if card.text else ""
    return f"{command}\n\nruns these grids, or reads the runs if they exist:\n\n{grid}\n\nCard {code(card.hash)}; {card.budget}{own}."


def index_page(cards: Sequence[Card], findings: Mapping[str, Finding]) -> str:
    """All cards: those that were run with their verdicts, then those that wait."""
    run = [card for card in cards if card.name in findings]
    rows = [[f"[{card.name}]({card.name}.md)", card.claim, verdict_line(findings[card.name])] for card in run]
    blocks = ["# Published claims, tested", markdown_table(["card", "claim", "verdict"], rows, n_text=3)]
    if waiting := [card for card in cards if card.name not in findings]:
        rows = [[code(f"tietrain claim {card.name}"), card.claim, card.budget] for card in waiting]
        blocks += ["## Not run here", markdown_table(["command", "claim", "budget"], rows, n_text=3)]
    return "\n\n".join(blocks) + "\n"


def list_lines(cards: Sequence[Card], findings: Mapping[str, Finding]) -> list[str]:
    """One card in three lines: its name and what is known, the claim, its source and budget."""
    lines = []
    for card in cards:
        finding = findings.get(card.name)
        stale = " (the card has changed since)" if finding and finding.hash != card.hash else ""
        lines += [f"{card.name}: {verdict_line(finding)}{stale}", f"    {card.claim}"]
        lines.append(f"    {card.source}; {card.budget}")
    return lines
