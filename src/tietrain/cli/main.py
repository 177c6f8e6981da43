"""`tietrain`: the first word is a command, or all words are settings of a run or grid. Loads neither torch nor datasets."""

import io
import os
import sys
import tempfile
import traceback
from difflib import get_close_matches

from tietrain import __version__
from tietrain.errors import SettingsError, StorageError, TietrainError, eprint, system_refusal

# Commands that change nothing: settings alone run too.
RUNS = ("train", "run")
# Flags that may stand before a command -> how many words they take.
BEFORE = {"-m": 1, "--multirun": 1, "-cd": 2, "--config-dir": 2}


def main(argv: list[str] | None = None) -> int:
    """Run one command line; returns its exit code (see docs/cli.md)."""
    _prepare_streams()
    # Idle threads sleep: beside other work, those that wait busily take the cores from the thread they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # torch reads it once, when it is loaded
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except TietrainError as e:
        eprint(f"tietrain: {e}")
        return e.exit_code
    except KeyboardInterrupt:
        return 130
    except OSError as e:
        _drop_output()
        if isinstance(e, BrokenPipeError):  # `tietrain --help | head`
            return 0
        eprint(f"tietrain: {system_refusal(e)}")
        return StorageError.exit_code
    except Exception as e:
        trace = _keep(traceback.format_exc())
        eprint(f"tietrain: internal error, a bug in tietrain: {type(e).__name__}: {e} ({trace})")
        return 70


def _prepare_streams() -> None:
    """A closed standard stream leads nowhere, instead of into the next file that is opened; output is UTF-8 in any locale."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            lowest_free = os.open(os.devnull, os.O_RDWR)  # its own number
            setattr(sys, name, open(lowest_free, mode))  # noqa: SIM115  (stays open)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def _drop_output() -> None:
    """Let output that cannot be written go nowhere: Python would fail on it again when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _keep(text: str) -> str:
    """Write a traceback to a file of its own, and say where it is; without a folder for such files, print it."""
    try:
        handle, path = tempfile.mkstemp(prefix="tietrain-", suffix=".log")
    except OSError:
        eprint(text)
        return "see above"
    with open(handle, "w", encoding="utf-8", errors="replace") as log:
        log.write(text)
    return f"see {path}"


def _run(argv: list[str]) -> int:
    if sys.flags.optimize:
        problem = "it removes assertions, and Hydra's parser does its work inside assertions"
        raise SettingsError("python -O", problem, "start Python without -O, unset PYTHONOPTIMIZE")
    for word in argv:
        if any("\ud800" <= character <= "\udfff" for character in word):  # what Python makes of other bytes
            raise SettingsError(ascii(word), "it is not UTF-8", "write it in UTF-8; rename a file whose name is not")
    if argv[:1] in (["--version"], ["-V"]):
        print(f"tietrain {__version__}")
        return 0
    try:
        os.getcwd()
    except FileNotFoundError:
        raise StorageError("the current folder", "it was deleted", "change to one that exists") from None
    place = place_of_command(argv)
    if place is None:
        return _run_hydra(argv)
    others = [*argv[:place], *argv[place + 1 :]]
    return _run_hydra(others) if argv[place] in RUNS else _run_verb(argv[place], others)


def place_of_command(argv: list[str]) -> int | None:
    """Index of the first word if it is not a setting; -m, and -cd with its folder, may stand before it."""
    place = 0
    while place < len(argv) and argv[place] in BEFORE:
        place += BEFORE[argv[place]]
    if place >= len(argv) or argv[place].startswith(("-", "+", "~")) or "=" in argv[place]:
        return None
    return place


def _note_unused(words: list[str]) -> None:
    """Say which words count for nothing because a later one sets the same key."""
    last: dict[str, str] = {}
    for word in words:
        key, mark, _ = word.partition("=")
        if not mark:
            continue
        if last.setdefault(key, word) != word:
            eprint(f"tietrain: {last[key]} is not used: {word} comes after it")
        last[key] = word


def _run_verb(name: str, argv: list[str]) -> int:
    from tietrain.cli import again, exchange, use, verbs  # noqa: F401  (they register the commands)
    from tietrain.cli.registry import VERBS
    from tietrain.config.quoting import as_setting

    if name not in VERBS:
        near = [f"--{name}"] if name in ("help", "version") else get_close_matches(name, [*VERBS, *RUNS], n=1)
        hint = as_setting(name) or f"the commands are {', '.join(sorted(VERBS))}"
        if near:
            hint = f"did you mean `tietrain {near[0]}`?"
        raise SettingsError(f"tietrain {name}", "there is no such command", f"{hint} (write settings as key=value)")
    args = VERBS[name].parse_intermixed_args(argv)
    _note_unused(getattr(args, "overrides", []))
    code: int = args.function(args)
    return code


def _refuse_late_command(words: list[str]) -> None:
    """SettingsError if a command stands behind settings."""
    for word in words:
        if word.isalpha():
            from tietrain.cli import again, exchange, use, verbs  # noqa: F401  (they register the commands)
            from tietrain.cli.registry import VERBS

            if word in (*VERBS, *RUNS):
                raise SettingsError(word, "a command stands first", f"write tietrain {word}, then the settings")


def _run_hydra(argv: list[str]) -> int:
    """Run an experiment or a grid, or let Hydra print help, a configuration or completions."""
    from tietrain.cli import grid, ray_launcher, side_by_side
    from tietrain.config import compose
    from tietrain.config.hydra_parts import composed_once, parse_flags

    flags = parse_flags(argv)
    looks = (flags.cfg, flags.info, flags.shell_completion)
    if sum(map(bool, (flags.run, flags.multirun, *looks))) > 1:
        names = "--run, --multirun, --cfg, --info and --shell-completion"
        raise SettingsError(" ".join(argv), f"{names} exclude one another", "give only one of them")
    if flags.shell_completion:  # the words belong to the shell
        compose.register_schema()
        if not any(word.startswith("query=") for word in flags.overrides):
            return grid.run_app(argv, [], None)
        from tietrain.cli.completion import complete

        return complete(lambda: grid.run_app(argv, [], None))
    words = flags.overrides
    _refuse_late_command(words)
    _note_unused(words)
    compose.parse_overrides(words)
    if flags.config_dir:
        compose.check_config_dir(flags.config_dir)
    compose.register_schema()
    side_by_side.register()
    ray_launcher.register()
    study = None
    with composed_once():
        if not any((*looks, flags.help, flags.hydra_help, flags.config_path)):
            config_dirs = [flags.config_dir] if flags.config_dir else []
            added, study = grid.prepare(words, config_dirs, flags.multirun, flags.config_name or "config")
            argv = [*argv, *added]
        return grid.run_app(argv, words, study)
