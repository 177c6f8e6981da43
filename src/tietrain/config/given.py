"""Vocabularies that are named instead of learned: what their files say of themselves, and which part of a model reads which.

And files of vectors that token tables start from.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tietrain.config.data import MODES, TOKENIZER
from tietrain.config.layout import Layout, make_layout
from tietrain.config.run import RunConfig
from tietrain.config.setting import check, settings_of
from tietrain.errors import DataError, SettingsError, eprint
from tietrain.runs import record as runs
from tietrain.runs.durable import entry_of, is_whole
from tietrain.runs.reading import is_folder, is_there, names_in

# Numbers of fields in sentencepiece_model.proto, by message.
PIECE, TRAINER, NORMALIZER = 1, 2, 3
PIECE_TYPE, MODEL_TYPE, SUFFIX, DUMMY_PREFIX, EXTRA_BLANKS, CHARSMAP = 3, 3, 24, 3, 4, 2
KINDS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
# Types of the pieces 0 to 3, which are pad, unk, bos and eos: control, unknown, control, control.
SPECIAL = [3, 2, 3, 3]
# Options of sentencepiece with which text and ids are as tietrain needs them.
OPTIONS = (
    "--pad_id=0 --unk_id=1 --bos_id=2 --eos_id=3 --normalization_rule_name=identity --add_dummy_prefix=false "
    "--remove_extra_whitespaces=false"
)


@dataclass(frozen=True)
class ModelFile:
    """A sentencepiece model or a tokenizer.json. n_pieces: that the file has; sha256: of its bytes."""

    n_pieces: int
    kind: str
    sha256: str


def use_given(config: RunConfig, stated: Collection[str]) -> RunConfig:
    """The configuration with the files, kind and sizes of the vocabularies that data.vocabulary names.

    Args:
        stated: keys that the command line sets; of those that say what a vocabulary is like, each must agree. Another value
            of a configuration file is not used, which stderr says.
    Raises:
        SettingsError: there is no such file or run, it does not fit the columns, or a setting beside it disagrees.
        DataError: a file is not a vocabulary, or not one that tietrain can use.
    """
    named = config.data.vocabulary
    if isinstance(named, dict):
        requested = f"data.vocabulary={{{', '.join(f'{column}: {file}' for column, file in named.items())}}}"
    else:
        requested = f"data.vocabulary={named}"
    for key, default in (("data.byte_fallback", False), ("data.character_coverage", 1.0)):
        value = getattr(config.data, key.removeprefix("data."))
        problem = f"{requested} is a vocabulary that was learned already"
        check(value == default and key not in stated, f"{key}={value}", problem, "leave one of the two out")
    layout = make_layout(config)
    root = Path(config.data.root or ".").expanduser()
    files = _files(named, requested, layout, root)
    models = {stack: read_model(root / file) for stack, file in files.items()}
    _check_shared(requested, layout, models)
    kinds = {model.kind for model in models.values()}
    check(len(kinds) == 1, requested, f"it mixes the kinds {' and '.join(sorted(kinds))}", "give files of one kind")
    (kind,) = kinds
    n_own = len(SPECIAL) + len(layout.tags) if kind == TOKENIZER else 0
    size = n_own + models[next(iter(layout.vocabularies))].n_pieces
    target_size = n_own + models[next(iter(layout.decoders.values()))].n_pieces
    for key, value, has in (
        ("model.vocab_size", config.model.vocab_size, size),
        ("model.target_vocab_size", config.model.target_vocab_size, target_size),
        ("data.kind", config.data.kind, kind),
    ):
        if value in (None, has):
            continue
        problem = f"it is {has} in {requested}"
        check(key not in stated, f"{key}={value}", problem, f"give {key}={has}, or leave it out")
        if value != settings_of(RunConfig)[key].default:
            eprint(f"tietrain: {key}={value} of a configuration file is not used: {problem}")
    contents = {stack: model.sha256 for stack, model in models.items()}
    mode = "auto"
    if config.task.name == "mt":
        mode = "joint" if len(set(contents.values())) == 1 else "separate"
    data = replace(config.data, vocabulary=mode, kind=kind, vocabulary_files=files, vocabulary_contents=contents)
    target_vocab_size = None if target_size == size else target_size
    model = replace(config.model, vocab_size=size, target_vocab_size=target_vocab_size)
    return replace(config, data=data, model=model)


def use_tables(config: RunConfig) -> RunConfig:
    """The configuration with the contents of the files that init_tables names.

    Raises:
        SettingsError: there is no such file, or the weights of a run are to be the start.
    """
    contents = {}
    for use, file in config.init_tables.files.items():
        requested = f"init_tables.{use}={file}"
        path = Path(file).expanduser()
        problem = f"init_from={config.init_from} gives every table its values"
        check(config.init_from is None, requested, problem, "leave one of the two out")
        remedy = "name a file of vectors, text or safetensors"
        check(is_there(path) and not is_folder(path), requested, f"there is no file {path}", remedy)
        contents[use] = entry_of(path)["sha256"]
    return replace(config, init_tables=replace(config.init_tables, contents=contents))


def _files(named: Any, requested: str, layout: Layout, root: Path) -> dict[str, str]:
    """Part of the model -> name of its file, from `root` on."""
    if isinstance(named, dict):
        columns = {column for of_vocabulary in layout.columns.values() for column in of_vocabulary}
        for column in sorted(columns.symmetric_difference(named)):
            problem = f"it names no file for {column}" if column in columns else f"no text is called {column}"
            raise SettingsError(requested, problem, f"name one file for each of {', '.join(sorted(columns))}")
        return {stack: _one_of(named, requested, layout.columns[name]) for stack, name in layout.vocabularies.items()}
    path = root / str(named)
    files = "a sentencepiece model, a tokenizer.json, a run directory, or a file for each column"
    remedy = f"choose from {', '.join(MODES)}, or name {files}"
    if not isinstance(named, str) or not is_there(path):
        raise SettingsError(requested, f"there is no file or run {path}", remedy)
    if not is_folder(path):
        return dict.fromkeys(layout.vocabularies, named)
    check(is_there(path / runs.RUN), requested, f"{path} is a folder and not a run directory", remedy)
    folder = path / runs.VOCABULARY
    if not is_whole(folder):
        raise DataError(requested, "the run's vocabularies are missing or damaged", "name another run, or a file")
    there = [name for name in names_in(folder) if name.endswith(".model")]
    is_one = len({read_model(folder / name).sha256 for name in there}) == 1
    found = {}
    for stack in layout.vocabularies:
        name = there[0] if is_one else f"{stack}.model"
        if name not in there:
            parts = ", ".join(name.removesuffix(".model") for name in there)
            problem = f"the run has vocabularies of {parts}, and this one needs that of {stack}"
            raise SettingsError(requested, problem, f"name files of {folder}: data.vocabulary={{COLUMN: FILE, ...}}")
        found[stack] = str(Path(named, runs.VOCABULARY, name))
    return found


def _one_of(named: Mapping[str, Any], requested: str, columns: Collection[str]) -> str:
    """The file of columns that one vocabulary is for."""
    files = {str(named[column]) for column in columns}
    problem = f"one part of the model reads {' and '.join(columns)}"
    check(len(files) == 1, requested, problem, "give these columns the same file")
    return files.pop()


def _check_shared(requested: str, layout: Layout, models: Mapping[str, ModelFile]) -> None:
    """SettingsError if two parts of the model that have one vocabulary are given two."""
    for stack, name in layout.vocabularies.items():
        for other, same in layout.vocabularies.items():
            problem = f"{stack} and {other} both have the vocabulary of {name}, and it gives them different ones"
            holds = name != same or models[stack].sha256 == models[other].sha256
            check(holds, requested, problem, "name one file for each column")


def is_tokenizer(content: bytes) -> bool:
    """Whether the file of a vocabulary is a tokenizer.json if it is one at all: a sentencepiece model never begins so."""
    return content.lstrip().startswith(b"{")


def read_model(path: Path) -> ModelFile:
    """What the file of a vocabulary says of itself, without the libraries, which a bad file could bring down.

    Raises:
        DataError: it is not a vocabulary, or it treats text or ids as tietrain does not.
    """
    if is_folder(path):
        raise DataError(str(path), "it is a folder", "name a file of it")
    content = runs.read_bytes(path)
    return _read_tokenizer(path, content) if is_tokenizer(content) else _read_sentencepiece(path, content)


def _read_tokenizer(path: Path, content: bytes) -> ModelFile:
    try:
        body = json.loads(content)
        vocabulary = body["model"]["vocab"]
        ids = set(range(len(vocabulary)) if isinstance(vocabulary, list) else vocabulary.values())
        ids.update(token["id"] for token in body["added_tokens"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(str(path), "it is not a tokenizer.json", "name one that the library tokenizers wrote") from None
    if not ids or ids != set(range(len(ids))):
        problem = f"the ids of its {len(ids):,} pieces are not 0, 1, 2 and so on"
        raise DataError(str(path), problem, "remove what it leaves out, or name another vocabulary")
    return ModelFile(len(ids), TOKENIZER, hashlib.sha256(content).hexdigest())


def _read_sentencepiece(path: Path, content: bytes) -> ModelFile:
    n_pieces = 0
    types: list[Any] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for number, value in _fields(content):
            if number == PIECE:
                n_pieces += 1
                if len(types) < len(SPECIAL):
                    types.append(dict(_fields(value)).get(PIECE_TYPE))
            elif number == TRAINER:
                trainer = dict(_fields(value))
            elif number == NORMALIZER:
                normalizer = dict(_fields(value))
        kind = KINDS[trainer.get(MODEL_TYPE, 1) if n_pieces else 0]
    except (ValueError, IndexError, TypeError, KeyError):
        remedy = "name a file that sentencepiece wrote, or a tokenizer.json"
        raise DataError(str(path), "it is not a sentencepiece model", remedy) from None
    problem = ""
    if types != SPECIAL:
        problem = "its first pieces are not pad, unk, bos and eos, in this order"
    elif normalizer.get(CHARSMAP):
        problem = "it changes characters of the text (its normalization rule)"
    elif normalizer.get(DUMMY_PREFIX, 1) or normalizer.get(EXTRA_BLANKS, 1) or trainer.get(SUFFIX, 0):
        problem = "it adds or removes blanks"
    if problem:
        raise DataError(str(path), problem, f"let tietrain learn one, or train it with {OPTIONS}")
    return ModelFile(n_pieces, kind, hashlib.sha256(content).hexdigest())


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protobuf message; ValueError or IndexError if it is not one."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("not a number")

    while at < len(message):
        number, wire = divmod(varint(), 8)
        value: Any
        if wire == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(wire) or (varint() if wire == 2 else -1)
            if size < 0 or at + size > len(message):
                raise ValueError("not a protobuf message")
            value = message[at : at + size]
            at += size
        yield number, value
