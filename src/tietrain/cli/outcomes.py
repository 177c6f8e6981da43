"""How the runs of one command ended, noted in one file by every process that takes part, and the exit code they give."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

from tietrain.errors import eprint
from tietrain.train.job import Outcome

# The variable that names the file to processes which a launcher starts.
VARIABLE = "TIETRAIN_OUTCOMES"


class Outcomes:
    """The outcomes of one command, one JSON line per run in `outcomes.jsonl`.

    stopped: the file that appears when a signal stops the grid; it holds the number of the signal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stopped = path.with_name("stopped")

    @classmethod
    def create(cls, folder: Path) -> Outcomes:
        """An empty file of outcomes, which this process and those it starts use."""
        path = folder.absolute() / "outcomes.jsonl"
        path.touch()
        os.environ[VARIABLE] = str(path)
        return cls(path)

    @classmethod
    def current(cls) -> Outcomes:
        """The outcomes of the command that this process works for."""
        return cls(Path(os.environ[VARIABLE]))

    def add(self, outcome: Outcome) -> None:
        """Print why a run failed, and note how it ended. KeyboardInterrupt if a signal stopped it: that stops its grid too."""
        if outcome.message:
            eprint(f"tietrain: {outcome.message}")
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(json.dumps(vars(outcome)) + "\n")
        if outcome.exit_code >= 128:
            self.stopped.write_text(str(outcome.exit_code - 128))
            raise KeyboardInterrupt

    def are_empty(self) -> bool:
        """Whether no run has ended yet."""
        return not self.path.stat().st_size

    def exit_code(self) -> int:
        """The code of the only run. Of a grid, print a summary and give 1 if a cell failed, 6 if others run elsewhere."""
        ended = [Outcome(**json.loads(line)) for line in self.path.read_text(encoding="utf-8").splitlines()]
        if len(ended) < 2 and not self.stopped.exists():
            return max((outcome.exit_code for outcome in ended), default=0)
        counts = Counter(_words(outcome.status) for outcome in ended)
        eprint(f"grid: {', '.join(f'{n} {status}' for status, n in counts.items())}")
        failed = [outcome for outcome in ended if outcome.exit_code and outcome.status != "not_applicable"]
        for outcome in failed:
            eprint(f"  {_words(outcome.status)}: {outcome.directory} {outcome.message}")
        if self.stopped.exists():
            return 128 + int(self.stopped.read_text())
        if any(outcome.exit_code != 6 for outcome in failed):
            return 1
        return 6 if failed else 0


def _words(status: str) -> str:
    return status.replace("_", " ")
