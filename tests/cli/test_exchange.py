"""`tietrain export` and `tietrain import`: what is refused and why, and that an imported run is a run."""

import json
import os
import shutil
from importlib import util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from begun_run import SIZE, make_begun, text_words
from hf_plans import PLANS
from tietrain.config.compose import compose_config
from tietrain.config.hf_classes import fitting_class
from tietrain.data import hf_tokenizer
from tietrain.data.tokenizer import train_vocabulary
from tietrain.errors import SettingsError
from tietrain.runs import record as runs
from tietrain.train import export
from tietrain.train.experiment import Experiment

FINAL = "checkpoints/final/model.safetensors"
REFUSED = {
    "default lm": ["task=lm"],
    "default mt": ["task=mt"],
    "masked": ["task=mlm", "model=gpt2"],
    "inputs of layers": ["task=lm", "model=gpt2", "tying=step_signal"],
    "several directions": ["task=mt", "model=vaswani_base", "data.columns=[a,b]", "task.directions=[a-b,b-a]"],
    "two sources": ["task=mt", "model=vaswani_base", "data.columns=[a,b,c]", "tying=one_encoder"],
    "narrow heads": ["task=lm", "model=gpt2", "model.n_kv_heads=4", "model.d_head=32", "model.output_bias=true"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with runs `lm` (GPT-2, cycle), `mt` (Marian, two vocabularies) and their folders `lm/hf`, `mt/hf`."""
    place = tmp_path_factory.mktemp("exchange")
    make_begun(place, "lm", ["task=lm", "model=gpt2", "tying=cycle", *SIZE])
    make_begun(place, "mt", ["task=mt", "model=vaswani_base", "tying=pre_softmax", *SIZE])
    return place


@pytest.fixture
def cli(place, tietrain_cli):
    def run(*words):
        os.chdir(place)
        return tietrain_cli(*words)

    return run


@pytest.fixture
def folder(cli, place, tmp_path):
    """A folder of the language model that the test may change."""
    assert cli("export", "lm", "--to", "hf", str(tmp_path / "hf"), "--checkpoint", "final").code == 0
    return tmp_path / "hf"


def test_export_refuses_with_every_setting_in_the_way(golden):
    said = {}
    for name, words in REFUSED.items():
        experiment = Experiment(compose_config(words))
        with pytest.raises(SettingsError) as e:
            fitting_class("tietrain export RUN --to hf", experiment.config, experiment.layout, experiment.plan)
        said[name] = str(e.value)
    golden("hugging_face_export", said)


def test_page_shows_the_plans_that_are_proved():
    page = (Path(__file__).parents[2] / "docs" / "hugging_face.md").read_text(encoding="utf-8")
    rows = page.split("| plan |")[1].splitlines()[2:]
    shown = dict(row.strip("| ").split(" | ")[:2] for row in rows if row.startswith("|"))
    classes = {"gpt2": "GPT2LMHeadModel", "mobilellm_125m": "LlamaForCausalLM", "vaswani_base": "MarianMTModel"}
    assert shown == {name: classes[words[1].removeprefix("model=")] for name, words in PLANS.items()}


def test_export_changes_no_folder_that_is_in_use(cli, tmp_path):
    (tmp_path / "own.txt").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for target in (tmp_path, tmp_path / "own.txt", link):
        assert cli("export", "lm", str(target), "--to", "hf", "--checkpoint", "final").is_refusal()
    (tmp_path / "new").mkdir()
    (tmp_path / "new.tmp").mkdir()  # what a folder that is written beside another one is called in a run
    assert cli("export", "lm", str(tmp_path / "new"), "--to", "hf", "--checkpoint", "final").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "new", "new.tmp", "own.txt"]


def test_export_to_ctranslate2_refuses(cli, monkeypatch):
    ran = cli("export", "lm", "--to", "ctranslate2")
    assert ran.is_refusal() and "task=lm" in ran.err
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    ran = cli("export", "mt", "--to", "ctranslate2")
    assert ran.is_refusal() and "tietrain[ctranslate2]" in ran.err


def test_export_without_proof_writes_no_tokenizer(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(hf_tokenizer, "find_spec", lambda name: None)
    ran = cli("export", "lm", str(tmp_path / "a"), "--to", "hf", "--checkpoint", "final", "--json")
    assert "not installed" in json.loads(ran.out)["no_tokenizer"]
    ran = cli("export", "mt", str(tmp_path / "b"), "--to", "hf", "--checkpoint", "final", "--json")
    assert "a vocabulary each" in json.loads(ran.out)["no_tokenizer"]
    names = {path.name for folder in ("a", "b") for path in (tmp_path / folder).iterdir()}
    assert {path.rpartition(".")[2] for path in names} == {"json", "safetensors", "model"}
    assert not any(name.startswith("tokenizer") for name in names)


@pytest.mark.skipif(util.find_spec("tokenizers") is None, reason="tokenizers is missing")
@pytest.mark.parametrize("has_bytes", [False, True])
@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "word"])
def test_tokenizer_is_exact_or_found_not_to_be(kind, has_bytes):
    lines = ["one sparrow sang", "ein Spatz \u2581 sang \x1a und", "naïve  éclair\t日本", "two\u2585owls"] * 9
    vocabulary = train_vocabulary(lines, kind, 330 if has_bytes else 60, has_bytes)
    made = hf_tokenizer.tokenizer_json(vocabulary, "lm")
    found = hf_tokenizer.difference(vocabulary, made, [*lines, "", " ", "  two  sang ", "\x1a0 sang"])
    if kind == "word" and has_bytes:
        assert "in bytes" in found
        return
    assert not found
    made["normalizer"]["normalizers"].pop(0)
    assert hf_tokenizer.difference(vocabulary, made, lines)
    made["model"]["type"] = "other"
    assert "cannot read" in hf_tokenizer.difference(vocabulary, made, lines)


def test_import_reads_a_file_of_the_base_model(cli, place, folder):
    held = load_file(folder / "model.safetensors")
    held = {name.removeprefix("transformer."): tensor for name, tensor in held.items() if name != "lm_head.weight"}
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 8, 8).tril() for i in range(2)}
    save_file(held | masks, folder / "model.safetensors")
    changed_config(tie_word_embeddings=True)(folder)
    ran = cli("import", str(folder), *text_words("lm", place), "tying=pre_softmax", "run_dir=from_base")
    assert ran.code == 0, ran.err
    read = load_file(place / "from_base" / FINAL)
    assert torch.equal(read["decoder.embed.weight"], held["wte.weight"])


@pytest.fixture
def imported(cli, place, folder):
    """A run `back` of that folder, which is gone."""
    ran = cli("import", str(folder), *text_words("lm", place), "run_dir=back", "--json")
    assert ran.code == 0 and json.loads(ran.out)["tying"] == "cycle"
    shutil.rmtree(folder)
    yield place / "back"
    shutil.rmtree(place / "back")


def test_imported_run_has_the_weights_and_is_trained_on(cli, place, imported):
    assert (imported / FINAL).read_bytes() == (place / "lm" / FINAL).read_bytes()
    record = runs.read_record(imported)
    assert (record.status, record.progress["steps"]) == ("interrupted", 0)
    assert cli("resume", "back").code == 0 and runs.read_record(imported).status == "done"


@pytest.mark.slow
def test_imported_run_is_used_converted_and_started_from(cli, place, imported):
    assert cli("generate", "back", "--checkpoint", "final", "--length", "4").code == 0
    assert cli("convert", "back", "tying=none", "run_dir=untied").code == 0 and cli("resume", "untied").code == 0
    shape = ["task=lm", "model=gpt2", "tying=cycle", *(word for word in SIZE if "vocab" not in word)]
    words = [*shape, *text_words("lm", place)]
    assert cli(*words, "data.vocabulary=back", "init_from=back", "run_dir=started").code == 0
    assert runs.read_record(place / "started").parent == "back"
    assert cli(*words, "run_dir=back").code == 2


def changed_config(**keys):
    def change(folder):
        body = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(body | keys))

    return change


def changed_tensors(**tensors):
    """Change tensors, whose names have _ for a dot; None takes one away."""

    def change(folder):
        held = load_file(folder / "model.safetensors")
        for name, value in tensors.items():
            name = name.replace("__", ".")
            held[name] = value
            if value is None:
                del held[name]
        save_file(held, folder / "model.safetensors")

    return change


BAD_FOLDERS = {
    "another class": changed_config(architectures=["BertForMaskedLM"]),
    "no classes": changed_config(architectures={"a": []}),
    "another arithmetic": changed_config(layer_norm_epsilon=1e-6, activation_function="gelu_fast", n_embd="16"),
    "two rates of dropout": changed_config(embd_pdrop=0.3),
    "other ties": changed_config(tietrain={"tying": {"cross_layer": {"rule": "cross_layer"}}}),
    "ties that are none": changed_config(tietrain={"tying": {"x": 3}}),
    "ties of nobody": changed_config(tietrain={"tying": {"x": {"rule": "y"}}}),
    "a tensor is missing": changed_tensors(transformer__wte__weight=None),
    "a tensor is not known": changed_tensors(transformer__h__0__attn__lora=torch.zeros(2)),
    "a tensor is too short": changed_tensors(transformer__ln_f__weight=torch.ones(15)),
    "a tensor is of another type": changed_tensors(transformer__ln_f__weight=torch.ones(16, dtype=torch.int32)),
    "a tensor is empty": changed_tensors(transformer__ln_f__weight=torch.ones(0)),
    "a tensor is not finite": changed_tensors(transformer__ln_f__weight=torch.full((16,), torch.inf)),
    "no vocabulary": lambda folder: (folder / "decoder.model").unlink(),
}
BAD_WORDS = {
    "the model": ["model.d_model=32"],
    "the task": ["task=mt"],
    "another model": ["model=tiny"],
    "views": ["tying=factorised"],
    "no text": None,
}


def test_import_refuses(cli, place, folder, golden, tmp_path):
    words = [*text_words("lm", place), "run_dir=refused"]
    said = {}
    for name, change in BAD_FOLDERS.items():
        bad = tmp_path / "bad"
        shutil.copytree(folder, bad)
        change(bad)
        ran = cli("import", str(bad), *words)
        assert ran.is_refusal(), (name, ran)
        said[name] = ran.err.replace(str(bad), "FOLDER")
        shutil.rmtree(bad)
    for name, more in BAD_WORDS.items():
        ran = cli("import", str(folder), *([*words, *more] if more else ["run_dir=refused"]))
        assert ran.is_refusal(), (name, ran)
        said[name] = ran.err.replace(str(folder), "FOLDER")
    assert not (place / "refused").exists()
    assert cli("import", str(folder), *words[:-1], "run_dir=lm").is_refusal()
    golden("hugging_face_import", said)
