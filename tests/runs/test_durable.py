"""In which order things reach the disk, and what a crash between any two system calls leaves."""

import json
import os
import shutil

from tietrain.runs.durable import MANIFEST, is_whole, remove_directory, sweep, write_directory

CALLS = ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir")


def filler(content):
    def fill(folder):
        for name in ("a", "b"):
            (folder / name).write_text(content)

    return fill


def content_of(directory):
    return {(directory / name).read_text() for name in ("a", "b")}


def recorded(monkeypatch, work):
    """Every call of CALLS and rmtree with its path, in order."""
    seen = []
    for name in CALLS:
        real = getattr(os, name)

        def spy(first, *args, name=name, real=real, **options):
            path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else str(first)
            seen.append((name, path))
            return real(first, *args, **options)

        monkeypatch.setattr(os, name, spy)
    real_rmtree = shutil.rmtree
    monkeypatch.setattr(
        shutil, "rmtree", lambda path, **o: (seen.append(("rmtree", str(path))), real_rmtree(path, **o))
    )
    work()
    monkeypatch.undo()
    return seen


def test_write_directory_syncs_before_it_renames(tmp_path, monkeypatch):
    target = tmp_path / "run" / "checkpoints" / "step"
    seen = recorded(monkeypatch, lambda: write_directory(target, filler("x")))
    beside = f"{target}.tmp"
    named = seen.index(("rename", beside))
    for path in (f"{beside}/a", f"{beside}/b", f"{beside}/{MANIFEST}.tmp", beside):
        assert ("fsync", path) in seen[:named], path
    # The folders that hold the name, up to that of the run: they may be new too.
    for path in (target.parent, target.parent.parent, tmp_path):
        assert ("fsync", str(path)) in seen[named:], path


def die_before(n_calls):
    """End this process without warning before its n-th call."""
    left = [n_calls]

    def dying(real):
        def call(*args, **options):
            left[0] -= 1
            if not left[0]:
                os._exit(9)
            return real(*args, **options)

        return call

    for name in CALLS:
        setattr(os, name, dying(getattr(os, name)))


def test_write_directory_survives_a_crash_at_any_call(tmp_path):
    """A process of its own ends without warning before its n-th call, for every n."""
    left = set()
    for n_calls in range(1, 40):
        target = tmp_path / str(n_calls) / "best"
        write_directory(target, filler("old"))
        pid = os.fork()
        if not pid:
            die_before(n_calls)
            write_directory(target, filler("new"))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if target.exists():
            assert is_whole(target)
            left.add(*content_of(target))
        else:
            # Between the two names of a replacement; both are whole, and a checkpoint of the step precedes either.
            assert all(map(is_whole, target.parent.glob("best*.tmp")))
        sweep(target.parent)
        write_directory(target, filler("again"))
        assert content_of(target) == {"again"}
        assert [path.name for path in target.parent.iterdir()] == ["best"]
        if not code:
            break
    assert code == 0 and n_calls > 8 and left == {"old", "new"}


def test_is_whole_refuses_names_outside_the_folder(tmp_path):
    (tmp_path / "outside").write_text("x")
    write_directory(tmp_path / "inside", filler("x"))
    manifest = json.loads((tmp_path / "inside" / MANIFEST).read_text())
    entry = manifest["files"].pop("a")
    for name in ("../outside", str(tmp_path / "outside"), "", ".."):
        (tmp_path / "inside" / MANIFEST).write_text(json.dumps({"files": {**manifest["files"], name: entry}}))
        assert not is_whole(tmp_path / "inside"), name


def test_is_whole_refuses_other_manifests(tmp_path):
    write_directory(tmp_path / "x", filler("x"))
    for body in ("[]", "3", '{"files": 3}', '{"files": {}}', '{"files": {"a": 3}}', '{"files": {"\\u0000": {}}}'):
        (tmp_path / "x" / MANIFEST).write_text(body)
        assert not is_whole(tmp_path / "x"), body


def test_sweep_and_remove_directory_delete_no_target_of_a_link(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "step_00000001").symlink_to(tmp_path / "precious")
    (folder / "best.tmp").symlink_to(tmp_path / "precious")
    remove_directory(folder / "step_00000001")
    sweep(folder)
    assert (tmp_path / "precious" / "file").exists() and not list(folder.iterdir())
