"""Runs keep their names: identities of runs as they were first written, and what does not belong to an identity."""

import dataclasses
import json
from pathlib import Path

import pytest

from tietrain.config import RunConfig, setting
from tietrain.config.compose import compose_config, config_yaml
from tietrain.config.identity import changed_settings, flat_settings, result_settings, run_name
from tietrain.config.keys import ABSENT, ALL, identity_of, is_read
from tietrain.config.setting import Spec
from tietrain.config.stored import read_run_config

# Configurations stated in full, as differences to a base that is stated in full, and the names that version 0.1.0 gave them.
# A name here never changes: it would orphan somebody's runs.
STORED = json.loads((Path(__file__).parent / "identities.json").read_text(encoding="utf-8"))


def config_of(settings):
    """The configuration with all these settings, and of each later one the value that meant its absence."""
    later = {key: found.spec.absent for key, found in ALL.items() if found.spec.absent is not setting.NOTHING}
    body = {}
    for key, value in (later | settings).items():
        if key.count(".") > 1 and key in later:  # null, like the default of its section
            continue
        group, _, name = key.rpartition(".")
        (body.setdefault(group, {}) if group else body)[name] = value
    types = {field.name: field.default_factory for field in dataclasses.fields(RunConfig)}
    return RunConfig(**{k: types[k](**v) if isinstance(v, dict) and k in types else v for k, v in body.items()})


def test_run_name_is_that_of_the_stored_table():
    wrong = {}
    for row, expected in STORED["rows"].items():
        name = run_name(config_of(STORED["base"] | expected["settings"]))
        if name != expected["name"]:
            wrong[row] = name
    assert not wrong
    assert len(STORED["rows"]) >= 60


def test_stored_table_states_every_setting():
    older = {key for key, found in ALL.items() if found.spec.absent is setting.NOTHING}
    assert set(STORED["base"]) == older
    changed = {key for row in STORED["rows"].values() for key in row["settings"]}
    assert {key.split(".")[0] for key in changed if "." in key} == {
        "task",
        "data",
        "model",
        "tying",
        "optim",
        "train",
    } | {
        "hardware",
        "report",
        "match",
        "tune",
    }


@pytest.mark.parametrize(
    ("words", "unread"),
    [
        (
            ["task=lm"],
            ["task.beam=5", "task.max_len=9", "task.mask_rate=0.5", "model.n_encoder_layers=2", "model.max_len=700"],
        ),
        (
            ["task=mlm"],
            ["task.length_penalty=1", "task.eval_stride=3", "model.decoders=each", "data.vocabulary=separate"],
        ),
        (["task=mt"], ["task.window=7", "task.temperature=5", "task.length_penalty=1"]),
        (["task=lm", "optim=sgd"], ["optim.betas=[0.5,0.5]", "optim.eps=1", "optim.decay=0.1", "train.n_averaged=2"]),
    ],
)
def test_run_name_ignores_what_the_run_does_not_read(words, unread):
    assert run_name(compose_config([*words, *unread])) == run_name(compose_config(words))
    for word in unread:
        key = word.partition("=")[0]
        flat = flat_settings(compose_config([*words, word]))
        assert not is_read(key, flat), key
        assert str(flat[key]) != str(ALL[key].default), "the row shows nothing"


def test_run_name_follows_every_setting_that_is_read():
    plain = flat_settings(compose_config(["task=mt", "task.beam=2", "train.average=last", "model.positions=learned"]))
    for key, value in plain.items():
        found = ALL.get(key)
        if found is None or not found.spec.identity or not is_read(key, plain):
            continue
        assert identity_of(plain | {key: "another"}) != identity_of(plain), (key, value)


def test_identity_of_leaves_out_a_later_setting_at_its_absence(monkeypatch):
    later = setting.Setting("model.later", "float", 2.0, Spec(absent=1.0), RunConfig)
    unread = setting.Setting(
        "model.unread", "float", 2.0, Spec((setting.when("task.name", "mt"),), absent=1.0), RunConfig
    )
    monkeypatch.setattr("tietrain.config.keys.ALL", {**ALL, later.key: later, unread.key: unread})
    flat = flat_settings(compose_config([]))
    assert identity_of(flat | {"model.later": 1.0}) == identity_of(flat)
    assert identity_of(flat | {"model.later": 2.0}) == identity_of(flat) | {"model.later": 2.0}
    assert identity_of(flat | {"model.unread": 2.0}) == identity_of(flat)


def test_identity_of_keeps_the_old_default_of_an_unread_setting(monkeypatch):
    before = ALL["task.beam"]
    renewed = dataclasses.replace(before, default=4, spec=dataclasses.replace(before.spec, unread=1))
    monkeypatch.setattr("tietrain.config.keys.ALL", {**ALL, "task.beam": renewed})
    flat = flat_settings(compose_config(["task=lm"]))
    assert identity_of(flat | {"task.beam": 4})["task.beam"] == 1


def test_read_run_config_gives_a_setting_that_was_not_there_the_value_of_its_absence(monkeypatch, tmp_path):
    monkeypatch.setattr("tietrain.config.keys.ABSENT", {**ABSENT, "model.dropout": 0.7})
    (tmp_path / "run.json").write_text("{}")
    lines = config_yaml(compose_config(["model.d_model=64"])).splitlines()
    (tmp_path / "config.yaml").write_text("\n".join(line for line in lines if "  dropout:" not in line))
    config = read_run_config(tmp_path)
    assert (config.model.dropout, config.model.d_model) == (0.7, 64)


def test_changed_settings_passes_over_what_was_recorded_and_not_read():
    now = result_settings(compose_config(["task=lm"]))
    assert changed_settings(now | {"task.beam": 5}, now) == []
    assert changed_settings(now | {"task.window": 5}, now) == ["task.window"]
