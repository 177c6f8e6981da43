import os
import re
import signal
import threading
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tietrain.data import tokenizer
from tietrain.data.encoded import EncodedLines
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, load_vocabulary, train_vocabulary
from tietrain.errors import DataError, SettingsError
from tietrain.train.stop import Stopped, StopRequest

KINDS = ("unigram", "bpe", "word", "char")
HARD = [
    "the cat sat on the mat",
    "  two leading blanks",
    "a  b   c ",
    " ",
    "   ",
    "a\tb\t",
    "a \u2581 literal\u2581 blank mark",
    "\u2585 a block that sentencepiece reserves",
    "<pad> <unk> <s> </s> q<unk>q</s>",
    "<0x41> x<0x0A>",
    "\x1a0 \x1a1 \x1a",
    "no-break\u00a0blank, \u2028 line separator, \x85 next line, \ufeff mark, \ufffd",
    "composed é, decomposed e\u0301, ﬁ ligature, \uff46\uff55ll width",
    "日本語のテキスト 😀",
    "inside\nline\rbreak",
]
TEXT = HARD + [f"word{i % 7} and stem{i % 5}s of {i}" for i in range(200)]


@pytest.fixture(scope="module", params=KINDS)
def vocabulary(request):
    return train_vocabulary(TEXT, request.param, 2000)


def test_training_text_round_trips(vocabulary):
    ids = vocabulary.encode(TEXT)
    assert vocabulary.decode(ids) == TEXT
    assert vocabulary.lossless
    assert not any(i in (PAD_ID, UNK_ID, BOS_ID, EOS_ID) for line in ids for i in line)


def test_special_ids_are_fixed(vocabulary):
    assert (PAD_ID, UNK_ID, BOS_ID, EOS_ID) == (0, 1, 2, 3)
    assert [piece.lstrip("\x1a") for piece in vocabulary.pieces[:4]] == ["<pad>", "<unk>", "<s>", "</s>"]


@pytest.mark.parametrize("kind", KINDS)
def test_any_text_round_trips_with_byte_fallback(kind):
    vocabulary = train_vocabulary(TEXT, kind, 1000, byte_fallback=True)

    @settings(max_examples=150, deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
    def check(text):
        ids = vocabulary.encode([text])
        assert UNK_ID not in ids[0]
        assert vocabulary.decode(ids) == [text]

    check()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30), min_size=1, max_size=8
    )
)
def test_any_training_text_round_trips(lines):
    if not any(lines):
        return
    for kind in ("unigram", "bpe", "char"):
        vocabulary = train_vocabulary([*lines, *TEXT], kind, 3000)
        assert vocabulary.decode(vocabulary.encode(lines)) == lines


def first_characters(vocabulary, line, ids) -> list[int]:
    """The character of the line that each piece begins with, by laying the pieces' bytes over those of the line."""
    spelled = [("" if vocabulary.kind == "char" or not line else " ", 0)]
    spelled += [(tokenizer._ESCAPED.get(c, c), i) for i, c in enumerate(line)]
    owner = [i for text, i in spelled for _ in text.replace(" ", "\u2581").encode()]
    found, at = [], 0
    for piece in (vocabulary.pieces[i] for i in ids):
        found.append(owner[at])
        at += 1 if re.fullmatch("<0x[0-9A-F]{2}>", piece) else len(piece.encode())
    assert at == len(owner)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("byte_fallback", [False, True])
def test_every_piece_knows_the_character_it_begins_at(kind, byte_fallback):
    vocabulary = train_vocabulary(TEXT, kind, 1000, byte_fallback)
    random = Random(0)
    letters = [*"ab \u2581\u2585\n\r\x1f\x1a01<é日😀\ufffd", "\u2028", "e\u0301", "word"]
    hard = ["".join(random.choices(letters, k=random.randrange(20))) for _ in range(400)] if byte_fallback else []
    lines = ["", *TEXT, *hard]
    ids = vocabulary.encode(lines)
    assert not any(UNK_ID in line for line in ids)
    starts = vocabulary.starts(lines, EncodedLines.of(ids))
    assert starts.tolist() == [
        s for line, of in zip(lines, ids, strict=True) for s in first_characters(vocabulary, line, of)
    ]


def test_pieces_after_an_unknown_one_know_where_they_begin():
    text = ["abc abc de"] * 5
    lines = ["abc  xy\n de abc", "", "xy", "é\x1aabc"]
    for kind, size, want in (
        ("word", 6, [[0, 3, 4, 8, 11], [], [0], [0]]),
        ("char", 100, [[0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14], [], [0], [0, 2, 3, 4]]),
    ):
        vocabulary = train_vocabulary(text, kind, size)
        encoded = EncodedLines.of(vocabulary.encode(lines))
        starts = EncodedLines(vocabulary.starts(lines, encoded), encoded.offsets)
        assert [of_line.tolist() for of_line in starts] == want


def test_special_ids_decode_to_nothing(vocabulary):
    ids = vocabulary.encode(["the cat"])[0]
    assert vocabulary.decode([[BOS_ID, *ids, EOS_ID, PAD_ID, PAD_ID], []]) == ["the cat", ""]


def test_characters_outside_the_training_text_are_unk():
    vocabulary = train_vocabulary(["abc abc"] * 5, "unigram", 50)
    ids = vocabulary.encode(["abc Ж"])[0]
    assert ids.count(UNK_ID) == 1
    assert "Ж" not in vocabulary.decode([ids])[0]


def test_a_small_word_vocabulary_keeps_the_frequent_words():
    vocabulary = train_vocabulary(["a a a a b b b c"] * 3, "word", 6)
    assert vocabulary.size == 6
    assert [UNK_ID in ids for ids in vocabulary.encode(["a b", "c"])] == [False, True]
    assert vocabulary.decode(vocabulary.encode(["a b"])) == ["a b"]


def test_learning_is_deterministic_and_knows_its_content():
    first, again, other = (train_vocabulary(lines, "unigram", 100) for lines in (TEXT, TEXT, TEXT[:-50]))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.fingerprint != train_vocabulary(TEXT, "bpe", 100).fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_a_size_the_text_does_not_support_is_cut(kind):
    vocabulary = train_vocabulary(["one two three two one"] * 9, kind, 5000)
    assert 4 < vocabulary.size < 5000


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_size_below_the_alphabet_is_refused_with_the_least(kind):
    with pytest.raises(SettingsError, match=r"model\.vocab_size=10: .*give at least (\d+)") as caught:
        train_vocabulary(["abcdefghijklmnop"] * 3, kind, 10)
    least = int(caught.value.remedy.split()[-1])
    assert train_vocabulary(["abcdefghijklmnop"] * 3, kind, least).size == least


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_need_room(kind):
    with pytest.raises(SettingsError, match="256 bytes"):
        train_vocabulary(["abc"] * 3, kind, 100, byte_fallback=True)


def test_no_text_is_refused():
    with pytest.raises(DataError, match="empty"):
        train_vocabulary(["", ""], "unigram", 100)


def test_long_lines_are_learned_from_and_encoded():
    vocabulary = train_vocabulary(["short"] * 5 + ["zq " * 5000, "語" * 9000], "bpe", 60)
    long = "zq " * 50_000 + "語" * 100_000
    assert vocabulary.decode(vocabulary.encode([long])) == [long]


def test_a_sample_of_a_large_corpus_still_covers_every_character(monkeypatch):
    monkeypatch.setattr(tokenizer, "MAX_TRAINING_LINES", 20)
    lines = [f"line {i % 10}" for i in range(101)]
    lines[50] = "the only Ж"
    vocabulary = train_vocabulary(lines, "unigram", 60)
    assert vocabulary.decode(vocabulary.encode(lines)) == lines


def test_saving_keeps_everything(vocabulary, tmp_path):
    path = tmp_path / "v.model"
    vocabulary.save(path)
    loaded = load_vocabulary(path)
    assert (loaded.kind, loaded.lossless, loaded.fingerprint) == (
        vocabulary.kind,
        vocabulary.lossless,
        vocabulary.fingerprint,
    )
    assert loaded.encode(HARD) == vocabulary.encode(HARD)


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x00" * 100])
@pytest.mark.parametrize("suffix", ["", ".json"])
def test_damaged_files_are_refused(tmp_path, damage, suffix):
    path = tmp_path / "v.model"
    train_vocabulary(TEXT, "char", 200).save(path)
    path.with_name(path.name + suffix).write_bytes(damage)
    with pytest.raises(DataError, match=r"v\.model"):
        load_vocabulary(path)


def test_a_missing_file_and_another_vocabulary_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.model"):
        load_vocabulary(tmp_path / "none.model")
    train_vocabulary(TEXT, "char", 200).save(tmp_path / "a")
    train_vocabulary(TEXT[:-9], "bpe", 200).save(tmp_path / "b")
    (tmp_path / "a").write_bytes((tmp_path / "b").read_bytes())
    with pytest.raises(DataError, match="not the one that was written"):
        load_vocabulary(tmp_path / "a")


def test_unknown_words_in_a_row_are_counted_each():
    vocabulary = train_vocabulary(["a known text", "a text"], "word", 20)
    assert vocabulary.encode(["a strange unseen text"])[0].count(UNK_ID) == 2


@pytest.mark.parametrize(
    ("kind", "byte_fallback"), [("unigram", False), ("unigram", True), ("bpe", False), ("word", True), ("char", False)]
)
def test_tags_are_pieces_that_no_text_holds(kind, byte_fallback, tmp_path):
    lines = ["the cat sat", "<2de> on the mat", "\x1a<2de> 12"] * 9
    tagged, plain = (train_vocabulary(lines, kind, 300, byte_fallback, tags) for tags in (("de", "x y,z"), ()))
    assert tagged.tags == {"de": EOS_ID + 1, "x y,z": EOS_ID + 2} and plain.tags == {}
    assert tagged.fingerprint != plain.fingerprint
    odd = [*lines, "\x1a<2x y,z>", "<2de>", "Ж"]
    for ids, back in zip(tagged.encode(odd), plain.decode(plain.encode(odd)), strict=True):
        assert not set(ids) & set(tagged.tags.values())
        assert tagged.decode([[EOS_ID + 1, *ids, EOS_ID + 2]]) == [back]
    tagged.save(tmp_path / "v.model")
    assert load_vocabulary(tmp_path / "v.model").tags == tagged.tags


def test_a_signal_need_not_wait_for_the_end_of_learning():
    draw, n_threads = Random(0), threading.active_count()
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(20_000)]
    lines = [" ".join(draw.choices(words, k=12)) for _ in range(8000)]
    with StopRequest() as stop, pytest.raises(Stopped), stop.interruptible():
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        train_vocabulary(lines, "unigram", 4000)
    assert threading.active_count() > n_threads  # it is still learning
