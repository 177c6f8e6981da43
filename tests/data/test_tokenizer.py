import os
import re
import signal
import threading
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refusals import refusal, spelled
from tietrain.data import tokenizer
from tietrain.data.encoded import EncodedLines
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, train_vocabulary
from tietrain.data.vocabularies import load_vocabulary
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


def test_vocabulary_decodes_its_training_text(vocabulary):
    ids = vocabulary.encode(TEXT)
    assert vocabulary.decode(ids) == TEXT
    assert vocabulary.lossless
    assert not any(i in (PAD_ID, UNK_ID, BOS_ID, EOS_ID) for line in ids for i in line)


def test_vocabulary_has_fixed_special_ids(vocabulary):
    assert (PAD_ID, UNK_ID, BOS_ID, EOS_ID) == (0, 1, 2, 3)
    assert [piece.lstrip("\x1a") for piece in vocabulary.pieces[:4]] == ["<pad>", "<unk>", "<s>", "</s>"]


@pytest.mark.parametrize("kind", KINDS)
def test_vocabulary_with_byte_fallback_decodes_any_text(kind):
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
def test_train_vocabulary_is_lossless_on_any_training_text(lines):
    if not any(lines):
        return
    for kind in ("unigram", "bpe", "char"):
        vocabulary = train_vocabulary([*lines, *TEXT], kind, 3000)
        assert vocabulary.decode(vocabulary.encode(lines)) == lines


def first_characters(vocabulary, line, ids) -> list[int]:
    """The character of the line that each piece begins with, by laying the pieces' bytes over those of the line."""
    spelled = [("" if vocabulary.kind == "char" or not line else " ", 0)]
    spelled += [(tokenizer.ESCAPED.get(c, c), i) for i, c in enumerate(line)]
    owner = [i for text, i in spelled for _ in text.replace(" ", "\u2581").encode()]
    found, at = [], 0
    for piece in (vocabulary.pieces[i] for i in ids):
        found.append(owner[at])
        at += 1 if re.fullmatch("<0x[0-9A-F]{2}>", piece) else len(piece.encode())
    assert at == len(owner)
    return found


@pytest.mark.parametrize(
    ("kind", "byte_fallback"), [("unigram", False), ("unigram", True), ("bpe", True), ("word", False), ("char", True)]
)
def test_starts_gives_the_character_each_piece_begins_at(kind, byte_fallback):
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


def test_starts_after_an_unknown_piece():
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


def test_decode_drops_special_ids(vocabulary):
    ids = vocabulary.encode(["the cat"])[0]
    assert vocabulary.decode([[BOS_ID, *ids, EOS_ID, PAD_ID, PAD_ID], []]) == ["the cat", ""]


def test_encode_gives_unk_for_characters_outside_the_training_text():
    vocabulary = train_vocabulary(["abc abc"] * 5, "unigram", 50)
    ids = vocabulary.encode(["abc Ж"])[0]
    assert ids.count(UNK_ID) == 1
    assert "Ж" not in vocabulary.decode([ids])[0]


def test_train_vocabulary_of_words_keeps_the_frequent_ones():
    vocabulary = train_vocabulary(["a a a a b b b c"] * 3, "word", 6)
    assert vocabulary.size == 6
    assert [UNK_ID in ids for ids in vocabulary.encode(["a b", "c"])] == [False, True]
    assert vocabulary.decode(vocabulary.encode(["a b"])) == ["a b"]


def test_train_vocabulary_is_deterministic():
    first, again, other = (train_vocabulary(lines, "unigram", 100) for lines in (TEXT, TEXT, TEXT[:-50]))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.fingerprint != train_vocabulary(TEXT, "bpe", 100).fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_train_vocabulary_makes_fewer_pieces_of_little_text(kind):
    vocabulary = train_vocabulary(["one two three two one"] * 9, kind, 5000)
    assert 4 < vocabulary.size < 5000


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_train_vocabulary_refuses_a_size_below_the_alphabet(kind):
    error = refusal(train_vocabulary, ["abcdefghijklmnop"] * 3, kind, 10)
    assert isinstance(error, SettingsError) and error.setting == "model.vocab_size=10"
    least = int(error.remedy.split()[-1])
    assert train_vocabulary(["abcdefghijklmnop"] * 3, kind, least).size == least


@pytest.mark.parametrize("coverage", [0.99, 0.9])  # sentencepiece's own, and below what it accepts
@pytest.mark.parametrize("kind", KINDS)
def test_train_vocabulary_spells_what_coverage_leaves_out_in_bytes(kind, coverage):
    lines = [*TEXT, "a rare Ж here"]
    whole, covered = (train_vocabulary(lines, kind, 1000, True, coverage=share) for share in (1.0, coverage))
    (spelled,) = covered.encode(["a rare Ж here"])
    assert set("Ж".encode()) <= {byte for byte, i in covered.byte_ids.items() if i in spelled}
    assert not set(whole.byte_ids.values()) & set(whole.encode(["a rare Ж here"])[0])
    assert covered.lossless and covered.decode(covered.encode(lines)) == lines
    assert whole.fingerprint == train_vocabulary(lines, kind, 1000, True).fingerprint != covered.fingerprint


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
def test_left_to_bytes_are_the_characters_sentencepiece_leaves_out(kind):
    # Names of byte pieces are no text to learn from for sentencepiece.
    lines = [line for line in [*TEXT, "rare: Ж", "twice: щщ"] if "<0x" not in line]
    for coverage in (1.0, 0.9995, 0.999, 0.985, 0.9):
        vocabulary = train_vocabulary(lines, kind, 1000, True, coverage=coverage)
        counts = Counter("".join(tokenizer._training_lines(lines, kind)).replace(" ", "\u2581"))
        assert set(counts) - set(vocabulary.pieces) == tokenizer.left_to_bytes(counts, coverage)


def test_train_vocabulary_names_a_coverage_that_works():
    lines = ["abcdefghijklmnop" * (1 + i % 3) + chr(0x400 + i) for i in range(50)]
    for size in (290, 325):
        error = refusal(train_vocabulary, lines, "unigram", size, True)
        coverage = float(re.search(r"character_coverage=(\S+)", error.remedy).group(1))
        assert train_vocabulary(lines, "unigram", size, True, coverage=coverage).size <= size
    assert coverage < 1 and "character_coverage" not in refusal(train_vocabulary, lines, "unigram", 200, True).remedy


def test_train_vocabulary_refuses(tmp_path, golden):
    cases = {
        "no text": (["", ""], "unigram", 100),
        "too small": (["abcdefghijklmnop"] * 3, "bpe", 10),
        "no room for bytes": (["abc"] * 3, "unigram", 100, True),
        "no room for characters": (["abcdefghijklmnop"] * 3, "bpe", 270, True),
        "no room for bytes of words": (["abc"] * 3, "word", 100, True),
    }
    texts = {}
    for name, args in cases.items():
        error = refusal(train_vocabulary, *args)
        assert isinstance(error, DataError if name == "no text" else SettingsError)
        texts[name] = spelled(error, tmp_path)
    golden("data_refusals_vocabulary", texts)


def test_train_vocabulary_reads_long_lines():
    vocabulary = train_vocabulary(["short"] * 5 + ["zq " * 5000, "語" * 9000], "bpe", 60)
    long = "zq " * 50_000 + "語" * 100_000
    assert vocabulary.decode(vocabulary.encode([long])) == [long]


def test_train_vocabulary_samples_every_character(monkeypatch):
    lines = [f"line {i % 10}" for i in range(101)]
    lines[50] = "the only Ж"
    size = sum(map(len, lines))
    # All lines; every sixth of them and those with odd digits or a Ж.
    for n_lines, n_characters, n in ((101, size, 101), (20, size, 68), (101, size // 6 + 1, 68)):
        monkeypatch.setattr(tokenizer, "MAX_TRAINING_LINES", n_lines)
        monkeypatch.setattr(tokenizer, "MAX_TRAINING_TEXT", n_characters)
        assert len(list(tokenizer._training_lines(lines, "unigram"))) == n
        vocabulary = train_vocabulary(lines, "unigram", 60)
        assert vocabulary.decode(vocabulary.encode(lines)) == lines


def test_load_vocabulary_gives_what_was_saved(vocabulary, tmp_path):
    path = tmp_path / "v.model"
    vocabulary.save(path)
    loaded = load_vocabulary(path)
    assert (loaded.kind, loaded.lossless, loaded.fingerprint) == (
        vocabulary.kind,
        vocabulary.lossless,
        vocabulary.fingerprint,
    )
    assert loaded.encode(HARD) == vocabulary.encode(HARD)


def test_load_vocabulary_refuses_damaged_missing_and_other_files(tmp_path):
    for number, damage in enumerate((b"", b"garbage", b"\x00" * 100)):
        for suffix in ("", ".json"):
            path = tmp_path / f"{number}.model"
            train_vocabulary(TEXT, "char", 200).save(path)
            damaged = path.with_name(path.name + suffix)
            damaged.write_bytes(damage)
            assert refusal(load_vocabulary, path).setting == str(damaged)
    assert refusal(load_vocabulary, tmp_path / "none").setting == str(tmp_path / "none.json")
    train_vocabulary(TEXT, "char", 200).save(tmp_path / "a")
    train_vocabulary(TEXT[:-9], "bpe", 200).save(tmp_path / "b")
    (tmp_path / "a").write_bytes((tmp_path / "b").read_bytes())
    error = refusal(load_vocabulary, tmp_path / "a")
    assert isinstance(error, DataError) and error.setting == str(tmp_path / "a")


def test_encode_gives_one_unk_per_unknown_word():
    vocabulary = train_vocabulary(["a known text", "a text"], "word", 20)
    assert vocabulary.encode(["a strange unseen text"])[0].count(UNK_ID) == 2


@pytest.mark.parametrize(
    ("kind", "byte_fallback"), [("unigram", True), ("bpe", False), ("word", True), ("char", False)]
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


def test_train_vocabulary_does_not_delay_a_signal():
    draw, n_threads = Random(0), threading.active_count()
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(20_000)]
    lines = [" ".join(draw.choices(words, k=12)) for _ in range(8000)]
    with StopRequest() as stop, pytest.raises(Stopped), stop.interruptible():
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        train_vocabulary(lines, "unigram", 4000)
    assert threading.active_count() > n_threads  # it is still learning
