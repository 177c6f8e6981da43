"""The vocabularies a run keeps beside its weights, so that its directory is all that is needed to use it anywhere.

Those of a run of unknown origin are parsed first by a child process, so that what kills a parser kills the child.
"""

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tietrain.config.data import TOKENIZER
from tietrain.config.given import is_tokenizer
from tietrain.data.hf_vocabulary import LIBRARY, TokenizerVocabulary, library
from tietrain.data.tokenizer import Vocabulary, is_lossless
from tietrain.errors import DataError, SettingsError
from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole, write_directory

# Limits of a child that loads one model: CPU seconds and bytes of memory. A vocabulary of 256,000 pieces takes 1 s.
MAX_SECONDS, MAX_MEMORY = 60, 4 * 2**30
LIMIT = f"""
import resource, sys
for what, most in (("CPU", {MAX_SECONDS}), ("AS", {MAX_MEMORY}), ("FSIZE", 0), ("CORE", 0)):
    resource.setrlimit(getattr(resource, "RLIMIT_" + what), (most, most))
"""
# Every use that `Vocabulary` makes of a model, and `TokenizerVocabulary` of a tokenizer.json.
PARSE = """
import sentencepiece
model = sentencepiece.SentencePieceProcessor(model_proto=sys.stdin.buffer.read())
ids = range(model.get_piece_size())
pieces = [(model.id_to_piece(i), model.get_score(i), model.is_byte(i)) for i in ids]
model.decode([list(ids), model.encode(" a b")])
"""
PARSE_TOKENIZER = """
import contextlib, tokenizers
model = tokenizers.Tokenizer.from_str(sys.stdin.buffer.read().decode())
ids = range(model.get_vocab_size())
pieces = [model.id_to_token(i) for i in ids]
model.decode(list(ids))
with contextlib.suppress(Exception):  # it may have no such letters
    model.encode(" a b")
"""


def check_foreign_model(path: Path) -> None:
    """DataError unless a child process can parse a sentencepiece model, or a tokenizer.json, and use it.

    It guards against a file that crashes, hangs or bloats the parser, not against one that takes it over.

    Raises:
        SettingsError: the library that reads it is not installed.
    """
    model = runs.read_bytes(path)
    kind = "sentencepiece model"
    parse = PARSE
    if is_tokenizer(model):
        library()
        kind = f"tokenizer.json of {LIBRARY}"
        parse = PARSE_TOKENIZER
    command = [sys.executable, "-I", "-c", LIMIT + parse]
    try:
        code = subprocess.run(command, input=model, capture_output=True, timeout=2 * MAX_SECONDS).returncode
    except subprocess.TimeoutExpired:
        code = -signal.SIGXCPU
    if code:
        how = f"it ended the parser by {signal.Signals(-code).name}" if code < 0 else f"it is not a {kind}"
        raise DataError(str(path), how, "restore the run's own")


def load_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary `Vocabulary.save` wrote; DataError if the files are missing or damaged."""
    try:
        about = runs.read_json(path.with_name(path.name + ".json"))
        vocabulary = _made(runs.read_bytes(path), about["kind"], about.get("tags", ()))
        vocabulary.lossless = about["lossless"]
        intact = vocabulary.fingerprint == about["fingerprint"]
    except (ValueError, KeyError, TypeError, RuntimeError) as e:
        raise DataError(str(path), f"the vocabulary cannot be read ({e})", "delete it, it will be made again") from e
    if not intact:
        raise DataError(str(path), "the vocabulary is not the one that was written", "delete it, it will be made again")
    return vocabulary


def _made(model: bytes, kind: str, tags: Sequence[str]) -> Vocabulary:
    """A vocabulary of the content of its file. tags: read only where the file has no place for them."""
    return TokenizerVocabulary(model, tags) if kind == TOKENIZER else Vocabulary(model, kind)


def given_vocabulary(path: Path, kind: str, sha256: str, tags: Sequence[str], lines: Iterable[str]) -> Vocabulary:
    """The vocabulary that data.vocabulary names, for training text of these lines.

    Args:
        sha256: of its bytes, by which the run is known. tags: those that the run needs.
    Raises:
        DataError: the file is not a vocabulary, or was changed. SettingsError: it has other tags.
    """
    check_foreign_model(path)
    model = runs.read_bytes(path)
    if hashlib.sha256(model).hexdigest() != sha256:
        raise DataError(str(path), "it is not the vocabulary that the run began with", "restore it")
    vocabulary = _made(model, kind, tags)
    if tuple(vocabulary.tags) != tuple(tags):
        has, needs = (", ".join(names) or "none" for names in (vocabulary.tags, tags))
        problem = f"of pieces that stand for no text it has {has}, and the run needs {needs}"
        raise SettingsError(f"data.vocabulary={path}", problem, "use that of a run with the same task and directions")
    vocabulary.lossless = is_lossless(vocabulary, lines)
    return vocabulary


def save_vocabularies(run: Path, vocabularies: Mapping[str, Vocabulary]) -> None:
    """Write the vocabulary of every stack into a run directory."""

    def fill(folder: Path) -> None:
        for stack, vocabulary in vocabularies.items():
            vocabulary.save(folder / f"{stack}.model")

    write_directory(run / runs.VOCABULARY, fill)


def load_vocabularies(run: Path, stacks: Iterable[str], fingerprints: Mapping[str, Any]) -> dict[str, Vocabulary]:
    """Stack -> vocabulary, as a run directory holds them.

    Args:
        fingerprints: of `run.json`.
    Raises:
        DataError: they are missing or damaged, or not those the run was trained with.
    """
    folder = run / runs.VOCABULARY
    if not is_whole(folder):
        problem = "the run's vocabularies are missing or damaged"
        raise DataError(str(folder), problem, "restore the folder, or run it again")
    vocabularies = {}
    for stack in stacks:
        check_foreign_model(folder / f"{stack}.model")
        vocabularies[stack] = load_vocabulary(folder / f"{stack}.model")
    for stack, vocabulary in vocabularies.items():
        if vocabulary.fingerprint != fingerprints.get(f"vocabulary.{stack}"):
            raise DataError(str(folder), f"the vocabulary of the {stack} is not the run's", "restore the run's own")
    return vocabularies
