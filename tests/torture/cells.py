"""Small real runs that can be killed: their commands, the processes that run them, and what must be the same at the end.

Every attempt is a forked process that calls the command line as a user would, so that a kill costs no import.
"""

import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from results import difference, result

from errnos import Injection
from several_processes import variables

# Nobody may wait longer for an end.
MAX_SECONDS = 400
WORDS = "a bird sings in the old tree while rain falls on grey stones and two men walk home slowly"
SHAPE = "model.d_model=16 model.n_heads=2 model.d_ff=24 model.n_layers=4 model.vocab_size=70 task.window=16"
TRAIN = "train.batch_tokens=128 train.checkpoint_every=2 train.log_every=1 train.eval_every=4 optim.warmup=0"


@dataclass(frozen=True)
class Cell:
    """One run: what it is called, and its settings."""

    task: str
    tying: str
    more: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.task} {self.tying}"

    def command(self, run_dir: str, *words: str) -> list[str]:
        """Words of a command line; `words` come last."""
        columns = "ab" if self.task == "mt" else "a"
        files = (f"{split}: [{','.join(f'{split}.{c}' for c in columns)}]" for split in SPLITS)
        data = f"data.splits={{{', '.join(files)}}}"
        common = [
            f"task={self.task}",
            "data=text",
            data,
            f"tying={self.tying}",
            *SHAPE.split(),
            *TRAIN.split(),
            "train.max_steps=12",
        ]
        return [*common, "hardware.threads=1", "hardware.device=cpu", f"run_dir={run_dir}", *self.more, *words]


SPLITS = {"train": 160, "valid": 8, "test": 8}
UNTIED = (
    Cell("lm", "none"),
    Cell("mt", "none"),
    Cell("mt", "shared_vocab", ("train.average=last", "train.n_averaged=2")),
)
TIED = (
    Cell("mt", "three_way"),
    Cell("lm", "pre_softmax", ("train.ema=0.8",)),
    Cell("mt", "[three_way,cycle]", ("train.average=best", "train.n_averaged=2")),
    Cell("lm", "universal"),
    Cell("mt", "encoder_decoder"),
    Cell("lm", "sandwich", ("optim=sgd", "optim.lr=0.1")),
)


def write_corpora(place: Path) -> None:
    """Text of two columns, the same every time."""
    draw = random.Random(0)
    for split, n_lines in SPLITS.items():
        for column in "ab":
            lines = [" ".join(draw.choices(WORDS.split(), k=draw.randint(3, 9))) for _ in range(n_lines)]
            (place / f"{split}.{column}").write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass
class Attempt:
    """A process that runs a command line in a folder. `err` is what it printed.

    injection: calls of the system to note, in the file `calls`, or to fail. environment: variables it gets.
    """

    words: list[str]
    place: Path
    limits: dict[int, int] = field(default_factory=dict)
    injection: Injection = field(default_factory=lambda: Injection([]))
    environment: dict[str, str] = field(default_factory=dict)
    pid: int = 0
    code: int | None = None

    def __post_init__(self) -> None:
        self.log = self.place / f".said.{os.getpid()}.{random.getrandbits(40):x}"
        self.calls = self.log.with_name(f"{self.log.name}.calls")
        self.began, self.seconds = time.monotonic(), 0.0
        self.pid = os.fork()
        if not self.pid:
            self._run()

    def _run(self) -> None:
        """In the child; never returns."""
        code = 99
        try:
            import resource

            from tietrain.cli.main import main

            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            out = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.chdir(self.place)
            os.environ["XDG_CACHE_HOME"] = str(self.place / "caches")
            os.environ.update(self.environment)
            for what, most in self.limits.items():
                resource.setrlimit(what, (most, most))
            with self.injection.on():
                code = main(self.words)
            self.calls.write_text("\n".join(self.injection.calls))
        except SystemExit as e:  # argparse
            code = e.code if isinstance(e.code, int) else 2
        except BaseException:
            import traceback

            with contextlib.suppress(OSError):
                traceback.print_exc()
        finally:
            os._exit(code)

    def poll(self) -> bool:
        """Whether it has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code, self.seconds = os.waitstatus_to_exitcode(status), time.monotonic() - self.began
        return self.code is not None

    def wait(self, seconds: float = MAX_SECONDS) -> "Attempt":
        """Until it has ended; one that takes too long is killed, and its code is -9."""
        end = time.monotonic() + seconds
        while not self.poll():
            if time.monotonic() > end:
                self.kill()
                self.code = -signal.SIGKILL
                break
            time.sleep(0.002)
        return self

    def signal(self, number: int) -> None:
        """Send it a signal, if it is alive."""
        if not self.poll():
            os.kill(self.pid, number)

    def kill(self) -> bool:
        """Kill it without warning; whether it was alive."""
        if self.poll():
            return False
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.code, self.seconds = os.waitstatus_to_exitcode(status), time.monotonic() - self.began
        return self.code == -signal.SIGKILL

    @property
    def err(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def run(words: list[str], place: Path, seconds: float = MAX_SECONDS, **limits: dict[int, int]) -> Attempt:
    """A command line, run to its end."""
    return Attempt(words, place, **limits).wait(seconds)


class Place:
    """A folder with corpora, and the uninterrupted run of every cell, made when first asked for.

    Args:
        references: those of another place, which has the same corpora.
    """

    def __init__(self, folder: Path, references: dict[Cell, tuple[dict[str, object], float]] | None = None):
        self.folder, self.references, self._n = folder, {} if references is None else references, 0
        write_corpora(folder)

    def fresh(self, name: str = "run") -> Path:
        """A run directory that is not there yet."""
        self._n += 1
        return self.folder / f"{name}{self._n}"

    def reference(self, cell: Cell) -> tuple[dict[str, object], float]:
        """Result and seconds of an uninterrupted run."""
        if cell not in self.references:
            directory = self.fresh("reference")
            ended = self.run(cell, directory)
            if ended.code:
                raise RuntimeError(f"{cell.name} ends with {ended.code}: {ended.err}")
            self.references[cell] = result(directory), ended.seconds
        return self.references[cell]

    def start(self, cell: Cell, directory: Path, *words: str, **options: object) -> Attempt:
        """The command of a cell, begun."""
        return Attempt(cell.command(directory.name, *words), directory.parent, **options)

    def start_several(self, size: int, cell: Cell, directory: Path, *words: str) -> list[Attempt]:
        """The command of a cell, begun on some processes as torchrun begins it, in the order of their ranks."""
        several = variables(size)
        return [self.start(cell, directory, "hardware.max_wait=5", *words, environment=one) for one in several]

    def run(self, cell: Cell, directory: Path, *words: str, **limits: dict[int, int]) -> Attempt:
        """The command of a cell, run to its end."""
        return self.start(cell, directory, *words, **limits).wait()

    def ends_like_reference(self, cell: Cell, directory: Path) -> str:
        """Run the command once more, to its end: how the result differs from the reference, or empty."""
        ended = self.run(cell, directory)
        if ended.code:
            return f"{cell.name} in {directory}: exit {ended.code}: {ended.err[-300:]}"
        found = difference(result(directory), self.reference(cell)[0])
        return f"{cell.name} in {directory}: {found}" if found else ""
