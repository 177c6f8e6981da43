"""The commands that use a trained run: translate, generate, eval."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tietrain.cli.lines import (
    Progress,
    best_line,
    chunks,
    json_line,
    nbest_lines,
    open_prefixes,
    read_lines,
    write_utf8,
)
from tietrain.cli.registry import CONFIG_DIR, Number, argument, print_json, verb
from tietrain.config import HardwareConfig
from tietrain.config.stored import override_config, read_run_config
from tietrain.errors import SettingsError
from tietrain.runs import record as runs

if TYPE_CHECKING:
    from tietrain.model.beam import Search
    from tietrain.model.sampling import Sampling
    from tietrain.train.saved import SavedRun
    from tietrain.train.tasks.mt import Translated

# Command -> the task of the runs it uses; eval uses those of every task.
TASKS = {"translate": "mt", "generate": "lm"}
# Lines read, translated and written together; lines typed on a terminal are translated one by one.
LINES_AT_ONCE = 1024
# What `eval` may set besides the corpus: nothing that changes the model or its vocabulary.
EVAL_KEYS = (
    *(f"task.{key}" for key in ("beam", "length_penalty", "max_output_ratio", "max_output_extra")),
    *(f"task.{key}" for key in ("metrics", "bleu_tokenize", "eval_stride")),
    "train.batch_tokens",
)
OF_THE_VOCABULARY = ("data.vocabulary", "data.kind", "data.byte_fallback")

RUN = argument("run", type=Path, help="a run directory")
HARDWARE = argument("overrides", nargs="*", metavar="key=value", help="hardware settings")
CHECKPOINT = argument(
    "--checkpoint",
    default="scored",
    metavar="WHICH",
    help="scored (default), last, best, average, final, or the number of a step",
)
COUNT = Number(int, 1)


@verb(
    "translate",
    RUN,
    HARDWARE,
    CONFIG_DIR,
    CHECKPOINT,
    argument("--beam", number=COUNT, metavar="K", help="hypotheses kept alive; default: as the run"),
    argument("--direction", metavar="SOURCE-TARGET", help="which direction, if the run has several"),
    argument(
        "--length-penalty",
        number=Number(float, 0),
        metavar="ALPHA",
        help="scores are divided by ((5 + tokens) / 6) ** ALPHA; default: as the run",
    ),
    argument("--nbest", number=COUNT, metavar="N", help="write N translations per line: LINE ||| TEXT ||| SCORE"),
    argument("--prefix", type=Path, metavar="FILE", help="how each translation begins, one prefix per line"),
    argument("--batch-tokens", number=COUNT, metavar="N", help="source tokens times beam in one batch"),
)
def translate(args: argparse.Namespace) -> int:
    """Translate standard input line by line with a trained run. Separate several sources by tabs. Blank lines stay blank."""
    saved = _open(args, "translate")
    direction = saved.direction(args.direction)
    settings = _translation_search(args, saved)
    show = json_line if args.json else nbest_lines if args.nbest else best_line
    lines = read_lines(sys.stdin.buffer, "standard input")
    at_once = 1 if sys.stdin.isatty() else LINES_AT_ONCE
    write_utf8()
    with Progress() as progress, open_prefixes(args.prefix) as prefixes:
        for first, chunk, own in chunks(lines, prefixes, str(args.prefix), at_once):
            found: dict[int, list[Translated]] = {}
            for row, hypotheses in saved.translate(direction, chunk, settings, own, args.batch_tokens, first + 1):
                found[row] = hypotheses
                progress.show(first + len(found))
            for row in range(len(chunk)):
                print(show(first + row, found.get(row, [])))
            sys.stdout.flush()
    return 0


def _translation_search(args: argparse.Namespace, saved: SavedRun) -> Search:
    from tietrain.model.beam import Search

    task = saved.config.task
    beam = args.beam or task.beam
    penalty = task.length_penalty if args.length_penalty is None else args.length_penalty
    _check_beam("--nbest", args.nbest or 1, beam)
    return Search(beam, penalty, args.nbest or 1)


@verb(
    "generate",
    RUN,
    HARDWARE,
    CONFIG_DIR,
    CHECKPOINT,
    argument("--beam", number=COUNT, metavar="K", help="search the most probable lines instead of sampling"),
    argument("--prompt", default="", help="text to continue"),
    argument("--n", number=COUNT, default=1, help="number of continuations"),
    argument("--length", number=COUNT, default=100, help="pieces per continuation"),
    argument("--temperature", number=Number(float, 0, above=True), default=1.0, help="logits are divided by it"),
    argument("--top-k", number=COUNT, metavar="K", help="sample from the K most probable pieces only"),
    argument(
        "--top-p",
        number=Number(float, 0, 1, above=True),
        default=1.0,
        metavar="P",
        help="sample from the most probable pieces with total probability P only",
    ),
    argument("--seed", number=Number(int, 0), default=1),
)
def generate(args: argparse.Namespace) -> int:
    """Write text with a trained language model: sampled, or with --beam the most probable lines."""
    saved = _open(args, "generate")
    settings = _generation_settings(args)
    write_utf8()
    texts = saved.continuations(args.prompt, args.n, args.length, settings)
    if args.json:
        print_json(texts)
        return 0
    for number, text in enumerate(texts, start=1):
        print(f"--- {number}\n{text}" if len(texts) > 1 else text)
    return 0


def _generation_settings(args: argparse.Namespace) -> Search | Sampling:
    from tietrain.model.beam import Search
    from tietrain.model.sampling import Sampling

    if not args.beam:
        return Sampling(args.temperature, args.top_k, args.top_p, args.seed)
    _check_beam("--n", args.n, args.beam)
    return Search(beam=args.beam, n_best=args.n)


@verb(
    "eval",
    RUN,
    argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="data=..., data.splits.NAME=[...], task.beam=..., hardware settings",
    ),
    CONFIG_DIR,
    CHECKPOINT,
    argument("--name", help="of the file RUN/eval_NAME.json; default: made from the overrides"),
)
def evaluate(args: argparse.Namespace) -> int:
    """Score a trained run on other text, or with other search settings, in RUN/eval_NAME.json; eval.json does not change."""
    from tietrain.data.scored import prepare_scored
    from tietrain.train.final_scores import add_means, add_scores, brief, no_scores
    from tietrain.train.job import make_task

    requested = [*args.overrides]
    if args.checkpoint != "scored":
        requested.append(f"checkpoint={args.checkpoint}")
    path = args.run / f"eval_{_evaluation_name(args.name, requested)}.json"
    saved = _open(args, "eval")
    config = override_config(saved.config, args.overrides, args.config_dir)
    if path.exists() and runs.read_json(path).get("asked") != requested:
        raise SettingsError(f"eval {args.run}", f"{path} holds another evaluation", "give another --name")
    prepared = prepare_scored(config, saved.vocabularies, _named_splits(args.overrides))
    for note in prepared.notes:
        print(note, file=sys.stderr)
    task = make_task(config, prepared)
    scores = no_scores(config)
    for split in prepared.scored:
        add_scores(scores, split, task.score(saved.model, split))
        if not args.json:
            print(f"{split}: {brief(scores['splits'][split])}", flush=True)
    for split, means in add_means(scores, config, prepared).items():
        if not args.json:
            print(f"{split}: {brief(means)}")
    body = {
        "run": saved.record.id,
        "asked": requested,
        "checkpoint": saved.checkpoint,
        "fingerprints": prepared.fingerprints,
        "machine": saved.hardware.describe(),
        **scores,
    }
    runs.write_json(path, body)
    if args.json:
        print_json(body)
        return 0
    for metric, signature in scores["signatures"].items():
        print(f"{metric}: {signature}")
    print(f"written: {path}", file=sys.stderr)
    return 0


def _evaluation_name(name: str | None, requested: Sequence[str]) -> str:
    """The part of a file name that was given, or one made from the overrides."""
    name = name or re.sub(r"[^A-Za-z0-9_.=+-]+", "_", "+".join(requested)).strip("_.+-=")[:80] or "again"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.=+-]*", name):
        remedy = "begin with a letter or digit, then use letters, digits, '_', '-', '.', '=', '+'"
        raise SettingsError(f"--name {name}", "it becomes part of a file name", remedy)
    return name


def _open(args: argparse.Namespace, verb: str) -> SavedRun:
    """The run of the command line, on the hardware of its overrides; SettingsError if the command does not fit its task.

    `eval` computes in float32; the other commands use the precision of the hardware.
    """
    from tietrain.config.compose import parse_overrides

    for override in parse_overrides(args.overrides):
        _check_override(override.key_or_group, str(override.input_line), is_eval=verb == "eval")
    config = read_run_config(args.run)
    task = config.task.name
    if TASKS.get(verb, task) != task:
        other = next((verb for verb, its_task in TASKS.items() if its_task == task), "eval")
        raise SettingsError(f"tietrain {verb}", f"{args.run} is a run of task={task}", f"use `tietrain {other}`")
    words = [word for word in args.overrides if word.lstrip("+").startswith("hardware")]
    hardware = override_config(replace(config, hardware=HardwareConfig()), words, args.config_dir).hardware
    from tietrain.train.saved import open_run

    if verb == "eval":
        return open_run(args.run, args.checkpoint, replace(hardware, precision="fp32"))
    saved = open_run(args.run, args.checkpoint, hardware)
    saved.to_hardware_precision()
    return saved


def _check_override(key: str, requested: str, *, is_eval: bool) -> None:
    """SettingsError for a setting that would change the trained model."""
    group = key.partition(".")[0]
    if group == "hardware":
        return
    if is_eval and (group == "data" or key in EVAL_KEYS) and key not in OF_THE_VOCABULARY:
        return
    allowed = f"data, hardware and {', '.join(EVAL_KEYS)}" if is_eval else "hardware"
    raise SettingsError(requested, "a trained run cannot change it", f"change only {allowed}")


def _check_beam(option: str, n: int, beam: int) -> None:
    if n > beam:
        raise SettingsError(f"{option} {n}", f"a beam of {beam} finds at most {beam}", "raise --beam")


def _named_splits(words: Sequence[str]) -> list[str]:
    """Splits whose files the overrides name, without train; only these are scored."""
    from tietrain.config.compose import parse_overrides

    names: list[str] = []
    for override in parse_overrides(words):
        key = override.key_or_group
        if key.startswith("data.splits."):
            names.append(key.removeprefix("data.splits."))
        elif key == "data.splits" and isinstance(value := override.value(), dict):
            names += map(str, value)
    return [name for name in dict.fromkeys(names) if name != "train"]
