"""The verbs that use a trained run: translate, generate, eval."""

from __future__ import annotations

import argparse
import io
import itertools
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tietrain.config import HardwareConfig
from tietrain.config.stored import override_config, read_run_config
from tietrain.errors import DataError, SettingsError
from tietrain.runs import record as runs

if TYPE_CHECKING:
    from tietrain.model.beam import Search
    from tietrain.train.saved import SavedRun
    from tietrain.train.tasks.mt import Translated

# What each of these verbs is for; eval is for both.
TASKS = {"translate": "mt", "generate": "lm"}
# Lines read, translated and written together; of a terminal each one by itself.
LINES_AT_ONCE = 1024
# What `eval` may be told, besides the corpus: none of it changes the model or its vocabulary.
EVAL_KEYS = (
    *(f"task.{key}" for key in ("beam", "length_penalty", "max_output_ratio", "max_output_extra")),
    *(f"task.{key}" for key in ("metrics", "bleu_tokenize", "eval_stride")),
    "train.batch_tokens",
)
OF_THE_VOCABULARY = ("data.vocabulary", "data.kind", "data.byte_fallback")


def add_arguments(verb: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of one of these verbs."""
    parser.add_argument("run", type=Path, help="a run directory")
    what = "data=..., data.splits.NAME=[...], task.beam=..., hardware..." if verb == "eval" else "hardware settings"
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=what)
    parser.add_argument("-cd", "--config-dir", action="append", default=[], help="folder with configs of your own")
    which = "scored (default), last, best, average, final, or a step"
    parser.add_argument("--checkpoint", default="scored", metavar="WHICH", help=which)
    if verb == "eval":
        parser.add_argument("--name", help="of the file RUN/eval_NAME.json; default: from the overrides")
        return
    beam = "hypotheses kept alive; default: the run's" if verb == "translate" else "search instead of drawing"
    parser.add_argument("--beam", type=int, metavar="K", help=beam)
    if verb == "translate":
        parser.add_argument("--direction", metavar="SOURCE-TARGET", help="which one, of a run that has several")
        penalty = "alpha of ((5 + tokens) / 6) ** alpha, which scores are divided by; default: the run's"
        parser.add_argument("--length-penalty", type=float, metavar="ALPHA", help=penalty)
        parser.add_argument("--nbest", type=int, metavar="N", help="write N translations: LINE ||| TEXT ||| SCORE")
        parser.add_argument("--prefix", type=Path, metavar="FILE", help="what each translation begins with, one a line")
        parser.add_argument("--batch-tokens", type=int, metavar="N", help="source tokens times beam at once")
        return
    parser.add_argument("--prompt", default="", help="text to go on from")
    parser.add_argument("--n", type=int, default=1, help="how many continuations")
    parser.add_argument("--length", type=int, default=100, help="pieces of each")
    parser.add_argument("--temperature", type=float, default=1.0, help="what logits are divided by")
    parser.add_argument("--top-k", type=int, metavar="K", help="only the K most probable pieces")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="only the most probable of mass P")
    parser.add_argument("--seed", type=int, default=1)


def translate(args: argparse.Namespace) -> int:
    """Translate standard input line by line with a trained run; several sources are separated by tabs; blank lines stay."""
    for option in ("beam", "nbest", "batch_tokens"):
        _check_least(f"--{option.replace('_', '-')}", getattr(args, option), 1)
    _check_least("--length-penalty", args.length_penalty, 0)
    saved = _open(args, "translate")
    direction = saved.direction(args.direction)
    from tietrain.model.beam import Search

    task = saved.config.task
    beam = args.beam or task.beam
    penalty = task.length_penalty if args.length_penalty is None else args.length_penalty
    settings = Search(beam, penalty, args.nbest or 1)
    if settings.n_best > beam:
        raise SettingsError(f"--nbest {args.nbest}", f"a beam of {beam} finds no more than {beam}", "raise --beam")
    _write_utf8()
    show = _json_line if args.json else _nbest_lines if args.nbest else _line
    with ExitStack() as stack:
        progress, prefixes = stack.enter_context(_Progress()), None
        if args.prefix:
            prefixes = read_lines(stack.enter_context(_open_binary(args.prefix)), str(args.prefix))
        lines = read_lines(sys.stdin.buffer, "standard input")
        at_once = 1 if sys.stdin.isatty() else LINES_AT_ONCE
        for first, chunk, forced in _chunks(lines, prefixes, str(args.prefix), at_once):
            found: dict[int, list[Translated]] = {}
            for row, hypotheses in saved.translate(direction, chunk, settings, forced, args.batch_tokens, first + 1):
                found[row] = hypotheses
                progress.show(first + len(found))
            for row in range(len(chunk)):
                print(show(first + row, found.get(row, [])))
            sys.stdout.flush()
    return 0


def generate(args: argparse.Namespace) -> int:
    """Let a trained language model write: drawn from its distribution, or with --beam the most probable lines."""
    for option, least in (("beam", 1), ("n", 1), ("length", 1), ("top_k", 1), ("seed", 0)):
        _check_least(f"--{option.replace('_', '-')}", getattr(args, option), least)
    for option, most in (("temperature", float("inf")), ("top_p", 1)):
        if not 0 < getattr(args, option) <= most:
            remedy = "give a positive number" if option == "temperature" else "give a number above 0, at most 1"
            requested = f"--{option.replace('_', '-')} {getattr(args, option)}"
            raise SettingsError(requested, "the value is out of range", remedy)
    saved = _open(args, "generate")
    from tietrain.model.beam import Search
    from tietrain.model.sampling import Sampling

    settings: Search | Sampling = Sampling(args.temperature, args.top_k, args.top_p, args.seed)
    if args.beam:
        if args.n > args.beam:
            raise SettingsError(
                f"--n {args.n}", f"a beam of {args.beam} finds no more than {args.beam}", "raise --beam"
            )
        settings = Search(beam=args.beam, n_best=args.n)
    _write_utf8()
    texts = saved.continuations(args.prompt, args.n, args.length, settings)
    if args.json:
        print(json.dumps(texts, indent=1, ensure_ascii=False))
        return 0
    for number, text in enumerate(texts, start=1):
        print(f"--- {number}\n{text}" if len(texts) > 1 else text)
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Score a trained run on other text, or with another search: RUN/eval_NAME.json; eval.json stays as it is."""
    from tietrain.data.scored import prepare_scored
    from tietrain.train.final_scores import add_means, add_scores, brief, no_scores
    from tietrain.train.tasks import make_task

    requested = [*args.overrides, *([] if args.checkpoint == "scored" else [f"checkpoint={args.checkpoint}"])]
    name = args.name or re.sub(r"[^A-Za-z0-9_.=+-]+", "_", "+".join(requested)).strip("_.+-=")[:80] or "again"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.=+-]*", name):
        raise SettingsError(f"--name {name}", "it becomes a file name", "use letters, digits, '_', '-', '.'")
    path = args.run / f"eval_{name}.json"
    saved = _open(args, "eval")
    config = override_config(saved.config, args.overrides, args.config_dir)
    if path.exists() and runs.read_json(path).get("asked") != requested:
        raise SettingsError(f"--name {name}", f"{path} holds another evaluation", "give another --name")
    prepared = prepare_scored(config, saved.vocabularies, _named_splits(args.overrides))
    for note in prepared.notes:
        print(note, file=sys.stderr)
    task, scores = make_task(config, prepared), no_scores(config)
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
        print(json.dumps(body, indent=1, ensure_ascii=False))
        return 0
    for metric, signature in scores["signatures"].items():
        print(f"{metric}: {signature}")
    print(f"written: {path}", file=sys.stderr)
    return 0


def read_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """The lines of a stream, without their ends (LF or CRLF); DataError with the number of one that is not UTF-8."""
    for number, line in enumerate(stream, start=1):
        try:
            text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as e:
            problem = f"it is not UTF-8 (byte 0x{line[e.start]:02x}: {e.reason})"
            raise DataError(f"{name}:{number}", problem, "convert it, for example with iconv -t UTF-8") from None
        yield text.removeprefix("\ufeff") if number == 1 else text


def _open(args: argparse.Namespace, verb: str) -> SavedRun:
    """The run of the command line, on the hardware of its overrides; SettingsError where the verb is not for its task.

    Scores are computed in float32; whatever else uses a run takes the precision of the hardware.
    """
    from tietrain.config.compose import parse_overrides

    for override in parse_overrides(args.overrides):
        _check_override(override.key_or_group, str(override.input_line), is_eval=verb == "eval")
    config = read_run_config(args.run)
    if TASKS.get(verb, config.task.name) != config.task.name:
        other = next((verb for verb, task in TASKS.items() if task == config.task.name), "eval")
        problem = f"{args.run} is a run of task={config.task.name}"
        raise SettingsError(f"tietrain {verb}", problem, f"use `tietrain {other}`")
    words = [word for word in args.overrides if word.lstrip("+").startswith("hardware")]
    hardware = override_config(replace(config, hardware=HardwareConfig()), words, args.config_dir).hardware
    from tietrain.train.saved import open_run

    if verb == "eval":
        return open_run(args.run, args.checkpoint, replace(hardware, precision="fp32"))
    saved = open_run(args.run, args.checkpoint, hardware)
    saved.to_hardware_precision()
    return saved


def _check_override(key: str, requested: str, *, is_eval: bool) -> None:
    group = key.split(".")[0]
    if group == "hardware" or (is_eval and (group == "data" or key in EVAL_KEYS) and key not in OF_THE_VOCABULARY):
        return
    may = f"data, hardware and {', '.join(EVAL_KEYS)}" if is_eval else "hardware"
    raise SettingsError(requested, "the run is used as it was trained", f"it can be told {may}")


def _named_splits(words: Sequence[str]) -> list[str]:
    """Splits whose files the overrides name; those alone are scored."""
    from tietrain.config.compose import parse_overrides

    names: list[str] = []
    for override in parse_overrides(words):
        key = override.key_or_group
        if key.startswith("data.splits."):
            names.append(key.removeprefix("data.splits."))
        elif key == "data.splits" and isinstance(value := override.value(), dict):
            names += map(str, value)
    return [name for name in dict.fromkeys(names) if name != "train"]


def _check_least(option: str, value: float | None, least: int) -> None:
    if value is not None and not value >= least:
        raise SettingsError(f"{option} {value}", "the value is out of range", f"give a number of at least {least}")


def _open_binary(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as e:
        raise DataError(f"--prefix {path}", f"the system says {e.strerror}", "name a text file") from None


def _write_utf8() -> None:
    """Text goes out as it came in, whatever the locale says."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


def _chunks(
    lines: Iterator[str], prefixes: Iterator[str] | None, name: str, at_once: int
) -> Iterator[tuple[int, list[str], list[str] | None]]:
    """Some lines at a time with how many were before them, and their prefixes where there are any.

    Raises:
        DataError: there is not one prefix a line; names the file of the prefixes and the line.
    """
    first = 0
    while chunk := list(itertools.islice(lines, at_once)):
        forced = None if prefixes is None else list(itertools.islice(prefixes, len(chunk)))
        if forced is not None and len(forced) < len(chunk):
            problem = f"it ends, and standard input has a line {first + len(forced) + 1}"
            raise DataError(f"{name}:{first + len(forced)}", problem, "give one prefix a line")
        yield first, chunk, forced
        first += len(chunk)
    if prefixes is not None and next(prefixes, None) is not None:
        raise DataError(f"{name}:{first + 1}", f"standard input ends after line {first}", "give one prefix a line")


def _line(_number: int, hypotheses: list[Translated]) -> str:
    return hypotheses[0].text if hypotheses else ""


def _nbest_lines(number: int, hypotheses: list[Translated]) -> str:
    """As Moses writes them, lines counted from 0; a blank line has one blank translation."""
    rows = [(h.text, f"{h.score:.6f}") for h in hypotheses] or [("", "0")]
    return "\n".join(f"{number} ||| {text} ||| {score}" for text, score in rows)


def _json_line(number: int, hypotheses: list[Translated]) -> str:
    return json.dumps({"line": number, "translations": [h._asdict() for h in hypotheses]}, ensure_ascii=False)


class _Progress:
    """Lines done and lines a second on standard error, where that is a terminal and standard output is not."""

    def __init__(self) -> None:
        self._shown, self._began, self._last = False, time.monotonic(), 0.0

    def __enter__(self) -> _Progress:
        return self

    def show(self, n_lines: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and not sys.stdout.isatty() and now - self._last > 0.2:
            self._shown, self._last = True, now
            print(
                f"\r{n_lines:,} lines, {n_lines / (now - self._began):,.1f} a second ",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print(file=sys.stderr)
