"""The vocabulary of a tokenizer.json: its own pieces behind those that tietrain needs."""

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tietrain.config.data import TOKENIZER
from tietrain.data.encoded import EncodedLines
from tietrain.data.tokenizer import BLANK, EOS_ID, SPECIAL_PIECES, TAG, UNK_ID, Vocabulary
from tietrain.errors import DataError, SettingsError

LIBRARY = "tokenizers"
_BYTE = re.compile("<0x[0-9A-F]{2}>")


def library() -> Any:
    """The library, loaded; SettingsError if it is not installed."""
    if importlib.util.find_spec(LIBRARY) is None:
        problem = f"{LIBRARY}, which reads a tokenizer.json, is not installed"
        raise SettingsError("data.vocabulary", problem, f"pip install 'tietrain[{LIBRARY}]'")
    return importlib.import_module(LIBRARY)


class TokenizerVocabulary(Vocabulary):
    """A tokenizer of the library tokenizers, which cuts text as it does there.

    The first ids are pad, unk, bos, eos and the tags; piece i of the file is `n_own + i`. So a file needs no special pieces, and
    what it calls special is text here. Its piece for unknown text, if it has one, is read as UNK_ID.

    Args:
        model: the content of the file. Its padding, truncation and dropout are not used.
    Raises:
        ValueError: it is not such a tokenizer. SettingsError: the library is not installed.
    """

    def __init__(self, model: bytes, tags: Sequence[str] = ()):
        self.kind, self.lossless, self._model = TOKENIZER, True, model
        self.tags = {tag: EOS_ID + 1 + i for i, tag in enumerate(tags)}
        body = self._body = json.loads(model) | {"truncation": None, "padding": None}
        body["model"] |= {"dropout": None} if "dropout" in body["model"] else {}
        tokenizers = library()
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(body))
        except Exception as e:  # the library raises nothing more special
            raise ValueError(f"{LIBRARY} cannot read it: {e}") from e
        self._tokenizer.encode_special_tokens = True  # as text
        self._unknown = body["model"].get("unk_id")
        if name := body["model"].get("unk_token"):
            self._unknown = self._tokenizer.token_to_id(name)
        self.n_own = len(SPECIAL_PIECES) + len(tags)
        self._ids = self.n_own + np.arange(self._tokenizer.get_vocab_size())
        if self._unknown is not None:
            self._ids[self._unknown] = UNK_ID
        self.prefix = ""
        with suppress(DataError):  # it may have no such letter
            self.prefix = " " if self.decode(self.encode(["a"])) == [" a"] else ""

    @property
    def size(self) -> int:
        return self.n_own + len(self._ids)

    @cached_property
    def pieces(self) -> list[str]:
        return [
            *SPECIAL_PIECES,
            *(f"{TAG}{tag}>" for tag in self.tags),
            *map(self._tokenizer.id_to_token, range(len(self._ids))),
        ]

    @cached_property
    def byte_ids(self) -> dict[int, int]:
        return {int(piece[3:5], 16): i for i, piece in enumerate(self.pieces) if _BYTE.fullmatch(piece)}

    @property
    def blank_id(self) -> int:
        return self.pieces.index(BLANK) if BLANK in self.pieces else UNK_ID

    @property
    def fingerprint(self) -> str:
        """sha256 over the tags and the bytes of the file."""
        return hashlib.sha256("\0".join([TOKENIZER, *self.tags, ""]).encode() + self._model).hexdigest()

    @property
    def _about(self) -> dict[str, Any]:
        return super()._about | {"tags": list(self.tags)}

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        return [self._ids[encoding.ids].tolist() for encoding in self._encodings(lines)]

    def starts(self, lines: Sequence[str], encoded: EncodedLines) -> NDArray[np.int32]:
        begins = [begin for encoding in self._encodings(lines) for begin, _ in encoding.offsets]
        return np.asarray(begins, dtype=np.int32)

    def renumbered(self) -> dict[str, Any]:
        """The body of a tokenizer.json whose ids are those of this vocabulary, and that has no special pieces yet."""
        model = dict(self._body["model"])
        if isinstance(model["vocab"], list):
            least = min(score for _, score in model["vocab"])
            own = [[piece, least] for piece in self.pieces[: self.n_own]]
            model |= {"vocab": [*own, *model["vocab"]], "unk_id": UNK_ID if self._unknown is not None else None}
        else:
            model["vocab"] = {piece: i for i, piece in enumerate(self.pieces)}
            model |= {"unk_token": self.pieces[UNK_ID]} if self._unknown is not None else {}
        added = [
            token | {"id": token["id"] + self.n_own} for token in self._body["added_tokens"] if not token["special"]
        ]
        return {**self._body, "model": model, "added_tokens": added}

    def _encodings(self, lines: Sequence[str]) -> list[Any]:
        try:
            encodings: list[Any] = self._tokenizer.encode_batch(list(lines), add_special_tokens=False)
        except Exception as e:  # the library raises nothing more special
            remedy = "name a vocabulary with bytes, or with a piece for unknown text"
            raise DataError("data.vocabulary", f"{LIBRARY} cannot cut a line of the text ({e})", remedy) from e
        return encodings

    def decode(self, lines: Iterable[Sequence[int]]) -> list[str]:
        theirs = [[self._unknown if i == UNK_ID else int(i) - self.n_own for i in ids] for ids in lines]
        known = [[i for i in ids if i is not None and i >= 0] for ids in theirs]
        texts: list[str] = self._tokenizer.decode_batch(known, skip_special_tokens=False)
        return [text.removeprefix(self.prefix) for text in texts]
