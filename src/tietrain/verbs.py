"""The verbs beside a run: plan, schemes, data, report. Each has `--help`, and `--json` for programs."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import Any

from tietrain.config import RunConfig, make_shape
from tietrain.ledger.describe import describe_plan, ledger_json
from tietrain.tying.schemes import make_plan
from tietrain.tying.table import scheme_rows


def run(verb: str, argv: list[str]) -> int:
    """Run one verb; returns its exit code."""
    parser = argparse.ArgumentParser(prog=f"tietrain {verb}", description=inspect.getdoc(VERBS[verb]))
    if verb == "report":
        parser.add_argument("directory", type=Path, help="a study or run directory, for example outputs/demo")
    elif verb in ("plan", "data"):
        parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, as for a run")
        parser.add_argument("-cd", "--config-dir", action="append", default=[], help="folder with configs of your own")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return VERBS[verb](parser.parse_intermixed_args(argv))


def plan(args: argparse.Namespace) -> int:
    """Show what a configuration ties, how many parameters it has and what it computes, without training or data."""
    config = _compose(args)
    tying_plan = make_plan(make_shape(config), config.tying.ties)
    if args.json:
        heading = {"label": config.tying_label, "task": config.task.name, "plan_hash": tying_plan.hash}
        groups = {owner: list(names) for owner, names in tying_plan.groups.items()}
        _print_json({**heading, "groups": groups, **ledger_json(tying_plan)})
    else:
        print("\n".join(describe_plan(tying_plan, config.title, config.typical_length)))
    return 0


def schemes(args: argparse.Namespace) -> int:
    """List the tying schemes: what each shares, what it needs, and its source."""
    from tietrain.compose import tying_choices

    rows = scheme_rows(tying_choices())
    if args.json:
        _print_json(rows)
        return 0
    for row in rows:
        print(f"{row['name']:<14}{row['shares']}")
        details = [f"needs {row['needs']}"] if row["needs"] else []
        details += [f"{key}={json.dumps(value)}" for key, value in row["options"].items()]
        print(f"{'':<14}{'; '.join([*details, 'source: ' + row['source']])}")
    print(
        "\nCombine with tying=[three_way,cross_layer]; `tietrain plan tying=NAME` shows what a scheme does to a model."
    )
    return 0


def data(args: argparse.Namespace) -> int:
    """Validate and describe a corpus: its splits, its vocabulary, overlap, and the scores nothing can beat."""
    from tietrain.data.prepare import description_lines
    from tietrain.tasks.describe import describe_data

    description = describe_data(_compose(args))
    if args.json:
        _print_json(description)
    else:
        print("\n".join(description_lines(description)))
    return 0


def report(args: argparse.Namespace) -> int:
    """Compare the runs of a folder: tables and figures in DIR/report/, from the run directories alone."""
    from tietrain.report.write import report_rows, write_report

    if args.json:
        _print_json(report_rows(args.directory))
        return 0
    paths = write_report(args.directory)
    print(paths.markdown.read_text(encoding="utf-8"))
    print(f"written: {paths.markdown} and {len(paths.files) - 1} files beside it", file=sys.stderr)
    return 0


def _compose(args: argparse.Namespace) -> RunConfig:
    from tietrain.compose import compose_config

    return compose_config(args.overrides, args.config_dir)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


VERBS = {"plan": plan, "schemes": schemes, "data": data, "report": report}
