"""`tietrain` is the Hydra app; a dispatcher on the first word adds verbs. Loads neither torch nor datasets."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tietrain import __version__
from tietrain.errors import SettingsError, TietrainError

VERBS = ("plan", "schemes", "check", "data", "report", "compare", "translate", "generate", "eval")
# Where jobs, in this process or in a launcher's, note how they ended: one JSON line a run.
OUTCOMES = "TIETRAIN_OUTCOMES"


def main(argv: list[str] | None = None) -> int:
    """Run one command line; returns its exit code (see docs/cli.md)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(argv)
    except TietrainError as e:
        print(f"tietrain: {e}", file=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `tietrain --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as e:
        handle, path = tempfile.mkstemp(prefix="tietrain-", suffix=".log")
        with open(handle, "w", encoding="utf-8") as log:
            log.write(traceback.format_exc())
        print(f"tietrain: internal error, a bug of tietrain: {type(e).__name__}: {e} (see {path})", file=sys.stderr)
        return 70


def _dispatch(argv: list[str]) -> int:
    if argv[:1] in (["--version"], ["-V"]):
        print(f"tietrain {__version__}")
        return 0
    if argv and argv[0][:1] not in ("-", "+", "~") and "=" not in argv[0]:
        return _run_verb(argv)
    return _run_hydra(argv)


def _run_verb(argv: list[str]) -> int:
    if argv[0] not in VERBS:
        near = get_close_matches(argv[0], VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"commands are {', '.join(VERBS)}"
        raise SettingsError(
            f"tietrain {argv[0]}", "there is no such command", f"{hint} (overrides are written key=value)"
        )
    from tietrain import verbs

    return verbs.run(argv[0], argv[1:])


def _run_hydra(argv: list[str]) -> int:
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from tietrain import compose

    args = get_args_parser().parse_args(argv)
    # Completion has words of its own in the place of overrides.
    words = [] if args.shell_completion else args.overrides
    if sum(map(bool, (args.run, args.multirun, args.cfg, args.info, args.shell_completion))) > 1:
        flags = "--run, --multirun, --cfg, --info and --shell_completion"
        raise SettingsError(" ".join(argv), f"{flags} exclude each other", "give one of them")
    swept = [o.key_or_group for o in compose.parse_overrides(words) if o.is_sweep_override()]
    if swept and any(word.startswith("run_dir=") for word in words):
        raise SettingsError("run_dir", "a grid has several cells and this names one folder", "use study=NAME")
    if args.config_dir:
        compose.check_config_dir(args.config_dir)
    compose.register_schema()

    @hydra.main(version_base="1.3", config_path="pkg://tietrain.conf", config_name="config")
    def app(cfg: DictConfig) -> None:
        run_cell(cfg, words)

    sys.argv = ["tietrain", *argv]
    # Hydra then raises what it refuses instead of printing it and leaving with 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Path(folder) / "outcomes.jsonl"
        outcomes.touch()
        os.environ[OUTCOMES] = str(outcomes)
        try:
            app()
        except (HydraException, OmegaConfBaseException, YAMLError) as e:
            raise compose.hydra_error(e, words) from None
        except SystemExit as e:  # argparse
            return e.code if isinstance(e.code, int) else 2
        except KeyboardInterrupt:
            if not outcomes.stat().st_size:
                raise
        return exit_code(outcomes)


def run_cell(cfg: Any, words: Sequence[str]) -> None:
    """One run of Hydra's: never raises a failure, because an exception would end the cells after it.

    Args:
        words: the overrides of the command line, which say what a grid sweeps.
    """
    from hydra.core.hydra_config import HydraConfig

    from tietrain.compose import check_labels, to_run_config
    from tietrain.job import Outcome, run_job

    try:
        check_labels(HydraConfig.get().overrides.task)
        config = to_run_config(cfg, swept_keys(words))
        if config.run_dir and HydraConfig.get().sweeper.get("params"):
            raise SettingsError(
                f"run_dir={config.run_dir}", "a grid has several cells and this names one folder", "use study=NAME"
            )
        outcome = run_job(config)
    except TietrainError as e:
        outcome = Outcome("", "failed", e.exit_code, str(e))
    if outcome.exit_code:
        print(f"tietrain: {outcome.message}", file=sys.stderr)
    with open(os.environ[OUTCOMES], "a", encoding="utf-8") as f:
        f.write(json.dumps(outcome.__dict__) + "\n")
    if outcome.exit_code >= 128:
        # A stopped run stops its grid too; the same command finds finished cells again.
        raise KeyboardInterrupt


def swept_keys(words: Sequence[str]) -> set[str]:
    """Keys with several values in the grid of this run, by hydra.sweeper.params or the command line's words."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from tietrain.compose import parse_overrides

    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return set()
    params = [f"{key}={values}" for key, values in (hydra.sweeper.get("params") or {}).items()]
    last = {o.key_or_group: o for o in parse_overrides([*params, *words])}  # the sweeper, too, lets the later one win
    return {key for key, override in last.items() if override.is_sweep_override()}


def exit_code(outcomes: Path) -> int:
    """The single run's own code; for a grid 1 where a cell failed, with a summary of what ended how."""
    ended = [json.loads(line) for line in outcomes.read_text(encoding="utf-8").splitlines()]
    stopped = [cell["exit_code"] for cell in ended if cell["exit_code"] >= 128]
    if stopped or len(ended) < 2:
        return max([*stopped, *(cell["exit_code"] for cell in ended)], default=0)
    counts = Counter(cell["status"] for cell in ended)
    print(f"grid: {', '.join(f'{n} {status}' for status, n in counts.items())}", file=sys.stderr)
    failed = [cell for cell in ended if cell["exit_code"] and cell["status"] != "not_applicable"]
    for cell in failed:
        print(f"  {cell['status']}: {cell['directory']} {cell['message']}", file=sys.stderr)
    return 1 if failed else 0
