import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import yaml

from refusals import refusal, spelled
from tietrain.config import DataConfig
from tietrain.data import stored_lines
from tietrain.data.sources.corpora import load_corpus
from tietrain.data.sources.named import corpus_key
from tietrain.errors import SettingsError

CONF = Path(__file__).parents[3] / "conf" / "data"
REAL = os.environ.get("TIETRAIN_DATA")
needs_real_data = pytest.mark.skipif(not REAL, reason="TIETRAIN_DATA is not set")


def data(root: Path, **settings) -> DataConfig:
    return DataConfig(**{"format": "text", "root": str(root), "cache": str(root / "cache"), **settings})


def write_pairs(root: Path, train=("a b\nc\nd\n", "A B\nC\nD\n"), valid=("c\nx\n", "C\nX\n")) -> DataConfig:
    for split, sides in {"train": train, "valid": valid}.items():
        for side, text in zip(("en", "de"), sides, strict=True):
            (root / f"{split}.{side}").write_bytes(text if isinstance(text, bytes) else text.encode())
    return data(root, columns=["en", "de"], splits={s: [f"{s}.en", f"{s}.de"] for s in ("train", "valid")})


def test_load_corpus_of_parallel_text(tmp_path):
    corpus = load_corpus(write_pairs(tmp_path), "mt")
    assert corpus.columns == ["en", "de"]
    assert corpus.splits["train"].texts == {"en": ["a b", "c", "d"], "de": ["A B", "C", "D"]}
    assert corpus.splits["train"].n_lines == 3
    assert corpus.splits["train"].generator_nats is None
    assert corpus.grammar is None
    assert corpus.about["splits"]["train"]["en"] == {"lines": 3, "words": 4, "bytes": 8}


def test_load_corpus_keeps_every_line(tmp_path):
    lines = [" = Title = ", " ", "", "x\x0by\x85z\u2028", "\ttab ", '"quoted', "last"]
    (tmp_path / "t.txt").write_text("\n".join(lines), encoding="utf-8", newline="\n")
    corpus = load_corpus(data(tmp_path, splits={"train": ["t.txt"], "valid": ["t.txt"], "test": []}), "lm")
    assert corpus.columns == ["text"]
    assert corpus.splits["train"].texts["text"] == lines
    assert list(corpus.splits) == ["train", "valid"]


def test_load_corpus_is_the_same_in_every_format(tmp_path):
    rows = [("NA", "null"), ("12", "1.0"), ('"q', "'x\\"), ("2020-01-01", "true"), ("# c", "ü 😀")]
    for name in ("train", "valid", "test-2"):
        (tmp_path / f"{name}.en").write_text("".join(f"{en}\n" for en, _ in rows), encoding="utf-8")
        (tmp_path / f"{name}.de.gz").write_bytes(gzip.compress("".join(f"{de}\r\n" for _, de in rows).encode()))
        (tmp_path / f"{name}.tsv").write_text(
            "id\tde\ten\n" + "".join(f"1\t{de}\t{en}\n" for en, de in rows), encoding="utf-8"
        )
        with open(tmp_path / f"{name}.jsonl", "w", encoding="utf-8") as f:
            for i, (en, de) in enumerate(rows):
                f.write(json.dumps({"de": de, "en": en, "hter": [i, "x", None][i % 3], "more": {"a": i}}) + "\n")
    splits = {"text": [".en", ".de.gz"], "tsv": [".tsv"], "jsonl": [".jsonl"]}
    corpora = {
        f: load_corpus(
            data(
                tmp_path,
                format=f,
                columns=["en", "de"],
                splits={s: [s + e for e in ends] for s in ("train", "valid", "test-2")},
            ),
            "mt",
        )
        for f, ends in splits.items()
    }
    for corpus in corpora.values():
        assert list(zip(*corpus.splits["test-2"].texts.values(), strict=True)) == rows
    assert len({c.fingerprint for c in corpora.values()}) == 1


def test_load_corpus_reads_the_files_of_a_split_one_after_the_other(tmp_path):
    texts = {"en": ("a\nb\n", "c\n"), "de": ("A\nB\n", "C\n")}
    for column, (first, second) in texts.items():
        (tmp_path / f"1.{column}").write_text(first)
        (tmp_path / f"2.{column}").write_text(second)
    for number, rows in (("1", "a\tA\nb\tB\n"), ("2", "c\tC\n")):
        (tmp_path / f"{number}.tsv").write_text(f"en\tde\n{rows}")
    splits = {"train": ["1.en", "1.de", "2.en", "2.de"], "valid": ["2.en", "2.de"]}
    corpus = load_corpus(data(tmp_path, columns=["en", "de"], splits=splits), "mt")
    assert corpus.splits["train"].texts == {"en": ["a", "b", "c"], "de": ["A", "B", "C"]}
    assert corpus.name == "1.en+1.de and 2 more"
    tables = {"train": ["1.tsv", "2.tsv"], "valid": ["2.tsv"]}
    same = load_corpus(data(tmp_path, format="tsv", columns=["en", "de"], splits=tables), "mt")
    assert same.fingerprint == corpus.fingerprint
    one = load_corpus(data(tmp_path, splits={"train": ["1.en", "2.en"], "valid": ["2.en"]}), "lm")
    assert one.splits["train"].texts == {"text": ["a", "b", "c"]}


def test_load_corpus_compares_rows_of_the_files_of_each_part(tmp_path):
    for name, text in {"1.en": "a\nb\n", "1.de": "A\n", "2.en": "c\n", "2.de": "C\nD\n"}.items():
        (tmp_path / name).write_text(text)
    splits = {"train": ["1.en", "1.de", "2.en", "2.de"], "valid": ["1.en", "1.de"]}
    error = refusal(load_corpus, data(tmp_path, columns=["en", "de"], splits=splits), "mt")
    assert error.problem == f"{tmp_path}/1.en has 2 lines and {tmp_path}/1.de has 1 lines"


def test_corpus_key_knows_no_file_that_its_name_belies(tmp_path):
    for name in ("t.txt", "t.gz"):
        (tmp_path / name).write_text("text\n")
    corpus_key(data(tmp_path, splits={"train": ["t.txt"], "valid": ["t.txt"]}), "lm")
    error = refusal(corpus_key, data(tmp_path, splits={"train": ["t.gz"], "valid": ["t.txt"]}), "lm")
    assert error.problem == "the name ends in .gz and the file is not a gzip file"


def test_corpus_key_and_fingerprint_know_content_not_paths(tmp_path):
    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
    one, two = (write_pairs(tmp_path / name) for name in ("one", "two"))
    other = write_pairs(tmp_path / "other", valid=("c\ny\n", "C\nX\n"))
    assert corpus_key(one, "mt") == corpus_key(two, "mt") != corpus_key(other, "mt")
    assert (
        load_corpus(one, "mt").fingerprint == load_corpus(two, "mt").fingerprint != load_corpus(other, "mt").fingerprint
    )


def test_load_corpus_notices_a_file_changed_in_place(tmp_path):
    settings = write_pairs(tmp_path)
    load_corpus(settings, "mt")
    path = tmp_path / "train.en"
    before = path.stat()
    path.write_text("a b\nc\nz\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load_corpus(settings, "mt").splits["train"].texts["en"][2] == "z"


def test_empty_sides_are_left_out_of_train_alone(tmp_path):
    corpus = load_corpus(write_pairs(tmp_path, train=("a\n\nc\nd\n", "A\nB\n \nD\n"), valid=("x\n\n", "X\nY\n")), "mt")
    assert corpus.splits["train"].texts == {"en": ["a", "d"], "de": ["A", "D"]}
    assert corpus.splits["valid"].texts == {"en": ["x", ""], "de": ["X", "Y"]}
    assert corpus.notes[:2] == [
        "train: 2 pairs with an empty side are left out",
        "valid: 1 pairs with an empty side are kept and scored",
    ]


def test_overlap_with_train_is_counted_and_noted(tmp_path):
    corpus = load_corpus(write_pairs(tmp_path, valid=("c\nd\nx\n", "C\nother\nX\n")), "mt")
    assert corpus.about["overlap"] == {"valid": {"pairs": 1, "source lines": 2}}
    assert corpus.notes == ["valid: 1 of its 3 pairs and 2 of its 3 source lines also stand in train"]


def test_overlap_does_not_count_blank_lines(tmp_path):
    (tmp_path / "a").write_text(" \nx\n")
    (tmp_path / "b").write_text(" \n\ny\n")
    corpus = load_corpus(data(tmp_path, splits={"train": ["a"], "valid": ["b"]}), "lm")
    assert corpus.about["overlap"] == {"valid": {"lines": 0}}


def test_notes_of_files_are_notes_of_the_corpus(tmp_path):
    corpus = load_corpus(write_pairs(tmp_path, train=(b"\xef\xbb\xbfa\r\nb\r\n", "A\nB\n")), "mt")
    assert corpus.splits["train"].texts["en"] == ["a", "b"]
    assert [note.split(";")[0] for note in corpus.notes] == [
        "train.en begins with a byte order mark",
        "train.en has 2 lines ending in CRLF",
    ]


def test_load_corpus_refuses_pairs_that_do_not_fit(tmp_path, golden):
    texts = {}
    cases = {
        "unequal files": ("a\nb\n", "A\nB\nC\n"),
        "no pair with two sides": ("a\n\n", "\nB\n"),
        "no text": ("a\n", "\n"),
    }
    for name, train in cases.items():
        texts[name] = spelled(refusal(load_corpus, write_pairs(tmp_path, train=train), "mt"), tmp_path)
    settings = write_pairs(tmp_path)
    (tmp_path / "valid.de").unlink()
    error = refusal(load_corpus, settings, "mt")
    assert error.setting == f"data.splits.valid=[valid.en,valid.de] data.root={tmp_path}"
    golden("data_refusals_pairs", texts | {"missing file": spelled(error, tmp_path)})


BAD_SETTINGS = {
    "one column for mt": ("mt", {"columns": ["en"]}, "data.columns"),
    "a column twice": ("mt", {"columns": ["en", "en"]}, "data.columns"),
    "a column with a slash": ("mt", {"columns": ["en", "de", "x/y"]}, "data.columns"),
    "two columns for lm": ("lm", {}, "data.columns"),
    "two files for three columns": ("mt", {"columns": ["en", "de", "fr"]}, "data.splits.train"),
    "one file for two columns": ("mt", {"splits": {"train": ["a"], "valid": ["b"]}}, "data.splits.train"),
    "three files for two columns": ("mt", {"splits": {"train": ["a", "b", "c"], "valid": ["b"]}}, "data.splits.train"),
    "one column after the other": (
        "mt",
        {"columns": None, "splits": {"train": ["a.en", "b.en", "a.de.gz", "b.de.gz"], "valid": ["a.en", "a.de"]}},
        "data.splits.train",
    ),
    "columns the other way round": (
        "mt",
        {"splits": {"train": ["a.de", "a.en"], "valid": ["a.en", "a.de"]}},
        "data.splits.train",
    ),
    "no file of train": ("mt", {"splits": {"train": [], "valid": []}}, "data.splits.train"),
    "no file of valid": ("mt", {"splits": {"train": ["a", "b"], "valid": []}}, "data.splits.valid"),
    "a split with a slash": (
        "mt",
        {"splits": {"../x": ["a", "b"], "train": ["a", "b"], "valid": []}},
        "data.splits.../x",
    ),
    "vectors of tsv": ("mt", {"format": "tsv", "features": {"de": 4}}, "data.features.de"),
}


def test_load_corpus_refuses_settings_that_do_not_fit(tmp_path, golden):
    texts = {}
    for name, (task, changes, setting) in BAD_SETTINGS.items():
        common = {"columns": ["en", "de"], "splits": {"train": ["a", "b"], "valid": ["a", "b"]}}
        error = refusal(load_corpus, data(tmp_path, **{**common, **changes}), task)
        assert isinstance(error, SettingsError) and error.setting.startswith(setting)
        texts[name] = spelled(error, tmp_path)
    golden("data_refusals_settings", texts)


def test_load_corpus_takes_odd_file_names_literally(tmp_path):
    (tmp_path / "a1.txt").write_text("other\n")
    for name in ("a[1].txt", "b*?.txt", "sp ace.txt", "#ü%20.txt", ".hidden", "a::b"):
        (tmp_path / name).write_text("text\n")
        corpus = load_corpus(data(tmp_path, splits={"train": [name], "valid": [name]}), "lm")
        assert corpus.splits["train"].texts["text"] == ["text"]


def test_load_corpus_copies_text_files_nowhere_and_needs_no_datasets(tmp_path):
    settings = write_pairs(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code = (
        "import sys; from tietrain.config import DataConfig; from tietrain.data.sources.corpora import load_corpus\n"
        f"load_corpus(DataConfig(**{settings.__dict__!r}), 'mt')\n"
        "assert not {'datasets', 'pyarrow', 'pandas', 'torch'} & set(sys.modules)"
    )
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert sorted(tmp_path.rglob("*")) == before


def test_load_corpus_keeps_only_places_of_training_lines_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_lines, "IN_MEMORY_BYTES", 10_000)
    monkeypatch.setattr(stored_lines, "CHUNK_BYTES", 10_000)
    lines = [f"{i} and the same again" for i in range(100_000)]
    (tmp_path / "big").write_text("\n".join(lines) + "\n")
    (tmp_path / "small").write_text("x\n7 and the same again\n")
    settings = data(tmp_path, splits={"train": ["big"], "valid": ["small"]}, cache=str(tmp_path))
    tracemalloc.start()
    corpus = load_corpus(settings, "lm")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(lines)
    assert corpus.splits["train"].texts["text"] == lines
    assert corpus.overlap["valid"][("text",)].tolist() == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big", "small"]


def test_load_corpus_of_the_grammar(tmp_path):
    corpus = load_corpus(DataConfig(preset="tiny", difficulty=4, cache=str(tmp_path)), "mt")
    assert corpus.columns == ["a", "b"]
    assert {"train", "valid", "test", "held", "rare", "long"} == set(corpus.splits)
    assert corpus.splits["train"].generator_nats is None
    assert len(corpus.splits["rare"].generator_nats) == corpus.splits["rare"].n_lines
    assert corpus.fingerprint == corpus.grammar.fingerprint
    assert corpus.about.keys() == {"splits", "overlap"}
    assert corpus.about["overlap"]["test"]["pairs"] == 0


def test_load_corpus_of_the_grammar_in_the_other_direction(tmp_path):
    there, back = (
        load_corpus(DataConfig(preset="tiny", difficulty=4, columns=c, cache=str(tmp_path)), "mt")
        for c in (["a", "b"], ["b", "a"])
    )
    assert back.columns == ["b", "a"]
    assert back.splits["test"].texts["a"] == there.splits["test"].texts["a"]
    assert back.fingerprint != there.fingerprint


BAD_GRAMMAR = [
    ("mt", {"columns": ["a", "a"]}, "data.columns=[a,a]"),
    ("mt", {"columns": ["en", "de"]}, "data.columns=[en,de]"),
    ("mt", {"columns": ["a", "features", "b"]}, "data.features={}"),
    ("mt", {"features": {"features": 32}}, "data.features={'features': 32}"),
    ("lm", {"columns": ["a", "b"]}, "data.columns=[a,b]"),
    ("mt", {"difficulty": 1.5}, "data.difficulty=1.5"),
]


def test_grammar_settings_are_refused_if_no_corpus_can_be_generated(tmp_path):
    for task, changes, setting in BAD_GRAMMAR:
        settings = DataConfig(**{"preset": "tiny", "difficulty": 4, "cache": str(tmp_path), **changes})
        for use in (load_corpus, corpus_key):
            error = refusal(use, settings, task)
            assert isinstance(error, SettingsError) and error.setting == setting


@needs_real_data
@pytest.mark.parametrize(
    ("preset", "lines", "overlap"),
    [
        ("multi30k_en_de", [29_000, 1_014, 1_000], {"valid": 1, "test_2016_flickr": 0}),
        ("multi30k_de_en", [29_000, 1_014, 1_000], {}),
        ("multi30k_en_fr", [29_000, 1_014, 1_000], {"valid": 1}),
        ("multi30k_en_cs", [29_000, 1_014, 1_000], {}),
        ("multi30k_parquet", [29_000, 1_014, 1_000], {"valid": 1, "test_2016_flickr": 0}),
        ("enja_tanaka", [50_000, 500, 500], {"valid": 77, "test": 60}),
        ("ape_en_de", [7_000, 1_000, 1_000], {}),
        ("wikitext2", [36_718, 3_760, 4_358], {}),
        ("tinyshakespeare", [35_526, 2_142, 2_332], {}),
    ],
)
def test_preset_loads_its_real_corpus(tmp_path, preset, lines, overlap):
    values = yaml.safe_load((CONF / f"{preset}.yaml").read_text(encoding="utf-8"))
    corpus = load_corpus(data(Path(REAL), cache=str(tmp_path), **values), "mt" if len(values["columns"]) > 1 else "lm")
    assert [s.n_lines for s in corpus.splits.values()] == lines
    for split, n in overlap.items():
        assert corpus.about["overlap"][split]["source lines"] == n
    if preset == "wikitext2":
        assert corpus.about["splits"]["test"]["text"] == {"lines": 4_358, "words": 241_211, "bytes": 1_256_449}


@needs_real_data
def test_preset_of_parquet_is_the_same_corpus(tmp_path):
    presets = {"multi30k_en_fr": {}, "multi30k_parquet": {"columns": ["en", "fr"]}}
    corpora = []
    for preset, changes in presets.items():
        values = yaml.safe_load((CONF / f"{preset}.yaml").read_text(encoding="utf-8")) | changes
        corpora.append(load_corpus(data(Path(REAL), cache=str(tmp_path), **values), "mt"))
    text, parquet = corpora
    assert text.splits == parquet.splits
    assert (text.fingerprint, text.notes) == (parquet.fingerprint, parquet.notes)


@needs_real_data
def test_preset_ape_en_de_reads_machine_translations(tmp_path):
    values = yaml.safe_load((CONF / "ape_en_de.yaml").read_text(encoding="utf-8")) | {"columns": ["mt", "pe"]}
    train = load_corpus(data(Path(REAL), cache=str(tmp_path), **values), "mt").splits["train"].texts
    assert sum(mt == pe for mt, pe in zip(train["mt"], train["pe"], strict=True)) == 2_268
