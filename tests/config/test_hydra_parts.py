"""Hydra's undocumented parts are imported in one file, and have what tietrain uses of them."""

import ast
import inspect
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import OmegaConf

import tietrain
from tietrain.cli.grid import split_cells
from tietrain.config import compose, hydra_parts
from tietrain.config.compose import compose_cell, compose_config, compose_grid, initialized

# What Hydra's manual documents.
PUBLIC = {"hydra", "hydra.errors", "hydra.core.config_store", "hydra.core.hydra_config", "hydra.experimental.callback"}


def test_hydra_parts_is_the_only_place_of_undocumented_imports():
    source = Path(tietrain.__file__).parent
    found = []
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module and module.split(".")[0] == "hydra" and module not in PUBLIC:
                found.append(path.relative_to(source).as_posix())
    assert set(found) == {"config/hydra_parts.py"}


def test_hydra_parts_have_what_is_used():
    assert list(inspect.signature(hydra_parts.BasicSweeper.split_arguments).parameters) == [
        "overrides",
        "max_batch_size",
    ]
    (cell,) = hydra_parts.BasicSweeper.split_arguments(
        hydra_parts.OverridesParser.create().parse_overrides(["a=1,2"]), None
    )
    assert cell == [["a=1"], ["a=2"]]
    options = {option for action in hydra_parts.get_args_parser()._actions for option in action.option_strings}
    assert {"--multirun", "--cfg", "--config-dir", "--shell-completion", "--hydra-help"} <= options
    loader = inspect.signature(hydra_parts.GlobalHydra.config_loader)
    assert list(loader.parameters) == ["self"]
    assert hydra_parts.RunMode.MULTIRUN != hydra_parts.RunMode.RUN
    assert hasattr(hydra_parts.Override, "is_sweep_override")


@pytest.fixture
def merged(monkeypatch):
    """What Hydra merges from here on, the files of each configuration; nothing is kept of what it merged before."""
    found = []
    merge = ConfigLoaderImpl._compose_config_from_defaults_list

    def watched(self, defaults, repo):
        found.append([default.config_path for default in defaults])
        return merge(self, defaults, repo)

    monkeypatch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", watched)
    monkeypatch.setattr(hydra_parts, "_of_packages", hydra_parts._Compositions())
    return found


def compare_composed(cells, folders=()):
    """Assert that the cells are the same whether their files are read once or, as Hydra does, for each of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "composed_once", nullcontext)
        with initialized([], folders):
            plain = [compose_cell(cell) for cell in cells]
    for _ in range(2):  # what is kept, a second time
        with initialized([], folders):
            assert [compose_cell(cell) for cell in cells] == plain, cells


def test_composed_once_gives_what_hydra_composes(tmp_path):
    (tmp_path / "tying").mkdir()
    (tmp_path / "tying" / "none.yaml").write_text("ties: {cycle: {rule: cycle, n_unique: 2}}\n")
    common = ["model.d_model=64", "seed=1"]
    cells = [[*common, *words.split()] for words in (
        "tying=cycle:n_unique:1", "tying=cycle:n_unique:2", "tying=[cycle:n_unique:1,three_way] task=mt", "tying=three_way task=mt",
        "seed=2 tying=cycle:n_unique:1", "~tune", "hydra/launcher=basic", "hydra.mode=MULTIRUN", "model={d_model:32}",
    )]  # fmt: skip
    compare_composed(cells)
    compare_composed([[], ["tying=none"], ["seed=2"]], [str(tmp_path)])
    with hydra_parts.composed_once():
        with initialized([], []):
            plain = compose_cell([])
        with initialized([], [str(tmp_path)]):
            assert compose_cell([]) != plain, "their files are read anew"


def test_composed_once_reads_a_folder_of_the_user_anew_each_time(tmp_path):
    (tmp_path / "tying").mkdir()
    for n in (1, 2):
        (tmp_path / "tying" / "mine.yaml").write_text(f"ties: {{cross_layer: {{rule: cross_layer, n_unique: {n}}}}}\n")
        assert compose_config(["tying=mine"], [str(tmp_path)]).tying.ties["cross_layer"]["n_unique"] == n


def test_composed_once_keeps_what_packages_bring(merged, monkeypatch):
    first = compose_config(["tying=three_way", "task=mt", "seed=1"])
    assert compose_config(["tying=three_way", "task=mt", "seed=2"]) == replace(first, seed=2)
    assert len(merged) == 1 and {"config", "task/mt", "tying/three_way"} <= set(merged[0])
    monkeypatch.setattr(hydra_parts, "MOST_KEPT", 2)
    for name in ("none", "cross_layer", "three_way"):  # the first that was kept makes room
        compose_config([f"tying={name}", "task=mt"])
    assert len(merged) == 4
    compose_config(["tying=cross_layer", "task=mt"])
    assert len(merged) == 4 and len(hydra_parts._of_packages.lists) == 2


def test_apart_leaves_the_groups_of_the_process_as_they_were(monkeypatch):
    """A launcher that the process has under a name of ours stays its own."""
    hydra_parts.Plugins.instance()  # looks for plugins, which bring launchers
    repo = ConfigStore.instance().repo
    theirs = ConfigNode("joblib.yaml", OmegaConf.create(), group="hydra/launcher", package=None, provider=None)
    monkeypatch.setitem(repo["hydra"]["launcher"], "joblib.yaml", theirs)
    monkeypatch.delitem(repo, "tietrain_schema.yaml", raising=False)  # left by a command line
    assert compose_config([]).seed == 1
    assert repo["hydra"]["launcher"]["joblib.yaml"] is theirs and "tietrain_schema.yaml" not in repo


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted(Path(tietrain.__file__).parents[2].glob("conf/experiment/*.yaml")), ids=lambda path: path.stem
)
def test_composed_once_gives_what_hydra_composes_of_every_experiment(path):
    common = compose_grid([f"experiment={path.stem}"])
    with initialized([], []):
        cells = split_cells(common)
    compare_composed(cells)
