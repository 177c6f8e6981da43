"""Hydra's undocumented parts are imported in one file, and have what tietrain uses of them."""

import ast
import inspect
from pathlib import Path

import pytest

import tietrain
from tietrain.cli.grid import split_cells
from tietrain.config import hydra_parts
from tietrain.config.compose import compose_cell, compose_grid, initialized

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


def compare_composed(cells, folders=()):
    """Assert that the cells are the same whether their files are read once or, as Hydra does, for each of them."""
    with initialized([], folders):
        plain = [compose_cell(cell) for cell in cells]
        with hydra_parts.composed_once():
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted(Path(tietrain.__file__).parents[2].glob("conf/experiment/*.yaml")), ids=lambda path: path.stem
)
def test_composed_once_gives_what_hydra_composes_of_every_experiment(path):
    common = compose_grid([f"experiment={path.stem}"])
    with initialized([], []):
        cells = split_cells(common)
    compare_composed(cells)
