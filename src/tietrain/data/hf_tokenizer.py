"""A vocabulary as the tokenizer.json that transformers reads, and whether it gives the same pieces of a text."""

import importlib
import json
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from tietrain.data.hf_vocabulary import LIBRARY, TokenizerVocabulary
from tietrain.data.tokenizer import BLANK, BOS_ID, EOS_ID, ESCAPED, PAD_ID, UNK_ID, Vocabulary

# Names of the special pieces in tokenizer_config.json.
SPECIAL = {"pad_token": PAD_ID, "unk_token": UNK_ID, "bos_token": BOS_ID, "eos_token": EOS_ID}


def tokenizer_json(vocabulary: Vocabulary, task: str) -> dict[str, Any]:
    """The tokenizer of a vocabulary. A line of a language model begins after an end mark; of a translation it ends with one."""
    pieces = vocabulary.pieces
    end = {"SpecialToken": {"id": pieces[EOS_ID], "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    special = [
        {"id": i, "content": pieces[i], "special": True, "single_word": False}
        | {"lstrip": False, "rstrip": False, "normalized": False}
        for i in SPECIAL.values()
    ]
    body = vocabulary.renumbered() if isinstance(vocabulary, TokenizerVocabulary) else _of_sentencepiece(vocabulary)
    return body | {
        "added_tokens": [*special, *body.get("added_tokens", [])],
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [text, end] if task == "mt" else [end, text],
            "pair": [text, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {pieces[EOS_ID]: {"id": pieces[EOS_ID], "ids": [EOS_ID], "tokens": [pieces[EOS_ID]]}},
        },
    }


def _of_sentencepiece(vocabulary: Vocabulary) -> dict[str, Any]:
    prefix = [{"type": "Prepend", "prepend": vocabulary.prefix}] if vocabulary.prefix else []
    escapes = [_replace(character, name) for character, name in ESCAPED.items()]
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if vocabulary.prefix else []
    unescapes = [_replace(name, character) for character, name in reversed(ESCAPED.items())]
    fallback = [{"type": "ByteFallback"}] if vocabulary.byte_ids else []
    return {
        "version": "1.0",
        "normalizer": {"type": "Sequence", "normalizers": [*escapes, *prefix, _replace(" ", BLANK)]},
        "pre_tokenizer": _words() if vocabulary.kind == "word" else None,
        "model": _model(vocabulary),
        "decoder": {
            "type": "Sequence",
            "decoders": [*fallback, _replace(BLANK, " "), {"type": "Fuse"}, *strip, *unescapes],
        },
    }


def tokenizer_config(vocabulary: Vocabulary) -> dict[str, Any]:
    """What tokenizer_config.json says."""
    names = {name: vocabulary.pieces[i] for name, i in SPECIAL.items()}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}


def difference(vocabulary: Vocabulary, tokenizer: dict[str, Any], lines: Sequence[str]) -> str:
    """How a tokenizer differs from its vocabulary on lines of text, pieces and text again; empty if it does not."""
    if find_spec(LIBRARY) is None:
        return f"{LIBRARY}, which would show that it is exact, is not installed"
    if vocabulary.kind == "word" and vocabulary.byte_ids:
        return f"{LIBRARY} has no vocabulary of words that spells others in bytes"
    tokenizers = importlib.import_module(LIBRARY)
    try:
        made = tokenizers.Tokenizer.from_str(json.dumps(tokenizer))
    except Exception as e:  # the library raises nothing more special
        return f"{LIBRARY} cannot read it ({e})"
    found = [encoding.ids for encoding in made.encode_batch(list(lines), add_special_tokens=False)]
    expected = vocabulary.encode(lines)
    for line, ids, others in zip(lines, expected, found, strict=True):
        if ids != others:
            return f"it cuts {line[:40]!r} into other pieces"
    texts = made.decode_batch(expected)
    for line, ids, text in zip(vocabulary.decode(expected), expected, texts, strict=True):
        if UNK_ID not in ids and line != text:
            return f"it makes other text of the pieces of {line[:40]!r}"
    return ""


def _replace(what: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": what}, "content": by}


def _words() -> dict[str, Any]:
    return {"type": "Split", "pattern": {"String": BLANK}, "behavior": "MergedWithNext", "invert": False}


def _model(vocabulary: Vocabulary) -> dict[str, Any]:
    pieces = vocabulary.pieces
    ids = {piece: i for i, piece in enumerate(pieces)}
    has_bytes = bool(vocabulary.byte_ids)
    if vocabulary.kind == "word":
        return {"type": "WordLevel", "vocab": ids, "unk_token": pieces[UNK_ID]}
    if vocabulary.kind == "bpe":
        common = {"unk_token": pieces[UNK_ID], "fuse_unk": True, "byte_fallback": has_bytes}
        return {"type": "BPE", "vocab": ids, "merges": _merges(vocabulary, ids), **common}
    scored = [[piece, score] for piece, score in zip(pieces, vocabulary.scores, strict=True)]
    return {"type": "Unigram", "unk_id": UNK_ID, "vocab": scored, "byte_fallback": has_bytes}


def _merges(vocabulary: Vocabulary, ids: dict[str, int]) -> list[list[str]]:
    """Pairs of pieces that make a piece, the best piece first, as sentencepiece merges them."""
    merges = []
    for piece in sorted(ids, key=lambda piece: -vocabulary.scores[ids[piece]]):
        halves = [[piece[:i], piece[i:]] for i in range(1, len(piece))]
        merges += sorted(
            (pair for pair in halves if ids.keys() >= set(pair)), key=lambda pair: [ids[half] for half in pair]
        )
    return merges
