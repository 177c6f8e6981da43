"""Builds a corpus from its settings: draws the splits, spells them, notes what was left out."""

from collections import Counter
from collections.abc import Callable
from itertools import chain

from tietrain.data.grammar.coining import make_lexicon
from tietrain.data.grammar.corpus import GrammarCorpus, GrammarSplit
from tietrain.data.grammar.draw import make_stream
from tietrain.data.grammar.meaning import Meaning, iterate_concepts
from tietrain.data.grammar.noisy_sources import FaultChannel, make_features
from tietrain.data.grammar.paragraph import Paragraph
from tietrain.data.grammar.settings import FAULTY, FEATURES, GrammarSettings
from tietrain.data.grammar.splits import PairSplits, find_known, iterate_allowed


def generate(settings: GrammarSettings) -> GrammarCorpus:
    """The corpus of these settings; equal settings give equal bytes on every platform.

    Raises:
        SettingsError: settings that leave too few sentences for a split.
    """
    corpus = GrammarCorpus(settings, make_lexicon(settings))
    (_generate_pairs if settings.task == "mt" else _generate_paragraphs)(corpus)
    return corpus


def _generate_pairs(corpus: GrammarCorpus) -> None:
    splits = PairSplits(corpus.settings, corpus.lexicon)
    train = splits.draw_train()
    # A and B alone decide what other splits may hold: C has one word per concept, so with it
    # nothing else is unknown, and every choice of columns has the same meanings.
    spelled = _add_pairs(corpus, "train", train)
    latin = {language: [corpus.to_script(language, line) for line in spelled[language]] for language in "ab"}
    for name, meanings in splits.draw_rest(train, latin).items():
        _add_pairs(corpus, name, meanings)
    _note_left_out(corpus, splits.known, splits.counts)
    corpus.notes.append(
        f"{len(splits.held)} verb-object pairs are held out of train, valid and test; "
        f"{sum(map(len, splits.rare.values()))} lexemes occur at most {splits.rare_at_most} times in train and are rare"
    )


def _add_pairs(corpus: GrammarCorpus, name: str, meanings: list[Meaning]) -> dict[str, list[str]]:
    """Adds a split with all its columns; returns its lines in A, B and the languages of the columns."""
    settings = corpus.settings
    needed = dict.fromkeys(["a", "b", *(FAULTY.get(column, column) for column in corpus.columns)])
    spelled = {language: corpus.spell(language, meanings, f"spelling of {name}") for language in needed}
    texts = {}
    for column in corpus.columns:
        language = FAULTY.get(column, column)
        texts[column] = spelled[language]
        if column in FAULTY:
            channel = FaultChannel(corpus.languages[language])
            uniform = make_stream(f"faults of {name}", language, *settings.stream_label)
            faulty = [channel.apply(corpus.to_script(language, line), uniform) for line in spelled[language]]
            texts[column] = [corpus.to_script(language, line) for line in faulty]
    features = None
    if FEATURES in settings.columns:
        label = (f"features of {name}", *settings.stream_label)
        features = make_features(meanings, corpus.lexicon, settings.language_seed, *label)
    corpus.splits[name] = GrammarSplit(texts, meanings, features)
    return spelled


def _generate_paragraphs(corpus: GrammarCorpus) -> None:
    lexicon = corpus.lexicon
    (language,) = corpus.settings.columns
    sizes = corpus.settings.sizes
    counts: Counter[int] = Counter()

    def is_fresh(paragraph: Paragraph) -> bool:
        concepts = chain.from_iterable(iterate_concepts(meaning, lexicon) for meaning in paragraph)
        return seen.isdisjoint(paragraph) and known.issuperset(concepts)

    train, lines = _draw_paragraphs(corpus, "train", sizes.train_bytes, lambda paragraph: True)
    seen = set(chain.from_iterable(train))
    for meaning in chain.from_iterable(train):
        counts.update(iterate_concepts(meaning, lexicon))
    known = find_known(lexicon, counts, {language: lines})
    for name, n_bytes in (("valid", sizes.valid_bytes), ("test", sizes.test_bytes)):
        seen.update(*_draw_paragraphs(corpus, name, n_bytes, is_fresh)[0])
    _note_left_out(corpus, known, counts)


def _draw_paragraphs(
    corpus: GrammarCorpus, name: str, n_bytes: int, is_allowed: Callable[[Paragraph], bool]
) -> tuple[list[Paragraph], list[str]]:
    """Adds a split of at least so many bytes; returns its paragraphs and their lines in the Latin alphabet."""
    (column,) = corpus.settings.columns
    language = corpus.languages[column]
    draws = make_stream(f"paragraphs of {name}", *corpus.settings.stream_label)
    spells = make_stream(f"spelling of {name}", column, *corpus.settings.stream_label)
    paragraphs: list[Paragraph] = []
    lines: list[str] = []
    for paragraph in iterate_allowed(lambda: corpus.paragraphs.draw(draws), is_allowed, name):
        line = " ".join(language.draw(meaning, spells) for meaning in paragraph)
        paragraphs.append(paragraph)
        lines.append(line)
        # Sized by the Latin spelling, so that the other alphabet has the same sentences.
        n_bytes -= len(line) + 1
        if n_bytes <= 0:
            break
    texts = {"text": [corpus.to_script(column, line) for line in lines]}
    corpus.splits[name] = GrammarSplit(texts, paragraphs)
    return paragraphs, lines


def _note_left_out(corpus: GrammarCorpus, known: set[int], counts: Counter[int]) -> None:
    n_lexemes = len(corpus.lexicon.kind)
    n_absent = sum(not counts[concept] for concept in range(n_lexemes))
    n_left_out = n_lexemes - len(known)
    corpus.notes.append(
        f"{n_left_out} of {n_lexemes} lexemes are left out of all splits but train: {n_absent} "
        f"are absent from train, of {n_left_out - n_absent} a synonym is"
    )
