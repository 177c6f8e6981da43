"""Files of vectors for token tables: read by piece in every form, kept as they were used, refused by line."""

import gzip
import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from refusals import refusal, spelled
from tietrain.data.hf_vocabulary import TokenizerVocabulary
from tietrain.data.table_files import keep_table_files, read_table_file
from tietrain.data.tokenizer import EOS_ID, SPECIAL_PIECES, train_vocabulary
from tokenizers_of_others import byte_level

LINES = ["the cat sees the dog", "a dog likes the river", "the bird finds a tree"] * 9
FORMS = {
    "fasttext": "4 3\nthe 1 2 3 \n</s> 4 5 6\nzebra 7 8 9\ndog 1e-1 .5 -2\n",
    "glove": "the 1 2 3\n</s> 4 5 6\nzebra 7 8 9\ndog 0.1 0.5 -2\nthe 9 9 9",
}


@pytest.fixture(scope="module")
def words():
    return train_vocabulary(LINES, "word", 14)


def read(path, *vocabularies):
    return read_table_file(path, hashlib.sha256(path.read_bytes()).hexdigest(), vocabularies)


def rows_of(path, vocabulary):
    """Piece -> row."""
    ids, values = read(path, vocabulary).rows(vocabulary)
    assert values.dtype == np.float32
    return {vocabulary.pieces[i]: row.tolist() for i, row in zip(ids, values, strict=True)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", [False, True])
def test_text_gives_words_of_the_vocabulary_their_rows(tmp_path, words, form, packed):
    path = tmp_path / "vectors"
    path.write_bytes(gzip.compress(FORMS[form].encode()) if packed else FORMS[form].encode())
    found = rows_of(path, words)
    assert found.keys() == {"▁the", "▁dog", SPECIAL_PIECES[EOS_ID]}
    assert found["▁the"] == [1, 2, 3] and found["▁dog"] == pytest.approx([0.1, 0.5, -2])


def test_text_with_marks_of_blanks_is_read_by_piece(tmp_path):
    vocabulary = train_vocabulary(LINES, "unigram", 30)
    (inside,) = [piece for piece in vocabulary.pieces if piece == "d"]
    (tmp_path / "words").write_text(f"{inside} 1\n")
    (tmp_path / "pieces").write_text(f"{inside} 1\n▁x 2\n")
    assert rows_of(tmp_path / "pieces", vocabulary) == {"d": [1]}
    # Of words, none is what stands inside of words.
    assert refusal(rows_of, tmp_path / "words", vocabulary).setting == str(tmp_path / "words")
    characters = train_vocabulary(LINES, "char", 30)
    assert rows_of(tmp_path / "words", characters) == {"d": [1]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_safetensors_have_a_row_per_piece_of_the_vocabularys_file(tmp_path, words, dtype):
    made = TokenizerVocabulary(byte_level(LINES, 300).to_str().encode(), ["de"])
    for vocabulary, n_rows in ((words, words.size), (made, made.size), (made, made.size - 5)):
        table = torch.arange(2.0 * n_rows).view(n_rows, 2).to(dtype)
        save_torch({"weight": table, "bias": torch.ones(3)}, tmp_path / "t.safetensors")
        ids, values = read(tmp_path / "t.safetensors").rows(vocabulary)
        assert ids.tolist() == list(range(vocabulary.size - n_rows, vocabulary.size))
        np.testing.assert_array_equal(values, table.float().numpy())


def test_kept_files_give_the_same_rows_and_stand_for_the_file_they_were_made_of(tmp_path, words):
    path = tmp_path / "vectors"
    path.write_text(FORMS["glove"])
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    keep_table_files(tmp_path, {"input": read(path, words)}, {"input": content})
    kept = tmp_path / "init_tables" / "input.safetensors"
    for again in (read_table_file(kept, content, [words]), read(kept, words)):
        for one, other in zip(again.rows(words), read(path, words).rows(words), strict=True):
            np.testing.assert_array_equal(one, other)
    assert refusal(read_table_file, kept, "0" * 64, [words]).exit_code == 3


TEXTS = {
    "no piece": "zebra 1 2\n",
    "empty": "",
    "other width": "the 1 2\ndog 1 2 3\n",
    "no numbers": "the\n",
    "words for numbers": "the quick brown\n",
    "not finite": "the 1 nan\n",
    "binary word2vec": b"2 2\nthe \x00\x00\x80?\xff\x00\x00\x00\ndog \x00\x00\x80?\n",
}
TABLES = {
    "other rows": {"t": np.ones((5, 2), np.float32)},
    "several tables": {"a": np.ones((5, 2), np.float32), "b": np.ones((5, 2), np.float32)},
    "no table": {"a": np.ones(5, np.float32)},
    "whole numbers": {"a": np.ones((5, 2), np.int32)},
    "infinite": {"a": np.full((5, 2), np.inf, np.float32)},
}


def test_files_that_no_table_can_start_from_are_refused(tmp_path, words, golden):
    found = {}
    for name, text in TEXTS.items():
        path = tmp_path / "x.vec"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        found[name] = spelled(refusal(rows_of, path, words), tmp_path)
    path = tmp_path / "x.safetensors"
    for name, tensors in TABLES.items():
        save_file(tensors, path)
        found[name] = spelled(refusal(rows_of, path, words), tmp_path)
    found["changed"] = spelled(refusal(read_table_file, path, "0" * 64, [words]), tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    found["cut off"] = spelled(refusal(rows_of, path, words), tmp_path)
    (tmp_path / "x.vec.gz").write_text("the 1 2\n")
    found["not packed"] = spelled(refusal(rows_of, tmp_path / "x.vec.gz", words), tmp_path)
    golden("table_file_refusals", found)


@pytest.mark.parametrize(
    "about", ["[]", "{}", json.dumps({"sha256": "c", "names": ["a"]}), json.dumps({"sha256": "c", "names": 3})]
)
def test_kept_files_that_were_changed_are_refused(tmp_path, words, about):
    folder = tmp_path / "init_tables"
    folder.mkdir()
    save_file({"t": np.ones((2, 2), np.float32)}, folder / "input.safetensors")
    (folder / "input.safetensors.json").write_text(about)
    assert refusal(read_table_file, folder / "input.safetensors", "c", [words]).exit_code == 3
