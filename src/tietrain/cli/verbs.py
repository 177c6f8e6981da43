"""The verbs beside a run: plan, schemes, check, data, status, report, compare, and those of `run_verbs`. Each has `--help`, and `--json` for programs."""

from __future__ import annotations

import argparse
import inspect
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tietrain.cli import use as run_verbs
from tietrain.config import RunConfig
from tietrain.config.describe import describe_ledgers, describe_plan, ledger_json
from tietrain.config.match import compare_match, describe_match
from tietrain.config.stored import stored_record
from tietrain.errors import SettingsError
from tietrain.plan.catalogue import scheme_rows
from tietrain.plan.difference import Difference, describe_difference, record_of
from tietrain.plan.flops import CONVENTION, CONVENTIONS
from tietrain.plan.lengths import DEFAULT_LENGTHS, count_by_length, describe_lengths, parse_lengths
from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import ModelShape
from tietrain.runs import record as runs
from tietrain.runs.scores import METRICS, NATS
from tietrain.train.experiment import Experiment

# More would not fit in memory: every draw holds a number a line.
MOST_SAMPLES = 100_000


def run(verb: str, argv: list[str]) -> int:
    """Run one verb; returns its exit code."""
    parser = argparse.ArgumentParser(prog=f"tietrain {verb}", description=inspect.getdoc(VERBS[verb]))
    if verb in ("report", "status"):
        parser.add_argument("directory", type=Path, help="a study or run directory, for example outputs/demo")
    elif verb in ("plan", "check", "data"):
        parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, as for a run")
        parser.add_argument("-cd", "--config-dir", action="append", default=[], help="folder with configs of your own")
    elif verb == "compare":
        _add_compare_options(parser)
    elif verb != "schemes":
        run_verbs.add_arguments(verb, parser)
    if verb == "plan":
        _add_plan_options(parser)
    if verb == "status":
        parser.add_argument("--watch", action="store_true", help="keep the table up to date until Ctrl-C")
    if verb == "report":
        parser.add_argument("--tensorboard", action="store_true", help="the comparison for TensorBoard too: report/tb/")
    if verb == "check":
        parser.add_argument("--all", action="store_true", help="every scheme under every kind of model, on small ones")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return VERBS[verb](parser.parse_intermixed_args(argv))


def _add_plan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--multirun", action="store_true", help="the cells of a grid: key=a,b tying='glob(*)'")
    parser.add_argument("--ledger", action="store_true", help="owner map, roles, loads, published FLOP conventions")
    parser.add_argument(
        "--against", metavar="WHAT", help="difference from a run directory, or from overrides in quotes"
    )
    parser.add_argument("--lengths", metavar="LIST", help="FLOPs by sequence length: 64,...,65536 or 100,1000,10000")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw them too, as .png or .svg")
    parser.add_argument("--convention", choices=CONVENTIONS, default=CONVENTION, help="how --lengths counts attention")


def _add_compare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_a", type=Path, help="a finished run directory")
    parser.add_argument("run_b", type=Path, help="another of the same task, scored on the same lines")
    parser.add_argument("--split", help="default: test, or the first that did not choose the weights")
    choices = ", ".join((*METRICS, *NATS))
    parser.add_argument("--metric", action="append", default=[], metavar="NAME", help=f"of {choices}; may be repeated")
    parser.add_argument("--samples", type=int, metavar="N", help="of each test; default: 1,000 and 10,000")
    parser.add_argument("--seed", type=int, metavar="K", help="of the samples; default: sacrebleu's 12345")


def plan(args: argparse.Namespace) -> int:
    """Show what a configuration ties, how many parameters it has and what it computes, without training or data.

    Of a grid (-m, or an experiment that carries one) a line for each cell.
    """
    from tietrain.cli.plan_grid import cells_json, is_grid, preview, show_cells

    detail = [name for name in ("ledger", "against", "lengths", "figure") if getattr(args, name)]
    if args.multirun and detail:
        raise SettingsError(f"--{detail[0]}", "it is about one plan, and -m asks for those of a grid", "leave one out")
    if args.multirun or (not detail and is_grid(args.overrides, args.config_dir)):
        cells = preview(args.overrides, args.config_dir)
        if args.json:
            _print_json(cells_json(cells))
        else:
            show_cells(cells)
        return 0
    config = _compose(args)
    tying_plan = Experiment(config).plan
    difference = _difference(args, tying_plan) if args.against else None
    lengths = parse_lengths(args.lengths or DEFAULT_LENGTHS) if args.lengths or args.figure else []
    by_length = count_by_length(tying_plan.slots.shape, args.convention)
    if args.figure:
        _draw_lengths(args.figure, by_length.to_json(lengths), tying_plan.slots.shape)
    if args.json:
        heading = {"label": config.tying_label, "task": config.task.name, "plan_hash": tying_plan.hash}
        groups = {owner: list(names) for owner, names in tying_plan.groups.items()}
        extra = {"difference": difference.to_json()} if difference else {}
        extra |= {"lengths": by_length.to_json(lengths)} if lengths else {}
        if config.match.by:
            extra["match"] = asdict(found := compare_match(config)) | {"percent": found.percent}
        _print_json({**heading, "groups": groups, **ledger_json(tying_plan, config), **extra})
        return 0
    lines = [*describe_plan(tying_plan, config), *describe_match(config)]
    lines += [f"tuning: {config.tune.name}, {config.tune.trials}"] if config.tune.name else []
    lines += describe_ledgers(tying_plan, config) if args.ledger else []
    lines += describe_difference(difference, args.against) if difference else []
    lines += describe_lengths(by_length, lengths) if lengths else []
    print("\n".join(lines))
    return 0


def _difference(args: argparse.Namespace, here: TyingPlan) -> Difference:
    """How the plan differs from a run's, or from the one that other overrides give the same command line."""
    from tietrain.config.compose import compose_config, parse_overrides

    if Path(args.against).is_dir():
        return Difference(stored_record(Path(args.against)), record_of(here))
    if "=" not in args.against:
        remedy = "name a run directory, or overrides in quotes: 'tying=cycle'"
        raise SettingsError(f"--against {args.against}", "it is no folder and no override", remedy)
    try:
        words = shlex.split(args.against)
    except ValueError as e:
        raise SettingsError(f"--against {args.against}", str(e).rstrip("."), "close its quotation marks") from None
    replaced = [override.key_or_group for override in parse_overrides(words)]
    # What a replaced choice was told, tying.ties.cycle.n_unique=2, goes with it.
    kept = [
        word
        for word, override in zip(args.overrides, parse_overrides(args.overrides), strict=True)
        if not any(f"{override.key_or_group}.".startswith(f"{key}.") for key in replaced)
    ]
    there = compose_config([*kept, *words], args.config_dir)
    return Difference(record_of(Experiment(there).plan), record_of(here))


def _draw_lengths(path: Path, body: dict[str, Any], shape: ModelShape) -> None:
    if path.suffix not in (".png", ".svg"):
        raise SettingsError(f"--figure {path}", "it ends in neither .png nor .svg", "name a file that does")
    from tietrain.report.figures.lengths import draw_lengths

    layers = " + ".join(str(shape.stack(name).n_layers) for name in body["route"])
    drawing = draw_lengths(body, f"d_model {shape.d_model:,}, d_ff {shape.d_ff:,}, {layers} layers")
    runs.write_bytes(path, drawing.png if path.suffix == ".png" else drawing.svg.encode())


def schemes(args: argparse.Namespace) -> int:
    """List the tying schemes: what each shares, what it needs, and its source."""
    from tietrain.config.compose import tying_choices

    rows = scheme_rows(tying_choices())
    if args.json:
        _print_json(rows)
        return 0
    for row in rows:
        only = "" if row["for"] == "every model" else f" ({row['for']} only)"
        print(f"{row['name']:<22} {row['catalogue']:<6} {row['shares']}{only}")
        details = [f"{key}={json.dumps(value)}" for key, value in row["options"].items()]
        print(f"{'':<30}{'; '.join([*details, 'source: ' + row['source']])}")
    print("\nNames of other toolkits:")
    for row in rows:
        print("".join(f"  tying={alias} is {row['name']}\n" for alias in row["aliases"]), end="")
    print(
        "\nCombine with tying=[three_way,cross_layer]; `tietrain plan tying=NAME` shows what a scheme does to a model."
    )
    return 0


def check(args: argparse.Namespace) -> int:
    """Prove on small models that what is tied is tied and what is counted is true; exit code 1 where it is not."""
    from tietrain.train.check import matrix
    from tietrain.train.check.reference import describe_reference

    with matrix.progress() as log:
        if args.all:
            heading, rows = matrix.describe_all(args.overrides), matrix.check_all(args.overrides, args.config_dir, log)
        else:
            config = _compose(args)
            heading, rows = describe_reference(config), [matrix.check_configured(config, log)]
    if args.json:
        _print_json(matrix.to_json(rows, heading))
    else:
        matrix.show_rows(rows, heading)
    return 0 if matrix.passed(rows) else 1


def data(args: argparse.Namespace) -> int:
    """Validate and describe a corpus: its splits, its vocabulary, overlap, and the scores nothing can beat."""
    from tietrain.data.description import description_lines
    from tietrain.train.tasks.describe import describe_data

    description = describe_data(_compose(args))
    if args.json:
        _print_json(description)
    else:
        print("\n".join(description_lines(description)))
    return 0


def status(args: argparse.Namespace) -> int:
    """Show where the runs of a folder stand: state, progress, speed, time left, loss, and why one failed."""
    from tietrain.cli.status import read_status, show_status, status_json

    if args.json and args.watch:
        raise SettingsError("--watch", "JSON is written once", "leave out --watch or --json")
    if args.json:
        _print_json(status_json(read_status(args.directory)))
    else:
        show_status(args.directory, args.watch)
    return 0


def report(args: argparse.Namespace) -> int:
    """Compare the runs of a folder: tables and figures in DIR/report/, from the run directories alone."""
    from tietrain.report.write import report_rows, write_report

    if args.json:
        _print_json(report_rows(args.directory))
        return 0
    paths = write_report(args.directory, tensorboard=args.tensorboard)
    print(paths.markdown.read_text(encoding="utf-8"))
    print(f"written: {paths.markdown.with_suffix('.html')} and {len(paths.files) - 1} files beside it", file=sys.stderr)
    return 0


def compare(args: argparse.Namespace) -> int:
    """Compare two trained models on one test set: paired bootstrap and approximate randomisation of their stored output."""
    from tietrain.report.pair.pair import compare_runs
    from tietrain.report.pair.show import describe, to_json
    from tietrain.report.pair.significance import Draws

    unknown = [name for name in args.metric if name not in (*METRICS, *NATS)]
    if unknown:
        remedy = f"choose from {', '.join((*METRICS, *NATS))}"
        raise SettingsError(f"--metric {unknown[0]}", "there is no such metric", remedy)
    for key, value, low, high in (("samples", args.samples, 1, MOST_SAMPLES), ("seed", args.seed, 0, 2**32 - 1)):
        if value is not None and not low <= value <= high:
            raise SettingsError(f"--{key} {value}", "the value is out of range", f"give a number from {low} to {high}")
    requested = {"n_bootstrap": args.samples, "n_exchanged": args.samples, "seed": args.seed}
    draws = Draws(**{key: value for key, value in requested.items() if value is not None})
    found = compare_runs(args.run_a, args.run_b, args.split, args.metric, draws)
    if args.json:
        _print_json(to_json(found))
    else:
        print("\n".join(describe(found)))
    return 0


def _compose(args: argparse.Namespace) -> RunConfig:
    from tietrain.config.compose import compose_config

    return compose_config(args.overrides, args.config_dir)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


VERBS = {"plan": plan, "schemes": schemes, "check": check, "data": data, "status": status}
VERBS |= {"report": report, "compare": compare}
VERBS |= {"translate": run_verbs.translate, "generate": run_verbs.generate, "eval": run_verbs.evaluate}
