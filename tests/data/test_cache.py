import fcntl
import json
import multiprocessing
import os
import pwd
import time
from pathlib import Path

import pytest

from foreign import tree
from refusals import refusal, spelled
from tietrain.cli.main import main
from tietrain.data import cache
from tietrain.data.cache import FALLBACK, LOCK, SIGNATURE, TAG, cache_root, cached, clear_cache, in_use
from tietrain.errors import DataError, LockedError, SettingsError, StorageError
from tietrain.runs.durable import MANIFEST
from tietrain.runs.ownership import is_marked

KEY, HUB_KEY = "0" * 32, "f" * 16


def fill(folder):
    (folder / "a").write_text("content")
    (folder / "b").write_bytes(b"\0" * 1000)


def refuse(folder):
    raise AssertionError("it is built again")


def entry(root, build=fill, kind="corpus", key=KEY) -> Path:
    with cached(root, kind, key, build) as folder:
        return folder


def test_cached_builds_an_entry_once(tmp_path):
    folder = entry(tmp_path)
    assert (folder / "a").read_text() == "content"
    assert entry(tmp_path, refuse) == folder


@pytest.mark.parametrize(("name", "damage"), [("a", "cut"), ("b", "changed"), ("a", "gone"), (MANIFEST, "folder")])
def test_cached_builds_a_damaged_entry_again(tmp_path, name, damage):
    path = entry(tmp_path) / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:3])
    elif damage == "changed":
        path.write_bytes(content[:-1] + b"?")
    elif damage == "folder":
        path.mkdir()
    assert (entry(tmp_path) / "a").read_text() == "content"
    entry(tmp_path, refuse)


def test_cached_leaves_nothing_of_a_failed_build(tmp_path):
    def fail(folder):
        fill(folder)
        raise DataError("x", "y", "z")

    with pytest.raises(DataError):
        entry(tmp_path, fail)
    assert [p.name for p in (tmp_path / "corpus").iterdir()] == [f".{KEY}.lock"]


def test_cached_names_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    error = refusal(entry, tmp_path / "file")
    assert isinstance(error, StorageError) and error.setting == f"data.cache={tmp_path / 'file'}"


@pytest.mark.skipif(not os.getuid(), reason="root writes everywhere")
def test_cached_reads_a_cache_that_cannot_be_written(tmp_path):
    entry(tmp_path / "cache")
    (tmp_path / "cache" / LOCK).unlink()
    (tmp_path / "cache").chmod(0o555)
    entry(tmp_path / "cache", refuse)


def _race(root, built):
    def slowly(folder):
        with built.get_lock():
            built.value += 1
        time.sleep(0.2)
        fill(folder)

    entry(root, slowly)


def test_cached_builds_once_for_racing_processes(tmp_path):
    context = multiprocessing.get_context("fork")
    built = context.Value("i", 0)
    racers = [context.Process(target=_race, args=(tmp_path / "new", built)) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * 4
    assert built.value == 1


def test_cached_follows_the_umask(tmp_path):
    mask = os.umask(0o022)
    try:
        folder = entry(tmp_path)
    finally:
        os.umask(mask)
    assert folder.stat().st_mode & 0o777 == 0o755


def test_new_cache_is_tagged_and_ignored_by_git(tmp_path):
    entry(tmp_path / "new")
    assert (tmp_path / "new" / TAG).read_text().startswith(SIGNATURE)
    assert is_marked(tmp_path / "new")


@pytest.mark.parametrize("tag", ["", f"{SIGNATURE}\n# a cache of another program\n"])
def test_cache_is_no_folder_of_others(tmp_path, tag):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / TAG).write_text(tag)
    before = tree(tmp_path)
    assert "tietrain did not make notes.txt" in refusal(entry, tmp_path).problem
    assert tree(tmp_path) == before


def test_cache_that_lost_its_tag_is_used_again(tmp_path):
    entry(tmp_path)
    (tmp_path / TAG).unlink()
    entry(tmp_path, refuse)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder that one may change, and no other setting of the environment."""
    cache._fall_back.cache_clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_cache_root_is_what_the_setting_says_else_the_users_cache_folder(home, tmp_path, monkeypatch, capsys):
    assert cache_root("here") == Path("here") and not home.exists()
    assert cache_root(None) == home / ".cache" / "tietrain"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_root(None) == home / ".cache" / "tietrain"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root(None) == tmp_path / "xdg" / "tietrain"
    assert capsys.readouterr().err == ""


def test_cache_root_knows_the_home_of_a_user_without_HOME(home, tmp_path, monkeypatch):
    monkeypatch.delenv("HOME")
    user = pwd.struct_passwd(["u", "x", 1, 1, "", str(tmp_path / "passwd"), ""])
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: user)
    assert cache_root(None) == tmp_path / "passwd" / ".cache" / "tietrain"


def no_such_user(uid):
    raise KeyError(uid)


def no_file(dir):
    raise PermissionError(dir)


@pytest.mark.parametrize("reason", ["no home", "home is a file", "home is read-only"])
def test_cache_root_falls_back_and_logs_it_once(home, monkeypatch, capsys, reason):
    if reason == "no home":
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(pwd, "getpwuid", no_such_user)
    elif reason == "home is a file":
        home.write_text("")
    else:
        monkeypatch.setattr(cache.tempfile, "TemporaryFile", no_file)
    assert cache_root(None) == cache_root(None) == FALLBACK
    assert capsys.readouterr().err.count("\n") == 1
    entry(cache_root(None))
    assert (FALLBACK / TAG).exists()


def full_cache(root: Path) -> Path:
    entry(root)
    entry(root, kind="vocabulary")
    (root / "datasets" / HUB_KEY / "text").mkdir(parents=True)
    (root / "datasets" / HUB_KEY / "text" / "x.arrow").write_bytes(b"x" * 500)
    (root / "corpus" / f"{KEY}.tmp").mkdir()
    return root


def test_clear_cache_removes_every_entry_and_counts_its_bytes(tmp_path):
    root = full_cache(tmp_path / "cache")
    entries = [path for path in root.rglob("*") if path.is_file() and path.parent != root]
    n_bytes = sum(path.stat().st_size for path in entries)
    assert clear_cache(root) == n_bytes > 2500
    assert not [path for kind in ("corpus", "vocabulary", "datasets") for path in (root / kind).iterdir()]
    assert (root / TAG).exists() and clear_cache(root) == 0
    entry(root)
    assert clear_cache(tmp_path / "missing") == 0


def spoil(root: Path, how: str) -> None:
    elsewhere = root.parent / "elsewhere"
    if how == "no tag":
        (root / TAG).unlink()
    elif how == "other tag":
        (root / TAG).write_text("mine")
    elif how == "file of the user":
        (root / "notes.txt").write_text("mine")
    elif how == "data set of the user":
        (root / "datasets" / "my_corpus").mkdir()
    else:
        elsewhere.mkdir()
        (elsewhere / KEY).mkdir()
        link = root / "corpus" / ("1" * 32)
        link.symlink_to(elsewhere)


@pytest.mark.parametrize("how", ["no tag", "other tag", "file of the user", "data set of the user", "link"])
def test_clear_cache_removes_nothing_unless_tietrain_made_all(tmp_path, how):
    root = full_cache(tmp_path / "cache")
    spoil(root, how)
    before = sorted(root.rglob("*"))
    assert isinstance(refusal(clear_cache, root), SettingsError)
    assert sorted(root.rglob("*")) == before


def test_clear_cache_refuses_while_another_process_uses_it(tmp_path):
    root = full_cache(tmp_path / "cache")
    with open(root / LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert isinstance(refusal(clear_cache, root), LockedError)
    with in_use(root):
        assert isinstance(refusal(clear_cache, root), LockedError)
    assert clear_cache(root)


def test_data_clear_cache(tmp_path, monkeypatch, capsys, golden):
    monkeypatch.chdir(tmp_path)
    full_cache(Path("cache"))
    words = ["data", "--clear-cache", "data.cache=cache"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["freed_bytes"] > 2500
    assert main(words) == 0
    texts = {"cleared": capsys.readouterr().out}
    full_cache(Path("cache"))
    with in_use(Path("cache")):
        texts["in use"] = spelled(refusal(clear_cache, Path("cache")), tmp_path)
    for how in ("file of the user", "no tag"):
        spoil(Path("cache"), how)
        assert main(words) == 2
        texts[how] = capsys.readouterr().err
    golden("data_cache", texts)


def test_study_that_tietrain_makes_is_ignored_by_git(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs" / "old").mkdir(parents=True)
    (tmp_path / "outputs" / "old" / "notes.txt").write_text("mine")
    words = ["data=text", "data.splits.train=[none]", "data.splits.valid=[none]"]
    for more in (["study=demo"], ["study=old"], ["run_dir=mine/run"]):
        assert main([*words, *more]) == 3
    assert main(["-m", *words, "study=grid", "seed=1,2"]) == 1
    ignored = {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob(".gitignore")}
    assert ignored == {"outputs/demo", "outputs/grid"}
    assert is_marked(tmp_path / "outputs" / "demo")
    assert (tmp_path / "mine" / "run").is_dir() and list((tmp_path / "outputs" / "old").glob("lm-*"))
