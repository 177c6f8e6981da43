import json
import os
import shutil
import subprocess
import sys
import time

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local_hub import COMMIT, local_hub
from refusals import refusal, spelled
from tietrain.config import DataConfig, RunConfig
from tietrain.config.compose import compose_config
from tietrain.config.identity import result_settings
from tietrain.data.sources import hub
from tietrain.data.sources.corpora import load_corpus
from tietrain.data.sources.named import corpus_key
from tietrain.errors import DataError, SettingsError

ROWS = {
    "train": [("a b", "A B"), ("NA", "null"), ("12", "1.0"), ("d", "D"), ("ü 😀", "é")],
    "validation": [("v", "V"), ("", "empty side")],
    "test": [("t", "T")],
}
SPLITS = {"train": ["train"], "valid": ["validation"], "test": ["test"]}


def data(root, **settings) -> DataConfig:
    values = {"format": "hub", "root": str(root), "cache": str(root / "cache"), "splits": SPLITS, **settings}
    return DataConfig(**{"columns": ["en", "de"], **values})


def dataset(rows) -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {"id": list(range(len(rows))), "de": [r[1] for r in rows], "en": [r[0] for r in rows]}
    )


@pytest.fixture
def saved(tmp_path):
    """A folder of save_to_disk; the settings that read it."""
    datasets.disable_progress_bars()
    datasets.DatasetDict({name: dataset(rows) for name, rows in ROWS.items()}).save_to_disk(str(tmp_path / "saved"))
    return data(tmp_path, dataset="saved")


def write_folder(folder, ending):
    folder.mkdir()
    for split, rows in ROWS.items():
        if ending == "parquet":
            pq.write_table(
                pa.table({"de": [de for _, de in rows], "en": [en for en, _ in rows]}), folder / f"{split}.parquet"
            )
        else:
            lines = [json.dumps({"de": de, "en": en}) + "\n" for en, de in rows]
            (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def write_text(root):
    for split, rows in ROWS.items():
        for side, lines in zip(("en", "de"), zip(*rows, strict=True), strict=True):
            (root / f"{split}.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    splits = {split: [f"{names[0]}.en", f"{names[0]}.de"] for split, names in SPLITS.items()}
    return data(root, format="text", splits=splits)


def test_load_hub_of_every_kind_of_folder_is_the_corpus_of_the_same_text(tmp_path, saved):
    text = load_corpus(write_text(tmp_path), "mt")
    for ending in ("parquet", "jsonl"):
        write_folder(tmp_path / ending, ending)
    for name in ("saved", "parquet", "jsonl"):
        corpus = load_corpus(data(tmp_path, dataset=name), "mt")
        assert corpus.splits == text.splits
        assert (corpus.fingerprint, corpus.notes, corpus.name) == (text.fingerprint, text.notes, name)


def test_load_hub_cuts_a_single_data_set_by_splits(tmp_path):
    datasets.disable_progress_bars()
    dataset([(f"e{i}", f"d{i}") for i in range(10)]).save_to_disk(str(tmp_path / "one"))
    splits = {"train": ["train[:60%]"], "valid": ["train[60%:80%]"], "test": ["train[9:]", "train[8:9]"]}
    corpus = load_corpus(data(tmp_path, dataset="one", splits=splits), "mt")
    texts = {name: split.texts["en"] for name, split in corpus.splits.items()}
    assert texts == {"train": [f"e{i}" for i in range(6)], "valid": ["e6", "e7"], "test": ["e9", "e8"]}


def test_the_test_split_of_a_data_set_is_scored_unless_other_splits_are_named():
    def splits(*words):
        return compose_config(["data=hub", "data.dataset=x", *words]).data.splits

    assert splits() == {"train": ["train"], "valid": ["validation"], "test": ["test"]}
    parts = "data.splits={train: ['train[:95%]'], valid: ['train[95%:]']}"
    assert splits(parts) == {"train": ["train[:95%]"], "valid": ["train[95%:]"], "test": []}
    assert splits(parts, "data.splits.test=[test]")["test"] == ["test"]
    assert splits("data.splits.test=[]")["test"] == []


def test_load_hub_reads_selected_rows_and_fields_of_a_struct(tmp_path):
    rows = [{"en": f"e{i}", "de": f"d{i}"} for i in range(5)]
    features = datasets.Features({"translation": datasets.Translation(languages=["en", "de"])})
    chosen = datasets.Dataset.from_dict({"translation": rows}, features=features).select([4, 0, 2])
    datasets.disable_progress_bars()
    chosen.save_to_disk(str(tmp_path / "one"))
    splits = {"train": ["train"], "valid": ["train[:1]"]}
    columns = ["translation.de", "translation.en"]
    corpus = load_corpus(data(tmp_path, dataset="one", columns=columns, splits=splits), "mt")
    assert corpus.splits["train"].texts == {"translation.de": ["d4", "d0", "d2"], "translation.en": ["e4", "e0", "e2"]}


def test_hub_key_knows_content_not_paths(tmp_path, saved):
    before = corpus_key(saved, "mt")
    (tmp_path / "saved" / ".hidden").mkdir()
    (tmp_path / "saved" / ".hidden" / "x").write_text("x")
    shutil.move(tmp_path / "saved", tmp_path / "moved")
    assert corpus_key(data(tmp_path, dataset="moved"), "mt") == before
    assert corpus_key(data(tmp_path, dataset="moved", splits={**SPLITS, "test": []}), "mt") != before
    (tmp_path / "moved" / "more").write_text("x")
    assert corpus_key(data(tmp_path, dataset="moved"), "mt") != before


BAD_SETTINGS = {
    "no data set": ({"dataset": None}, "data.dataset=null"),
    "no such folder": ({"dataset": "nope"}, "data.dataset=nope"),
    "no such path": ({"dataset": "/nope/x"}, "data.dataset=/nope/x"),
    "revision of a folder": ({"revision": "main"}, "data.revision=main"),
    "subset of a saved data set": ({"subset": "x"}, "data.subset=x"),
    "no split": ({"splits": {"train": ["train"], "valid": []}}, "data.splits.valid=[]"),
    "no such split": ({"splits": {"train": ["train"], "valid": ["dev"]}}, "data.splits.valid=[dev] data.dataset=saved"),
    "no part of a split": (
        {"splits": {"train": ["train[:x]"], "valid": ["test"]}},
        "data.splits.train=[train[:x]] data.dataset=saved",
    ),
}
BAD_COLUMNS = {
    "null": (["x", "y", None, "z"], "one train, row 3"),
    "line break": (["x", "y", "a\nb", "z"], "one train, row 3"),
    "numbers": ([1, 2, 3, 4], "one train"),
    "lists": ([["x"]] * 4, "one train"),
}


def test_load_hub_refuses_settings_and_rows_that_do_not_fit(saved, tmp_path, golden):
    texts = {}
    for name, (changes, setting) in BAD_SETTINGS.items():
        error = refusal(load_corpus, data(tmp_path, **{"dataset": "saved", **changes}), "mt")
        assert isinstance(error, SettingsError) and error.setting == setting
        texts[name] = spelled(error, tmp_path)
    datasets.disable_progress_bars()
    splits = {"train": ["train[2:]"], "valid": ["train[:2]"]}
    for name, (column, setting) in BAD_COLUMNS.items():
        shutil.rmtree(tmp_path / "one", ignore_errors=True)
        datasets.Dataset.from_dict({"en": ["a"] * 4, "de": column}).save_to_disk(str(tmp_path / "one"))
        error = refusal(load_corpus, data(tmp_path, dataset="one", splits=splits), "mt")
        assert isinstance(error, DataError) and error.setting == setting
        texts[name] = spelled(error, tmp_path)
    missing = refusal(load_corpus, data(tmp_path, dataset="one", splits=splits, columns=["en", "fr"]), "mt")
    empty = data(tmp_path, dataset="saved", splits={"train": ["train"], "valid": ["train[5:]"]})
    texts["missing column"] = spelled(missing, tmp_path)
    texts["split without text"] = spelled(refusal(load_corpus, empty, "mt"), tmp_path)
    golden("data_refusals_hub", texts)


def test_load_hub_refuses_folders_that_cannot_be_loaded(tmp_path, saved):
    (tmp_path / "empty").mkdir()
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text("open('ran', 'w')")
    write_folder(tmp_path / "bad", "jsonl")
    (tmp_path / "bad" / "train.jsonl").write_text('{"en": "x", \n')
    for name, reason in {"empty": "data file", "script": "scripts are no longer supported", "bad": "JSON"}.items():
        error = refusal(load_corpus, data(tmp_path, dataset=name), "mt")
        assert error.setting == f"data.dataset={name}" and reason in error.problem
    assert not list(tmp_path.rglob("ran"))
    (arrow,) = (tmp_path / "saved" / "train").glob("*.arrow")
    whole = arrow.read_bytes()
    for n in range(0, len(whole) - 8, 97):
        arrow.write_bytes(whole[:n])
        assert refusal(load_corpus, saved, "mt").setting.startswith(("data.dataset=saved", "saved train"))


def test_settings_of_a_hub_data_set_are_refused_elsewhere(tmp_path):
    for key in ("dataset", "subset", "revision"):
        error = refusal(lambda key=key: data(tmp_path, format="text", **{key: "x"}))
        assert isinstance(error, SettingsError) and error.setting == f"data.{key}=x"
    assert "data.dataset" not in result_settings(RunConfig(data=data(tmp_path, format="text")))
    assert result_settings(RunConfig(data=data(tmp_path, dataset="saved")))["data.dataset"] == "saved"


def test_corpora_imports_datasets_only_for_hub():
    code = (
        "import sys, tietrain.data.sources.corpora\n"
        "assert not {'datasets', 'huggingface_hub', 'pyarrow', 'pandas'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    hub._ask_hub.cache_clear()
    yield
    hub._ask_hub.cache_clear()


def test_load_hub_refuses_within_seconds_if_the_hub_does_not_answer(tmp_path, monkeypatch, online):
    monkeypatch.setattr(hub, "REACH_SECONDS", 0.2)

    def refuse(self, name, **settings):
        raise ConnectionError("Name or service not known")

    for ask, reason in ((refuse, "Name or service not known"), (lambda *a, **k: time.sleep(5), "no answer within 0.2")):
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", ask)
        for revision in (None, COMMIT):
            began = time.monotonic()
            error = refusal(load_corpus, data(tmp_path, dataset="a/b", revision=revision), "mt")
            assert error.setting.startswith("data.dataset=a/b") and reason in error.problem
            assert time.monotonic() - began < 2


def test_load_hub_without_network_uses_what_was_loaded_before(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    assert refusal(load_corpus, data(tmp_path, dataset="a/b"), "mt").setting == "data.dataset=a/b"
    error = refusal(load_corpus, data(tmp_path, dataset="a/b", revision="main"), "mt")
    assert error.setting == "data.dataset=a/b data.revision=main" and isinstance(error, DataError)


ASK = """
import json, sys
from tietrain.config import DataConfig
from tietrain.config.compose import compose_config
from tietrain.data.sources.corpora import load_corpus
from tietrain.data.sources.named import corpus_key
from tietrain.errors import TietrainError
for settings in json.load(sys.stdin):
    settings = DataConfig(**settings)
    try:
        corpus = load_corpus(settings, "mt")
        said = [corpus.name, corpus.fingerprint, corpus_key(settings, "mt"), corpus.notes]
    except TietrainError as e:
        said = [str(e)]
    print(json.dumps(said))
"""


def ask(root, url, requested, **environment):
    """What another process, with the hub at `url`, says to each of some settings."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    run = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps([vars(data(root, **settings)) for settings in requested]),
        env={**clean, "HF_HOME": str(root / "home"), "HF_ENDPOINT": url, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_load_hub_loads_once_and_then_works_without_network(tmp_path):
    text = load_corpus(write_text(tmp_path), "mt")
    write_folder(tmp_path / "one", "parquet")
    parts = [f"  - split: {split}\n    path: one/{split}.parquet\n" for split in ROWS]
    card = f"---\nconfigs:\n- config_name: one\n  data_files:\n{''.join(parts)}- config_name: two\n  data_files: x.parquet\n---\n"
    files = {f"one/{path.name}": path.read_bytes() for path in (tmp_path / "one").iterdir()}
    wanted = {"dataset": "someone/pairs", "subset": "one"}
    with local_hub("someone/pairs", {"README.md": card.encode(), "x.parquet": b"", **files}) as server:
        found, pinned, other, no_such, nameless, no_revision = ask(
            tmp_path,
            server.url,
            [
                wanted,
                {**wanted, "revision": COMMIT},
                {**wanted, "subset": "three"},
                {**wanted, "dataset": "someone/else"},
                {"dataset": "someone/pairs"},
                {**wanted, "revision": "v9"},
            ],
        )
    assert found[:2] == ["someone/pairs one", text.fingerprint]
    assert found[3] == [f"commit {COMMIT} of someone/pairs", *text.notes]
    assert pinned == found
    assert "data.subset=three: datasets cannot find it" in other[0] and "['one', 'two']" in other[0]
    assert f"data.dataset=someone/else: {server.url} has no such dataset" in no_such[0]
    assert "['one', 'two']" in nameless[0]
    assert "the dataset has no revision v9" in no_revision[0]

    # The server is gone.
    again, again_pinned, another = ask(
        tmp_path,
        server.url,
        [wanted, {**wanted, "revision": COMMIT}, {**wanted, "revision": "f" * 40}],
        HF_HUB_OFFLINE="1",
    )
    assert again == again_pinned == found
    assert f"only commit {COMMIT}" in another[0]
    local, unreached = ask(tmp_path, server.url, [{"dataset": "one"}, wanted])
    assert local[1] == text.fingerprint
    assert f"{server.url} cannot be reached (ConnectError" in unreached[0]
