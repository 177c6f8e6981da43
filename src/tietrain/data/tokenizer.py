"""Vocabularies: text to piece ids and back, exactly. The ids of pad, unk, bos and eos are fixed here and only here."""

import functools
import hashlib
import io
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from tietrain.config.data import TOKENIZER
from tietrain.data.beside import call_beside
from tietrain.data.encoded import EncodedLines, Ids
from tietrain.data.stored_lines import chunks
from tietrain.errors import DataError, SettingsError

PAD_ID, UNK_ID, BOS_ID, EOS_ID = 0, 1, 2, 3
# Lines a vocabulary is learned from, and characters of all of them, of which each takes sentencepiece 20 bytes of memory; of
# a larger corpus every k-th line is read, and every character.
MAX_TRAINING_LINES, MAX_TRAINING_TEXT = 500_000, 60_000_000
# Words that are checked at a time: those of a large text do not fit in memory.
WORDS_AT_ONCE = 500_000
# sentencepiece accepts no lower character_coverage.
LEAST_COVERAGE = 0.98
# Longer lines are learned from in parts: unigram takes minutes over one endless word.
MAX_TRAINING_CHARACTERS = 4000

# sentencepiece writes a blank as U+2581, skips training lines with U+2585, and takes line breaks and US for ends of lines.
# All of them occur in real text. They are spelled with an escape character (SUB), so that no text can contain them or
# the name of a special piece.
BLANK = "\u2581"
_ESCAPE = "\x1a"
ESCAPED = {c: f"{_ESCAPE}{i}" for i, c in enumerate("\x1a\u2581\u2585\n\r\x1f")}
_UNESCAPED = {v: k for k, v in ESCAPED.items()}
_NEEDS_ESCAPE = re.compile("[" + "".join(ESCAPED) + "]")
_IS_ESCAPE = re.compile("|".join(_UNESCAPED))
# Names of the pieces 0 to 3, and what those of tags begin with, as in `<2de>`. Source: Johnson et al. 2017.
PAD, UNK, BOS, EOS = SPECIAL_PIECES = tuple(f"{_ESCAPE}<{name}>" for name in ("pad", "unk", "s", "/s"))
TAG = _ESCAPE + "<2"
# Stands before every line, by kind of vocabulary; a blank for other kinds.
_PREFIX = {"char": ""}


class Vocabulary:
    """Pieces of one or more languages, in a fixed order.

    Every line is read as if a blank stood before it, so that a word is the same piece at the start of a line and inside
    it; decoding takes that blank away (not for `char`, where it would be one more token).

    lossless: text that needs no UNK decodes to itself; checked on every word of the training text.
    prefix: what stands before every line but an empty one.
    n_own: pieces before the first one of the file it was made of.
    tags: name -> piece that stands for it, such as a language to write; no text holds such a piece, and it decodes to none.
    """

    n_own = 0

    def __init__(self, model: bytes, kind: str, lossless: bool = True):
        self.kind, self.lossless, self._model = kind, lossless, model
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.prefix = _PREFIX.get(kind, " ")
        self.tags: dict[str, int] = {}
        while (i := EOS_ID + 1 + len(self.tags)) < self.size and self._pieces.is_control(i):
            self.tags[self._pieces.id_to_piece(i).removeprefix(TAG).removesuffix(">")] = i

    @property
    def size(self) -> int:
        """Pieces, the four special ones and the tags included."""
        return self._pieces.get_piece_size()

    @property
    def pieces(self) -> list[str]:
        """Every piece in the order of ids; U+2581 is a blank."""
        return [self._pieces.id_to_piece(i) for i in range(self.size)]

    @cached_property
    def scores(self) -> list[float]:
        """What sentencepiece learned of every piece, in the order of ids."""
        return [self._pieces.get_score(i) for i in range(self.size)]

    @cached_property
    def byte_ids(self) -> dict[int, int]:
        """Byte -> the piece that stands for it; empty without byte fallback."""
        return {int(piece[1:-1], 16): i for i, piece in enumerate(self.pieces) if self._pieces.is_byte(i)}

    @property
    def blank_id(self) -> int:
        """The piece that is a blank alone; UNK_ID if there is none."""
        return int(self._pieces.piece_to_id("\u2581"))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over kind, pieces and scores: the file's own bytes vary with the options it was learned under."""
        digest = hashlib.sha256(self.kind.encode())
        for i, piece in enumerate(self.pieces):
            digest.update(f"\0{piece}\0{self._pieces.get_score(i)!r}".encode())
        return digest.hexdigest()

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """Piece ids of each line, without bos and eos."""
        spelled = [_spell(line, self.prefix) for line in lines]
        if self.kind == "word" and not self._pieces.is_byte(EOS_ID + 1 + len(self.tags)):
            # sentencepiece would make one <unk> of unknown words in a row; a word perplexity counts each.
            return [[self._pieces.piece_to_id(f"\u2581{word}") for word in line.split(" ")[1:]] for line in spelled]
        ids: list[list[int]] = self._pieces.encode(spelled)
        return ids

    def starts(self, lines: Sequence[str], encoded: EncodedLines) -> NDArray[np.int32]:
        """The character of its line at which each piece begins, for the pieces of all lines in a row.

        What stands before the first character counts as part of it, and a piece that begins within a character (in its
        bytes, or in the name of one that is spelled with an escape) begins at that character.

        Args:
            encoded: `encode(lines)`.
        """
        spelled = [_spell(line, self.prefix) for line in lines]
        sizes = self._sizes[encoded.values]
        ends = np.concatenate([[0], np.cumsum(sizes)])
        line_starts = ends[encoded.offsets[:-1]]
        # The later bytes of a character are of size 0 and begin where its first byte does.
        starts: NDArray[np.int64] = ends[1:] - np.maximum(sizes, 1) - np.repeat(line_starts, encoded.lengths)
        n_spelled = np.fromiter(map(len, spelled), dtype=np.int64, count=len(spelled))
        for row in np.flatnonzero(ends[encoded.offsets[1:]] - line_starts != n_spelled).tolist():
            at = slice(encoded.offsets[row], encoded.offsets[row + 1])
            starts[at] = self._starts_with_unknown(spelled[row], encoded.values[at])
        starts = np.maximum(starts - len(self.prefix), 0)
        n_plain = np.fromiter((len(line) + len(self.prefix) for line in lines), dtype=np.int64, count=len(lines))
        for row in np.flatnonzero(n_spelled > n_plain).tolist():
            at = slice(encoded.offsets[row], encoded.offsets[row + 1])
            widths = [len(ESCAPED.get(c, c)) for c in lines[row]]
            starts[at] = np.repeat(np.arange(len(widths)), widths)[starts[at]]
        return starts.astype(np.int32)

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        """Characters of each piece, by id; 0 for <unk>, whose size depends on the text, and for bytes but a first."""

        def size(i: int, piece: str) -> int:
            if self._pieces.is_byte(i):
                return int(int(piece[1:-1], 16) & 0xC0 != 0x80)  # 10xxxxxx is never the first byte of a character
            return 0 if i == UNK_ID else len(piece)

        return np.asarray([size(i, piece) for i, piece in enumerate(self.pieces)])

    def _starts_with_unknown(self, spelled: str, ids: Ids) -> list[int]:
        """Where the pieces of one line begin: an <unk> is a word, else all characters in a row that are not pieces."""
        if self.kind == "word":
            words = [len(word) + 1 for word in spelled.split(" ")[1:]]
            return list(itertools.accumulate(words[:-1], initial=0))
        starts: list[int] = []
        at = 0
        for i in ids:
            starts.append(at)
            at += self._sizes[i]
            while i == UNK_ID and at < len(spelled) and spelled[at].replace(" ", "\u2581") not in self._characters:
                at += 1
        return starts

    @cached_property
    def _characters(self) -> frozenset[str]:
        """Characters that are pieces."""
        return frozenset(piece for piece in self.pieces if len(piece) == 1)

    def decode(self, lines: Iterable[Sequence[int]]) -> list[str]:
        """The text of each list of ids; pad, bos and eos are nothing, unk is U+2047 between blanks."""
        texts = self._pieces.decode([[int(i) for i in ids if i not in (PAD_ID, BOS_ID, EOS_ID)] for ids in lines])
        # U+2581 is left of words that were spelled in bytes.
        plain = (text.replace("\u2581", " ").removeprefix(self.prefix) for text in texts)
        return [_IS_ESCAPE.sub(lambda m: _UNESCAPED[m.group()], text) for text in plain]

    def save(self, path: Path) -> None:
        """Write the model, and beside it `path` + `.json` with what the model does not say."""
        path.write_bytes(self._model)
        path.with_name(path.name + ".json").write_text(json.dumps(self._about), encoding="utf-8")

    @property
    def _about(self) -> dict[str, Any]:
        return {"kind": self.kind, "lossless": self.lossless, "fingerprint": self.fingerprint}


def train_vocabulary(
    lines: Iterable[str],
    kind: str,
    size: int,
    byte_fallback: bool = False,
    tags: Sequence[str] = (),
    coverage: float = 1.0,
) -> Vocabulary:
    """A vocabulary learned from lines of text: at most `size` pieces, fewer if the text supports no more.

    The same lines give the same pieces. No normalisation: text is taken as it is.

    Args:
        lines: read several times.
        coverage: the frequent characters that make up this share of the text are pieces. Bytes spell the others, and for
            `word` the words that hold them, so below 1 it needs `byte_fallback`.
    Raises:
        SettingsError: `size` is smaller than the alphabet; the message names the least size that works, and with
            `byte_fallback` the coverage that makes this one work.
        DataError: the lines hold no text.
    Source: Kudo 2018 (unigram), Sennrich et al. 2016 (bpe), as implemented by Kudo & Richardson 2018 (sentencepiece).
    """
    if not any(lines):
        raise DataError("the training text", "it is empty", "give files with text in data.splits.train")
    model = io.BytesIO()
    learned = _training_lines(lines, kind)
    if coverage < LEAST_COVERAGE:
        counts = Counter(itertools.chain.from_iterable(_training_lines(lines, kind)))
        learned, coverage = _without(left_to_bytes(counts, coverage), learned, kind), 1.0
    train = functools.partial(
        sentencepiece.SentencePieceTrainer.train,
        sentence_iterator=learned,
        model_writer=model,
        model_type=kind,
        vocab_size=size,
        pad_id=PAD_ID,
        unk_id=UNK_ID,
        bos_id=BOS_ID,
        eos_id=EOS_ID,
        pad_piece=PAD,
        unk_piece=UNK,
        bos_piece=BOS,
        eos_piece=EOS,
        control_symbols=[f"{TAG}{tag}>" for tag in tags],
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        character_coverage=coverage,
        byte_fallback=byte_fallback,
        hard_vocab_limit=False,
        max_sentence_length=8 * MAX_TRAINING_CHARACTERS,
        num_threads=1,
        minloglevel=2,
    )
    try:
        call_beside(train)  # a signal that stops the run need not wait for its end
    except RuntimeError as e:
        too_small = re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(e))
        if not too_small and "vocab_size) >=" not in str(e):
            raise DataError("learning a vocabulary", f"sentencepiece says: {e}", "check data.splits.train") from None
        bytes_too = ", and 256 bytes (data.byte_fallback=true)" if byte_fallback else ""
        problem = f"there are more special pieces and characters of the training text{bytes_too}"
        least = int(too_small.group(1)) if too_small else 260 + len(tags)
        room = size - 260 - len(tags)
        wider = _coverage_of(room, _training_lines(lines, kind)) if byte_fallback and room > 0 else 0
        or_bytes = f", or data.character_coverage={wider} to spell rare characters in bytes" if wider else ""
        raise SettingsError(f"model.vocab_size={size}", problem, f"give at least {least}{or_bytes}") from None
    vocabulary = Vocabulary(model.getvalue(), kind)
    vocabulary.lossless = is_lossless(vocabulary, lines)
    return vocabulary


def is_lossless(vocabulary: Vocabulary, lines: Iterable[str]) -> bool:
    """Whether each word of the lines that needs no UNK decodes to itself; of a tokenizer.json each line."""
    texts = chunks(lines) if vocabulary.kind == TOKENIZER else _words(lines)
    return all(map(functools.partial(_decodes, vocabulary), texts))


def _words(lines: Iterable[str]) -> Iterator[list[str]]:
    """The words of the lines, some at a time; of these each once."""
    words: set[str] = set()
    for line in lines:
        words.update(line.split(" "))
        if len(words) >= WORDS_AT_ONCE:
            yield list(words)
            words.clear()
    yield list(words)


def _decodes(vocabulary: Vocabulary, words: list[str]) -> bool:
    spelled = vocabulary.encode(words)
    read = vocabulary.decode(spelled)
    return all(UNK_ID in ids or word == text for ids, word, text in zip(spelled, words, read, strict=True))


def left_to_bytes(counts: Mapping[str, int], coverage: float) -> set[str]:
    """The characters that are not pieces at a coverage: sentencepiece takes the frequent ones until their share reaches it.

    Args:
        counts: character -> how often it occurs.
    """
    ordered = sorted(counts, key=lambda c: (-counts[c], c))
    shares = np.cumsum([counts[c] for c in ordered]) / max(1, sum(counts.values()))
    return set(ordered[1 + int(np.searchsorted(shares, coverage)) :])


def _without(rare: set[str], lines: Iterable[str], kind: str) -> Iterator[str]:
    """The lines cut where characters are left to bytes, so that no piece holds one; for `word` without such words."""
    for line in lines:
        if kind == "word":
            line = " ".join(word for word in line.split(" ") if rare.isdisjoint(word))
        yield from filter(None, "".join("\n" if c in rare else c for c in line).split("\n"))


def _coverage_of(n_characters: int, lines: Iterable[str]) -> float:
    """The share of a text that its most frequent characters make up, rounded down; of all characters 1."""
    counts = Counter(itertools.chain.from_iterable(lines))
    covered = sum(n for _, n in counts.most_common(n_characters))
    return math.floor(10_000 * covered / sum(counts.values())) / 10_000


def _training_lines(lines: Iterable[str], kind: str) -> Iterator[str]:
    """What sentencepiece learns from: a regular sample, lines with characters the sample lacks, long lines in parts."""
    for line in _sample(lines):
        spelled = _spell(line, _PREFIX.get(kind, " "))
        yield from (spelled[i : i + MAX_TRAINING_CHARACTERS] for i in range(0, len(spelled), MAX_TRAINING_CHARACTERS))


def _sample(lines: Iterable[str]) -> Iterator[str]:
    n_lines = n_characters = 0
    for line in lines:
        n_lines += bool(line)
        n_characters += len(line)
    step = max(-(-n_lines // MAX_TRAINING_LINES), -(-n_characters // MAX_TRAINING_TEXT))
    alphabet: set[str] = set()
    for line in itertools.islice(filter(None, lines), None, None, step):
        alphabet.update(line)
        yield line
    if step > 1:
        others = re.compile(f"[^{re.escape(''.join(alphabet))}]")
        yield from filter(others.search, lines)


def _spell(line: str, prefix: str) -> str:
    return prefix + _NEEDS_ESCAPE.sub(lambda m: ESCAPED[m.group()], line) if line else line
