"""Every setting is checked with its full key, and what decides a result decides the hash."""

import dataclasses
import shlex

import pytest

from refusals import refusal
from tietrain.config import DataConfig, RunConfig
from tietrain.config.compose import compose_config, config_yaml, parse_overrides
from tietrain.config.identity import config_hash, flat_settings, run_name
from tietrain.config.keys import ALL
from tietrain.config.layout import make_shape
from tietrain.config.model import PARAMETRISATIONS
from tietrain.errors import SettingsError, TyingError
from tietrain.plan.schemes import make_plan

# Override -> how the refusal's setting begins. The wording stands in tests/golden/config_refusals.txt.
REFUSED = {
    "model.n_heads=3": "model.n_heads=3",
    "model.positions=ropee": "model.positions=ropee",
    "model.n_layers=1000000": "model.n_layers=1000000",
    "model.d_model=abc": "model.d_model=abc",
    "model.d_modl=64": "model.d_modl=64",
    "model.decoders=both": "model.decoders=both",
    "+model.foo=1": "+model.foo=1",
    "optim.lr=-1": "optim.lr=-1",
    "optim.lr=nan": "optim.lr=nan",
    "optim.lr=inf": "optim.lr=inf",
    "optim.warmup=0.9": "optim.warmup=0.9",
    "optim.betas=[0.9]": "optim.betas=[0.9]",
    "optim.betas=[0.9,1]": "optim.betas=1",
    "optim.momentum=0.9": "optim.momentum=0.9",
    "task.eval_stride=1000": "task.eval_stride=1000",
    "task.temperature=0": "task.temperature=0",
    "task.metrics=[bleu,rouge]": "task.metrics=[bleu,rouge]",
    "task.metrics=[chrf++,chrf++]": "task.metrics=[chrf++,chrf++]",
    "task.metrics=[]": "task.metrics=[]",
    "task.bleu_tokenize=ja-mecab": "task.bleu_tokenize=ja-mecab",
    "data.vocabulary=jiont": "data.vocabulary=jiont",
    "data.vocabulary=joint": "data.vocabulary=joint",
    "data.difficulty=13": "data.difficulty=13",
    "data.character_coverage=0.9995": "data.character_coverage=0.9995",
    "data.character_coverage=0": "data.character_coverage=0",
    "data.splits.test_2017=[a]": "data.splits.test_2017",
    "data.splits=3": "data.splits=3",
    "data=nope": "data=nope",
    "train.max_steps=0": "train.max_steps=0",
    "train.max_seconds=-1": "train.max_seconds=-1",
    "train.batch_by=char": "train.batch_by=char",
    "train.average=mean": "train.average=mean",
    "train.n_averaged=0": "train.n_averaged=0",
    "train.ema=1": "train.ema=1",
    "train.ema=0": "train.ema=0",
    "train.trackers=[mlflow]": "train.trackers=mlflow",
    "hardware.device=tpu": "hardware.device=tpu",
    "report.metric=bleu": "report.metric=bleu",
    "report.margin=0.1": "report.margin=0.1",
    "report.margin=-1": "report.margin=-1",
    "report.margin=inf": "report.margin=inf",
    "study=../elsewhere": "study=../elsewhere",
    "seed=-1": "seed=-1",
    "sed=1": "sed=1",
    "+typo=1": "+typo=1",
    "experiment=": "experiment=",
    "hydra.run.dir=x": "hydra.run.dir=x",
    "hydra.sweep.dir=x": "hydra.sweep.dir=x",
    "hydra.job.chdir=true": "hydra.job.chdir=true",
    "match.solved.x=1": "match.solved.x=1",
    "tune.role=tuning": "tune.role=tuning",
    "+tying.ties.x=5": "tying.ties.x",
    "+tying.ties.x={rule: cross_layer, n_unique: true}": "tying.ties.x",
    "+tying.ties.x={rule: cross_layer, stacks: decoder}": "tying.ties.x",
    "+tying.ties.x={rule: cross_layer, norms: maybe}": "tying.ties.x",
    "+tying.ties.pre_softmax.foo=1": "tying.ties.pre_softmax.foo",
    "tying.ties.cross_layer.n_unique=2": "tying.ties.cross_layer.n_unique",
    "tying=three_wya": "tying=three_wya",
    "tying=trg_softmax": "tying=trg_softmax",
    "tying=cyle:n_unique:2": "tying=cyle:n_unique:2",
    "tying=cycle:n_uniq:2": "tying=cycle:n_uniq:2",
    "tying=cycle:n_unique": "tying=cycle:n_unique",
    "tying=cycle:n_unique:x": "tying.ties.cycle.n_unique=x",
    "tying=pre_softmax:norms:false": "tying=pre_softmax:norms:false",
    "++tying.ties.cycle.n_unique=2": "tying.ties.cycle",
    "tying=[none,pre_softmax]": "tying=[none, pre_softmax]",
    "tying=none,pre_softmax": "tying=none,pre_softmax",
    "tying=true": "tying=true",
    "tying=cross": "tying=cross",
    "optim=null": "optim=null",
    "model=base": "model=base",
    "data=my.txt": "data=my.txt",
    "seed=1,2": "seed=1,2",
    "+seed=3": "+seed",
    "~optim.lr": "~optim.lr",
    "optim.betas=0.9,0.98": "optim.betas=0.9,0.98",
    "optim.betas=(0.9,0.98)": "optim.betas=(0.9,0.98)",
    "train.trackers=wandb": "train.trackers=wandb",
    "train.max_steps=1e4": "train.max_steps=10000.0",
    "study=${study}": "study=${study}",
    "+hydra.sweeper.params.seed=3": "+hydra.sweeper.params.seed=3",
    "optim.lr": "optim.lr",
    "run_dir=[a]": "run_dir=[a]",
    "run_dir=a,b": "run_dir=a,b",
    "model.norm_bias=[true]": "model.norm_bias=[true]",
    "data.splits.train=a,b": "data.splits.train=a,b",
    "three_way": "three_way",
}


def test_compose_config_refuses_by_key(golden):
    texts = {}
    for override, setting in REFUSED.items():
        with pytest.raises(SettingsError) as refused:
            compose_config([override])
        assert refused.value.exit_code == 2
        assert refused.value.setting.startswith(setting), override
        texts[override] = str(refused.value)
    golden("config_refusals", texts)


def test_make_plan_refuses_separate_vocabularies_for_joint_schemes():
    for tying in ("shared_vocab", "embeddings", "three_way"):
        config = compose_config(["task=mt", f"tying={tying}", "data.vocabulary=separate"])
        with pytest.raises(TyingError, match=r"data\.vocabulary=auto"):
            make_plan(make_shape(config), config.tying.ties)


def test_config_hash_ignores_the_generated_corpus_of_other_formats():
    files = ["data=text", "data.splits={train: [a], valid: [b]}"]
    easy = compose_config([*files, "data.difficulty=1"])
    hard = compose_config([*files, "data.difficulty=2"])
    assert config_hash(easy) == config_hash(hard)


def test_compose_config_gives_an_untied_language_model_by_default():
    config = compose_config([])
    assert (config.task.name, config.data.format, config.tying_label, config.study) == (
        "lm",
        "grammar",
        "none",
        "default",
    )


def test_compose_config_without_words_gives_the_defaults_of_the_fields():
    flat = flat_settings(compose_config([]))
    differs = {key for key, found in ALL.items() if found.default not in ({}, flat.get(key))}
    resolved = {"train.batch_by", "model.tables", "model.embed_scale", "model.output_scale", "model.table_init_std"}
    assert differs == resolved
    assert {ALL[key].default for key in resolved} == {"auto"}


@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_compose_config_settles_the_tables_by_name(name):
    model = compose_config([f"model.tables={name}"]).model
    named = PARAMETRISATIONS[name]
    assert (model.embed_scale, model.output_scale, model.table_init_std) == (
        named.embed_scale,
        named.output_scale,
        named.table_init_std,
    )
    assert model.init_std.stated == named.init_std


def test_compose_config_prefers_what_is_stated_to_the_parametrisation():
    model = compose_config(["model.tables=zero_head", "model.table_init_std=0.3", "model.init_std.output=0.1"]).model
    assert (model.table_init_std, model.embed_scale) == (0.3, "1")
    assert model.init_std.stated == {"source": 1.0, "input": 1.0, "output": 0.1}


def test_run_name_is_of_values_however_they_were_named():
    named = compose_config(["model.tables=vaswani"])
    stated = compose_config(["model.tables=gpt2", "model.embed_scale=sqrt_d", "model.table_init_std=null"])
    assert run_name(named) == run_name(stated) != run_name(compose_config(["model.tables=gpt2"]))


@pytest.mark.parametrize("word", ["train.probe_every=5", "hardware.compile=true"])
def test_compose_config_refuses_what_cannot_be_done_in_slices(word):
    with pytest.raises(SettingsError, match=rf"{word}: .*leave out one of them"):
        compose_config([word, "hardware.shard=true"])


@pytest.mark.parametrize("std", ["-1", "wide", "inf", "true"])
def test_compose_config_refuses_what_is_no_standard_deviation(std):
    with pytest.raises(SettingsError, match=r"model\.table_init_std="):
        compose_config([f"model.table_init_std={std}"])


def test_config_hash_ignores_volatile_keys_and_order_but_nothing_else():
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
def test_declared_is_the_primary_score(words, expected):
    assert tuple(compose_config(words).declared.values()) == expected


def test_declared_is_on_valid_without_a_test_split():
    files = DataConfig(format="text", splits={"train": ["a"], "valid": ["b"]})
    assert RunConfig(data=files).declared["split"] == "valid"


def test_config_yaml_composes_to_the_same_configuration():
    from omegaconf import OmegaConf

    from tietrain.config.compose import to_run_config

    config = compose_config(["task=mt", "tying=[three_way,cross_layer]", "tying.ties.cross_layer.n_unique=2"])
    again = OmegaConf.merge(OmegaConf.structured(RunConfig), OmegaConf.create(config_yaml(config)))
    assert dataclasses.asdict(to_run_config(again)) == dataclasses.asdict(config)


def test_joint_vocabulary_follows_the_rules():
    assert not compose_config(["task=mt"]).joint_vocabulary
    assert compose_config(["task=mt", "tying=shared_vocab"]).joint_vocabulary
    assert compose_config(["task=mt", "data.vocabulary=joint"]).joint_vocabulary
    shape = make_shape(compose_config(["task=mt"]))
    assert shape.stacks[0].vocabulary != shape.stacks[1].vocabulary


# Word -> how its refusal tells to write it.
QUOTED = {
    "data.root=lang=en": 'data.root="lang=en"',
    "data.root=mål": 'data.root="mål"',
    "data.root=(1)": 'data.root="(1)"',
    "data.root=a#b": 'data.root="a#b"',
    "run_dir=runs/[a], {b}": 'run_dir="runs/[a], {b}"',
    "run_dir=a[1": 'run_dir="a[1"',
    'data.root=say "x\\': 'data.root="say \\"x\\\\"',
    "data.splits.train=[C:\\x#1,a b]": 'data.splits.train=["C:\\x#1",a b]',
    "data.splits={train: [v=1.txt], valid: [a (2).txt, b]}": 'data.splits={train: ["v=1.txt"], valid: ["a (2).txt", b]}',
    "study=true": 'study="true"',
    "data.columns=[1.50,en]": 'data.columns=["1.50",en]',
    "data.columns=[en,de],[true,de]": 'data.columns=[en,de],["true",de]',
}


@pytest.mark.parametrize("word", QUOTED)
def test_parse_overrides_tells_how_a_word_is_written_in_quotes(word):
    error = refusal(parse_overrides, ["task=lm", word])
    (written,) = shlex.split(error.remedy.removeprefix("write "))
    assert (error.setting, written) == (word, QUOTED[word])
    parse_overrides([written])


@pytest.mark.parametrize("word", ["", "foo", "data.splits={train:", "data.root=", 'study=""', "data.columns=[en,'']"])
def test_parse_overrides_refuses_words_that_say_nothing(word):
    assert refusal(parse_overrides, ["task=lm", word, "seed=1"]).setting == (word or "''")


def test_parse_overrides_takes_names_as_they_are_written():
    words = ["data.columns=[no,on]", "data.splits={no: [2017,1.5]}", "study=True", "model.norm_bias=true"]
    values = [override.value() for override in parse_overrides(words)]
    assert values == [["no", "on"], {"no": [2017, 1.5]}, True, True]


# What stands in a file of the user -> the name at fault; None if there is none.
NAMES = {
    "format: text\ncolumns: [en, no]\n": "no",
    "format: text\nsplits:\n  on: [a]\n": "on",
    "format: text\nsplits: {train: [010]}\n": "010",
    "# @package _global_\ndata: {subset: off}\n": "off",
    "format: text\ncolumns: ['no', \"yes\", no.txt, my_file, 2017]\nroot: ~\nbyte_fallback: no\n": None,
}


@pytest.mark.parametrize("text", NAMES)
def test_files_of_the_user_hold_names_as_they_are_written(tmp_path, text):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text(text)
    error = refusal(compose_config, ["task=mt", "data=mine"], [str(tmp_path)])
    name = NAMES[text]
    assert (f"write the name in quotes: '{name}'" == error.remedy) == (name is not None)
    line = 1 + text[: text.find(name or "")].count("\n")
    assert error.setting == (f"{tmp_path}/data/mine.yaml, line {line}" if name else "data.splits=[]")
