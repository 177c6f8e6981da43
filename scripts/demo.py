"""`make demo`: a first study of the language model; shows its cells as they end, its answer, and what to type next."""

import subprocess
import sys
import time
from pathlib import Path

from tietrain.cli.status import UNFINISHED, Progress, read_status, time_left
from tietrain.config.compose import compose_config
from tietrain.errors import TyingError
from tietrain.report.write import write_report
from tietrain.runs.record import GRID
from tietrain.train.experiment import Experiment

STUDY = Path("outputs/demo")
LOG = Path("outputs/demo.log")
NEXT = ".venv/bin/tietrain -m tying=none,three_way task=mt data.preset=tiny seed=1,2,3 study=mine"


def main() -> int:
    """Run the study or find it finished, and print its answer; returns the exit code of the study."""
    LOG.parent.mkdir(exist_ok=True)
    print(f"Does sharing help a small language model? Three ways, three seeds each; {LOG} has what they print.")
    with LOG.open("w") as log:
        study = subprocess.Popen([sys.executable, "-m", "tietrain", "experiment=demo"], stdout=log, stderr=log)
        show_cells(study)
    if study.returncode:
        print(f"The study ended with exit code {study.returncode}:\n{LOG.read_text()[-2000:]}")
        return study.returncode
    report = write_report(STUDY)
    for headline in report.headlines:
        print(f"{headline.answer}\nSaves: {headline.saves}\nCosts: {headline.costs}\nHow sure: {headline.sure}")
    try:
        _ = Experiment(compose_config(["tying=three_way"])).plan
    except TyingError as e:
        print(f"Not tried: {e.setting}: {e.problem}")
    page = report.markdown.with_suffix(".html").resolve()
    print(f"\nThe page, with its pictures: {page}\nNext, translation: {NEXT}")
    return 0


def show_cells(study: subprocess.Popen[bytes]) -> None:
    """Until the study ends, keep a line that says how many of its cells have ended; off a terminal, a line for each."""
    is_terminal = sys.stdout.isatty()
    shown = ""
    while study.poll() is None:
        time.sleep(1)
        rows = read_status(STUDY) if (STUDY / GRID).exists() else []
        line = progress(rows)
        changed = line.partition(",")[0] != shown.partition(",")[0]
        if line and (is_terminal or changed):
            print(f"\r{line:<40}" if is_terminal else line, end="" if is_terminal else "\n", flush=True)
            shown = line
    if is_terminal:
        print("\r" + " " * 40, end="\r")


def progress(rows: list[Progress]) -> str:
    """How many cells have ended, and how long the others take: `4 of 9, 0:21 left`; empty before the first begins."""
    if not rows:
        return ""
    left = time_left(rows)
    n_ended = sum(row.state not in UNFINISHED for row in rows)
    clock = "" if left is None else f", {int(left) // 60}:{int(left) % 60:02} left"
    return f"{n_ended} of {sum(row.n_runs for row in rows)}{clock}"


if __name__ == "__main__":
    sys.exit(main())
