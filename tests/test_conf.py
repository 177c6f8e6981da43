"""Every file of conf/ composes, and every tying file resolves where it claims to apply."""

from pathlib import Path

import pytest

from tietrain.compose import GROUPS, compose_config
from tietrain.config import make_shape
from tietrain.errors import TyingError
from tietrain.tying.schemes import RULES, make_plan

CONF = Path(__file__).parents[1] / "conf"
FILES = sorted((path.parent.name, path.stem) for path in CONF.glob("*/*.yaml"))


def test_groups_are_the_folders():
    assert {group for group, _ in FILES} == set(GROUPS)


@pytest.mark.parametrize(("group", "name"), FILES)
def test_composes(group, name):
    task = ["task=mt"] if group in ("data", "tying") else []
    needs_files = group == "data" and name in ("text", "tsv", "jsonl")
    files = ["data.splits={train: [a], valid: [b]}"] if needs_files else []
    compose_config([*task, f"{group}={name}", *files])


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda p: p.stem)
def test_holds_values_only(path):
    assert "_target_" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for group, name in FILES if group == "tying"])
@pytest.mark.parametrize("task", ["lm", "mt"])
def test_tying_file_resolves_or_is_refused_by_name(name, task):
    config = compose_config([f"task={task}", f"tying={name}"])
    rules = [RULES[tie["rule"]] for tie in config.tying.ties.values()]
    if task == "lm" and any(rule.encoder for rule in rules):
        with pytest.raises(TyingError, match=f"tying={name}.*pre_softmax"):
            make_plan(make_shape(config), config.tying.ties)
    else:
        assert make_plan(make_shape(config), config.tying.ties).owners


def test_labels_of_tying_files_are_unique():
    labels = [
        label
        for group, name in FILES
        if group == "tying"
        for label in compose_config(["task=mt", f"tying={name}"]).tying.ties
    ]
    assert len(labels) == len(set(labels))
