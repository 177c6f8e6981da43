"""Write the generated parts: tables between markers in the documents, `conf/tying/alias/`, a notebook; tests compare them."""

import contextlib
import dataclasses
import doctest
import inspect
import io
import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tietrain.cli.main import main
from tietrain.config.compose import compose_config
from tietrain.config.keys import ALL, tying_choices
from tietrain.config.layout import make_shape
from tietrain.config.reference import find_settings, notes_of, values_of, written
from tietrain.config.run import RunConfig
from tietrain.config.setting import Setting
from tietrain.plan.aliases import ALIASES, Alias
from tietrain.plan.catalogue import Scheme, load_in_order, load_scheme, scheme_rows
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
from tietrain.plan.params import count_params
from tietrain.plan.plan import TyingPlan
from tietrain.plan.schemes import make_plan
from tietrain.plan.words import owner_map
from tietrain.report.figures.flops import draw_lengths

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/schemes.md", "docs/flops.md", "docs/settings.md", "docs/slips.md")
# What lies in the folder where the slips are made.
FILES = {
    "my.txt": "".join(f"The cat saw {i} boats.\n" for i in range(30)),
    "my.json": '[{"text": "A cat."}]\n',
    "my.csv": "en,de\nA cat.,Eine Katze.\n",
    **dict.fromkeys(("a.en", "a.de", "b.en", "b.de"), "A cat.\n"),
}
SLIPS = """
--lr 0.1
learning_rate=0.1
epochs=10
train.batch_size=32
optim.warmup_steps=4000
optim.lr = 0.1
optim.lr=fast
optim.betas=(0.9,0.98)
train.max_steps=1e5
+seed=3
seed=1,2,3
task.beam=5 plan
model.d_modl=64
model.d_model=64 model.n_heads=3
model=base
task=translation
tying=albert
tying=true
tying=three_wya
tying=three_way
tying=none three_way
tying=three_way,none task=mt
tying=cycle tying.ties.cycle.n_uniq=2
-m tying=none,cycle tying.ties.cycle.n_unique=2
data=my.txt
data.splits.train=my.txt
data=text data.splits.train=[my.txt]
data=text 'data.splits={train: [mine.txt], valid: [my.txt]}'
data=text 'data.splits={train: [my.txt], valid: [my.txt]}' model.vocab_size=20
data=jsonl 'data.splits={train: [my.json], valid: [my.json]}'
task=mt data=tsv data.columns=[en,de] 'data.splits={train: [my.csv], valid: [my.csv]}'
task=mt data=text data.columns=[en,de] 'data.splits={train: [a.en,b.en,a.de,b.de], valid: [a.en,a.de]}'
data.root=(1)
run_dir=
study=runs/first
hydra.run.dir=runs
'study=${oc.env:USER}'
-m seed=1,2 run_dir=out
hardware.device=gpu
train.trackers=wandb
init_from=outputs/first
resume=true
overwrite=true
help
reprot outputs/demo
report outputs/demo
translate
"""
MARKED = re.compile(r"(<!-- (?P<name>[\w-]+) -->\n).*?(<!-- /(?P=name) -->)", re.DOTALL)


def scheme_markdown(rows: Iterable[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| | `tying=` | what is shared | for |", "|---|---|---|---|"]
    lines += [f"| {row['catalogue']} | `{row['name']}` | {row['shares']} | {row['for']} |" for row in rows]
    return "\n".join(lines) + "\n"


def scheme_pages(names: Iterable[str]) -> str:
    """One section per scheme: rule, source, saved parameters and owner map on the reference model, as Markdown."""
    return "\n".join(scheme_section(scheme) for scheme in load_in_order(names))


def scheme_section(scheme: Scheme) -> str:
    """One scheme on the reference model of language modelling, of translation, or of its own kind."""
    lines = [f"### {scheme.catalogue} `{scheme.name}`", "", f"{scheme.shares}. Source: {scheme.source}.", ""]
    for tie in scheme.example.values():
        options = ", ".join(f"{option}: {inline_yaml(value)}" for option, value in tie.items())
        lines += [f"`{{{options}}}`", ""]
    plans = scheme.plans()
    shown = [name for name in ("lm", "mt") if name in plans] or list(plans)[:1]
    for name in shown:
        ledger = count_params(plans[name])
        saved, untied = ledger.params_saved, ledger.params_untied
        lines.append(f"{name}: {saved:,} of {untied:,} parameters saved ({100 * saved / untied:.1f} %).")
    return "\n".join([*lines, "", "```", *owner_map(plans[shown[-1]]), "```", ""])


def inline_yaml(value: Any) -> str:
    """A value as YAML writes it inside of a line."""
    text: str = yaml.safe_dump(value, default_flow_style=True)
    return text.removesuffix("\n").removesuffix("\n...")


def alias_yaml(alias: Alias) -> str:
    """The text of an alias's file."""
    ties = {label: {**tie, **alias.options} for label, tie in load_scheme(alias.scheme).ties.items()}
    # Without the package line, a file of a sub-group would not merge in a list: tying=[a,alias/b].
    header = "# @package tying\n"
    header += f"# {alias.toolkit} `{alias.option}` is tying={alias.scheme}. Generated by plan/aliases.py.\n"
    body: str = yaml.safe_dump({"ties": ties}, default_flow_style=None, sort_keys=False, width=120)
    return header + body


def settings_markdown() -> str:
    """The tables of docs/settings.md: one per group."""
    lines: list[str] = []
    for field in dataclasses.fields(RunConfig):
        section = field.default_factory
        if isinstance(section, type):
            lines += [
                f"## {field.name}",
                "",
                str(inspect.getdoc(section)),
                "",
                *settings_table(find_settings(field.name)),
                "",
            ]
    alone = [setting for setting in ALL.values() if "." not in setting.key]
    return "\n".join([*lines, "## The run", "", *settings_table(alone)]) + "\n"


def settings_table(settings: list[Setting]) -> list[str]:
    """One row per setting."""
    rows = ["| key | default | values | meaning |", "|---|---|---|---|"]
    for setting in settings:
        meaning = " ".join([setting.meaning, *(f"{note[0].upper()}{note[1:]}." for note in notes_of(setting))])
        cells = (f"`{setting.key}`", f"`{written(setting.default)}`", values_of(setting), meaning)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return rows


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


def slips_markdown() -> str:
    """What a first hour's slips are answered with: command line and message, as a Markdown table."""
    rows = ["| `tietrain ...` | says |", "|---|---|"]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, text in FILES.items():
            Path(name).write_text(text, encoding="utf-8")
        for line in SLIPS.strip().splitlines():
            said = answer_to(shlex.split(line)).replace(f"{os.path.realpath(folder)}/", "")
            rows.append(f"| {code(line)} | {code(said)} |")
    return "\n".join(rows) + "\n"


def answer_to(words: list[str]) -> str:
    """What stderr says to a command line, without the progress of preparing, which appears only if preparing takes long."""
    errors = io.StringIO()
    argv = sys.argv
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        main(words)
    sys.argv = argv
    said = [line for line in errors.getvalue().splitlines() if not line.startswith("preparing: ")]
    return "\n".join(said).strip().removeprefix("tietrain: ")


def code(text: str) -> str:
    """Text as it is, in a cell of a table."""
    return f"`` {text.replace('|', chr(92) + '|')} ``" if "`" in text else f"`{text.replace('|', chr(92) + '|')}`"


SECTIONS = {
    "slips": slips_markdown,
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
    return {folder / f"{a.file}.yaml": alias_yaml(a) for a in ALIASES}


def notebook(page: str) -> str:
    """A page as a notebook: its text, and its examples with the output that a test compares."""
    cells: list[dict[str, Any]] = []
    lines: list[str] = []
    for part in doctest.DocTestParser().parse(page):
        if isinstance(part, str):
            if text := part.replace("```", "").strip():
                cells.append({"cell_type": "markdown", "metadata": {}, "source": text})
            continue
        lines.append(part.source)
        if part.want:
            cells.append(code_cell("".join(lines), part.want, ["raises-exception"] if part.exc_msg else []))
            lines = []
    body = {"cells": cells, "metadata": {"language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def code_cell(source: str, output: str, tags: list[str]) -> dict[str, Any]:
    """A cell of a notebook, with what it prints; the tag raises-exception lets Jupyter go on after it."""
    shown = {"output_type": "stream", "name": "stdout", "text": output}
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {"tags": tags} if tags else {},
        "source": source.rstrip(),
        "outputs": [shown] if output else [],
    }


if __name__ == "__main__":
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
    for path, text in alias_files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (ROOT / "docs" / "python.ipynb").write_text(notebook((ROOT / "docs" / "python.md").read_text()), encoding="utf-8")
    drawing = draw_lengths(ledger_512().to_json(parse_lengths(DEFAULT_LENGTHS)), "d_model 512, d_ff 2,048, 6 layers")
    (ROOT / "docs" / "flops_length.png").write_bytes(drawing.png)
