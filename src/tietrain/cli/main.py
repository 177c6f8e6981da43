"""`tietrain`: the first word is a command, or all words are settings of a run or grid. Loads neither torch nor datasets."""

import os
import sys
import tempfile
import traceback
from difflib import get_close_matches

from tietrain import __version__
from tietrain.errors import SettingsError, TietrainError, eprint


def main(argv: list[str] | None = None) -> int:
    """Run one command line; returns its exit code (see docs/cli.md)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if sys.flags.optimize:
            problem = "it removes assertions, and Hydra's parser does its work inside assertions"
            raise SettingsError("python -O", problem, "start Python without -O, unset PYTHONOPTIMIZE")
        if argv[:1] in (["--version"], ["-V"]):
            print(f"tietrain {__version__}")
            return 0
        is_command = bool(argv) and not argv[0].startswith(("-", "+", "~")) and "=" not in argv[0]
        return _run_verb(argv[0], argv[1:]) if is_command else _run_hydra(argv)
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
        eprint(f"tietrain: internal error, a bug in tietrain: {type(e).__name__}: {e} (see {path})")
        return 70


def _run_verb(name: str, argv: list[str]) -> int:
    from tietrain.cli import use, verbs  # noqa: F401  (they register the commands)
    from tietrain.cli.registry import VERBS

    if name not in VERBS:
        near = get_close_matches(name, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(sorted(VERBS))}"
        raise SettingsError(f"tietrain {name}", "there is no such command", f"{hint} (write settings as key=value)")
    args = VERBS[name].parse_intermixed_args(argv)
    code: int = args.function(args)
    return code


def _run_hydra(argv: list[str]) -> int:
    """Run an experiment or a grid, or let Hydra print help, a configuration or completions."""
    from tietrain.cli import grid
    from tietrain.config import compose
    from tietrain.config.hydra_parts import parse_flags

    flags = parse_flags(argv)
    looks = (flags.cfg, flags.info, flags.shell_completion)
    if sum(map(bool, (flags.run, flags.multirun, *looks))) > 1:
        names = "--run, --multirun, --cfg, --info and --shell-completion"
        raise SettingsError(" ".join(argv), f"{names} exclude one another", "give only one of them")
    # With --shell-completion the words belong to the shell, not to a configuration.
    words = [] if flags.shell_completion else flags.overrides
    compose.parse_overrides(words)
    if flags.config_dir:
        compose.check_config_dir(flags.config_dir)
    compose.register_schema()
    study = None
    # A configuration of the user's own (-cp, -cn) describes its grid itself.
    if not any((*looks, flags.help, flags.hydra_help, flags.config_path, flags.config_name)):
        added, study = grid.prepare(words, [flags.config_dir] if flags.config_dir else [], flags.multirun)
        argv = [*argv, *added]
    return grid.run_app(argv, words, study)
