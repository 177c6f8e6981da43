"""`grid.jsonl`: the cells of grids, whoever writes it, whatever it holds."""

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from tietrain.cli import cells
from tietrain.cli.cells import GridCell, add_cells, add_run, cell_words, read_cells
from tietrain.runs import record as runs


def a_cell(*words, n_runs=1):
    return GridCell(cell_words(words), tuple(words), n_runs)


def test_cell_words_are_the_same_however_a_cell_is_typed():
    for words in (
        ["seed=1", "tying=none"],
        ["tying=three_way", "seed=1", "tying=none"],
        ["seed=1", "retry_failed=true", "tying=none", "study=x", "data.cache=/tmp"],
    ):
        assert cell_words(words) == ("seed=1", "tying=none")
    assert cell_words(["seed=1", "tying=none", "optim.lr=0.1"]) == ("optim.lr=0.1", "seed=1", "tying=none")


def test_add_cells_and_add_run_add_only_what_is_new(tmp_path):
    add_cells(tmp_path, [a_cell("tying=a", "seed=1"), a_cell("tying=a", "seed=2")])
    add_run(tmp_path, ["seed=2", "tying=a"], "run-2")
    before = (tmp_path / runs.GRID).read_bytes()
    add_cells(tmp_path, [a_cell("seed=2", "tying=a"), a_cell("tying=a", "seed=1")])
    add_run(tmp_path, ["seed=2", "tying=a"], "run-2")
    add_run(tmp_path, ["seed=2", "tying=never_listed"], "run-3")
    assert (tmp_path / runs.GRID).read_bytes() == before
    add_cells(tmp_path, [a_cell("tying=b", "seed=2"), a_cell("tying=a", "seed=2", n_runs=16)])
    found = [(cell.words, cell.n_runs, cell.runs) for cell in read_cells(tmp_path)]
    assert found == [
        (("seed=1", "tying=a"), 1, []),
        (("seed=2", "tying=a"), 16, ["run-2"]),
        (("seed=2", "tying=b"), 1, []),
    ]


def test_add_cells_survives_a_line_that_a_crash_cut_off(tmp_path):
    add_cells(tmp_path, [a_cell("seed=1"), a_cell("seed=2")])
    whole = (tmp_path / runs.GRID).read_bytes()
    (tmp_path / runs.GRID).write_bytes(whole[:-7])
    add_cells(tmp_path, [a_cell("seed=2")])
    assert [cell.words for cell in read_cells(tmp_path)] == [("seed=1",), ("seed=2",)]


def test_read_cells_and_add_cells_refuse_links_pipes_folders_and_large_files(tmp_path, monkeypatch):
    good = json.dumps({"cell": ["seed=1"], "swept": [], "runs": 1})
    (tmp_path / "outside").write_text(good)
    for name in ("link", "pipe", "folder", "large"):
        (tmp_path / name).mkdir()
    (tmp_path / "link" / runs.GRID).symlink_to(tmp_path / "outside")
    os.mkfifo(tmp_path / "pipe" / runs.GRID)
    (tmp_path / "folder" / runs.GRID).mkdir()
    (tmp_path / "large" / runs.GRID).write_text(good)
    monkeypatch.setattr(cells, "MAX_BYTES", len(good) - 1)
    for name in ("link", "pipe", "folder", "large"):
        assert read_cells(tmp_path / name) == []
        add_cells(tmp_path / name, [a_cell("seed=2")])
    assert (tmp_path / "outside").read_text() == (tmp_path / "large" / runs.GRID).read_text() == good


DAMAGED = (
    [],
    {"cell": "seed=2", "swept": [], "runs": 1},
    {"cell": [2], "swept": [], "runs": 1},
    {"cell": ["seed=2"], "swept": None, "runs": 1},
    {"cell": ["seed=2"], "swept": [], "runs": 0},
    {"cell": ["seed=2"], "swept": [], "runs": 10**9},
    {"cell": ["seed=2"], "swept": [], "runs": "1"},
    {"cell": ["seed=2"], "run": "of a cell that is not listed"},
    {"cell": ["seed=1"], "run": ["x"]},
)


def test_read_cells_leaves_out_damaged_lines(tmp_path):
    add_cells(tmp_path, [a_cell("seed=1")])
    for body in DAMAGED:
        with open(tmp_path / runs.GRID, "a", encoding="utf-8") as f:
            f.write(json.dumps(body) + "\n" + "[" * 100_000 + "\n")
        assert read_cells(tmp_path) == [a_cell("seed=1")], body


@given(st.binary(max_size=200))
def test_add_cells_adds_to_any_bytes(tmp_path_factory, content):
    study = tmp_path_factory.mktemp("study")
    (study / runs.GRID).write_bytes(content)
    add_cells(study, [a_cell("seed=1")])
    assert a_cell("seed=1") in read_cells(study)
