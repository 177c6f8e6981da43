"""Put the promises of docs/reliability.md to the test: kills, signals, full disks, racers, damage, attacks. One table.

    python scripts/torture.py            the long version; --kills 10 and so on for other counts
    python scripts/torture.py --short    a little of everything, as in the test suite

Every run is real: the command line, training, checkpoints, scores. It is compared bit for bit with an uninterrupted one.
Exit code 1 where anything was lost.
"""

import argparse
import importlib
import os
import pkgutil
import random
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", MPLBACKEND="Agg")
TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "torture")]

# How often each: name -> (long, short).
COUNTS = {
    "kills": (200, 4),
    "signals": (27, 1),
    "full-disks": (20, 1),
    "size-limits": (20, 1),
    "races": (6, 0),
    "disturbances": (8, 0),
    "grid-kills": (40, 0),
    "damages": (10_000, 3),
    "readers": (150, 1),
    "malformed": (1_000, 4),
    "attacks": (1_000, 1),
    "divergences": (14, 1),
    "other-experiments": (100, 1),
}


def main() -> int:
    """Run what is asked; returns 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the short counts")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments and damages")
    for name, (n_long, n_short) in COUNTS.items():
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"default {n_long}, short {n_short}")
    args = parser.parse_args()
    counts = {name: getattr(args, name.replace("-", "_")) for name in COUNTS}
    counts = {name: pair[args.short] if counts[name] is None else counts[name] for name, pair in COUNTS.items()}
    _import_all()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        print(f"seed {args.seed}, in {folder}", file=sys.stderr, flush=True)
        rows = _torture(Path(folder), counts, random.Random(args.seed))
    print(f"\n{'promise':<44}{'tried':>7}{'lost':>6}")
    for row in rows:
        print(f"{row.promise:<44}{row.tried:>7}{len(row.lost):>6}")
    return int(any(row.lost for row in rows))


def _torture(folder, counts, draw):
    import damages
    import disks
    import kills
    from cells import Place

    (folder / "place").mkdir()
    place = Place(folder / "place")
    trials = {
        "kills": lambda n: kills.kill_at_any_moment(place, n, draw),
        "signals": lambda n: [kills.stop_by_signals(place, n, draw)],
        "damages": lambda n: [damages.damage_a_stopped_run(place, n, draw)],
        "full-disks": lambda n: [disks.fill_a_small_disk(folder / "disk", n, draw)],
        "size-limits": lambda n: [kills.limit_file_size(place, n, draw)],
        "malformed": lambda n: [damages.give_nonsense(place, n)],
        "attacks": lambda n: [damages.attack(place, n)],
        "races": lambda n: kills.race(place, n, draw),
        "disturbances": lambda n: [kills.disturb(place, n)],
        "other-experiments": lambda n: [damages.ask_for_another(place, n)],
        "divergences": lambda n: [damages.diverge(place, n)],
        "grid-kills": lambda n: [kills.kill_a_grid(place, n, draw)],
        "readers": lambda n: [damages.damage_a_finished_run(place, n, draw)],
    }
    rows = []
    for name, trial in trials.items():
        began = time.monotonic()
        found = trial(counts[name]) if counts[name] else []
        rows += found
        for row in found:
            said = f"{name}: {row.tried} tried, {len(row.lost)} lost, {time.monotonic() - began:.0f} s"
            print(said, *row.lost[:5], sep="\n  ", file=sys.stderr, flush=True)
    return sorted(rows, key=lambda row: int(row.promise.split()[0]))


def _import_all() -> None:
    """Every module that a run loads, once: the attempts are forked."""
    import tietrain

    names = [module.name for module in pkgutil.walk_packages(tietrain.__path__, "tietrain.")]
    heavy = ("datasets", "sacrebleu", "torch._dynamo", "hydra.main", "hydra._internal.hydra")
    for name in (*(name for name in names if not name.endswith("__main__")), *heavy):
        importlib.import_module(name)


if __name__ == "__main__":
    sys.exit(main())
