"""Files of the library tokenizers, each of another kind, learned from a few lines."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

LINES = ["The cat sees the dog, naïve café", "a dog likes  the river €uro", "the bird finds a tree"] * 9
END = "<|endoftext|>"


def byte_level(lines: Iterable[str], size: int = 320) -> Tokenizer:
    """Bytes in pairs, as in GPT-2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def unigram(lines: Iterable[str], size: int = 80) -> Tokenizer:
    """Pieces with a mark for a blank, as in T5."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=["<s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def word_pieces(lines: Iterable[str], size: int = 100) -> Tokenizer:
    """Lower-case words and their parts, as in BERT: text is not spelled as it was."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


KINDS = {"byte_level": byte_level, "unigram": unigram, "word_pieces": word_pieces}


def write(path: Path, tokenizer: Tokenizer, **changes: object) -> Path:
    """Write a tokenizer.json; changes: to its body."""
    path.write_text(json.dumps(json.loads(tokenizer.to_str()) | changes))
    return path
