import dataclasses
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from refusals import refusal
from tietrain.config import DataConfig, ModelConfig, RunConfig, TaskConfig, TrainConfig
from tietrain.config.given import use_given
from tietrain.config.layout import requested_sizes
from tietrain.data.batches.pairs import MtBatches
from tietrain.data.batches.windows import LmBatches, make_stream
from tietrain.data.description import describe, description_lines
from tietrain.data.prepare import prepare
from tietrain.data.sources.corpora import load_corpus
from tietrain.data.vocabularies import save_vocabularies
from tietrain.errors import DataError, SettingsError

NOUNS = ("cat", "dog", "house", "tree", "river", "bird")
VERBS = ("sees", "likes", "finds")


def sentence(i: int) -> str:
    return f"the {NOUNS[i % 6]} {VERBS[i // 6 % 3]} the {NOUNS[i // 18 % 6]}" + " again" * (i % 5)


@pytest.fixture
def mt(tmp_path) -> RunConfig:
    for split, rows in {"train": range(300), "valid": range(300, 320), "test": range(320, 350)}.items():
        (tmp_path / f"{split}.en").write_text("".join(sentence(i) + "\n" for i in rows))
        (tmp_path / f"{split}.xx").write_text("".join(sentence(i).upper() + f" ü{i}\n" for i in rows))
    splits = {s: [f"{s}.en", f"{s}.xx"] for s in ("train", "valid", "test")}
    data = DataConfig(
        format="text", root=str(tmp_path), columns=["en", "xx"], splits=splits, cache=str(tmp_path / "cache")
    )
    return RunConfig(task=TaskConfig(name="mt"), data=data, model=ModelConfig(vocab_size=150))


COLUMNS = {"encoder": "en", "decoder": "xx"}


def arm(config: RunConfig, **data) -> RunConfig:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **data))


def lm(config: RunConfig) -> RunConfig:
    splits = {name: files[:1] for name, files in config.data.splits.items()}
    data = dataclasses.replace(config.data, columns=["en"], splits=splits)
    return dataclasses.replace(config, data=data, task=TaskConfig(name="lm"))


def test_prepare_encodes_every_split(mt):
    prepared, corpus = prepare(mt), load_corpus(mt.data, "mt")
    assert prepared.layout.vocabularies == {"encoder": "en", "decoder": "xx"}
    for split in ("train", "valid", "test"):
        for stack, column in COLUMNS.items():
            lines = prepared.lines(split, stack, column)
            assert prepared.vocabularies[stack].decode(lines) == corpus.splits[split].texts[column]
    assert list(prepared.corpus.splits) == ["valid", "test"]
    assert prepared.corpus.splits["test"].texts == corpus.splits["test"].texts
    assert prepared.fingerprints["corpus"] == corpus.fingerprint


def test_prepare_of_a_language_model_has_one_stack(mt):
    prepared = prepare(lm(mt))
    assert prepared.layout.vocabularies == {"decoder": "en"}
    assert list(prepared.scored) == ["valid", "test"]
    lines = prepared.lines("train", "decoder", "en")
    np.testing.assert_array_equal(prepared.reference_lengths["en"], lines.lengths)


def test_prepare_joint_makes_one_vocabulary_of_both_columns(mt):
    prepared = prepare(arm(mt, vocabulary="joint"))
    assert prepared.vocabularies["encoder"] is prepared.vocabularies["decoder"]
    separate = prepare(arm(mt, vocabulary="separate"))
    assert separate.fingerprints["vocabulary.encoder"] != separate.fingerprints["vocabulary.decoder"]
    assert separate.fingerprints["corpus"] == prepared.fingerprints["corpus"]


def test_reference_lengths_are_those_of_the_joint_vocabulary(mt):
    joint, separate = (prepare(arm(mt, vocabulary=v)) for v in ("joint", "separate"))
    for stack, column in COLUMNS.items():
        np.testing.assert_array_equal(joint.reference_lengths[column], separate.reference_lengths[column])
        np.testing.assert_array_equal(joint.reference_lengths[column], joint.lines("train", stack, column).lengths)
    assert (separate.reference_lengths["xx"] != separate.lines("train", "decoder", "xx").lengths).any()


# Vocabularies that differ in every setting that decides one: kind, size, bytes, and whether two languages share it.
VOCABULARIES = [
    (150, {"kind": "unigram"}),
    (80, {"kind": "bpe"}),
    (400, {"kind": "unigram", "byte_fallback": True}),
    (40, {"kind": "word"}),
    (100, {"kind": "char"}),
]


def by(batch_by: str, config: RunConfig, vocab_size: int, **data) -> RunConfig:
    train = TrainConfig(batch_by=batch_by, batch_tokens=64)
    return dataclasses.replace(arm(config, **data), train=train, model=ModelConfig(vocab_size=vocab_size))


def batches_of(config: RunConfig):
    prepared, size = prepare(config), config.train.batch_tokens
    if config.task.name == "lm":
        return LmBatches(make_stream(prepared.lines("train", "decoder", "en")), 8, size, 1, prepared.token_starts)
    return MtBatches([prepared.training_pairs(direction) for direction in config.directions], size, 1)


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_batches_by_chars_are_the_same_under_every_vocabulary(mt, task):
    if task == "lm":
        arms = [(lm(mt), size, data) for size, data in VOCABULARIES]
    else:
        joint_or_not = ("joint", "separate")
        arms = [(mt, size, {**data, "vocabulary": v}) for size, data in VOCABULARIES for v in joint_or_not]
    made = {how: [batches_of(by(how, c, size, **data)) for c, size, data in arms] for how in ("chars", "tokens")}
    assert len({batches.fingerprint for batches in made["chars"]}) == 1
    # Bytes are never needed here, so two of the vocabularies have pieces of equal lengths in one task.
    assert len({batches.fingerprint for batches in made["tokens"]}) >= len(VOCABULARIES) - 1
    assert len({batches.n_batches(3) for batches in made["chars"]}) == 1
    if task == "mt":
        n_pairs = sum(len(made["chars"][0].step(3, i)[1]) for i in range(made["chars"][0].n_batches(3)))
        assert n_pairs == 300
        for batches in made["chars"]:
            for i in range(batches.n_batches(3)):
                np.testing.assert_array_equal(batches.step(3, i)[1], made["chars"][0].step(3, i)[1])


def test_max_len_by_chars_leaves_out_the_same_pairs(mt):
    corpus = load_corpus(mt.data, "mt").splits["train"].texts
    lengths = np.asarray([max(-(-len(a) // 4), -(-len(b) // 4)) for a, b in zip(*corpus.values(), strict=True)])
    limit = int(np.median(lengths))
    kept = int((lengths <= limit).sum())
    for size, data in VOCABULARIES:
        config = dataclasses.replace(by("chars", mt, size, **data), task=TaskConfig(name="mt", max_len=limit))
        prepared = prepare(config)
        assert len(prepared.rows["en-xx"]) == kept
        note = (
            f"train: {300 - kept} pairs with a side of more than task.max_len={limit} times 4 characters are left out"
        )
        assert note in prepared.notes
        assert any("batches are cut by characters" in note for note in prepared.notes)


# Fingerprints of vocabularies and batches, and sha256 of the tensors of three steps, as they were when a corpus had a
# source and a target and nothing else.
BEFORE = {
    ("joint", 256, "tokens"): ("d709c27c193e66c7", "d709c27c193e66c7", "59e936b2d7d597e7", "32bcf1dc2def15fe"),
    ("joint", 22, "tokens"): ("d709c27c193e66c7", "d709c27c193e66c7", "d805f069284b356b", "6cf27932fd08dd46"),
    ("separate", 256, "tokens"): ("b0f2cb048fed2763", "485d98790d94f39f", "59e936b2d7d597e7", "d60441ef33e741b9"),
    ("separate", 22, "tokens"): ("b0f2cb048fed2763", "485d98790d94f39f", "d805f069284b356b", "42a1cf6d42128a87"),
    ("separate", 256, "chars"): ("b0f2cb048fed2763", "485d98790d94f39f", "e50cf9e5155299fa", "7d44b73c93ba6904"),
}


@pytest.mark.parametrize(("vocabulary", "max_len", "batch_by"), BEFORE)
def test_fingerprints_and_batches_stay(mt, vocabulary, max_len, batch_by):
    config = by(batch_by, mt, 150, vocabulary=vocabulary)
    config = dataclasses.replace(config, task=TaskConfig(name="mt", max_len=max_len))
    fingerprints, batches, digest = prepare(config).fingerprints, batches_of(config), hashlib.sha256()
    for batch in (batches.batch(2, i) for i in range(3)):
        for ids in (*batch.sources.values(), batch.tgt_in_ids, batch.tgt_out_ids):
            digest.update(ids.numpy().tobytes())
    assert fingerprints["corpus"][:16] == "91b242d010aa12c2"
    found = (*(fingerprints[f"vocabulary.{s}"] for s in COLUMNS), batches.fingerprint, digest.hexdigest())
    assert tuple(name[:16] for name in found) == BEFORE[vocabulary, max_len, batch_by]


def test_prepare_learns_vocabularies_of_two_sizes(mt):
    sized = dataclasses.replace(mt, model=ModelConfig(vocab_size=150, target_vocab_size=50))
    assert requested_sizes(sized) == {"encoder": 150, "decoder": 50}
    same, found = prepare(mt).vocabularies, prepare(sized).vocabularies
    assert found["encoder"].fingerprint == same["encoder"].fingerprint
    assert found["decoder"].size == 50 < same["decoder"].size
    with pytest.raises(SettingsError, match=r"one vocabulary \(joint\)"):
        prepare(arm(sized, vocabulary="joint"))


def test_prepare_takes_the_vocabularies_of_a_run(mt, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    learned = prepare(mt)
    save_vocabularies(run, learned.vocabularies)
    (tmp_path / "train.en").write_text("".join(sentence(i + 7) + "\n" for i in range(300)))
    prepared = prepare(use_given(arm(mt, vocabulary="run"), ()))
    assert prepared.corpus.fingerprint != learned.corpus.fingerprint
    for stack, vocabulary in learned.vocabularies.items():
        assert prepared.vocabularies[stack].fingerprint == vocabulary.fingerprint
    np.testing.assert_array_equal(prepared.reference_lengths["en"], prepared.lines("train", "encoder", "en").lengths)
    assert not any("instead of" in note for note in prepared.notes)


def test_prepare_refuses_a_given_vocabulary_that_was_changed_or_has_other_tags(mt, tmp_path):
    learned = prepare(mt).vocabularies
    learned["encoder"].save(tmp_path / "en.model")
    given = use_given(arm(lm(mt), vocabulary="en.model"), ())
    masked = dataclasses.replace(lm(mt), task=TaskConfig(name="mlm"))
    with pytest.raises(SettingsError, match="has none, and the run needs mask"):
        prepare(use_given(arm(masked, vocabulary="en.model"), ()))
    learned["decoder"].save(tmp_path / "en.model")
    with pytest.raises(DataError, match="not the vocabulary that the run began with"):
        prepare(given)


def test_prepare_learns_vocabularies_from_train_only(mt, tmp_path):
    before = prepare(mt).fingerprints
    with open(tmp_path / "test.xx", "a") as xx, open(tmp_path / "test.en", "a") as en:
        xx.write("Ж\n")
        en.write("x\n")
    after = prepare(mt)
    assert after.fingerprints["vocabulary.decoder"] == before["vocabulary.decoder"]
    assert after.fingerprints["corpus"] != before["corpus"]
    assert describe(after)["splits"]["test"]["xx"]["unk"] == 1


def test_max_len_leaves_pairs_out_and_counts_them(mt):
    everything = prepare(arm(mt, vocabulary="separate"))
    longest = np.maximum(*everything.reference_lengths.values())
    assert everything.rows["en-xx"].tolist() == list(range(300))
    limit = int(np.median(longest))
    short = prepare(dataclasses.replace(arm(mt, vocabulary="separate"), task=TaskConfig(name="mt", max_len=limit)))
    kept = np.flatnonzero(longest <= limit)
    assert (
        f"train: {300 - len(kept)} pairs with a side of more than task.max_len={limit} pieces are left out"
        in short.notes
    )
    pairs = short.training_pairs(mt.directions[0])
    np.testing.assert_array_equal(pairs.rows, kept)
    np.testing.assert_array_equal(pairs.src_lengths, everything.reference_lengths["en"][kept])
    np.testing.assert_array_equal(pairs.tgt_lengths, everything.reference_lengths["xx"][kept])
    assert len(short.pairs("test", mt.directions[0]).target) == 30
    error = refusal(prepare, dataclasses.replace(mt, task=TaskConfig(name="mt", max_len=2)))
    assert isinstance(error, DataError) and error.setting == "task.max_len=2"


def test_prepare_again_loads_neither_datasets_nor_the_corpus(mt):
    prepare(mt)
    code = (
        "import sys; from tietrain.config import *; from tietrain.config.model import InitStd, InitTables\n"
        "from tietrain.config.training import RoleFactors\n"
        "from tietrain.data.prepare import prepare\n"
        "from tietrain.data.description import describe\n"
        f"p = prepare({mt!r}); describe(p)\n"
        "assert not {'datasets', 'pandas', 'pyarrow', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_prepare_again_gives_the_same(mt, monkeypatch):
    first = prepare(mt)
    by_chars, text = by("chars", mt, 150), by("chars", lm(mt), 150)
    starts = prepare(text).token_starts
    monkeypatch.setattr("tietrain.data.prepare._build", None)
    again = prepare(mt)
    assert prepare(by_chars).fingerprints == first.fingerprints
    np.testing.assert_array_equal(prepare(text).token_starts.within, starts.within)
    assert (again.notes, again.fingerprints, again.layout) == (first.notes, first.fingerprints, first.layout)
    assert (again.corpus.splits, again.corpus.about) == (first.corpus.splits, first.corpus.about)
    for split in first.encoded:
        for stack, column in COLUMNS.items():
            np.testing.assert_array_equal(
                again.lines(split, stack, column).values, first.lines(split, stack, column).values
            )


def test_prepare_learns_a_vocabulary_once_for_all_arms(mt, monkeypatch):
    prepare(arm(mt, vocabulary="joint"))
    learned = []

    def train(lines, *settings):
        lines = list(lines)
        learned.append(len(lines))
        return trainer(lines, *settings)

    from tietrain.data.tokenizer import train_vocabulary as trainer

    monkeypatch.setattr("tietrain.data.prepare.train_vocabulary", train)
    prepare(arm(mt, vocabulary="separate"))
    assert learned == [300, 300]


def test_prepare_knows_the_settings_of_the_vocabulary(mt):
    mt = dataclasses.replace(mt, model=ModelConfig(vocab_size=400))
    before = prepare(mt).fingerprints
    for change in ({"kind": "bpe"}, {"byte_fallback": True}, {"columns": ["en", "yy"]}):
        assert prepare(arm(mt, **change)).fingerprints != before
    whole, covered = (prepare(arm(mt, byte_fallback=True, character_coverage=c)) for c in (1.0, 0.99))
    assert covered.fingerprints != whole.fingerprints == prepare(arm(mt, byte_fallback=True)).fingerprints


def unlike_train(config: RunConfig, tmp_path, text: str, **data) -> list[str]:
    """Notes of a test split whose source alone has another text than train."""
    (tmp_path / "test.en").write_text(text + "\n" + "".join(sentence(i) + "\n" for i in range(1, 30)))
    config = dataclasses.replace(arm(config, byte_fallback=True, **data), model=ModelConfig(vocab_size=400))
    return [note for note in prepare(config).notes if "bytes that train never has" in note]


def test_prepare_notes_bytes_that_train_never_has(mt, tmp_path):
    with open(tmp_path / "train.en", "a") as en, open(tmp_path / "train.xx", "a") as xx:
        en.write("Ж\n")
        xx.write("Y\n")
    assert unlike_train(mt, tmp_path, "Ж") == []
    (note,) = unlike_train(mt, tmp_path, "Ж Ѐ 😀")
    assert note.startswith("test: 6 of its ") and "pieces (en)" in note
    assert note.endswith("data.character_coverage=0.9995 trains 1 of them")  # 0xD0, which begins Ж and Ѐ
    (note,) = unlike_train(mt, tmp_path, "Ж Ѐ 😀", character_coverage=0.9995)
    assert note.startswith("test: 5 of its ") and note.endswith("compare no bits per byte on test")
    assert unlike_train(mt, tmp_path, "Ж", character_coverage=0.9995) == []


@pytest.mark.parametrize("kind", ["unigram", "bpe", "word", "char"])
def test_prepare_refuses_a_split_of_unknown_words_and_notes_many(mt, tmp_path, kind):
    def notes(text: str) -> list[str]:
        (tmp_path / "valid.xx").write_text(text * 20)
        return [note for note in prepare(arm(mt, kind=kind)).notes if "unknown" in note]

    error = refusal(notes, "\u03b1\u03b2 \u03b3\n")
    assert isinstance(error, DataError) and error.setting == "data.splits.valid"
    assert error.problem == "the vocabulary of train knows no word of xx"
    (note,) = notes("\u03b1\u03b2 \u03b3 \u03b4 THE\n")
    assert note.startswith("valid: ") and " of the pieces of xx are unknown" in note
    assert notes("THE CAT SEES THE DOG\n") == []


def test_prepare_builds_a_damaged_cache_again(mt, tmp_path):
    first = prepare(mt)
    for path in (tmp_path / "cache" / "corpus").glob("*/*"):
        path.write_bytes(path.read_bytes()[:10])
    again = prepare(mt)
    assert again.fingerprints == first.fingerprints


def test_cache_of_a_corpus_holds_no_pickle_and_no_training_text(mt, tmp_path):
    prepare(mt)
    names = {p.name for p in (tmp_path / "cache" / "corpus").glob("*/*")}
    assert names == {"meta.json", "texts.json", "encoded.safetensors", "manifest.json", "train.0", "train.1"} | {
        f"{number}.model{end}" for number in (0, 1) for end in ("", ".json")
    }
    training_line = (tmp_path / "train.xx").read_bytes().splitlines()[0]
    assert not any(training_line in p.read_bytes() for p in (tmp_path / "cache").rglob("*") if p.is_file())


def test_prepare_notes_a_size_the_text_does_not_support(mt):
    prepared = prepare(dataclasses.replace(mt, model=ModelConfig(vocab_size=5000)))
    size = prepared.vocabularies["encoder"].size
    assert f"vocabulary (en): {size} pieces instead of 5000: the training text supports no more" in prepared.notes


def test_prepare_refuses_a_size_below_the_alphabet(mt):
    error = refusal(prepare, dataclasses.replace(mt, model=ModelConfig(vocab_size=10)))
    assert isinstance(error, SettingsError) and error.setting == "model.vocab_size=10"


def test_prepare_refuses_a_missing_file_with_a_warm_cache(mt, tmp_path):
    prepare(mt)
    (tmp_path / "test.xx").unlink()
    assert refusal(prepare, mt).setting.startswith("data.splits.test=[test.en,test.xx]")


def test_prepare_again_keeps_the_probabilities_of_the_generator(tmp_path):
    data = DataConfig(preset="tiny", difficulty=4, cache=str(tmp_path))
    config = RunConfig(task=TaskConfig(name="mt"), data=data, model=ModelConfig(vocab_size=400))
    first, again = prepare(config), prepare(config)
    assert again.corpus.splits == first.corpus.splits
    assert len(again.corpus.splits["held"].generator_nats) == again.corpus.splits["held"].n_lines
    assert again.corpus.grammar.fingerprint == again.fingerprints["corpus"]
    assert set(describe(again)["generator_nats"]) == {"valid", "test", "held", "rare", "long"}
    other = prepare(arm(config, seed=1))
    assert other.fingerprints["corpus"] != first.fingerprints["corpus"]


def test_describe(mt):
    description = describe(prepare(arm(mt, vocabulary="joint")))
    train = description["splits"]["train"]["en"]
    assert (train["lines"], train["words"], train["unk"]) == (300, sum(len(sentence(i).split()) for i in range(300)), 0)
    assert train["pieces_per_word"] == train["pieces"] / train["words"]
    assert 0 < description["shared_pieces"] <= min(v["used_in_train"] for v in description["vocabularies"].values())
    lines = description_lines({**description, "ceilings": {"test": {"oracle_bleu": 61.234}}})
    assert "test at best: oracle_bleu 61.23" in lines
    size = description["vocabularies"]["encoder"]["size"]
    assert any(line.startswith(f"vocabulary of the encoder: unigram, {size} pieces") for line in lines)


needs_real_data = pytest.mark.skipif(not os.environ.get("TIETRAIN_DATA"), reason="TIETRAIN_DATA is not set")


@needs_real_data
def test_prepare_again_takes_less_than_a_second_on_multi30k(tmp_path):
    values = yaml.safe_load((Path(__file__).parents[2] / "conf/data/multi30k_en_de.yaml").read_text(encoding="utf-8"))
    data = DataConfig(root=os.environ["TIETRAIN_DATA"], cache=str(tmp_path), vocabulary="joint", **values)
    config = RunConfig(task=TaskConfig(name="mt"), data=data, model=ModelConfig(vocab_size=8000))
    prepare(config)
    start = time.perf_counter()
    prepared = prepare(config)
    assert time.perf_counter() - start < 0.7
    assert len(prepared.rows["en-de"]) == 29_000
    assert prepared.vocabularies["decoder"].size == 8000


def test_prepare_notes_how_much_of_a_joint_vocabulary_each_language_uses(mt):
    prepared = prepare(arm(mt, vocabulary="joint"))
    (note,) = [note for note in prepared.notes if "by all" in note]
    a, b = (set(lines.values.tolist()) for lines in prepared.encoded["train"]["joint"].values())
    assert f"train uses {len(a)} by en, {len(b)} by xx, {len(a & b)} by all" in note
    assert not any("by all" in note for note in prepare(arm(mt)).notes)
