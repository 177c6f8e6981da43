"""The commands beside a run, plan to repair and compare. `use` holds those that use a trained run."""

import argparse
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tietrain.cli.registry import (
    CONFIG_DIR,
    CONFIG_NAME,
    OVERRIDES,
    answer,
    argument,
    print_json,
    say,
    say_unread,
    verb,
)
from tietrain.config import RunConfig
from tietrain.config.compose import compose_config, parse_overrides
from tietrain.config.describe import describe_ledgers, describe_plan, describe_processes, ledger_json, process_memory_of
from tietrain.config.hydra_parts import composed_once
from tietrain.config.keys import tying_choices
from tietrain.config.match import compare_match, describe_match
from tietrain.config.reference import find_settings, setting_json, settings_lines
from tietrain.config.stored import stored_record
from tietrain.errors import SettingsError, eprint
from tietrain.plan.catalogue import scheme_rows
from tietrain.plan.difference import Difference, describe_difference, record_of
from tietrain.plan.flops import CONVENTION, CONVENTIONS
from tietrain.plan.installed import is_foreign
from tietrain.plan.lengths import DEFAULT_LENGTHS, count_by_length, describe_lengths, parse_lengths
from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import ModelShape
from tietrain.runs import record as runs
from tietrain.runs.reading import is_folder
from tietrain.runs.scores import METRICS, NATS
from tietrain.train.experiment import Experiment

if TYPE_CHECKING:
    from tietrain.report.tables import Words

SCORES = (*METRICS, *NATS)
# More samples would not fit in memory: each holds one number per line.
SAMPLES: dict[str, Any] = {"type": int, "holds": lambda n: 1 <= n <= 10**5, "wanted": "a number from 1 to 100000"}
SEED: dict[str, Any] = {"type": int, "holds": lambda n: 0 <= n < 2**32, "wanted": "a number from 0 to 4294967295"}
SEVERAL: dict[str, Any] = {"type": int, "holds": lambda n: 2 <= n <= 10**6, "wanted": "a number from 2 to 1000000"}
CONFIGURED = (OVERRIDES, CONFIG_DIR, CONFIG_NAME)
DECLARE = "correct what the runs declared (metric, split, baseline, margin, looks); the report shows it with its date"
CLAIMS_FOLDER = argument(
    "--to", type=Path, default=Path("outputs/claims"), metavar="DIR", help="folder of the verdicts"
)
DIRECTORY = argument("directory", type=Path, help="a study or run directory, for example outputs/demo")


@verb(
    "plan",
    *CONFIGURED,
    argument("-m", "--multirun", action="store_true", help="show the cells of a grid: key=a,b tying='glob(*)'"),
    argument("--ledger", action="store_true", help="show owner map, roles, loads and published FLOP conventions"),
    argument("--processes", **SEVERAL, metavar="N", help="memory of each of N processes that train one model"),
    argument("--against", metavar="WHAT", help="show the difference from a run directory, or from overrides in quotes"),
    argument("--lengths", metavar="LIST", help="FLOPs by sequence length: 64,...,65536 or 100,1000,10000"),
    argument("--figure", type=Path, metavar="FILE", help="draw FLOPs by length, as .png or .svg"),
    argument("--convention", choices=CONVENTIONS, default=CONVENTION, help="how --lengths counts attention"),
)
def plan(args: argparse.Namespace) -> int:
    """Show what a configuration ties, how many parameters it has and what it computes, without training or data.

    For a grid (-m, or an experiment file that contains one), show one line per cell.
    """
    from tietrain.cli.plan_grid import preview, show_cells

    detail = [f"--{name}" for name in ("ledger", "processes", "against", "lengths", "figure") if getattr(args, name)]
    if args.multirun and detail:
        raise SettingsError(detail[0], "it describes one plan, and -m shows a grid", "leave out one of the two")
    with composed_once():
        cells = None if detail else preview(args.overrides, args.config_dir, args.multirun, args.config_name)
        if cells is None:
            _plan_one(args)
            return 0
    if args.json:
        print_json([asdict(cell) for cell in cells])
    else:
        show_cells(cells)
    return 0


def _composed(args: argparse.Namespace) -> RunConfig:
    config = compose_config(args.overrides, args.config_dir, args.config_name)
    say_unread(args.overrides, config)
    return config


def _plan_one(args: argparse.Namespace) -> None:
    config = _composed(args)
    tying_plan = Experiment(config).plan
    difference = _difference(args, tying_plan) if args.against else None
    lengths = parse_lengths(args.lengths or DEFAULT_LENGTHS) if args.lengths or args.figure else []
    by_length = count_by_length(tying_plan, args.convention)
    if args.figure:
        _draw_lengths(args.figure, by_length.to_json(lengths), tying_plan.slots.shape)
    if args.json:
        heading = {"label": config.tying_label, "task": config.task.name, "plan_hash": tying_plan.hash}
        groups = {owner: list(names) for owner, names in tying_plan.groups.items()}
        body = {**heading, "groups": groups, **ledger_json(tying_plan, config)}
        if difference:
            body["difference"] = difference.to_json()
        if args.processes:
            memory = process_memory_of(tying_plan, config, args.processes)
            body["memory"]["of_each"] = {"processes": args.processes} | {
                f"{k}_bytes": n for k, n in asdict(memory).items()
            }
        if lengths:
            body["lengths"] = by_length.to_json(lengths)
        if config.match.by:
            match = compare_match(config)
            body["match"] = {**asdict(match), "percent": match.percent}
        print_json(body)
        return
    lines = [*describe_plan(tying_plan, config), *describe_match(config)]
    if config.tune.name:
        lines.append(f"tuning: {config.tune.name}, {config.tune.trials}")
    if args.ledger:
        lines += describe_ledgers(tying_plan, config)
    if args.processes:
        lines += describe_processes(tying_plan, config, args.processes)
    if difference:
        lines += describe_difference(difference, args.against)
    if lengths:
        lines += describe_lengths(by_length, lengths)
    say("\n".join(lines))


def _difference(args: argparse.Namespace, here: TyingPlan) -> Difference:
    """How the plan differs from that of a run, or of the same command line with other overrides."""
    if is_folder(Path(args.against)):
        return Difference(stored_record(Path(args.against)), record_of(here))
    setting = f"--against {args.against}"
    if "=" not in args.against:
        remedy = "name a run directory, or overrides in quotes: 'tying=cycle'"
        raise SettingsError(setting, "it is neither a folder nor an override", remedy)
    try:
        words = shlex.split(args.against)
    except ValueError as e:
        raise SettingsError(setting, str(e).rstrip("."), "close its quotation marks") from None
    replaced = tuple(f"{override.key_or_group}." for override in parse_overrides(words))
    own = zip(args.overrides, parse_overrides(args.overrides), strict=True)
    # The options of a replaced choice (tying.ties.cycle.n_unique=2) go with it.
    kept = [word for word, override in own if not f"{override.key_or_group}.".startswith(replaced)]
    there = compose_config([*kept, *words], args.config_dir, args.config_name)
    return Difference(record_of(Experiment(there).plan), record_of(here))


def _draw_lengths(path: Path, body: dict[str, Any], shape: ModelShape) -> None:
    if path.suffix not in (".png", ".svg"):
        raise SettingsError(f"--figure {path}", "it ends in neither .png nor .svg", "name a file that does")
    if path.exists():
        raise SettingsError(f"--figure {path}", "the file exists", "name another file, or remove it")
    from tietrain.report.figures.flops import draw_lengths

    layers = " + ".join(str(shape.stack(name).n_layers) for name in body["route"])
    drawing = draw_lengths(body, f"d_model {shape.d_model:,}, d_ff {shape.d_ff:,}, {layers} layers")
    with runs.writing(path), open(path, "xb") as file:
        file.write(drawing.png if path.suffix == ".png" else drawing.svg.encode())


@verb("schemes")
def schemes(args: argparse.Namespace) -> int:
    """List the tying schemes: what each shares, what it needs, and its source."""
    rows = scheme_rows(tying_choices())
    lines = []
    for row in rows:
        only = "" if row["for"] == "every model" else f" ({row['for']} only)"
        options = [f"{key}={json.dumps(value)}" for key, value in row["options"].items()]
        lines.append(f"{row['name']:<22} {row['catalogue']:<6} {row['shares']}{only}")
        lines.append(f"{'':<30}{'; '.join([*options, 'source: ' + row['source']])}")
    lines.append("\nNames in other toolkits:")
    for row in rows:
        lines += [f"  tying={alias} is {row['name']}" for alias in row["aliases"]]
    effect = "`tietrain plan tying=NAME` shows the effect on a model."
    return answer(args, rows, [*lines, f"\nCombine schemes with tying=[three_way,cross_layer]. {effect}"])


@verb("check", *CONFIGURED, argument("--all", action="store_true", help="check every scheme in every kind of model"))
def check(args: argparse.Namespace) -> int:
    """Prove on small models that tied parameters stay tied and that the ledgers count correctly; exit code 1 if not."""
    from tietrain.train.check import matrix
    from tietrain.train.check.reference import describe_reference

    if args.all and args.config_name != "config":
        raise SettingsError(f"--all -cn {args.config_name}", "--all has models of its own", "leave out one of the two")
    with matrix.progress() as log:
        if args.all:
            heading = matrix.describe_all(args.overrides)
            rows = matrix.check_all(args.overrides, args.config_dir, log)
        else:
            config = _composed(args)
            heading = describe_reference(config)
            rows = [matrix.check_configured(config, log)]
    if args.json:
        print_json(matrix.to_json(rows, heading))
    else:
        matrix.show_rows(rows, heading)
    return 0 if matrix.passed(rows) else 1


@verb(
    "settings",
    argument("name", nargs="?", default="", metavar="KEY", help="a key, or a group such as task; default: all"),
)
def settings(args: argparse.Namespace) -> int:
    """Show what a setting means: its default and range, who reads it, and whether another value makes another run."""
    return answer(args, [setting_json(setting) for setting in find_settings(args.name)], settings_lines(args.name))


@verb("data", *CONFIGURED, argument("--clear-cache", action="store_true", help="empty the cache instead (data.cache)"))
def data(args: argparse.Namespace) -> int:
    """Validate and describe a corpus: its splits, its vocabulary, overlap, and the best possible scores."""
    config = _composed(args)
    if args.clear_cache:
        from tietrain.data.cache import cache_root, clear_cache

        root = cache_root(config.data.cache)
        n_bytes = clear_cache(root)
        return answer(args, {"cache": str(root), "freed_bytes": n_bytes}, [f"{root}: {n_bytes / 1e6:,.1f} MB freed"])
    from tietrain.data.description import description_lines
    from tietrain.data.progress import reported
    from tietrain.train.stop import Stopped, StopRequest
    from tietrain.train.tasks.describe import describe_data

    try:
        with StopRequest() as stop, reported(eprint), stop.interruptible():
            description = describe_data(config)
    except Stopped as e:
        eprint(f"{e}; text that was prepared half is removed")
        return 128 + e.signal
    return answer(args, description, description_lines(description))


@verb("status", DIRECTORY, argument("--watch", action="store_true", help="keep the table up to date until Ctrl-C"))
def status(args: argparse.Namespace) -> int:
    """Show where the runs of a folder stand: state, progress, speed, time left, loss, and why one failed."""
    from tietrain.cli.status import read_status, show_status

    if args.json and args.watch:
        raise SettingsError("--watch", "JSON is written once", "leave out --watch or --json")
    if args.json:
        print_json([asdict(row) for row in read_status(args.directory)])
    else:
        is_seen = Console().is_terminal
        if args.watch and not is_seen:
            eprint("--watch needs a terminal; the table is printed once")
        show_status(args.directory, args.watch and is_seen)
    return 0


@verb(
    "report",
    DIRECTORY,
    argument("--tensorboard", action="store_true", help="write report/tb/ for TensorBoard too"),
    argument("--declare", action="append", default=[], metavar="KEY=VALUE", help=DECLARE),
)
def report(args: argparse.Namespace) -> int:
    """Compare the runs of a folder: tables and figures in DIR/report/, from the run directories alone."""
    from tietrain.cli.declare import declare_anew
    from tietrain.report.write import report_rows, write_report

    for line in declare_anew(args.directory, args.declare) if args.declare else ():
        eprint(line)
    if args.json:
        print_json(report_rows(args.directory))
        return 0
    paths = write_report(args.directory, tensorboard=args.tensorboard)
    say(paths.markdown.read_text(encoding="utf-8"))
    print(f"written: {paths.markdown.with_suffix('.html')} and {len(paths.files) - 1} files beside it", file=sys.stderr)
    return 0


@verb("claims", CLAIMS_FOLDER)
def claims(args: argparse.Namespace) -> int:
    """List the claim cards: each published claim, its source, what is known of it here, and the budget of its grid."""
    from tietrain.cli.claims import all_cards, read_findings
    from tietrain.report.pages.claim_pages import list_lines

    found = read_findings(args.to)
    cards = all_cards(found)
    body = [asdict(card) | {"finding": found[card.name].to_json() if card.name in found else None} for card in cards]
    return answer(args, body, list_lines(cards, found))


@verb(
    "claim",
    argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="a card of `tietrain claims`; data=NAME data.KEY=VALUE report.split=NAME: on another text",
    ),
    CLAIMS_FOLDER,
)
def claim(args: argparse.Namespace) -> int:
    """Test published claims: run the grids of their cards, or read the runs if they exist, and write verdicts and pages.

    A verdict on another text has a page of its own. All cards whose verdicts are in one folder are counted together. Exit code 1
    if a run of a grid failed.
    """
    from tietrain.cli.claims import grids_of, judge, keep, requested_cards
    from tietrain.cli.main import main
    from tietrain.report.pages.claim_pages import list_lines

    cards = requested_cards(args.names)
    codes = [main([*words]) for words in grids_of(cards)]
    if stopped := [code for code in codes if code >= 128]:
        return stopped[0]
    found = keep(args.to, [judge(card) for card in cards])
    answer(args, [found[card.name].to_json() for card in cards], list_lines(cards, found))
    return 1 if any(codes) else 0


@verb("repair", argument("run", type=Path, help="a finished run directory"))
def repair(args: argparse.Namespace) -> int:
    """Make again what a finished run has lost: plan, ledger, scores and its seal. Exit code 3 if something is left."""
    from tietrain.train.repair import repair_run

    repaired = repair_run(args.run, eprint)
    lines = [f"{name}: {what}" for name, what in (repaired.made | repaired.left).items()]
    answer(args, asdict(repaired), [*lines, f"seal: {repaired.seal or 'whole'}"])
    return 3 if repaired.left else 0


@verb("audit", argument("folder", type=Path, help="a folder in Hugging Face format: config.json, *.safetensors"))
def audit(args: argparse.Namespace) -> int:
    """Show what the weights of a folder share: equal tensors, and promised ties that are not there; exit code 1 if any is not.

    Reads JSON and safetensors alone. From Python `tietrain.audit(module)` says the same of a model in memory.
    """
    from tietrain.cli.audit import audit_folder

    found = audit_folder(args.folder)
    answer(args, found.to_json(), str(found).split("\n"))
    return 1 if found.broken else 0


@verb("similarity", DIRECTORY)
def similarity(args: argparse.Namespace) -> int:
    """Say whether tied token tables resemble the input or the output tables of untied runs.

    The runs need train.keep_tables=true. Writes a page, a figure for each tied arm, and all numbers into DIRECTORY/similarity.
    """
    from tietrain.report.pages.similarity_page import write_similarity

    page, headlines = write_similarity(args.directory, _words)
    return answer(args, {"page": str(page), "headlines": headlines}, [*headlines, str(page)])


def _words(directory: Path, stack: str) -> "Words":
    """What is known of the words that rows of a run's token tables stand for; nothing unless its text was generated."""
    from tietrain.config.stored import read_run_config
    from tietrain.data.grammar.classes import exchangeable_words, word_classes
    from tietrain.data.sources.named import grammar_settings
    from tietrain.data.vocabularies import load_vocabularies
    from tietrain.report.tables import Words

    config = read_run_config(directory)
    if config.data.format != "grammar":
        return Words({}, ())
    settings = grammar_settings(config.data, config.task.name)
    language = settings.columns[-1]
    pieces = load_vocabularies(directory, [stack], runs.read_record(directory).fingerprints)[stack].pieces
    rows = {piece[1:]: row for row, piece in enumerate(pieces) if piece.startswith("\u2581")}  # a blank begins a word
    classes = {rows[word]: kind for word, kind in word_classes(settings, language).items() if word in rows}
    pairs = [(rows[a], rows[b]) for a, b in exchangeable_words(settings, language) if a in rows and b in rows]
    return Words(classes, pairs)


@verb(
    "compare",
    argument("run_a", type=Path, help="a finished run directory"),
    argument("run_b", type=Path, help="another one of the same task, scored on the same lines"),
    argument("--split", help="split to compare; default: test, or the first other than valid; valid if it is alone"),
    argument("--metric", action="append", default=[], metavar="NAME", help=f"{', '.join(SCORES)}; may be repeated"),
    argument("--samples", **SAMPLES, metavar="N", help="samples per test; default: 1,000 and 10,000"),
    argument("--seed", **SEED, metavar="K", help="seed of the samples; default: sacrebleu's 12345"),
)
def compare(args: argparse.Namespace) -> int:
    """Compare two trained models on one test set: paired bootstrap and approximate randomisation of their stored output."""
    from tietrain.report.pair.pair import compare_runs
    from tietrain.report.pair.show import describe, to_json
    from tietrain.report.statistics import Draws

    for name in args.metric:
        if name not in SCORES:
            problem = "there is no such metric"
            if is_foreign(name):
                problem = "the metric of a package has no value per line, which the tests redraw"
            raise SettingsError(f"--metric {name}", problem, f"choose from {', '.join(SCORES)}")
    requested = {"n_bootstrap": args.samples, "n_exchanged": args.samples, "seed": args.seed}
    draws = Draws(**{key: value for key, value in requested.items() if value is not None})
    found = compare_runs(args.run_a, args.run_b, args.split, args.metric, draws)
    return answer(args, to_json(found), describe(found))
