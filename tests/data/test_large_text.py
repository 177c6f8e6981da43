"""Text of any size: what is refused, what preparing says of itself, and what remains when the system refuses or it is stopped."""

import errno
import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from refusals import refusal
from tietrain.cli.main import main
from tietrain.config import DataConfig, ModelConfig, RunConfig, TaskConfig
from tietrain.data import encode, prepare, progress, stored_lines
from tietrain.data.cache import cached
from tietrain.data.sources import corpora, validate
from tietrain.data.sources.validate import read_text_file
from tietrain.data.stored_lines import StoredLines, chunks
from tietrain.errors import DataError, MemoryFullError, StorageError
from tietrain.runs import durable
from tietrain.runs import record as runs

WORDS = ("the", "cat", "sees", "a", "river", "and", "dogs", "find", "houses")


@pytest.fixture
def words(tmp_path, monkeypatch) -> list[str]:
    """Words of a configuration of a small text, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for split, n in {"train": 400, "valid": 20}.items():
        lines = (" ".join(WORDS[(i * k) % 9] for k in range(1, 3 + i % 7)) for i in range(n))
        Path(split).write_text("\n".join(lines) + "\n")
    splits = "data.splits={train: [train], valid: [valid]}"
    return ["task=lm", "data=text", splits, "data.cache=cache", "model.vocab_size=40"]


def config(**data) -> RunConfig:
    splits = {"train": ["train"], "valid": ["valid"]}
    data = DataConfig(format="text", splits=splits, cache="cache", **data)
    return RunConfig(task=TaskConfig(name="lm"), data=data, model=ModelConfig(vocab_size=40))


def test_stored_lines_are_a_sequence_on_disk(tmp_path, monkeypatch):
    lines = ["", "a b", "é\n日本", "x" * 50, "", "end"]
    for memory, chunk in itertools.product((1, 10**6), (1, 7, 10**6)):
        monkeypatch.setattr(stored_lines, "IN_MEMORY_BYTES", memory)
        monkeypatch.setattr(stored_lines, "CHUNK_BYTES", chunk)
        stored = StoredLines(tmp_path).extend(lines)
        assert list(stored) == lines and stored == lines and stored != lines[1:]
        assert (len(stored), stored[2], stored[-1], stored[1:4]) == (6, lines[2], "end", lines[1:4])
        assert list(itertools.chain.from_iterable(chunks(stored))) == lines
        assert not list(tmp_path.iterdir())  # the file has no name


def test_ids_of_a_large_text_are_mapped_and_those_of_a_text_in_memory(words, monkeypatch):
    small = prepare.prepare(config())
    for name, value in (("IN_MEMORY_BYTES", 100), ("CHUNK_BYTES", 300)):
        monkeypatch.setattr(stored_lines, name, value)
    large = prepare.prepare(config(root=str(Path.cwd())))
    assert large.fingerprints == small.fingerprints and large.notes == small.notes
    for split in ("train", "valid"):
        one, other = (prepared.lines(split, "decoder", "text") for prepared in (small, large))
        assert [line.tolist() for line in one] == [line.tolist() for line in other]
    ids = large.lines("train", "decoder", "text").values
    assert ids.dtype == np.uint8 and isinstance(ids.base, np.memmap)


def test_texts_that_no_memory_holds_are_refused_where_they_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(validate, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(validate, "LOOK_LINES", 10)
    monkeypatch.setattr(validate, "BLANK_ROWS", 1000)

    def read(content: bytes):
        (tmp_path / "a").write_bytes(content)
        lines = []
        read_text_file(tmp_path / "a", "x", lambda number, line: [line], [lines])
        return lines

    assert len(read(b"x" * 99 + b"\n")) == 1
    assert refusal(read, b"short\n" + b"x" * 10**6).setting == f"{tmp_path}/a:2"
    for content in (b"\n" * 10**6, b"a\n" * 5 + b"\n" * 10**6):
        error = refusal(read, content)
        assert isinstance(error, DataError) and "first 1,000 rows" in error.problem
    assert len(read(b"a\n" * 20 + b"\n" * 1900)) == 1920


def refusing(number: int):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return refuse


class Broken:
    """A file that cannot be read or written."""

    def __init__(self, refuse):
        self.read = self.readline = self.write = refuse

    def close(self):
        pass

    def fileno(self):
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


# Stage -> module and name of what it calls, and whether that is what opens a file that then refuses.
STAGES = {
    "a file is opened": (validate.os, "open", False),
    "a file is hashed": (validate, "open", True),
    "its lines are read": (corpora, "load_files", False),
    "lines are kept": (stored_lines, "SpooledTemporaryFile", True),
    "a vocabulary is learned": (prepare, "train_vocabulary", False),
    "ids are written": (encode, "open", True),
    "arrays are written": (prepare, "save_file", False),
    "files are made durable": (durable.os, "fsync", False),
    "an entry gets its name": (durable.os, "rename", False),
    "arrays are read": (prepare, "load_file", False),
    "ids are mapped": (prepare, "map_array", False),
}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("stage", STAGES)
def test_a_refusal_of_the_system_ends_with_5_and_the_same_text_is_prepared_later(words, stage, number):
    module, name, is_file = STAGES[stage]
    refuse = refusing(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, (lambda *args, **kwargs: Broken(refuse)) if is_file else refuse, raising=False)
        error = refusal(prepare.prepare, config())
    assert (type(error), error.exit_code) == (StorageError, 5) and os.strerror(number) in error.problem
    assert not list(Path("cache").rglob("*.tmp"))
    assert prepare.prepare(config()).fingerprints


def test_a_refusal_of_the_system_is_not_remembered(words, monkeypatch):
    run = [*words, "run_dir=run", "model.d_model=8", "model.n_heads=2", "model.d_ff=8", "train.max_steps=1"]
    run += ["hardware.device=cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "open", lambda *args: Broken(refusing(errno.ENOSPC)), raising=False)
        assert main(run) == runs.read_record(Path("run")).exit_code == 5
    assert main(run) == 0


def test_memory_that_is_full_names_the_stage(words, monkeypatch):
    def fill(*args):
        raise MemoryError

    monkeypatch.setattr(encode, "blank_rows", fill)
    error = refusal(prepare.prepare, config())
    assert isinstance(error, MemoryFullError) and error.setting == "preparing text (encoding text of train)"
    assert main(["data", *words]) == 7


def test_cached_sweeps_what_a_killed_process_left_and_nothing_else(tmp_path):
    root, dead, alive, unknown = tmp_path / "cache", "1" * 32, "2" * 32, "3" * 32
    with cached(root, "corpus", "9" * 32, lambda folder: (folder / "a").write_text("a")):
        pass  # now the cache has its tag
    for key in (dead, alive, unknown):
        (root / "corpus" / f"{key}.tmp").mkdir(parents=True)
    for name in (f".{dead}.lock", f".{alive}.lock", ".notes.lock", "notes.tmp"):
        (root / "corpus" / name).write_text("")
    with open(root / "corpus" / f".{alive}.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with cached(root, "corpus", "0" * 32, lambda folder: (folder / "a").write_text("a")):
            pass
    assert {path.name for path in (root / "corpus").glob("*.tmp")} == {f"{alive}.tmp", f"{unknown}.tmp", "notes.tmp"}


SLOW = """
import sys, time
from tietrain.cli.main import main
from tietrain.data import prepare
def learn(*args):
    print("learning", flush=True)
    time.sleep(60)
prepare.train_vocabulary = learn
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_data_that_is_stopped_leaves_nothing(words, number):
    command = [sys.executable, "-c", SLOW, "data", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "learning\n"
        assert list(Path("cache").rglob("*.tmp"))
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number and "Traceback" not in said
    assert not list(Path("cache").rglob("*.tmp"))


def test_preparing_says_where_it_stands_and_status_shows_it(words, monkeypatch, capsys):
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.01)
    seen = []

    def slowly(lines):
        for chunk in chunks(lines):
            yield chunk
            time.sleep(0.05)
            if Path("run/run.json").exists():
                main(["status", "--json", "run"])
                seen.append(json.loads(capsys.readouterr().out)[0]["reason"])

    monkeypatch.setattr(stored_lines, "CHUNK_BYTES", 3000)
    monkeypatch.setattr(encode, "chunks", slowly)
    told = []
    with progress.reported(told.append):
        prepare.prepare(config())
    (line,) = [line for line in told if "encoding" in line]
    assert line.startswith("preparing: encoding text of train, ")
    main([*words, "run_dir=run", "data.cache=other", "train.max_steps=1", "model.d_model=8", "model.n_heads=2"])
    assert any(reason.startswith("preparing: encoding text of train") for reason in seen)
    assert runs.read_record(Path("run")).reason == ""


def test_stage_knows_its_share_and_the_time_left():
    with progress.stage("work", 8) as now:
        now.began -= 10
        now.done = 2
        assert str(now) == "work, 25%, 30 s left"
    with progress.stage("more") as now:
        assert str(now) == "more, 0 s so far"
