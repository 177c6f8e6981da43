"""Hydra's undocumented parts are imported in one file, and have what tietrain uses of them."""

import ast
import inspect
from pathlib import Path

import tietrain
from tietrain.config import hydra_parts

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
