"""Every configuration that can be written is read back equal, by type and value."""

import copy
import functools

import pytest
import yaml

from tietrain.config.compose import compose_config, config_yaml
from tietrain.config.identity import flat_settings
from tietrain.config.keys import ABSENT, ALL
from tietrain.config.stored import override_config, read_run_config
from tietrain.errors import DataError, SettingsError
from tietrain.runs import record as runs

COMMANDS = [
    [],
    ["task=mt", "tying=[three_way,cross_layer]", "tying.ties.cross_layer.n_unique=2"],
    ["task=mt", "data=multi30k_en_de", "data.root='/a b/${c}'", "train.max_flops=1e15", "optim.eps=1e-9"],
    ["data=text", "data.splits.train=[a]", "data.splits.valid=[b]", "+data.splits.x=['1']", "model.d_head=8"],
    ["optim.clip_norm=null", "task.eval_stride=5", "hardware.peak_flops=1e12", "study='1'"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_what_was_written_is_read(tmp_path, words):
    if "${c}" in " ".join(words):
        words = [word.replace("${c}", "\\${c}") for word in words]
    config = compose_config(words)
    (tmp_path / runs.RUN).write_text("{}")
    runs.write_text(tmp_path / runs.CONFIG, config_yaml(config))
    assert read_run_config(tmp_path) == config


def test_overrides_replace_groups_before_values():
    config = compose_config(["task=mt", "data.seed=4", "model.d_model=64"])
    changed = override_config(config, ["data.splits.mine=[a,b]", "task.beam=3", "data=multi30k_en_de"])
    assert changed.data.splits["mine"] == ["a", "b"] and changed.data.columns == ["en", "de"]
    assert (changed.task.beam, changed.model.d_model, changed.data.seed) == (3, 64, 0)
    assert changed.data.splits["train"] == compose_config(["task=mt", "data=multi30k_en_de"]).data.splits["train"]
    merged = override_config(changed, ["data.splits={other: [c,d]}"])
    assert merged.data.splits == {**changed.data.splits, "other": ["c", "d"]}
    for words in (["task.beam=0"], ["task.beam=x"], ["~task.beam"], ["task.beam=1,2"], ["no.such=1"], ["data=nope"]):
        with pytest.raises(SettingsError):
            override_config(config, words)


@pytest.fixture
def stored(tmp_path):
    """Reads a configuration that a run stored, as a tree of values."""

    def read(body):
        (tmp_path / runs.RUN).write_text("{}")
        runs.write_text(tmp_path / runs.CONFIG, yaml.safe_dump(body))
        return read_run_config(tmp_path)

    return read


def changed(body, key, *value):
    """A tree of values without one of its keys, or with another value of it."""
    body = copy.deepcopy(body)
    *sections, name = key.split(".")
    inner = functools.reduce(dict.__getitem__, sections, body)
    del inner[name]
    if value:
        inner[name] = value[0]
    return body


def test_a_setting_that_is_absent_means_what_the_version_that_wrote_the_run_did(stored):
    """Every key, dropped in turn: what was added since has the value that meant its absence, the others are damage."""
    body = yaml.safe_load(config_yaml(compose_config(["task=mt"])))
    for key in ALL:
        if key in ABSENT:
            assert stored(changed(body, key)) == stored(changed(body, key, ABSENT[key])), key
        else:
            with pytest.raises(DataError, match=f"it lacks {key};"):
                stored(changed(body, key))


def test_a_section_that_is_absent_means_what_its_settings_do(stored):
    body = yaml.safe_load(config_yaml(compose_config(["model.init_std.input=0.5"])))
    found = flat_settings(stored(changed(body, "model.init_std")))
    assert {key: value for key, value in found.items() if key.startswith("model.init_std.")} == {
        key: value for key, value in ABSENT.items() if key.startswith("model.init_std.")
    }
