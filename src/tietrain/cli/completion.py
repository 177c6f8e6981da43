"""What a shell offers at Tab: our commands, and of settings what Hydra offers, behind a command too."""

import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr, suppress

from tietrain.cli import again, exchange, use, verbs  # noqa: F401  (they register the commands)
from tietrain.cli.main import RUNS, place_of_command
from tietrain.cli.registry import VERBS


def complete(offer_settings: Callable[[], int]) -> int:
    """Print the words that could stand at the end of the shell's line, and nothing else: an error would spoil the prompt.

    Args:
        offer_settings: prints those that are settings.
    """
    program, *words = os.environ.get("COMP_LINE", "").split(" ")
    place = place_of_command(words[:-1])
    if len(words) == 1:
        print("\n".join(sorted(name for name in (*VERBS, *RUNS) if name.startswith(words[0]))))
    elif place is not None:
        command = words.pop(place)
        if command in VERBS and not any(action.dest == "overrides" for action in VERBS[command]._actions):
            return 0  # the shell then offers files
        os.environ["COMP_LINE"] = " ".join([program, *words])
    with suppress(Exception, SystemExit), redirect_stderr(io.StringIO()):
        offer_settings()
    return 0
