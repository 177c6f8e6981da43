"""Every file of conf/ composes, and every tying file, chosen on the command line, ties what was typed by hand."""

from pathlib import Path

import pytest
import yaml

from expected_ties import CHOSEN, EXPECTED, MORE_STACKS, NOT_FOR_LM, difference, six_layers
from tietrain.config.compose import compose_config
from tietrain.config.keys import GROUPS
from tietrain.config.layout import make_shape
from tietrain.errors import TyingError
from tietrain.plan.rules import RULES
from tietrain.plan.schemes import make_plan

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted((path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name != "claims")
TYING = [name for group, name in FILES if group == "tying"]


def test_groups_are_the_folders():
    assert {group for group, _ in FILES} == set(GROUPS)


def test_every_file_composes():
    for group, name in FILES:
        if group == "tying":
            continue
        columns = yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8")).get("columns") or []
        task = ["task=mt"] if group == "data" and len(columns) != 1 else []
        needs_files = group == "data" and name in ("text", "tsv", "jsonl")
        files = ["data.splits={train: [a], valid: [b]}"] if needs_files else []
        compose_config([*task, f"{group}={name}", *files])


def test_files_hold_values_only():
    assert not [path for path in CONF.rglob("*.yaml") if "_target_" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", sorted(set(TYING) - set(MORE_STACKS)))
def test_tying_file_ties_what_was_typed_by_hand(name):
    chosen = [f"tying.ties.{name}.{k}={v}".replace("'", "") for k, v in CHOSEN.get(name, {}).items()]
    config = compose_config(["task=mt", f"tying={name}", "model.n_layers=6", "model.positions=learned", *chosen])
    assert config.tying_label == name
    assert difference(make_plan(make_shape(config), config.tying.ties), EXPECTED[name]) == {}
    if name in NOT_FOR_LM:
        with pytest.raises(TyingError, match=NOT_FOR_LM[name]):
            make_plan(six_layers("lm"), config.tying.ties)
    else:
        assert difference(make_plan(six_layers("lm"), config.tying.ties), EXPECTED[name]) == {}


def test_tying_files_show_every_option_under_their_own_name():
    """So that an override needs no `+`, and two files of a list bring two labels."""
    for name in TYING:
        ties = yaml.safe_load((CONF / "tying" / f"{name}.yaml").read_text(encoding="utf-8"))["ties"]
        assert list(ties) == [name]
        assert set(ties[name]) == {"rule", *RULES[ties[name]["rule"]].options}, name
