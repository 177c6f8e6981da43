"""Vocabularies of tokenizer.json: cut as the library cuts, numbered behind pieces of ours, known by content."""

import importlib.util
import json

import pytest

from tietrain.config.given import read_model
from tietrain.data import hf_tokenizer
from tietrain.data.encoded import EncodedLines
from tietrain.data.hf_vocabulary import TokenizerVocabulary
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, is_lossless
from tietrain.data.vocabularies import check_foreign_model, load_vocabulary
from tietrain.errors import DataError, SettingsError
from tokenizers_of_others import END, KINDS, LINES, byte_level

TEXT = [*LINES[:3], "  two blanks  ", "", f"a {END} <s> zebra Ω 日"]


@pytest.fixture(scope="module")
def made():
    return {name: learn(LINES) for name, learn in KINDS.items()}


def vocabulary_of(tokenizer, *tags: str) -> TokenizerVocabulary:
    return TokenizerVocabulary(tokenizer.to_str().encode(), tags)


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizer_vocabulary_cuts_text_as_the_library_does(made, kind, tmp_path):
    tokenizer = made[kind]
    vocabulary = vocabulary_of(tokenizer, "de")
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str())
    assert vocabulary.size == len(vocabulary.pieces) == 5 + read_model(tmp_path / "tokenizer.json").n_pieces
    special = [token["content"] for token in json.loads(tokenizer.to_str())["added_tokens"]]
    for line, ids in zip(TEXT, vocabulary.encode(TEXT), strict=True):
        assert not {PAD_ID, BOS_ID, EOS_ID, vocabulary.tags["de"]} & set(ids)
        if not any(name in line for name in special):
            pieces = [vocabulary.pieces[i] for i in ids if i != UNK_ID]
            theirs = list(map(tokenizer.id_to_token, tokenizer.encode(line, add_special_tokens=False).ids))
            assert pieces == [token for token in theirs if token not in special]
            assert len(ids) == len(theirs)


def test_tokenizer_vocabulary_gives_text_back_and_says_if_it_does_not(made):
    whole = vocabulary_of(made["byte_level"])
    assert whole.decode(whole.encode(TEXT)) == TEXT and is_lossless(whole, TEXT)
    unigram = vocabulary_of(made["unigram"])
    assert unigram.decode(unigram.encode(LINES[:3])) == LINES[:3]
    assert UNK_ID in unigram.encode(["Ω"])[0] and unigram.decode([[UNK_ID, EOS_ID]]) == ["<unk>"]
    assert not is_lossless(vocabulary_of(made["word_pieces"]), LINES)


def test_tokenizer_vocabulary_takes_away_the_blank_that_a_tokenizer_puts_before_a_line():
    from tokenizers import pre_tokenizers

    tokenizer = byte_level(LINES)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    vocabulary = vocabulary_of(tokenizer)
    assert tokenizer.decode(tokenizer.encode("a dog").ids) == " a dog"
    assert vocabulary.decode(vocabulary.encode(["a dog"])) == ["a dog"]


def test_tokenizer_vocabulary_does_not_cut_short_pad_or_draw(made):
    tokenizer = byte_level(LINES)
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    tokenizer.model.dropout = 0.9
    assert vocabulary_of(tokenizer).encode(LINES) == vocabulary_of(made["byte_level"]).encode(LINES)


def test_tokenizer_vocabulary_without_a_piece_for_unknown_text_refuses_it(made, tmp_path):
    body = json.loads(made["unigram"].to_str())
    body["model"]["unk_id"] = None
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(body))
    check_foreign_model(path)
    vocabulary = TokenizerVocabulary(path.read_bytes())
    assert vocabulary.encode(["the dog"])
    with pytest.raises(DataError, match="unknown"):
        vocabulary.encode(["Ω"])


@pytest.mark.parametrize("kind", KINDS)
def test_starts_are_the_characters_at_which_pieces_begin(made, kind):
    vocabulary = vocabulary_of(made[kind])
    encoded = EncodedLines.of(vocabulary.encode(TEXT))
    starts = vocabulary.starts(TEXT, encoded)
    for line, begin, end in zip(TEXT, encoded.offsets, encoded.offsets[1:], strict=False):
        of_line = starts[begin:end].tolist()
        assert of_line == sorted(of_line) and all(0 <= start < len(line) for start in of_line)
    plain = vocabulary.encode(["the dog"])
    assert vocabulary.starts(["the dog"], EncodedLines.of(plain)).tolist()[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizer_vocabulary_is_written_with_its_numbers(made, kind):
    vocabulary = vocabulary_of(made[kind], "mask")
    written = hf_tokenizer.tokenizer_json(vocabulary, "lm")
    assert hf_tokenizer.difference(vocabulary, written, TEXT[:4]) == ""
    assert hf_tokenizer.difference(vocabulary, json.loads(made[kind].to_str()), TEXT[:4])


def test_tokenizer_vocabulary_is_known_by_content_and_tags(made, tmp_path):
    tagged = vocabulary_of(made["byte_level"], "de", "fr")
    tagged.save(tmp_path / "v.model")
    loaded = load_vocabulary(tmp_path / "v.model")
    assert (loaded.fingerprint, loaded.tags, loaded.lossless) == (tagged.fingerprint, {"de": 4, "fr": 5}, True)
    assert loaded.encode(LINES) == tagged.encode(LINES)
    others = [vocabulary_of(made["byte_level"]), vocabulary_of(byte_level(LINES[:1])), vocabulary_of(made["unigram"])]
    assert len({vocabulary.fingerprint for vocabulary in (tagged, *others)}) == 4


@pytest.mark.parametrize("content", [b"{}", b'{"model": {"type": "BPE", "vocab": {}}}', b"{" * 9999])
def test_tokenizer_files_that_are_none_are_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    for read in (read_model, check_foreign_model):
        with pytest.raises(DataError, match=r"not a tokenizer\.json"):
            read(path)


def test_tokenizer_files_need_their_library(made, tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    path.write_text(made["unigram"].to_str())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'tietrain\[tokenizers\]'"):
        check_foreign_model(path)
