"""What a run directory holds: file names, record types, writers and readers. Standard library only.

A run directory is `outputs/<study>/<task>-<tying>-s<seed>-<hash>/`:

    run.json        status, label, plan hash, seeds, versions, fingerprints, start and end (see RunRecord)
    config.yaml     the resolved configuration          plan.json    slot -> owner, shapes
    ledger.json     parameters and FLOPs                audit.json   did the ties hold, at each stage
    metrics.jsonl   a row per log point                 eval.json    final scores with their signatures
    eval_documents.jsonl                                nats, tokens, bytes and a hash of each scored line
    hypotheses.<split>.txt references.<split>.txt sources.<split>.txt     (translation)
    tb/             TensorBoard, a view of metrics.jsonl    checkpoints/    vocabulary/    train.log
    init_tables/    the rows of files of vectors that tables started from, if there were any

Beside the runs of grids, `outputs/<study>/grid.jsonl` lists the cells of those grids (see `cli.cells`).
"""

import fcntl
import json
import os
import shlex
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tietrain.errors import DataError, LockedError, storage_error
from tietrain.runs.reading import NO_FILE, OTHER_RUN, reading

RUN, CONFIG, PLAN, LEDGER, AUDIT = "run.json", "config.yaml", "plan.json", "ledger.json", "audit.json"
METRICS, EVAL, LOG, LOCK = "metrics.jsonl", "eval.json", "train.log", ".lock"
DOCUMENTS, GRID = "eval_documents.jsonl", "grid.jsonl"
TENSORBOARD, CHECKPOINTS, VOCABULARY, INIT_TABLES = "tb", "checkpoints", "vocabulary", "init_tables"

# The directory of a cell with an invalid configuration begins with it.
REFUSED = "refused"

STATUSES = ("running", "done", "failed", "diverged", "interrupted", "not_applicable")
# `is_locked` holds a lock for less than this many seconds.
LOOK_SECONDS = 0.2
# No file of a run that is read as a whole is larger than this; tietrain did not write a larger one.
MAX_BYTES = 256 * 1024 * 1024
# The same for its JSON files, which take twenty times their bytes in memory.
MAX_JSON_BYTES = 32 * 1024 * 1024
# Types of fields that `read_record` checks, as messages call them.
KINDS: dict[type, str] = {str: "text", int: "an integer", list: "a list", dict: "a mapping"}


@dataclass
class RunRecord:
    """`run.json`: written first with status `running`, last with how it ended.

    `settings` are the full keys that decide the result; `arm` is a hash of them without the seeds.
    `fingerprints` are content hashes: corpus, vocabulary of every stack, batches.
    `machine` holds device, precision, threads, compile and versions; the report warns of arms that differ in it.
    `earlier_machines` are those of the starts before the last one, if it continued the run.
    `words` and `folder` are those of the command line that started it, for `tietrain resume`.
    `exit_code` is that of this run; it tells whether a failure would happen again. `version` is that of tietrain.
    `declared` is what was stated before training about the comparison: metric, split, baseline, margin, looks;
    `corrections` are what was changed of it afterwards: date, key, what it was, value.
    `seal` is what the files of a finished run were (see `runs.seal`); older versions wrote none.
    """

    id: str
    study: str
    label: str
    task: str
    status: str
    seed: int = 0
    arm: str = ""
    plan_hash: str = ""
    reason: str = ""
    exit_code: int = 0
    version: str = ""
    words: list[str] = field(default_factory=list)
    folder: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    fingerprints: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    earlier_machines: list[dict[str, Any]] = field(default_factory=list)
    declared: dict[str, Any] = field(default_factory=dict)
    corrections: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parent: str | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    started_at: str = ""
    ended_at: str = ""
    total_seconds: float = 0.0
    seal: dict[str, Any] = field(default_factory=dict)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """StorageError that names the path if an OSError is raised inside."""
    try:
        yield
    except OSError as e:
        raise storage_error(f"writing {path}", e) from e


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8; a character without a UTF-8 form (a lone surrogate) becomes a question mark."""
    write_bytes(path, text.encode("utf-8", errors="replace"))


def write_bytes(path: Path, content: bytes) -> None:
    """`write_chunks` of one."""
    write_chunks(path, [content])


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a whole file under another name, then rename it: a reader finds the old one or the new one."""
    beside = path.with_name(path.name + ".tmp")
    with writing(path):
        try:
            beside.unlink(missing_ok=True)
            with open(beside, "xb") as f:  # never through a link that lies there
                f.writelines(chunks)
                f.flush()
                os.fsync(f.fileno())
            os.replace(beside, path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """`write_text` of indented JSON; keys stay in the order given."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_bytes(path: Path) -> bytes:
    """A regular file of bounded size.

    Raises:
        DataError: there is none (a pipe, a device, a folder, a giant). StorageError: the system refuses to read it.
    """
    with reading(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise DataError(str(path), f"it is larger than {MAX_BYTES >> 20} MB", OTHER_RUN)
        return file.read()


def read_json(path: Path) -> Any:
    """The JSON value of a file; DataError if it holds none."""
    content = read_bytes(path)
    try:
        if len(content) > MAX_JSON_BYTES:
            raise ValueError(f"{len(content):,} bytes are too many")
        return json.loads(content)
    except (ValueError, RecursionError) as e:
        raise DataError(str(path), f"it is not JSON ({e})", OTHER_RUN) from e


def resume_command(directory: Path) -> str:
    """The command that continues a run."""
    return shlex.join(["tietrain", "resume", str(directory)])


def write_record(directory: Path, record: RunRecord) -> None:
    """Write `run.json`."""
    write_json(directory / RUN, asdict(record))


def read_record(directory: Path) -> RunRecord:
    """The record of a run; DataError if `run.json` is missing, damaged or not such a record."""
    path = directory / RUN
    body = read_json(path)
    required = {"id", "study", "label", "task", "status"}
    if not isinstance(body, dict) or not body.keys() >= required or body["status"] not in STATUSES:
        raise DataError(str(path), "it is not the record of a run", OTHER_RUN)
    record = RunRecord(**{f.name: body[f.name] for f in fields(RunRecord) if f.name in body})
    for name, example in vars(RunRecord("", "", "", "", "")).items():
        kind = type(example)
        value = getattr(record, name)
        if kind in KINDS and (not isinstance(value, kind) or isinstance(value, bool)):
            raise DataError(str(path), f"its {name} is not {KINDS[kind]}", OTHER_RUN)
    return record


def _plain(path: str, flags: int) -> int:
    """Opener for `open` that follows no link; a pipe without a reader is an error instead of a wait."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def append(path: Path, content: bytes) -> None:
    """Append to a file, or begin it, in one write; OSError if the system refuses or it is not a regular file."""
    with open(path, "ab", opener=_plain) as f:
        f.write(content)


def append_log(directory: Path, text: str) -> None:
    """Append to `train.log`; a full disk never stops a run here."""
    with suppress(OSError), open(directory / LOG, "a", encoding="utf-8", errors="replace", opener=_plain) as f:
        f.write(text)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the run directory for writing; LockedError at once if another process holds it.

    The lock is the kernel's (flock): it ends with its process, so a dead writer never blocks.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = open(directory / LOCK, "a", encoding="utf-8", opener=_plain)  # noqa: SIM115
    except OSError as e:
        raise storage_error(f"run_dir={directory}", e) from e
    with lock:
        # The first try can meet a process in `is_locked`, which lets go at once.
        if not _lock(lock.fileno(), fcntl.LOCK_EX):
            time.sleep(LOOK_SECONDS)
            if not _lock(lock.fileno(), fcntl.LOCK_EX):
                remedy = "wait for it, or give another run_dir"
                raise LockedError(str(directory), "another process is writing this run", remedy)
        yield


def _lock(fd: int, kind: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        return True
    return False


def is_locked(directory: Path) -> bool:
    """Whether a process is writing this run; False if there is no lock."""
    try:
        with reading(directory / LOCK) as lock:
            return not _lock(lock.fileno(), fcntl.LOCK_SH)
    except DataError:
        return False


def find_runs(directory: Path, holding: str = RUN) -> list[Path]:
    """Every run directory at or below a folder, sorted by path; links and hidden folders are not followed.

    Args:
        holding: the file that shows what a folder is; GRID finds the studies of grids.
    Raises:
        StorageError: the system refuses to list a folder.
    """

    def refuse(error: OSError) -> None:
        if error.errno not in NO_FILE:  # it may have been deleted since its parent was listed
            raise storage_error(f"reading {error.filename}", error) from error

    found = []
    for root, folders, files in os.walk(directory, onerror=refuse):
        if holding in files:
            found.append(Path(root))
        # A run directory contains no other runs.
        folders[:] = [] if RUN in files else [folder for folder in folders if not folder.startswith(".")]
    return sorted(found)
