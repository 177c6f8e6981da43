import dataclasses
import itertools
import json
import pydoc_data.topics
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refusals import refusal, spelled
from tietrain.config import DataConfig, ModelConfig, RunConfig, TaskConfig
from tietrain.data.grammar.corpus import generate
from tietrain.data.grammar.settings import GrammarSettings
from tietrain.data.prepare import prepare, prepare_scored
from tietrain.data.sources.corpora import load_corpus
from tietrain.data.sources.files import Corpus, Split
from tietrain.data.sources.stdlib_docs import load_stdlib_docs
from tietrain.data.text_conventions import FEWEST_LINES, convention_notes, find_conventions, find_in_corpus
from tietrain.errors import DataError, SettingsError

N = 40
PLAIN = [f"The {noun} saw {i} boats, and it left." for i in range(N // 2) for noun in ("cat", "dog")]
HAN = "我们昨天去了北京的一个很大的公园看花"
TMX = ['<?xml version="1.0"?>', '<tmx version="1.4">', "<body>"]
for number in range(N):
    TMX += [
        f'<tu><tuv xml:lang="en"><seg>cat {number}</seg></tuv>',
        f'<tuv xml:lang="de"><seg>Katze {number}</seg></tuv></tu>',
    ]
CONLLU = ["# sent_id = 1", "# text = A cat sleeps"]
for number in range(N):
    CONLLU.append("\t".join([str(1 + number % 5), "cat", "cat", "NOUN", "NN", "_", "0", "root", "_", "_"]))
# Convention -> lines that follow it.
POSITIVE = {
    "Chinese": [HAN[i % 7 :] + "。" + HAN[: i % 9] for i in range(N)],
    "Japanese": [f"私は{i}年前に東京でねこをみました。とてもかわいいとおもいます。" for i in range(N)],
    "Thai": [f"วันนี้อากาศดีมากฉันจะไปตลาด {i} กับเพื่อนของฉัน" for i in range(N)],
    "Lao": [f"ມື້ນີ້ອາກາດດີຫຼາຍຂ້ອຍຈະໄປຕະຫຼາດ {i}" for i in range(N)],
    "Khmer": [f"ថ្ងៃនេះអាកាសធាតុល្អណាស់ខ្ញុំនឹងទៅផ្សារ {i}" for i in range(N)],
    "Burmese": [f"ယနေ့ရာသီဥတုအလွန်ကောင်းသည် {i} ကျွန်တော်ဈေးသို့သွားမည်" for i in range(N)],
    "subword-nmt": [f"The c@@ at saw {i} bo@@ ats" for i in range(N)],
    "sentencepiece": [f"\u2581The \u2581c at \u2581saw \u2581{i} \u2581bo ats" for i in range(N)],
    "tokenized": [f"The cat &apos;s well @-@ known , {i} boats left ." for i in range(N)],
    "TMX": TMX,
    "XML or SGML with <seg>": [
        "<mteval>",
        *(f'<seg id="{i}"> The cat saw {i} boats. </seg>' for i in range(N)),
        "</mteval>",
    ],
    "HTML": [
        "<!DOCTYPE html>",
        "<html>",
        *(f"<p class='x'>The cat saw <b>{i}</b> boats.</p>" for i in range(N)),
        "</html>",
    ],
    "XML": ['<?xml version="1.0"?>', "<cats>", *(f"  <cat n='{i}'/>" for i in range(N)), "</cats>"],
    "markup": [f"<p>The cat saw {i} boats.</p>" for i in range(N)],
    "CoNLL-U": CONLLU,
    "numbers and times of subtitles": [
        line for i in range(N) for line in (f"{i}", f"00:00:{i},000 --> 00:00:{i},900", f"The cat saw {i} boats.")
    ],
    "|||": [f"The cat saw {i} boats. ||| Die Katze sah {i} Boote." for i in range(N)],
    "quoted": [f'"The ""cat"" saw {i} boats."' for i in range(N)],
    "table": [f"{i}\tThe cat saw {i} boats.\tanimals" for i in range(N)],
}
# What looks a little like one of them and is none.
NEGATIVE = {
    "plain": PLAIN,
    "few lines": POSITIVE["TMX"][: FEWEST_LINES - 1],
    "segmented Chinese": [" ".join(re.findall("..?", HAN[i % 7 :])) for i in range(N)],
    "segmented Thai": [f"วันนี้ อากาศ ดี มาก ฉัน จะ ไป ตลาด {i}" for i in range(N)],
    "Korean": [f"오늘은 날씨가 좋아서 {i} 시에 공원에 갔습니다." for i in range(N)],
    "English about Chinese": [f"The sentence {HAN} has {i} words in English." for i in range(N)],
    "difference of files": [f"@@ -{i},3 +{i},4 @@ def main():" for i in range(N)],
    "words of prepared text": [f"<unk> saw {i} <unk>" for i in range(N)] + [f"<s> the cat {i} </s>" for i in range(N)],
    "tags": [f"<2de> The cat saw {i} boats > 2" for i in range(N)],
    "French": [f"Le chat ! A-t-il vu {i} bateaux ? Oui ; « bien sûr », dit-il : voilà." for i in range(N)],
    "code": [f"\tif (a < b && c > {i}) {{ x = \"y\", z = '.' ; }}" for i in range(N)],
    "headings": [f"= = Section {i} = =" if i % 5 == 0 else f"# The cat saw {i} boats." for i in range(N)],
    "dialogue": ['"Yes," said the cat.', '"No," said the dog, "and not now."', '"Why?"', '"Because."'] * 10,
    "docstrings": ['"""The cat."""', 'name = "cat"', 'return f"{name}s"', "def cats():"] * 10,
    "lists": [f"{i}.\tThe cat saw boats" if i % 10 else "Cats" for i in range(N)],
    "blank": [" "] * N,
}


@pytest.mark.parametrize("convention", POSITIVE)
def test_find_conventions_knows(convention):
    found = find_conventions(POSITIVE[convention])
    assert list(found) == [convention] and 0.3 <= found[convention] <= 1
    blank = itertools.chain.from_iterable((line, "") for line in POSITIVE[convention])
    assert find_conventions(blank) == found


@pytest.mark.parametrize("text", NEGATIVE)
def test_find_conventions_passes_over(text):
    assert find_conventions(NEGATIVE[text]) == {}


def test_find_conventions_knows_a_table_that_quotes_only_quotation_marks():
    assert find_conventions([*PLAIN[:38], *POSITIVE["quoted"][:2]]) == {"quoted": 2 / 40}


def test_find_conventions_looks_at_a_bounded_sample():
    endless = itertools.chain(PLAIN * 60, itertools.repeat("<p>" + "x" * 10_000 + "</p>"))
    assert find_conventions(endless) == {}
    assert list(find_conventions(["<p>" + "x" * 1_000_000 + "</p>"] * N)) == ["markup"]


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from(["latin", "other"]), st.sampled_from(["lm", "mt"]))
def test_find_conventions_finds_none_in_generated_text(seed, difficulty, alphabet, task):
    columns = ("a", "b_mt", "b", "c") if task == "mt" else ()
    made = generate(GrammarSettings(task, "tiny", seed, seed, difficulty, alphabet, columns))
    assert find_in_corpus(Corpus("", [], {name: Split(split.texts) for name, split in made.splits.items()})) == {}


@pytest.fixture(scope="module")
def python() -> dict[str, list[str]]:
    """Prose, reference and code of the running Python."""
    read = load_stdlib_docs(DataConfig(format="stdlib_docs"), "lm").splits["train"].texts["text"]
    code = itertools.chain.from_iterable(
        path.read_text(encoding="utf-8", errors="ignore").split("\n")
        for path in sorted(Path(json.__file__).parents[1].glob("[a-h]*.py"))
    )
    topics = "\n".join(pydoc_data.topics.topics.values())
    return {"docstrings": read, "reference": topics.split("\n"), "code": list(code)}


@pytest.mark.parametrize("source", ["docstrings", "reference", "code"])
def test_find_conventions_finds_none_in_any_part_of_real_text(python, source):
    lines = python[source]

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, len(lines) - 1), st.integers(100, 2000))
    def check(start, length):
        assert find_conventions(lines[start : start + length]) == {}

    check()


def config_of(task: str = "mt", target: list[str] = PLAIN, source: list[str] = PLAIN, **settings) -> tuple:
    """What is found in a text, and a configuration that reads it."""
    columns = {"en": source, "xx": target} if task == "mt" else {"text": target}
    found = find_in_corpus(Corpus("", list(columns), {"train": Split(columns), "valid": Split(columns)}))
    splits = {"train": ["t.en", "t.xx"], "valid": ["v.en", "v.xx"]}
    keys = {"format", "kind"}
    data = DataConfig(
        **{"format": "text", "columns": list(columns), "splits": splits}
        | {k: v for k, v in settings.items() if k in keys}
    )
    return found, RunConfig(task=TaskConfig(task, **{k: v for k, v in settings.items() if k not in keys}), data=data)


SILENT = {
    "plain": {},
    "BLEU of characters": {"target": POSITIVE["Thai"], "bleu_tokenize": "char"},
    "BLEU of Chinese": {"target": POSITIVE["Chinese"], "bleu_tokenize": "zh"},
    "no BLEU": {"target": POSITIVE["Chinese"], "metrics": ["chrf"]},
    "Chinese is read": {"source": POSITIVE["Chinese"]},
    "BLEU of tokens": {"target": POSITIVE["tokenized"], "bleu_tokenize": "none"},
    "tokens are read": {"source": POSITIVE["tokenized"]},
    "model of tokens": {"task": "lm", "target": POSITIVE["tokenized"]},
    "a table in a cell": {"target": POSITIVE["table"], "format": "jsonl"},
}


@pytest.mark.parametrize("name", SILENT)
def test_convention_notes_is_silent_where_no_score_changes(name):
    assert convention_notes(*config_of(**SILENT[name])) == []


NOTED = {
    "translation to Chinese": {"target": POSITIVE["Chinese"]},
    "translation to Japanese by zh": {"target": POSITIVE["Japanese"], "bleu_tokenize": "zh"},
    "model of Thai": {"task": "lm", "target": POSITIVE["Thai"]},
    "masked model of Chinese": {"task": "mlm", "target": POSITIVE["Chinese"]},
    "pieces are read": {"source": POSITIVE["subword-nmt"]},
    "pieces on purpose": {"target": POSITIVE["subword-nmt"], "bleu_tokenize": "none"},
    "model of pieces": {"task": "lm", "target": POSITIVE["sentencepiece"]},
    "tokens": {"target": POSITIVE["tokenized"]},
    "model of HTML": {"task": "lm", "target": POSITIVE["HTML"]},
    "sentences in tags": {"target": POSITIVE["markup"]},
    "quotes": {"task": "lm", "target": POSITIVE["quoted"]},
    "table": {"task": "lm", "target": POSITIVE["table"]},
    "fields": {"task": "lm", "target": POSITIVE["|||"]},
}
REFUSED = {
    "words of Chinese": {"task": "lm", "target": POSITIVE["Chinese"], "kind": "word"},
    "translation into pieces": {"target": POSITIVE["subword-nmt"]},
    "translation into sentencepiece": {"target": POSITIVE["sentencepiece"], "metrics": ["chrf"]},
    "TMX": {"source": POSITIVE["TMX"]},
    "model of TMX": {"task": "lm", "target": POSITIVE["TMX"]},
    "segments": {"target": POSITIVE["XML or SGML with <seg>"]},
    "HTML": {"target": POSITIVE["HTML"]},
    "XML": {"target": POSITIVE["XML"]},
    "CoNLL-U": {"task": "lm", "target": POSITIVE["CoNLL-U"]},
    "subtitles": {"task": "lm", "target": POSITIVE["numbers and times of subtitles"]},
    "quotes of a table": {"target": POSITIVE["quoted"], "format": "tsv"},
}


def test_convention_notes_says_what_to_do(golden, tmp_path):
    texts = {}
    for name, case in NOTED.items():
        (texts[name],) = convention_notes(*config_of(**case))
    for name, case in REFUSED.items():
        error = refusal(convention_notes, *config_of(**case))
        assert isinstance(error, SettingsError if "kind" in case else DataError)
        assert error.setting == ("data.kind=word" if "kind" in case else "data.splits.train=[t.en,t.xx]")
        texts[name] = spelled(error, tmp_path)
    golden("data_conventions", texts)


UNDONE = {
    "translation into pieces": ("subword-nmt", [f"The cat saw {i} boats" for i in range(N)]),
    "translation into sentencepiece": ("sentencepiece", [f"The cat saw {i} boats" for i in range(N)]),
    "TMX": ("TMX", [f"cat {i}" for i in range(N)]),
    "segments": ("XML or SGML with <seg>", [f"The cat saw {i} boats." for i in range(N)]),
    "CoNLL-U": ("CoNLL-U", ["A cat sleeps"]),
    "subtitles": ("numbers and times of subtitles", [f"The cat saw {i} boats." for i in range(N)]),
    "quotes of a table": ("quoted", [f'The "cat" saw {i} boats.' for i in range(N)]),
}


@pytest.mark.parametrize("name", UNDONE)
def test_remedies_are_commands_that_work(name, tmp_path):
    convention, text = UNDONE[name]
    (tmp_path / "FILE").write_text("".join(line + "\n" for line in POSITIVE[convention]), encoding="utf-8")
    remedy = refusal(convention_notes, *config_of(**REFUSED[name])).remedy
    command = re.search(r"(?:(?:sed|tr|python) .*?)(?=; or|$)", remedy).group()
    command += "" if "FILE" in command else " FILE"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == text


@pytest.fixture
def text(tmp_path) -> RunConfig:
    for split in ("train", "valid"):
        (tmp_path / split).write_text("".join(line + "\n" for line in POSITIVE["Thai"]), encoding="utf-8")
    splits = {"train": ["train"], "valid": ["valid"]}
    data = DataConfig(format="text", root=str(tmp_path), splits=splits, cache=str(tmp_path / "cache"))
    return RunConfig(data=data, model=ModelConfig(vocab_size=80))


def test_prepare_notes_conventions_from_the_cache_too(text, monkeypatch):
    (note,) = [note for note in prepare(text).notes if "Thai" in note]
    assert note.startswith("text (train, valid): ")
    monkeypatch.setattr("tietrain.data.prepare._build", None)
    assert note in prepare(text).notes
    scored = prepare_scored(text, prepare(text).vocabularies, ["valid"])
    assert scored.notes == [note.replace("train, ", "")]


def test_prepare_refuses_before_it_learns(text, tmp_path, monkeypatch):
    monkeypatch.setattr("tietrain.data.prepare.train_vocabulary", None)
    words = dataclasses.replace(text, data=dataclasses.replace(text.data, kind="word"))
    assert refusal(prepare, words).setting == "data.kind=word"
    (tmp_path / "valid").write_text("\n".join(POSITIVE["TMX"]))
    for _ in range(2):
        assert refusal(prepare, text).setting == "data.splits.valid=[valid]"


def test_prepare_keeps_nothing_of_a_text_without_conventions(text, tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).write_text("".join(line + "\n" for line in PLAIN))
    assert "conventions" not in prepare(text).corpus.about
    assert "conventions" not in load_corpus(text.data, "lm").about
