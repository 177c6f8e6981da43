import multiprocessing
import os
import time

import pytest

from tietrain.data.cache import cached
from tietrain.errors import DataError, StorageError
from tietrain.runs.durable import MANIFEST


def fill(folder):
    (folder / "a").write_text("content")
    (folder / "b").write_bytes(b"\0" * 1000)


def refuse(folder):
    raise AssertionError("it is built again")


def test_an_entry_is_built_once(tmp_path):
    folder = cached(tmp_path, "kind", "key", fill)
    assert (folder / "a").read_text() == "content"
    assert cached(tmp_path, "kind", "key", refuse) == folder


@pytest.mark.parametrize("name", ["a", "b", MANIFEST])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "folder"])
def test_a_damaged_entry_is_built_again(tmp_path, name, damage):
    path = cached(tmp_path, "kind", "key", fill) / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:3])
    elif damage == "changed":
        path.write_bytes(content[:-1] + b"?")
    elif damage == "folder":
        path.mkdir()
    again = cached(tmp_path, "kind", "key", fill)
    assert (again / "a").read_text() == "content"
    cached(tmp_path, "kind", "key", refuse)


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(folder):
        fill(folder)
        raise DataError("x", "y", "z")

    with pytest.raises(DataError):
        cached(tmp_path, "kind", "key", fail)
    assert [p.name for p in (tmp_path / "kind").iterdir()] == [".key.lock"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"data\.cache="):
        cached(tmp_path / "file", "kind", "key", fill)


def _race(root, built):
    def slowly(folder):
        with built.get_lock():
            built.value += 1
        time.sleep(0.2)
        fill(folder)

    cached(root, "kind", "key", slowly)


def test_racing_processes_build_once(tmp_path):
    context = multiprocessing.get_context("fork")
    built = context.Value("i", 0)
    racers = [context.Process(target=_race, args=(tmp_path, built)) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * 4
    assert built.value == 1


def test_entries_are_readable_by_the_group_as_the_umask_says(tmp_path):
    mask = os.umask(0o022)
    try:
        folder = cached(tmp_path, "kind", "key", fill)
    finally:
        os.umask(mask)
    assert folder.stat().st_mode & 0o777 == 0o755
