"""The commands that use a trained run: translate, generate, eval."""

import argparse
import itertools
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tietrain.cli.registry import CONFIG_DIR, answer, argument, overrides, print_json, say, verb
from tietrain.config import HardwareConfig, keys
from tietrain.config.compose import parse_overrides
from tietrain.config.stored import override_config, read_run_config
from tietrain.data.sources.validate import decode
from tietrain.errors import DataError, SettingsError, eprint, storage_error
from tietrain.runs import record as runs
from tietrain.runs.ownership import words_of_evaluation
from tietrain.runs.reading import is_there

if TYPE_CHECKING:
    from tietrain.train.saved import SavedRun
    from tietrain.train.tasks.mt import Translated

# Command -> the task of the runs it uses; eval uses runs of every task.
TASKS = {"translate": "mt", "generate": "lm"}
# Lines read, translated and written together; lines typed on a terminal are translated one by one.
LINES_AT_ONCE = 1024
RUN = argument("run", type=Path, help="a run directory")
HARDWARE = overrides("hardware settings")
WHICH = "weights to use: scored (default), last, best, average, final, or a step"
CHECKPOINT = argument("--checkpoint", default="scored", metavar="WHICH", help=WHICH)
COUNT: dict[str, Any] = {"type": int, "holds": lambda n: n >= 1, "wanted": "a whole number of at least 1"}
NOT_NEGATIVE: dict[str, Any] = {"holds": lambda n: n >= 0, "wanted": "a number of at least 0"}
POSITIVE: dict[str, Any] = {"type": float, "holds": lambda x: x > 0, "wanted": "a number above 0"}
SHARE: dict[str, Any] = {"type": float, "holds": lambda p: 0 < p <= 1, "wanted": "a number above 0 and at most 1"}
PENALTY = "divide scores by ((5 + tokens) / 6) ** ALPHA; default: the run's"


@verb(
    "translate",
    *(RUN, HARDWARE, CONFIG_DIR, CHECKPOINT),
    argument("--beam", **COUNT, metavar="K", help="hypotheses kept alive; default: the run's"),
    argument("--direction", metavar="SOURCE-TARGET", help="which direction, if the run has several"),
    argument("--length-penalty", type=float, **NOT_NEGATIVE, metavar="ALPHA", help=PENALTY),
    argument("--nbest", **COUNT, metavar="N", help="write N translations per line: LINE ||| TEXT ||| SCORE"),
    argument("--prefix", type=Path, metavar="FILE", help="how each translation begins, one prefix per line"),
    argument("--batch-tokens", **COUNT, metavar="N", help="source tokens times beam in one batch"),
)
def translate(args: argparse.Namespace) -> int:
    """Translate standard input line by line with a trained run. Separate several sources by tabs. Blank lines stay blank."""
    saved = _open(args, "translate")
    direction = saved.direction(args.direction)
    from tietrain.model.beam import Search

    task = saved.config.task
    penalty = task.length_penalty if args.length_penalty is None else args.length_penalty
    settings = Search(args.beam or task.beam, penalty, args.nbest or 1)
    _check_beam("--nbest", settings)
    lines = read_lines(sys.stdin.buffer, "standard input")
    pairs = _with_prefixes(lines, args.prefix) if args.prefix else ((line, "") for line in lines)
    at_once = 1 if sys.stdin.isatty() else LINES_AT_ONCE
    n_before = 0
    kept: dict[str, Any] = {}
    with _progress() as show_progress:
        while chunk := list(itertools.islice(pairs, at_once)):
            texts = [text for text, _ in chunk]
            prefixes = [prefix for _, prefix in chunk] if args.prefix else None
            found: dict[int, list[Translated]] = {}
            options = (prefixes, args.batch_tokens, n_before + 1, kept)
            for row, best in saved.translate(direction, texts, settings, *options):
                found[row] = best
                show_progress(n_before + len(found))
            for row in range(len(chunk)):
                say(_written(args, n_before + row, found.get(row, [])))
            sys.stdout.flush()
            n_before += len(chunk)
    return 0


@verb(
    "generate",
    *(RUN, HARDWARE, CONFIG_DIR, CHECKPOINT),
    argument("--beam", **COUNT, metavar="K", help="search for the most probable lines instead of sampling"),
    argument("--prompt", default="", help="text to continue"),
    argument("--n", **COUNT, default=1, help="number of continuations"),
    argument("--length", **COUNT, default=100, help="pieces per continuation"),
    argument("--temperature", **POSITIVE, default=1.0, help="divide logits by it"),
    argument("--top-k", **COUNT, metavar="K", help="sample from the K most probable pieces only"),
    argument("--top-p", **SHARE, default=1.0, metavar="P", help="sample from the most probable pieces of mass P only"),
    argument("--seed", type=int, **NOT_NEGATIVE, default=1, help="of the samples; default: 1"),
)
def generate(args: argparse.Namespace) -> int:
    """Write text with a trained language model: sampled, or with --beam the most probable lines."""
    saved = _open(args, "generate")
    from tietrain.model.beam import Search
    from tietrain.model.sampling import Sampling

    settings: Search | Sampling = Sampling(args.temperature, args.top_k, args.top_p, args.seed)
    if args.beam:
        settings = Search(beam=args.beam, n_best=args.n)
        _check_beam("--n", settings)
    texts = saved.continuations(args.prompt, args.n, args.length, settings)
    return answer(args, texts, texts if len(texts) == 1 else [f"--- {n}\n{text}" for n, text in enumerate(texts, 1)])


@verb(
    "eval",
    RUN,
    overrides("data.splits.NAME=[...], task.beam=..., hardware..."),
    *(CONFIG_DIR, CHECKPOINT),
    argument("--name", help="NAME in RUN/eval_NAME.json; default: made from the overrides"),
)
def evaluate(args: argparse.Namespace) -> int:
    """Score a trained run on other text or with other search settings; writes RUN/eval_NAME.json, never eval.json."""
    from tietrain.data.prepare import prepare_scored
    from tietrain.train.final_scores import add_means, add_scores, brief, no_scores
    from tietrain.train.tasks import make_task

    requested = [*args.overrides, *([] if args.checkpoint == "scored" else [f"checkpoint={args.checkpoint}"])]
    name = args.name or re.sub(r"[^A-Za-z0-9_.=+-]+", "_", "+".join(requested)).strip("_.+-=")[:80] or "again"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.=+-]*", name):
        raise SettingsError(f"--name {name}", "it becomes part of a file name", "use letters, digits, '_', '-', '.'")
    path = args.run / f"eval_{name}.json"
    saved = _open(args, "eval")
    config = override_config(saved.config, args.overrides, args.config_dir)
    if is_there(path) and words_of_evaluation(path) != requested:
        raise SettingsError(f"--name {name}", f"{path} holds another evaluation", "give another --name")
    prepared = prepare_scored(config, saved.vocabularies, _named_splits(args.overrides))
    for note in prepared.notes:
        eprint(note)
    task = make_task(config, prepared)
    scores = no_scores(config)
    for split in prepared.scored:
        add_scores(scores, split, task.score(saved.model, split))
        if not args.json:
            print(f"{split}: {brief(scores['splits'][split])}", flush=True)
    for split, means in add_means(scores, config, prepared).items():
        if not args.json:
            print(f"{split}: {brief(means)}")
    about = {"run": saved.record.id, "asked": requested, "checkpoint": saved.checkpoint}
    body = {**about, "fingerprints": prepared.fingerprints, "machine": saved.hardware.describe(), **scores}
    runs.write_json(path, body)
    if args.json:
        print_json(body)
        return 0
    for metric, signature in scores["signatures"].items():
        say(f"{metric}: {signature}")
    for score, reason in scores["reasons"].items():
        eprint(f"{score} is missing: {reason}")
    eprint(f"written: {path}")
    return 0


def _open(args: argparse.Namespace, verb: str) -> "SavedRun":
    """The run of the command line, on the hardware of its overrides; SettingsError if the command does not fit its task.

    `eval` computes in float32, the other commands in the precision of the hardware.
    """
    allowed = "hardware settings"
    if verb == "eval":
        others = [key for key in keys.AT_EVAL if not key.startswith(("data.", "hardware."))]
        allowed = f"data, hardware, {', '.join(others)}"
    for override in parse_overrides(args.overrides):
        key = override.key_or_group
        found = keys.setting_of(key)
        of_eval = key == "data" or (found is not None and found.spec.at_eval)
        if key.partition(".")[0] != "hardware" and not (verb == "eval" and of_eval):
            raise SettingsError(str(override.input_line), "it cannot be changed after training", f"set only {allowed}")
    config = read_run_config(args.run)
    task = config.task.name
    if TASKS.get(verb, task) != task:
        other = next((verb for verb, its_task in TASKS.items() if its_task == task), "eval")
        raise SettingsError(f"tietrain {verb}", f"{args.run} is a run of task={task}", f"use `tietrain {other}`")
    words = [word for word in args.overrides if word.lstrip("+").startswith("hardware")]
    hardware = override_config(replace(config, hardware=HardwareConfig()), words, args.config_dir).hardware
    from tietrain.train.saved import open_run

    if verb == "eval":
        hardware = replace(hardware, precision="fp32")
    saved = open_run(args.run, args.checkpoint, hardware)
    saved.to_hardware_precision()
    return saved


def _check_beam(option: str, settings: Any) -> None:
    if settings.n_best > settings.beam:
        problem = f"a beam of {settings.beam} finds at most {settings.beam}"
        raise SettingsError(f"{option} {settings.n_best}", problem, "raise --beam")


def _named_splits(words: Sequence[str]) -> list[str]:
    """Splits whose files the overrides name, without train; only these are scored."""
    names: list[str] = []
    for override in parse_overrides(words):
        key = override.key_or_group
        if key.startswith("data.splits."):
            names.append(key.removeprefix("data.splits."))
        elif key == "data.splits" and isinstance(value := override.value(), dict):
            names += map(str, value)
    return [name for name in dict.fromkeys(names) if name != "train"]


def read_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """The lines of a stream, without their ends (LF or CRLF); DataError with the number of a line that is not UTF-8."""
    for number, line in enumerate(stream, start=1):
        text = decode(line.removesuffix(b"\n").removesuffix(b"\r"), f"{name}:{number}")
        yield text.removeprefix("\ufeff") if number == 1 else text


def _with_prefixes(lines: Iterator[str], path: Path) -> Iterator[tuple[str, str]]:
    """Each line with the prefix of its translation; DataError if the file has not exactly one prefix per line."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise DataError(f"--prefix {path}", "there is no such file", "name a text file") from None
    except OSError as e:
        raise storage_error(f"--prefix {path}", e) from e
    with stream:
        both = itertools.zip_longest(lines, read_lines(stream, str(path)))
        for number, (line, prefix) in enumerate(both, start=1):
            if prefix is None:
                problem = f"the file ends, and standard input has a line {number}"
                raise DataError(f"{path}:{number - 1}", problem, "give one prefix per line")
            if line is None:
                problem = f"standard input ends after line {number - 1}"
                raise DataError(f"{path}:{number}", problem, "give one prefix per line")
            yield line, prefix


def _written(args: argparse.Namespace, number: int, hypotheses: "list[Translated]") -> str:
    """The translations of a line: as JSON, in the format of Moses (a blank line has one, blank), or the best as text."""
    if args.json:
        return json.dumps({"line": number, "translations": [h._asdict() for h in hypotheses]}, ensure_ascii=False)
    if args.nbest:
        rows = [(h.text, f"{h.score:.6f}") for h in hypotheses] or [("", "0")]
        return "\n".join(f"{number} ||| {text} ||| {score}" for text, score in rows)
    return hypotheses[0].text if hypotheses else ""


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Shows lines done and lines per second on stderr, if that is a terminal and standard output is not."""
    is_on = sys.stderr.isatty() and not sys.stdout.isatty()
    began = time.monotonic()
    shown = 0.0

    def show(n_lines: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if is_on and now - shown > 0.2:
            shown = now
            speed = n_lines / (now - began)
            print(f"\r{n_lines:,} lines, {speed:,.1f} per second ", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown:
            print(file=sys.stderr)
