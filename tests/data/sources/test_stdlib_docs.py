import platform
from textwrap import dedent

import pytest

from refusals import refusal
from tietrain.config import DataConfig
from tietrain.data.sources import stdlib_docs
from tietrain.data.sources.corpora import load_corpus
from tietrain.data.sources.named import corpus_key
from tietrain.data.sources.stdlib_docs import docstrings, paragraphs, split_of, split_paragraphs
from tietrain.errors import DataError, SettingsError

SENTENCE = "Return the largest of the given numbers."


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small standard library; json is of train, html of valid, email of test."""
    assert [split_of(name) for name in ("json", "html", "email")] == ["train", "valid", "test"]
    modules = {
        "json/__init__.py": f'"""{SENTENCE}"""\nraise SystemExit("modules are not run")\n',
        "json/decoder.py": '"""Another sentence stands in this module.\n\nAnd here stands a second paragraph of it."""\n',
        "json/tests/test_it.py": '"""Tests are not part of the text at all."""\n',
        "html.py": f'"""{SENTENCE}"""\n\ndef f():\n    """This sentence stands in the valid split."""\n',
        "email/__init__.py": '"""This sentence stands in the test split."""\n',
        "email/broken.py": '"""This module is cut off and cannot be parsed."""\ndef f(:\n',
        "email/silent.py": "x = 1\n",
        "site-packages/installed.py": '"""What is installed is no standard library."""\n',
        "sitecustomize.py": '"""A file of this machine is no standard library."""\n',
    }
    for name, source in modules.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    monkeypatch.setattr(stdlib_docs, "stdlib_folder", lambda: tmp_path)
    return tmp_path


def data(**settings) -> DataConfig:
    return DataConfig(format="stdlib_docs", **settings)


def test_load_stdlib_docs_splits_modules_by_name(folder):
    corpus = load_corpus(data(), "lm")
    assert {name: split.texts["text"] for name, split in corpus.splits.items()} == {
        "train": ["Another sentence stands in this module.", "And here stands a second paragraph of it."],
        "valid": [SENTENCE, "This sentence stands in the valid split."],
        "test": ["This sentence stands in the test split."],
    }
    python = f"{platform.python_implementation()} {platform.python_version()}"
    assert corpus.name == f"stdlib_docs of {python}"
    assert corpus.notes == [
        f"docstrings of {python}",
        "train: 2 paragraphs of 1 docstrings in 1 modules",
        "valid: 2 paragraphs of 2 docstrings in 1 modules",
        "test: 1 paragraphs of 1 docstrings in 1 modules",
        "1 modules cannot be parsed and are left out",
    ]


def test_stdlib_key_and_fingerprint_know_the_sources(folder, monkeypatch):
    key, fingerprint = corpus_key(data(), "lm"), load_corpus(data(), "lm").fingerprint
    (folder / "json" / "tests" / "more.py").write_text("")
    assert corpus_key(data(), "lm") == key
    (folder / "html.py").write_text((folder / "html.py").read_text() + "# a comment\n")
    assert corpus_key(data(), "lm") != key
    assert load_corpus(data(), "lm").fingerprint == fingerprint
    key = corpus_key(data(), "lm")
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert corpus_key(data(), "lm") != key


def test_load_stdlib_docs_refuses_a_library_without_sources(folder):
    for path in [*folder.glob("*/*.py"), folder / "html.py"]:
        path.unlink()
    for use in (load_corpus, corpus_key):
        error = refusal(use, data(), "lm")
        assert isinstance(error, DataError) and str(folder) in error.problem


def test_stdlib_docs_refuses_translation_and_splits():
    assert refusal(corpus_key, data(), "mt").setting == "task=mt"
    error = refusal(lambda: data(splits={"train": ["x"]}))
    assert isinstance(error, SettingsError) and error.setting.startswith("data.splits=")


def test_docstrings_finds_those_of_every_definition():
    source = dedent(
        '''\
        # coding: latin-1
        "module \xe9 \\d"
        class A:
            """class

                deeper
            """
            async def f(self):
                "method"
                def inner(): "inner"
        if True:
            try:
                def g(): "g"
            except ValueError:
                def h(): "h"
            else:
                def i(): "i"
            finally:
                def j(): "j"
        match 1:
            case 1:
                def k(): "k"
        def no_docstring():
            x = "text"
        b = lambda: "text"
        '''
    ).encode("latin-1")
    found = ["module é \\d", "class\n\ndeeper", "method", "inner", "g", "h", "i", "j", "k"]
    assert sorted(docstrings(source)) == sorted(found)


BLOCKS = [
    ("Return the sum\nof   all numbers.", "Return the sum of all numbers."),
    ("    A paragraph may be indented\n    as a whole, too.", "A paragraph may be indented as a whole, too."),
    ("*path* is a string of characters (or a `Path`).", "*path* is a string of characters (or a `Path`)."),
    ("Ein Satz mit Umlauten: äöü éà ñ.", "Ein Satz mit Umlauten: äöü éà ñ."),
    ("Return the sum.", None),  # short
    ("Return the sum of all numbers", None),  # no sentence
    ("- this is one of a list of things.", None),
    (">>> this is the first line of a doctest.", None),
    ("A doctest stands in here:\n>>> print(1)\nand so it goes.", None),
    ("... and this is one that goes on.", None),
    ("$ this is what a shell shows you.", None),
    ("Set it with x = 1 and then go on.", None),
    ("Use std::vector for all of these things.", None),
    ("A definition and what it means:\n    this is indented further than it.", None),
    ("f(1), g(2), h(3), i(4), j(5), k(6), and so on.", None),  # letters
    ("A control\x07character makes no text at all.", None),
    ("Half a pair \ud800 makes no text at all.", None),
]


def test_paragraphs_keeps_prose_and_nothing_else():
    for block, kept in BLOCKS:
        assert list(paragraphs(f"{block}\n \n{block}")) == ([kept] * 2 if kept else []), block


def test_split_paragraphs_of_the_running_python():
    """Of a part of its real library, for every version this runs on; the slow test takes all."""
    sources = {m: p for m, p in stdlib_docs._sources(stdlib_docs.stdlib_folder()).items() if m < "c"}
    splits, n_broken = split_paragraphs(sources)
    assert n_broken == 0
    assert split_paragraphs(dict(sources)) == (splits, 0)
    lines = [line for split in splits.values() for line in split.lines]
    assert len(set(lines)) == len(lines) > 500
    assert splits["train"].lines and splits["valid"].lines
    assert all(line == " ".join(line.split()) and line.isprintable() for line in lines)


@pytest.mark.slow
def test_load_stdlib_docs_of_the_whole_library(tmp_path):
    corpus = load_corpus(data(cache=str(tmp_path)), "lm")
    counts = {name: columns["text"] for name, columns in corpus.about["splits"].items()}
    assert counts["train"]["bytes"] > 500_000 and min(c["bytes"] for c in counts.values()) > 50_000
    assert corpus.about["overlap"] == {"valid": {"lines": 0}, "test": {"lines": 0}}
