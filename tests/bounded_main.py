"""Command lines, one JSON list per line of standard input, run in this process: JSON of exit code and standard error for each.

The memory of the process is bounded, and a command line that does not end in minutes ends it with a traceback.
"""

import contextlib
import faulthandler
import io
import json
import resource
import sys

from tietrain.cli.main import main

BYTES = 8 * 2**30
SECONDS = 300


def end_of(words: list[str]) -> tuple[int, str]:
    """Exit code and standard error of a command line."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    return code, said.getvalue()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    for line in sys.stdin:
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=sys.__stderr__)
        print(json.dumps(end_of(json.loads(line))), flush=True)
