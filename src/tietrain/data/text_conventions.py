"""Conventions of text that change what its scores mean, recognised on the first lines of every column; one sentence for each.

Thresholds are such that prose, code and wiki text stay below them: tests/data/test_text_conventions.py.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tietrain.config import RunConfig
from tietrain.data.sources.files import Corpus
from tietrain.data.sources.validate import unquote
from tietrain.errors import DataError, SettingsError

# Lines with text of a column that are looked at, and characters at either end of one; a column of fewer lines has no findings.
MOST_LINES, MOST_CHARACTERS, FEWEST_LINES = 2000, 1000, 20

# Column -> convention -> split -> share of the lines that follow it.
Found = dict[str, dict[str, dict[str, float]]]

# Script without blanks -> its letters, and the letters of a word that can no longer be one word. Words between blanks have
# 2 letters in segmented Chinese and Japanese, 5 in segmented Thai; unsegmented they are clauses.
_SCRIPTS = {
    "Japanese": ("\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff", 5),
    "Chinese": ("\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff", 5),
    "Thai": ("\u0e00-\u0e7f", 10),
    "Lao": ("\u0e80-\u0eff", 10),
    "Khmer": ("\u1780-\u17ff", 10),
    "Burmese": ("\u1000-\u109f", 10),
}
_KANA = re.compile("[\u3040-\u30ff]")
# What BLEU cuts each script by; `none`, `13a` and `intl` take a whole clause of them for a word.
_CUT_BY = {"Chinese": ("zh", "char")}

# Marks of segmentation -> what they look like, the share of lines that has them, how they are taken away.
_SEGMENTED = {
    "subword-nmt": (re.compile(r"[^\s@]@@(?= |$)"), 0.1, "sed -r 's/(@@ )|(@@ ?$)//g'"),
    "sentencepiece": (re.compile(r"(?:^| )\u2581[^\W_]"), 0.5, "sed 's/ //g; s/\u2581/ /g; s/^ //'"),
}

_DETACHED = re.compile(r"(?<=[^\W_]) (?:[.,\u3002\u3001\uff0c]|@-@|&(?:apos|quot);\S*)(?= |$)")
_ATTACHED = re.compile(r"[^\W_][.,\u3002\u3001\uff0c](?= |$)")
# A line that is tags and what is in them; <unk> and <s> are words of prepared text.
_TAGGED = re.compile(r"\s*<(?:[!?]|/?(?!(?:s|unk|pad)>)[A-Za-z])[^<>]*>(?:.*>)?\s*", re.DOTALL)
# Format -> the tag it is known by, how its text is taken out. The first that fits counts.
_MARKED_UP = {
    "TMX": (
        r"<tmx\b|<tuv?\b",
        "write each language to a text file, such as tr -d '\\n' <FILE | sed 's/<.tuv>/\\n/g' | "
        """sed -nr 's/.*<tuv[^>]*"en".*<seg>(.*)<.seg>.*/\\1/p'""",
    ),
    "XML or SGML with <seg>": (
        r"<seg\b",
        "write its text to a file, such as tr '\\n' ' ' <FILE | sed 's/<.seg>/\\n/g' | "
        "sed -nr 's/.*<seg[^>]*> *(.*[^ ]) */\\1/p'",
    ),
    "HTML": (
        r"(?i:<!doctype html|<html\b)",
        "write its text to a file, such as pandoc -f html -t plain --wrap=none FILE",
    ),
    "XML": (r"<\?xml|<!DOCTYPE|<!ELEMENT", "write its text to a file, one sentence a line, or a table for data=tsv"),
    "CoNLL-U": (r"$.", "take its sentences: sed -n 's/^# text = //p' FILE"),
    "numbers and times of subtitles": (r"$.", r"take out the text: sed -r '/^[0-9]+\r?$/d; /-->/d; /^\r?$/d' FILE"),
    "markup": (r"<", "write its text to a file without tags"),
}
_WORD_LINE = re.compile(r"\d+(?:[-.]\d+)?\t[^\t]+(?:\t[^\t]*){8}")
# The line of a subtitle that says when it is shown.
_SHOWN_FROM = re.compile(r"(?:\d+:)?\d\d:\d\d[,.]\d{3} --> .*")
_QUOTED = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)


def find_conventions(lines: Iterable[str]) -> dict[str, float]:
    """Convention -> share of the first lines with text that follow it, as far as the share is telling."""
    sample = [_ends(line) for line in itertools.islice(filter(str.strip, lines), MOST_LINES)]
    if len(sample) < FEWEST_LINES:
        return {}
    if found := _markup(sample) or _word_lines(sample) or _subtitles(sample):
        return found
    return {**_segmented(sample), **_unspaced(sample), **_tokenized(sample), **_tables(sample)}


def find_in_corpus(corpus: Corpus) -> Found:
    """The conventions of every column; empty if there are none."""
    found: Found = {}
    for name, split in corpus.splits.items():
        for column, lines in split.texts.items():
            for convention, share in find_conventions(lines).items():
                found.setdefault(column, {}).setdefault(convention, {})[name] = share
    return found


def _ends(line: str) -> str:
    return line if len(line) <= 2 * MOST_CHARACTERS else line[:MOST_CHARACTERS] + line[-MOST_CHARACTERS:]


def _share(sample: Sequence[str], follows: Callable[[str], object]) -> float:
    return sum(bool(follows(line)) for line in sample) / len(sample)


def _markup(sample: Sequence[str]) -> dict[str, float]:
    share = _share(sample, _TAGGED.fullmatch)
    if share < 0.6:
        return {}
    text = "\n".join(sample)
    return {next(name for name, (tag, _) in _MARKED_UP.items() if re.search(tag, text)): share}


def _word_lines(sample: Sequence[str]) -> dict[str, float]:
    words = _share(sample, _WORD_LINE.fullmatch)
    both = words + _share(sample, lambda line: line.startswith("#"))
    return {"CoNLL-U": both} if words >= 0.5 and both >= 0.9 else {}


def _subtitles(sample: Sequence[str]) -> dict[str, float]:
    times = _share(sample, _SHOWN_FROM.match)
    numbers = _share(sample, lambda line: line.strip().isdecimal())
    return {"numbers and times of subtitles": times + numbers} if times >= 0.2 else {}


def _segmented(sample: Sequence[str]) -> dict[str, float]:
    shares = {name: (_share(sample, mark.search), least) for name, (mark, least, _) in _SEGMENTED.items()}
    return {name: share for name, (share, least) in shares.items() if share >= least}


def _unspaced(sample: Sequence[str]) -> dict[str, float]:
    words = " ".join(sample).split()
    counts = Counter(itertools.chain.from_iterable(words))
    n_letters = sum(n for character, n in counts.items() if character.isalpha())
    for name, (letters, too_long) in _SCRIPTS.items():
        of_script = {character for character in counts if re.match(f"[{letters}]", character)}
        share = sum(counts[character] for character in of_script) / max(1, n_letters)
        if share < 0.5 or (name == "Japanese" and _share(sample, _KANA.search) < 0.1):
            continue
        n_words = sum(not of_script.isdisjoint(word) for word in words)
        if share * n_letters >= too_long * n_words:
            return {name: min(1.0, share)}
    return {}


def _tokenized(sample: Sequence[str]) -> dict[str, float]:
    detached = _share(sample, _DETACHED.search)
    attached = _share(sample, _ATTACHED.search)
    return {"tokenized": detached} if detached >= 0.3 and attached < detached / 4 else {}


def _tables(sample: Sequence[str]) -> dict[str, float]:
    quoted = _share(sample, _QUOTED.fullmatch)
    # Where only cells with quotation marks are in quotes, these are doubled inside.
    doubled = _share(sample, lambda line: _QUOTED.fullmatch(line) and '""' in line[1:-1])
    if doubled and doubled >= _share(sample, lambda line: '"' in line) / 2:
        return {"quoted": quoted}
    n_tabs = sample[len(sample) // 2].strip().count("\t")
    tabbed = _share(sample, lambda line: line.strip().count("\t") == n_tabs) if n_tabs else 0.0
    shares = {"quoted": quoted, "table": tabbed, "|||": _share(sample, lambda line: " ||| " in line)}
    return {name: share for name, share in shares.items() if share >= 0.98}


def convention_notes(found: Found, config: RunConfig) -> list[str]:
    """A sentence for each convention that changes what a score of this run means.

    Args:
        found: of `find_in_corpus`.
    Raises:
        DataError: scores would be of markup or of pieces, not of text.
        SettingsError: words are asked for of a script that has no blanks between them.
    """
    targets = {d.target for d in (*config.directions, *config.zero_shot)} if config.task.name == "mt" else set()
    notes = []
    for column, conventions in found.items():
        for convention, shares in conventions.items():
            case = _Case(convention, column, shares, column in targets, config)
            if note := case.note():
                notes.append(f"{column} ({', '.join(shares)}): {note}")
    return notes


@dataclass(frozen=True)
class _Case:
    """A convention of a column under the settings of a run. shares: by split. translated: whether it is written in `mt`."""

    convention: str
    column: str
    shares: Mapping[str, float]
    translated: bool
    config: RunConfig

    def note(self) -> str:
        """The sentence; empty if no score of this run means anything else."""
        if self.convention in _SCRIPTS:
            return self._script()
        if self.convention in _SEGMENTED:
            return self._pieces()
        if self.convention in _MARKED_UP:
            return self._markup()
        return self._tokenized() if self.convention == "tokenized" else self._table()

    @property
    def _percent(self) -> str:
        return f"{100 * max(self.shares.values()):.0f} %"

    @property
    def _bleu(self) -> str:
        """How BLEU cuts the column; empty if no BLEU is computed of it."""
        task = self.config.task
        return task.bleu_tokenize if self.translated and "bleu" in task.metrics else ""

    def _refusal(self, problem: str, remedy: str) -> DataError:
        split = next(iter(self.shares))
        named = self.config.data.splits.get(split)  # a dataset may bring its own
        return DataError(f"data.splits.{split}" + (f"=[{','.join(named)}]" if named else ""), problem, remedy)

    def _script(self) -> str:
        blanks = f"{self.convention} is written without blanks between words"
        if self.config.data.kind == "word":
            problem = f"{self.column} has no words to count: {blanks}"
            raise SettingsError("data.kind=word", problem, "choose data.kind=unigram, or segment the text into words")
        if self.config.task.name != "mt":
            return f"{blanks}, so ppl_word counts clauses; read bits_per_byte"
        cuts = _CUT_BY.get(self.convention, ("char",))
        if not self._bleu or self._bleu in cuts:
            return ""
        wrong = f"BLEU by task.bleu_tokenize={self._bleu} takes clauses for words"
        return f"{blanks}, and {wrong}; set task.bleu_tokenize={cuts[0]}, or read chrF and bits_per_byte"

    def _pieces(self) -> str:
        cut = f"the text is cut into pieces by {self.convention} ({self._percent} of the lines have its marks)"
        undo = f"undo it: {_SEGMENTED[self.convention][2]}"
        if self.config.task.name != "mt":
            return f"{cut}, so scores per word and per byte are those of the pieces; {undo}"
        if not self.translated:
            return f"{cut}, and tietrain cuts the pieces again; {undo}"
        if self.config.task.bleu_tokenize == "none":
            return f"{cut}, so BLEU, chrF and TER are those of the pieces; {undo}"
        problem = f"translations into {self.column} would be scored in pieces: {cut}"
        raise self._refusal(problem, f"{undo}; or set task.bleu_tokenize=none to score pieces")

    def _markup(self) -> str:
        tags = f"{self._percent} of the lines are tags and what is in them"
        if self.convention == "markup" or (self.config.task.name != "mt" and self.convention in ("HTML", "XML")):
            return f"{tags}, learned and scored as text; if they are not meant, {_MARKED_UP[self.convention][1]}"
        problem = f"{self._percent} of the lines of {self.column} are {self.convention}, read as plain text"
        raise self._refusal(problem, _MARKED_UP[self.convention][1])

    def _tokenized(self) -> str:
        if self._bleu not in ("13a", "intl"):
            return ""
        again = f"task.bleu_tokenize={self._bleu} cuts it again, so that its BLEU compares with no other"
        return f"the text is tokenized, and {again}; set task.bleu_tokenize=none, or give detokenized text"

    def _table(self) -> str:
        if self.convention == "|||":
            reads = "to read its fields: sed 's/ ||| /\\t/g' FILE >FILE.tsv, and data=tsv data.columns=[1,2]"
            return f"{self._percent} of the lines have fields between |||, learned and scored as text; {reads}"
        if self.convention == "table":
            reads = "write a header line and choose data=tsv to read its columns"
            alike = f"{self._percent} of the lines have the same number of tabs, like a table"
            return f"{alike}; {reads}" if self.config.data.format == "text" else ""
        if self.config.data.format == "tsv":
            problem = f"{self._percent} of the cells of {self.column} are in quotes, and quotes are read as text"
            raise self._refusal(problem, f"write the table without them: {unquote()}")
        return f"{self._percent} of the lines are in quotes, which are learned and scored as text; leave them out"
