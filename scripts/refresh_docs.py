"""Write the generated parts: tables between markers in the documents, and `conf/tying/alias/`; tests compare them."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tietrain.config.compose import compose_config
from tietrain.config.keys import tying_choices
from tietrain.config.layout import make_shape
from tietrain.config.reference import settings_markdown
from tietrain.plan.aliases import ALIASES, alias_yaml
from tietrain.plan.catalogue import load_scheme, scheme_markdown, scheme_pages, scheme_rows
from tietrain.plan.conventions import PUBLISHED, columns, estimate
from tietrain.plan.flops import CAUSAL, CONVENTION, KINDS
from tietrain.plan.lengths import (
    CROSSINGS,
    DEFAULT_LENGTHS,
    LengthLedger,
    count_by_length,
    crossing_words,
    parse_lengths,
)
from tietrain.plan.plan import TyingPlan
from tietrain.plan.schemes import make_plan
from tietrain.report.figures.flops import draw_lengths

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/schemes.md", "docs/flops.md", "docs/settings.md")
MARKED = re.compile(r"(<!-- (?P<name>[\w-]+) -->\n).*?(<!-- /(?P=name) -->)", re.DOTALL)


def aliases_markdown() -> str:
    """Names of other toolkits, the alias file and the scheme, as a Markdown table."""
    lines = ["| toolkit | option | `tying=` | here |", "|---|---|---|---|"]
    lines += [f"| {a.toolkit} | `{a.option}` | `alias/{a.file}` | `{a.scheme}` |" for a in ALIASES]
    return "\n".join(lines) + "\n"


def plan_of(*overrides: str) -> TyingPlan:
    """The plan of a configuration."""
    config = compose_config(overrides)
    return make_plan(make_shape(config), config.tying.ties)


def conventions_markdown() -> str:
    """Training FLOPs per token of GPT-2 small by every convention, tied tables alone and with a shared stack."""
    gpt2 = ("task=lm", "model=gpt2")
    plans = [
        plan_of(*gpt2, "tying=pre_softmax"),
        plan_of(*gpt2, "tying=[pre_softmax,cycle]", "tying.ties.cycle.n_unique=6"),
    ]
    lines = ["| convention | formula | tables tied | 6 sets too | source |", "|---|---|--:|--:|---|"]
    ours = [columns(plan.slots.shape, 1024) for plan in plans]
    for name in ours[0]:
        lines.append(f"| **{name}** | every use | {ours[0][name]:,} | {ours[1][name]:,} | here |")
    for name, c in PUBLISHED.items():
        first, second = (estimate(name, plan, 1024).flops for plan in plans)
        lines.append(f"| {name} | {c.formula} | {first:,} | {second:,} | {c.source} |")
    return "\n".join(lines) + "\n"


def ledger_512(convention: str = CONVENTION) -> LengthLedger:
    """FLOPs by length of a decoder of d_model 512."""
    return count_by_length(plan_of("task=lm", "model=vaswani_base").slots.shape, convention)


def lengths_markdown() -> str:
    """FLOPs per token by length, in shares, and the crossings by both conventions."""
    lines = ["| tokens | FLOPs per token | " + " | ".join(KINDS) + " |", "|--:" * (2 + len(KINDS)) + "|"]
    for row in ledger_512().to_json(parse_lengths(DEFAULT_LENGTHS))["rows"]:
        shares = " | ".join(f"{100 * row['shares'][kind]:.1f} %" for kind in KINDS)
        lines.append(f"| {row['length']:,} | {row['flops_per_token']:,} | {shares} |")
    lines += ["", f"| layers only, without logits | `{CONVENTION}` | `{CAUSAL}` |", "|---|--:|--:|"]
    full, half = ledger_512().crossings, ledger_512(CAUSAL).crossings
    lines += [f"| {name} | {crossing_words(full[name])} | {crossing_words(half[name])} |" for name in CROSSINGS]
    return "\n".join(lines) + "\n"


SECTIONS = {
    "schemes": lambda: scheme_markdown(scheme_rows(tying_choices())),
    "scheme-pages": lambda: scheme_pages(tying_choices()),
    "aliases": aliases_markdown,
    "flop-conventions": conventions_markdown,
    "flop-lengths": lengths_markdown,
    "settings": settings_markdown,
}


def refreshed(text: str, sections: Mapping[str, Callable[[], str]] = SECTIONS) -> str:
    """The text with its marked sections as the code has them; a mark without a section keeps what it has."""

    def body(found: re.Match[str]) -> str:
        name = found["name"]
        return found.group(1) + sections[name]() + found.group(3) if name in sections else found.group()

    return MARKED.sub(body, text)


def alias_files() -> dict[Path, str]:
    """Path -> text of every file of `conf/tying/alias/`."""
    folder = ROOT / "conf" / "tying" / "alias"
    return {folder / f"{a.file}.yaml": alias_yaml(a, lambda name: load_scheme(name).ties) for a in ALIASES}


if __name__ == "__main__":
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
    for path, text in alias_files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    drawing = draw_lengths(ledger_512().to_json(parse_lengths(DEFAULT_LENGTHS)), "d_model 512, d_ff 2,048, 6 layers")
    (ROOT / "docs" / "flops_length.png").write_bytes(drawing.png)
