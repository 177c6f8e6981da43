"""How the runs of one command ended, noted in one file by every process that takes part, and the exit code they give."""

import json
import os
from collections import Counter
from pathlib import Path

from tietrain.errors import eprint
from tietrain.train.outcome import Outcome

# The variable that names the file to processes which a launcher starts.
VARIABLE = "TIETRAIN_OUTCOMES"


class Outcomes:
    """The outcomes of the command that this process works for, one JSON line per run.

    Args:
        folder: where to begin an empty file; None to use the one that the command began.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is not None:
            path = folder.absolute() / "outcomes.jsonl"
            path.touch()
            os.environ[VARIABLE] = str(path)
        self.path = Path(os.environ[VARIABLE])
        # Appears when a signal stops the grid, and holds its number.
        self.stopped = self.path.with_name("stopped")

    def add(self, outcome: Outcome) -> None:
        """Print why a run failed, and note how it ended. KeyboardInterrupt if a signal stopped it: that stops its grid too."""
        if outcome.message:
            eprint(f"tietrain: {outcome.message}")
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(json.dumps(vars(outcome)) + "\n")
        if outcome.exit_code >= 128:
            self.stopped.write_text(str(outcome.exit_code - 128))
            raise KeyboardInterrupt

    def exit_code(self) -> int:
        """The code of a single run. For a grid, print a summary; 1 if a cell failed, else 6 if one runs elsewhere."""
        ended = [Outcome(**json.loads(line)) for line in self.path.read_text(encoding="utf-8").splitlines()]
        if len(ended) < 2 and not self.stopped.exists():
            return max((outcome.exit_code for outcome in ended), default=0)
        counts = Counter(outcome.status.replace("_", " ") for outcome in ended)
        eprint(f"grid: {', '.join(f'{n} {status}' for status, n in counts.items())}")
        failed = [outcome for outcome in ended if outcome.exit_code and outcome.status != "not_applicable"]
        for outcome in failed:
            eprint(f"  {outcome.status.replace('_', ' ')}: {outcome.directory} {outcome.message}")
        if self.stopped.exists():
            return 128 + int(self.stopped.read_text())
        return 1 if any(outcome.exit_code != 6 for outcome in failed) else 6 if failed else 0
