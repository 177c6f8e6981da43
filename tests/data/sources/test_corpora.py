import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tietrain.config import DataConfig
from tietrain.data.sources.corpora import corpus_key, load_corpus
from tietrain.errors import DataError, SettingsError

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


def test_parallel_text(tmp_path):
    corpus = load_corpus(write_pairs(tmp_path), "mt")
    assert corpus.columns == ["en", "de"]
    assert corpus.splits["train"].texts == {"en": ["a b", "c", "d"], "de": ["A B", "C", "D"]}
    assert corpus.splits["train"].n_lines == 3
    assert corpus.splits["train"].generator_nats is None
    assert corpus.grammar is None
    assert corpus.about["splits"]["train"]["en"] == {"lines": 3, "words": 4, "bytes": 8}


def test_one_text_keeps_every_line(tmp_path):
    lines = [" = Title = ", " ", "", "x\x0by\x85z\u2028", "\ttab ", '"quoted', "last"]
    (tmp_path / "t.txt").write_text("\n".join(lines), encoding="utf-8", newline="\n")
    corpus = load_corpus(data(tmp_path, splits={"train": ["t.txt"], "valid": ["t.txt"], "test": []}), "lm")
    assert corpus.columns == ["text"]
    assert corpus.splits["train"].texts["text"] == lines
    assert list(corpus.splits) == ["train", "valid"]


def test_all_formats_give_the_same_corpus(tmp_path):
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


def test_fingerprints_know_content_and_not_places(tmp_path):
    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
    one, two = (write_pairs(tmp_path / name) for name in ("one", "two"))
    other = write_pairs(tmp_path / "other", valid=("c\ny\n", "C\nX\n"))
    assert corpus_key(one, "mt") == corpus_key(two, "mt") != corpus_key(other, "mt")
    assert (
        load_corpus(one, "mt").fingerprint == load_corpus(two, "mt").fingerprint != load_corpus(other, "mt").fingerprint
    )


def test_a_file_changed_in_place_is_read_anew(tmp_path):
    settings = write_pairs(tmp_path)
    load_corpus(settings, "mt")
    path = tmp_path / "train.en"
    before = path.stat()
    path.write_text("a b\nc\nz\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load_corpus(settings, "mt").splits["train"].texts["en"][2] == "z"


def test_empty_sides_are_left_out_of_train_and_kept_in_valid(tmp_path):
    corpus = load_corpus(write_pairs(tmp_path, train=("a\n\nc\nd\n", "A\nB\n \nD\n"), valid=("x\n\n", "X\nY\n")), "mt")
    assert corpus.splits["train"].texts == {"en": ["a", "d"], "de": ["A", "D"]}
    assert corpus.splits["valid"].texts == {"en": ["x", ""], "de": ["X", "Y"]}
    assert corpus.notes[:2] == [
        "train: 2 pairs with an empty side are left out",
        "valid: 1 pairs with an empty side are kept and scored",
    ]


def test_overlap_with_train_is_counted_and_said(tmp_path):
    corpus = load_corpus(write_pairs(tmp_path, valid=("c\nd\nx\n", "C\nother\nX\n")), "mt")
    assert corpus.about["overlap"] == {"valid": {"pairs": 1, "source lines": 2}}
    assert corpus.notes == ["valid: 1 of its 3 pairs and 2 of its 3 source lines also stand in train"]


def test_blank_lines_are_no_overlap(tmp_path):
    (tmp_path / "a").write_text(" \nx\n")
    (tmp_path / "b").write_text(" \n\ny\n")
    corpus = load_corpus(data(tmp_path, splits={"train": ["a"], "valid": ["b"]}), "lm")
    assert corpus.about["overlap"] == {"valid": {"lines": 0}}


def test_notes_of_files_reach_the_corpus(tmp_path):
    corpus = load_corpus(write_pairs(tmp_path, train=(b"\xef\xbb\xbfa\r\nb\r\n", "A\nB\n")), "mt")
    assert corpus.splits["train"].texts["en"] == ["a", "b"]
    assert [note.split(";")[0] for note in corpus.notes] == [
        "train.en begins with a byte order mark",
        "train.en has 2 lines ending in CRLF",
    ]


def test_unequal_files_are_refused_with_their_counts(tmp_path):
    with pytest.raises(DataError, match=r"train\.en has 2 lines and .*train\.de has 3 lines"):
        load_corpus(write_pairs(tmp_path, train=("a\nb\n", "A\nB\nC\n")), "mt")


def test_pairs_without_any_full_one_are_refused(tmp_path):
    with pytest.raises(DataError, match="empty side"):
        load_corpus(write_pairs(tmp_path, train=("a\n\n", "\nB\n")), "mt")


def test_an_empty_text_is_refused(tmp_path):
    with pytest.raises(DataError, match="no text in it"):
        load_corpus(write_pairs(tmp_path, train=("a\n", "\n")), "mt")
    (tmp_path / "h.tsv").write_text("en\tde\n")
    with pytest.raises(DataError, match="no text in it"):
        load_corpus(data(tmp_path, format="tsv", columns=["en"], splits={"train": ["h.tsv"], "valid": ["h.tsv"]}), "lm")


def test_a_missing_file_is_named_with_the_root(tmp_path):
    settings = write_pairs(tmp_path)
    (tmp_path / "valid.de").unlink()
    with pytest.raises(
        DataError,
        match=rf"data\.splits\.valid=\[valid\.en,valid\.de\] data\.root={tmp_path}: there is no file .*valid\.de",
    ):
        load_corpus(settings, "mt")


@pytest.mark.parametrize(
    ("task", "changes", "says"),
    [
        ("mt", {"columns": ["en"]}, r"data\.columns=\[en\]: task=mt reads two or more different columns"),
        ("mt", {"columns": ["en", "en"]}, "two or more different"),
        ("mt", {"columns": ["en", "de", "x/y"]}, "x/y becomes a file name"),
        ("mt", {"columns": ["en", "de", "fr"]}, "takes 3 files a split, one a column"),
        ("mt", {"format": "tsv", "features": {"de": 4}, "splits": {"train": ["a"], "valid": ["b"]}}, "text alone"),
        ("lm", {}, r"data\.columns=\[en,de\]: task=lm reads one text column"),
        ("mt", {"splits": {"train": [], "valid": []}}, r"data\.splits\.train=\[\]: no file is named"),
        ("mt", {"splits": {"train": ["a", "b"], "valid": []}}, r"data\.splits\.valid=\[\]: no file is named"),
        ("mt", {"splits": {"train": ["a"], "valid": ["b"]}}, "takes 2 files a split"),
        ("mt", {"splits": {"train": ["a", "b"], "valid": ["b", "c"], "../x": ["a", "b"]}}, r"data\.splits\.\.\./x"),
        ("mt", {"format": "jsonl", "splits": {"train": ["a", "b"], "valid": ["b", "c"]}}, "takes 1 file a split"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, task, changes, says):
    with pytest.raises(SettingsError, match=says):
        load_corpus(
            data(
                tmp_path, **{"columns": ["en", "de"], "splits": {"train": ["a", "b"], "valid": ["a", "b"]}, **changes}
            ),
            task,
        )


@pytest.mark.parametrize("name", ["a[1].txt", "b*?.txt", "sp ace.txt", "#ü%20.txt", ".hidden", "__p.txt"])
def test_odd_file_names_are_no_patterns(tmp_path, name):
    (tmp_path / name).write_text("text\n")
    (tmp_path / "a1.txt").write_text("other\n")
    assert load_corpus(data(tmp_path, splits={"train": [name], "valid": [name]}), "lm").splits["train"].texts[
        "text"
    ] == ["text"]


def test_what_datasets_cannot_load_is_an_error_of_ours(tmp_path):
    (tmp_path / "a::b").write_text("text\n")
    with pytest.raises(DataError, match="a::b: datasets cannot load it"):
        load_corpus(data(tmp_path, splits={"train": ["a::b"], "valid": ["a::b"]}), "lm")


def test_lines_changed_on_the_way_are_noticed(tmp_path, monkeypatch):
    import datasets

    loader = datasets.load_dataset
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *a, **k: {n: t.select(range(1)) for n, t in loader(*a, **k).items()}
    )
    with pytest.raises(DataError, match="other lines than the file holds"):
        load_corpus(write_pairs(tmp_path), "mt")


def test_nothing_is_written_outside_the_cache(tmp_path):
    settings = write_pairs(tmp_path)
    (tmp_path / "train.en").write_bytes(gzip.compress((tmp_path / "train.en").read_bytes()))
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys; from tietrain.config import DataConfig; from tietrain.data.sources.corpora import load_corpus\n"
        f"load_corpus(DataConfig(**{settings.__dict__!r}), 'mt')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert not list(home.iterdir())


def test_the_grammar_is_a_corpus(tmp_path):
    corpus = load_corpus(DataConfig(preset="tiny", difficulty=4, cache=str(tmp_path)), "mt")
    assert corpus.columns == ["a", "b"]
    assert {"train", "valid", "test", "held", "rare", "long"} == set(corpus.splits)
    assert corpus.splits["train"].generator_nats is None
    assert len(corpus.splits["rare"].generator_nats) == corpus.splits["rare"].n_lines
    assert corpus.fingerprint == corpus.grammar.fingerprint
    assert corpus.about.keys() == {"splits", "overlap"}
    assert corpus.about["overlap"]["test"]["pairs"] == 0


def test_the_languages_of_the_grammar_can_be_turned_round(tmp_path):
    there, back = (
        load_corpus(DataConfig(preset="tiny", difficulty=4, columns=c, cache=str(tmp_path)), "mt")
        for c in (["a", "b"], ["b", "a"])
    )
    assert back.columns == ["b", "a"]
    assert back.splits["test"].texts["a"] == there.splits["test"].texts["a"]
    assert back.fingerprint != there.fingerprint


@pytest.mark.parametrize(
    ("task", "changes", "says"),
    [
        ("mt", {"columns": ["a", "a"]}, r"data\.columns=\[a,a\]: .* target last; choose from a, b, c, d, a_mt"),
        ("mt", {"columns": ["en", "de"]}, r"data\.columns=\[en,de\]"),
        ("mt", {"columns": ["a", "features", "b"]}, r"data\.features={}: .* give data\.features={'features': 32}"),
        ("mt", {"features": {"features": 32}}, r"data\.features={'features': 32}: .* has none; give data\.features={}"),
        ("lm", {"columns": ["a", "b"]}, r"data\.columns=\[a,b\]: .* has one language"),
        ("mt", {"difficulty": 1.5}, r"data\.difficulty=1\.5: it is not a whole number"),
    ],
)
def test_settings_the_grammar_cannot_follow_are_refused(tmp_path, task, changes, says):
    settings = DataConfig(**{"preset": "tiny", "difficulty": 4, "cache": str(tmp_path), **changes})
    for use in (load_corpus, corpus_key):
        with pytest.raises(SettingsError, match=says):
            use(settings, task)


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
def test_presets_load_the_real_sets(tmp_path, preset, lines, overlap):
    values = yaml.safe_load((CONF / f"{preset}.yaml").read_text(encoding="utf-8"))
    corpus = load_corpus(data(Path(REAL), cache=str(tmp_path), **values), "mt" if len(values["columns"]) > 1 else "lm")
    assert [s.n_lines for s in corpus.splits.values()] == lines
    for split, n in overlap.items():
        assert corpus.about["overlap"][split]["source lines"] == n
    if preset == "wikitext2":
        assert corpus.about["splits"]["test"]["text"] == {"lines": 4_358, "words": 241_211, "bytes": 1_256_449}


@needs_real_data
@pytest.mark.parametrize("pair", [["en", "de"], ["de", "en"], ["en", "fr"], ["en", "cs"]], ids="_".join)
def test_the_parquet_copy_is_the_same_corpus(tmp_path, pair):
    presets = {f"multi30k_{'_'.join(pair)}": {}, "multi30k_parquet": {"columns": pair}}
    corpora = []
    for preset, changes in presets.items():
        values = yaml.safe_load((CONF / f"{preset}.yaml").read_text(encoding="utf-8")) | changes
        corpora.append(load_corpus(data(Path(REAL), cache=str(tmp_path), **values), "mt"))
    text, parquet = corpora
    assert text.splits == parquet.splits
    assert (text.fingerprint, text.notes) == (parquet.fingerprint, parquet.notes)


@needs_real_data
def test_post_editing_may_start_from_the_machine_translation(tmp_path):
    values = yaml.safe_load((CONF / "ape_en_de.yaml").read_text(encoding="utf-8")) | {"columns": ["mt", "pe"]}
    train = load_corpus(data(Path(REAL), cache=str(tmp_path), **values), "mt").splits["train"].texts
    assert sum(mt == pe for mt, pe in zip(train["mt"], train["pe"], strict=True)) == 2_268
