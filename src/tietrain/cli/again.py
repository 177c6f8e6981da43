"""A run from its directory alone: `tietrain resume` goes on with it, `tietrain reproduce` makes it again and compares,
`tietrain convert` gives it other ties in a new directory.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tietrain.cli.registry import CONFIG_DIR, answer, argument, overrides, say_unread, verb
from tietrain.config import RunConfig
from tietrain.config.stored import override_config, read_run_config
from tietrain.errors import SettingsError, eprint
from tietrain.runs import record as runs
from tietrain.runs.record import RunRecord
from tietrain.train.experiment import Experiment

RUN = argument("run", type=Path, help="a run directory")


@verb("resume", RUN, overrides("hardware.*, data.root, a longer budget"))
def resume(args: argparse.Namespace) -> int:
    """Continue a run from its directory, with the settings that it recorded. Threads stay as they were if there are as many.

    Relative paths of data begin at the folder that the run was started in.
    """
    directory = args.run.resolve()
    config, _ = _recorded(directory, args.overrides)
    if Experiment(config).directory.resolve() != directory:
        config.run_dir = str(directory)
    return _run(config)


@verb(
    "reproduce",
    *(RUN, overrides("hardware.*, data.root")),
    argument("--to", type=Path, metavar="DIR", help="where to run it; default: outputs/reproduced/NAME"),
)
def reproduce(args: argparse.Namespace) -> int:
    """Make a finished run again elsewhere and compare: weights and logged rows bit for bit, and scores.

    The exit code is 0 if they are equal and 1 if they differ; then the conditions that differ are listed.
    """
    directory = args.run.resolve()
    target = args.to.resolve() if args.to else None
    config, record = _recorded(directory, args.overrides)
    if record.status != "done":
        raise SettingsError(str(args.run), f"it is not finished ({record.status})", f"use `tietrain resume {args.run}`")
    config.study = "reproduced"
    config.run_dir = str(target) if target else None
    target = Experiment(config).directory.resolve()
    code = _run(config)
    if code:
        return code
    from tietrain.train.reproduce import conditions, differences

    found = differences(directory, target)
    apart = conditions(record, runs.read_record(target))
    body = {"there": str(directory), "here": str(target), "differences": found, "conditions": apart}
    lines = [f"{target} is {directory}, bit for bit: weights, logged rows and scores"]
    if found:
        lines = [
            *found,
            *(f"this may be why: {condition}" for condition in apart or ["no condition that was recorded"]),
        ]
    answer(args, body, lines)
    return 1 if found else 0


@verb(
    "convert",
    *(RUN, overrides("tying=..., optim.*, a budget, run_dir, study"), CONFIG_DIR),
    argument(
        "--by", choices=("mean", "first"), default="mean", help="values of a tie: mean of its uses, or the first's"
    ),
)
def convert(args: argparse.Namespace) -> int:
    """Make a new run of a trained one under other ties, from its newest checkpoint: weights and moments of the optimizer.

    Text, shape and batches stay those of the run, and its steps count. `tietrain resume` trains the new run on.
    """
    directory, here = args.run.resolve(), Path.cwd()
    config_dirs = [str(Path(folder).resolve()) for folder in args.config_dir]
    words = ["convert", str(directory), "--by", args.by, *args.overrides]
    from tietrain.train.convert import as_start, convert_run

    base = as_start(_recorded(directory, [])[0])
    config = override_config(base, args.overrides, config_dirs)
    say_unread(args.overrides, config)
    if config.run_dir:
        config.run_dir = str(here / Path(config.run_dir).expanduser())
    found = convert_run(directory, base, config, args.by, words)
    change = f"changes by {100 * found.change:.2g} % (root mean square)" if found.change else "stays as it was"
    lines = [
        f"{found.directory}: converted from {found.parent} ({found.converted})",
        f"parameters {found.params_before:,} -> {found.params:,}; what slots read {change}",
        "not taken over: best and averaged weights of the run, which were chosen by scores of another model",
        f"`{runs.resume_command(Path(found.directory))}` trains on from step {found.step}",
    ]
    if found.fresh:
        lines.insert(2, f"the optimizer begins anew for {len(found.fresh)} of its tensors")
    return answer(args, asdict(found), lines)


def _recorded(directory: Path, words: Sequence[str]) -> tuple[RunConfig, RunRecord]:
    """The configuration of a run on this machine, and its record; from here on paths begin where they did."""
    config = read_run_config(directory)
    record = runs.read_record(directory)
    threads = record.machine.get("threads")
    fits = isinstance(threads, int) and 0 < threads <= (os.cpu_count() or 1)
    config.hardware = replace(config.hardware, threads=threads if fits else None)
    if os.path.isdir(record.folder):
        os.chdir(record.folder)
    elif record.folder:
        eprint(f"{directory} was started in {record.folder}, which is not here: relative paths begin at {Path.cwd()}")
    return override_config(config, words), record


def _run(config: RunConfig) -> int:
    from tietrain.train.job import run_job

    outcome = run_job(config)
    if outcome.message:
        eprint(f"tietrain: {outcome.message}")
    return outcome.exit_code
