"""`tietrain` is the Hydra app; a dispatcher on the first word adds verbs. Loads neither torch nor datasets."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path

from tietrain import __version__
from tietrain.errors import SettingsError, TietrainError, eprint

VERBS = ("plan", "schemes", "check", "data", "status", "report", "compare", "translate", "generate", "eval")


def main(argv: list[str] | None = None) -> int:
    """Run one command line; returns its exit code (see docs/cli.md)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(argv)
    except TietrainError as e:
        eprint(f"tietrain: {e}")
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
        eprint(f"tietrain: internal error, a bug of tietrain: {type(e).__name__}: {e} (see {path})")
        return 70


def _dispatch(argv: list[str]) -> int:
    if sys.flags.optimize:
        problem = "Hydra's parser takes its steps inside assertions, which this leaves out"
        raise SettingsError("python -O", problem, "start Python without -O, unset PYTHONOPTIMIZE")
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
    from tietrain.cli import verbs

    return verbs.run(argv[0], argv[1:])


def _run_hydra(argv: list[str]) -> int:
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from tietrain.cli import grid, launchers
    from tietrain.config import compose
    from tietrain.config.hydra_errors import hydra_error
    from tietrain.config.hydra_parts import get_args_parser

    args = get_args_parser().parse_args(argv)
    # Completion has words of its own in the place of overrides.
    words = [] if args.shell_completion else args.overrides
    looks = (args.cfg, args.info, args.shell_completion)
    if sum(map(bool, (args.run, args.multirun, *looks))) > 1:
        flags = "--run, --multirun, --cfg, --info and --shell_completion"
        raise SettingsError(" ".join(argv), f"{flags} exclude each other", "give one of them")
    compose.parse_overrides(words)
    if args.config_dir:
        compose.check_config_dir(args.config_dir)
    compose.register_schema()
    study = None
    # With a configuration of the user's own (-cp, -cn) a grid is what that says.
    if not any((*looks, args.help, args.hydra_help, args.config_path, args.config_name)):
        added, study = grid.prepare(words, [args.config_dir] if args.config_dir else [], args.multirun)
        argv = [*argv, *added]

    @hydra.main(version_base="1.3", config_path="pkg://tietrain.conf", config_name="config")
    def app(cfg: DictConfig) -> float | None:
        return grid.run_cell(cfg, words)

    sys.argv = ["tietrain", *argv]
    # Hydra then raises what it refuses instead of printing it and leaving with 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # Cells of a grid can run on other machines, which share its folder and not /tmp.
    with tempfile.TemporaryDirectory(prefix=".grid-", dir=study) as folder:
        outcomes = Path(folder).absolute() / "outcomes.jsonl"
        outcomes.touch()
        os.environ[grid.OUTCOMES] = str(outcomes)
        try:
            with launchers.passing_on_signals(grid.stopped_of(outcomes)) if study else nullcontext():
                app()
        except (HydraException, OmegaConfBaseException, YAMLError) as e:
            raise hydra_error(e, words) from None
        except SystemExit as e:  # argparse
            return e.code if isinstance(e.code, int) else 2
        except KeyboardInterrupt:
            if not outcomes.stat().st_size:
                raise
        except Exception as e:  # of a launcher or sweeper: no cell raises one
            if study is None:
                raise
            eprint(f"tietrain: the grid ended early, {type(e).__name__}: {e}")
            return grid.exit_code(outcomes) or 1
        return grid.exit_code(outcomes)
