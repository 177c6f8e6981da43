"""The reference of settings: complete, and the same for a terminal and programs."""

import json

import pytest

from tietrain.config import keys
from tietrain.config.compose import compose_config
from tietrain.config.identity import flat_settings
from tietrain.config.reference import find_settings, setting_json, settings_lines
from tietrain.errors import SettingsError


def test_every_setting_has_a_meaning_and_readers_that_exist():
    for key, found in keys.ALL.items():
        assert found.meaning.endswith("."), key
        assert all(condition.key in keys.ALL for condition in found.spec.read_if), key
        assert json.dumps(setting_json(found))


def test_settings_lines_of_a_key_a_group_and_all(golden):
    assert len(settings_lines()) == len(keys.ALL)
    assert {line.split(".")[0] for line in settings_lines("task")} == {"task"}
    golden(
        "settings", {key: "\n".join(settings_lines(key)) for key in ("task.length_penalty", "hardware.threads", "seed")}
    )


def test_find_settings_refuses_an_unknown_key():
    with pytest.raises(SettingsError) as refused:
        find_settings("task.beem")
    assert refused.value.setting == "settings task.beem"
    assert "task.beam" in refused.value.remedy


def test_read_settings_leaves_out_what_another_task_or_choice_reads():
    lm = keys.read_settings(flat_settings(compose_config(["task=lm", "task.label_smoothing=0.1"])))
    assert "task.label_smoothing" in lm
    assert not lm.keys() & {
        "task.beam",
        "task.mask_rate",
        "model.n_encoder_layers",
        "train.n_averaged",
        "optim.momentum",
    }
    mlm = keys.read_settings(flat_settings(compose_config(["task=mlm"])))
    assert {"task.label_smoothing", "task.mask_rate", "task.window"} <= mlm.keys()
    assert "data.vocabulary" not in mlm
    mt = keys.read_settings(flat_settings(compose_config(["task=mt", "task.beam=2"])))
    assert {"task.length_penalty", "data.vocabulary", "model.encoders"} <= mt.keys()
    assert not mt.keys() & {"task.window", "task.temperature", "model.decoders"}
