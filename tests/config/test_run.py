"""Every setting is checked with its full key, and what decides a result decides the hash."""

import dataclasses

import pytest

from tietrain.config import DataConfig, RunConfig
from tietrain.config.compose import compose_config, config_yaml
from tietrain.config.identity import config_hash, flat_settings, run_name
from tietrain.config.keys import ALL, VOLATILE
from tietrain.config.layout import make_shape
from tietrain.errors import SettingsError, TyingError
from tietrain.plan.schemes import make_plan


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.n_heads=3", ["model.n_heads=3", "model.d_model"]),
        ("optim.lr=-1", ["optim.lr=-1"]),
        ("optim.lr=.nan", ["optim.lr"]),
        ("task.eval_stride=1000", ["task.eval_stride=1000"]),
        ("data.vocabulary=jiont", ["data.vocabulary=jiont", "joint"]),
        ("model.positions=ropee", ["model.positions=ropee", "rotary"]),
        ("train.max_steps=0", ["train.max_steps=0"]),
        ("train.max_seconds=-1", ["train.max_seconds=-1"]),
        ("train.batch_by=char", ["train.batch_by=char", "chars"]),
        ("train.average=mean", ["train.average=mean", "none, last, best"]),
        ("train.n_averaged=0", ["train.n_averaged=0"]),
        ("train.ema=1", ["train.ema=1", "0.999"]),
        ("train.ema=0", ["train.ema=0"]),
        ("task.metrics=[bleu,rouge]", ["task.metrics=[bleu,rouge]", "bleu, chrf, chrf++, ter"]),
        ("task.metrics=[chrf++,chrf++]", ["task.metrics=[chrf++,chrf++]", "twice"]),
        ("task.metrics=[]", ["task.metrics=[]", "choose one or more"]),
        ("task.bleu_tokenize=ja-mecab", ["task.bleu_tokenize=ja-mecab", "13a, none, char, intl, zh"]),
        ("data.splits.test_2017=[a]", ["+data.splits.NAME=[FILE]"]),
        ("hardware.device=tpu", ["hardware.device=tpu"]),
        ("study=../elsewhere", ["study=../elsewhere"]),
        ("seed=-1", ["seed=-1"]),
        ("optim.warmup=0.9", ["optim.warmup=0.9", "optim.decay"]),
        ("optim.betas=[0.9]", ["optim.betas"]),
        ("data.difficulty=13", ["data.difficulty=13"]),
        ("optim.momentum=0.9", ["optim.momentum", "sgd"]),
        ("model.n_layers=1000000", ["model.n_layers"]),
        ("+tying.ties.x=5", ["tying.ties.x"]),
        ("+tying.ties.x={rule: cross_layer, n_unique: true}", ["n_unique=True"]),
        ("+tying.ties.x={rule: cross_layer, stacks: decoder}", ["stacks=decoder", "list"]),
        ("+tying.ties.x={rule: cross_layer, norms: maybe}", ["norms=maybe"]),
        ("tying.ties.cross_layer.n_unique=2", ["tying=cross_layer"]),
        ("data.splits=3", ["data.splits"]),
        ("experiment=", ["experiment"]),
        ("data.vocabulary=joint", ["data.vocabulary=joint"]),
        ("model.d_model=abc", ["model.d_model=abc", "integer"]),
        ("sed=1", ["did you mean seed?"]),
        ("+typo=1", ["typo"]),
        ("+model.foo=1", ["model.foo"]),
        ("model.d_modl=64", ["did you mean model.d_model?"]),
        ("tying=three_wya", ["did you mean tying=three_way?"]),
        ("tying=trg_softmax", ["tying=pre_softmax"]),
        ("data=nope", ["data=nope", "grammar"]),
        ("tying=[none,pre_softmax]", ["none"]),
        ("+tying.ties.pre_softmax.foo=1", ["foo"]),
        ("tying=none,pre_softmax", ["tying=none,pre_softmax", "-m"]),
    ],
)
def test_refusals_name_the_key(override, words):
    with pytest.raises(SettingsError) as refused:
        compose_config([override])
    assert refused.value.exit_code == 2
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("tying", ["shared_vocab", "embeddings", "three_way"])
def test_separate_vocabularies_do_not_fit_a_joint_scheme(tying):
    config = compose_config(["task=mt", f"tying={tying}", "data.vocabulary=separate"])
    with pytest.raises(TyingError, match=r"data\.vocabulary=auto"):
        make_plan(make_shape(config), config.tying.ties)


def test_settings_of_the_generated_corpus_say_nothing_about_another():
    files = ["data=text", "data.splits={train: [a], valid: [b]}"]
    one, other = (compose_config([*files, f"data.difficulty={n}"]) for n in (1, 2))
    assert config_hash(one) == config_hash(other)


def test_default_is_an_untied_language_model():
    config = compose_config([])
    assert (config.task.name, config.data.format, config.tying_label, config.study) == (
        "lm",
        "grammar",
        "none",
        "default",
    )


def test_every_key_can_be_set_and_volatile_keys_exist():
    assert set(ALL) >= VOLATILE
    assert set(flat_settings(RunConfig())) >= VOLATILE


def test_hash_ignores_volatile_keys_and_order_but_nothing_else():
    base = compose_config(["task=mt", "tying=three_way"])
    same_result = ["hardware.threads=1", "hardware.compile=true", "hardware.device_batch_tokens=64"]
    same_result += ["report.metric=chrf", "report.margin=0.5", "report.split=held", "report.baseline=shared_vocab"]
    same = compose_config(["tying=three_way", "data.root=elsewhere", "study=other", "task=mt", *same_result])
    assert run_name(base) == run_name(same)
    for key in ("seed=2", "optim.lr=1e-4", "model.dropout=0.2", "tying=none", "train.max_steps=7", "data.seed=3"):
        assert config_hash(compose_config(["task=mt", "tying=three_way", key])) != config_hash(base)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("bits_per_byte", "test", "none", None)),
        (["task=mt"], ("bleu", "test", "none", None)),
        (["task=mt", "task.metrics=[ter,chrf]"], ("ter", "test", "none", None)),
        (["task=mt", "task.directions=[a-b,b-a]"], ("bleu", "test.mean", "none", None)),
        (["experiment=multi30k"], ("bleu", "test_2016_flickr", "shared_vocab", None)),
        (["report.metric=ppl_word", "report.split=held", "report.margin=1"], ("ppl_word", "held", "none", 1.0)),
    ],
)
def test_what_is_declared_before_a_run(words, expected):
    assert tuple(compose_config(words).declared.values()) == expected


def test_without_a_test_split_the_comparison_is_on_valid():
    files = DataConfig(format="text", splits={"train": ["a"], "valid": ["b"]})
    assert RunConfig(data=files).declared["split"] == "valid"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("report.metric=bleu", "report.metric=bleu: there is no such choice"),
        ("report.margin=0.1", "set report.metric"),
        ("report.margin=-1", "it is not positive"),
        ("report.margin=inf", "it is not positive"),
    ],
)
def test_what_cannot_be_declared(word, said):
    with pytest.raises(SettingsError, match=said):
        compose_config([word])


def test_resolved_yaml_composes_to_the_same_configuration():
    from omegaconf import OmegaConf

    from tietrain.config.compose import to_run_config

    config = compose_config(["task=mt", "tying=[three_way,cross_layer]", "tying.ties.cross_layer.n_unique=2"])
    again = OmegaConf.merge(OmegaConf.structured(RunConfig), OmegaConf.create(config_yaml(config)))
    assert dataclasses.asdict(to_run_config(again)) == dataclasses.asdict(config)


def test_vocabulary_is_joint_only_where_a_rule_needs_it():
    assert not compose_config(["task=mt"]).joint_vocabulary
    assert compose_config(["task=mt", "tying=shared_vocab"]).joint_vocabulary
    assert compose_config(["task=mt", "data.vocabulary=joint"]).joint_vocabulary
    shape = make_shape(compose_config(["task=mt"]))
    assert shape.stacks[0].vocabulary != shape.stacks[1].vocabulary
