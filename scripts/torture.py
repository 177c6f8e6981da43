"""Put the promises of docs/reliability.md to the test: kills, signals, full disks, racers, damage, attacks. One table.

    python scripts/torture.py            the long version; --kills 10 and the like set other counts
    python scripts/torture.py --short    a little of everything, as in the test suite

Every run is real: the command line, training, checkpoints, scores. It is compared bit for bit with an uninterrupted one.
Exit code 1 if anything was lost.
"""

import argparse
import importlib
import os
import pkgutil
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", MPLBACKEND="Agg")
TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "torture")]

# How often each is tried: name -> (long, short).
COUNTS = {
    "kills": (200, 2),
    "signals": (27, 1),
    "full-disks": (20, 1),
    "size-limits": (20, 1),
    "races": (6, 0),
    "disturbances": (8, 0),
    "grid-kills": (40, 0),
    "process-kills": (40, 2),
    "damages": (10_000, 2),
    "readers": (150, 1),
    "malformed": (1_000, 2),
    "attacks": (1_000, 1),
    "divergences": (14, 1),
    "other-experiments": (100, 1),
    "foreign-folders": (200, 2),
    "system-errors": (100, 1),
}


def main() -> int:
    """Run what is asked; returns 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the short counts")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments and damages")
    for name, (n_long, n_short) in COUNTS.items():
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"default {n_long}, short {n_short}")
    args = parser.parse_args()
    counts = {name: getattr(args, name.replace("-", "_")) for name in COUNTS}
    counts = {name: pair[args.short] if counts[name] is None else counts[name] for name, pair in COUNTS.items()}
    _import_all()
    from promises import Table

    for number in (signal.SIGINT, signal.SIGTERM):  # the first is ignored in the background of a shell
        signal.signal(number, signal.default_int_handler)
    table = Table()
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
        table.log.line(f"seed {args.seed}, in {folder}")
        try:
            _torture(Path(folder), counts, random.Random(args.seed), table)
        except KeyboardInterrupt:
            table.notes.append("interrupted: the table counts what was tried until then")
    print(f"\n{table}")
    return int(any(row.lost for row in table.rows))


def _torture(folder, counts, draw, table):
    import attacks
    import damages
    import disks
    import grids
    import kills
    import strangers
    import system_errors
    from cells import Place

    place = Place(folder)
    trials = {
        "kills": kills.kill_at_any_moment,
        "signals": kills.stop_by_signals,
        "races": kills.race,
        "full-disks": disks.fill_a_small_disk,
        "size-limits": kills.limit_file_size,
        "disturbances": kills.disturb,
        "grid-kills": grids.kill_a_grid,
        "process-kills": kills.kill_processes,
        "malformed": attacks.give_nonsense,
        "attacks": attacks.attack,
        "other-experiments": attacks.ask_for_another,
        "divergences": attacks.diverge,
        "foreign-folders": strangers.write_into_foreign_folders,
        "system-errors": system_errors.refuse_reads_and_writes,
        "readers": damages.damage_a_finished_run,
        "damages": damages.damage_a_stopped_run,
    }
    for name, trial in trials.items():
        if counts[name]:
            table.log.begin(name)
            trial(place, counts[name], draw, table)
            table.log.end()


def _import_all() -> None:
    """Every module that a run loads, once: the attempts are forked."""
    import tietrain

    names = [module.name for module in pkgutil.walk_packages(tietrain.__path__, "tietrain.")]
    heavy = ("datasets", "sacrebleu", "torch._dynamo", "hydra.main", "hydra._internal.hydra")
    for name in (*(name for name in names if not name.endswith("__main__")), *heavy):
        importlib.import_module(name)


if __name__ == "__main__":
    sys.exit(main())
