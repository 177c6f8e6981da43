"""Builds a corpus from its settings: draws the splits, spells them, counts what was left out."""

from collections import Counter

from tietrain.data.grammar.coining import make_lexicon
from tietrain.data.grammar.corpus import GrammarCorpus, GrammarSplit
from tietrain.data.grammar.draw import make_stream
from tietrain.data.grammar.faults import FaultChannel
from tietrain.data.grammar.features import make_features
from tietrain.data.grammar.lexicon import Lexicon
from tietrain.data.grammar.meaning import Meaning, iterate_concepts
from tietrain.data.grammar.paragraph import Paragraph
from tietrain.data.grammar.settings import FAULTY, FEATURES, GrammarSettings
from tietrain.data.grammar.spelling import draw_spelling
from tietrain.data.grammar.splits import MAX_TRIES, PairSplits, find_known, stream_label
from tietrain.errors import SettingsError


def generate(settings: GrammarSettings) -> GrammarCorpus:
    """The corpus of these settings; equal settings give equal bytes on every platform.

    Raises:
        SettingsError: settings that leave too few sentences for a split.
    """
    corpus = GrammarCorpus(settings, make_lexicon(settings))
    if settings.task == "mt":
        _generate_pairs(corpus)
    else:
        _generate_paragraphs(corpus)
    return corpus


def _generate_pairs(corpus: GrammarCorpus) -> None:
    splits = PairSplits(corpus.settings, corpus.lexicon)
    train = splits.draw_train()
    # A and B alone decide what other splits may hold: with C and D, which have one word a concept,
    # nothing else is unknown, and so every choice of columns has the same meanings.
    spelled = _add_pairs(corpus, "train", train, ("a", "b"))
    latin = {language: [corpus.to_script(language, line) for line in spelled[language]] for language in "ab"}
    splits.learn(train, latin)
    for name, meanings in splits.draw_rest().items():
        _add_pairs(corpus, name, meanings)
    n_rare = sum(map(len, splits.rare.values()))
    corpus.finish(
        {
            "left_out": _note_left_out(corpus, splits.known, splits.counts),
            "turned_down": {name: dict(why) for name, why in splits.n_turned_down.items()},
            "n_held_pairs": len(splits.held),
            "n_rare_lexemes": n_rare,
            "rare_at_most": splits.rare_at_most,
            "long_words": list(splits.long_words),
        }
    )
    corpus.notes.append(
        f"{len(splits.held)} verb-object pairs are held out of train, valid and test; "
        f"{n_rare} lexemes occur at most {splits.rare_at_most} times in train and are rare"
    )


def _add_pairs(
    corpus: GrammarCorpus, name: str, meanings: list[Meaning], languages: tuple[str, ...] = ()
) -> dict[str, list[str]]:
    """Adds a split with all its columns; returns its lines in their languages and in `languages`."""
    needed = dict.fromkeys([*languages, *(FAULTY.get(column, column) for column in corpus.columns)])
    spelled = {language: corpus.spell(language, meanings, f"spelling of {name}") for language in needed}
    texts = {
        column: _damage(corpus, column, name, spelled[FAULTY[column]]) if column in FAULTY else spelled[column]
        for column in corpus.columns
    }
    features = None
    if FEATURES in corpus.settings.columns:
        label = (f"features of {name}", *stream_label(corpus.settings))
        features = make_features(meanings, corpus.lexicon, corpus.settings.language_seed, label)
    corpus.splits[name] = GrammarSplit(texts, meanings, features)
    return spelled


def _damage(corpus: GrammarCorpus, column: str, name: str, lines: list[str]) -> list[str]:
    language = FAULTY[column]
    channel = FaultChannel(corpus.lexicon, language)
    uniform = make_stream(f"faults of {name}", language, *stream_label(corpus.settings))
    return [corpus.to_script(language, channel.apply(corpus.to_script(language, line), uniform)) for line in lines]


def _generate_paragraphs(corpus: GrammarCorpus) -> None:
    settings, lexicon = corpus.settings, corpus.lexicon
    model, sizes = corpus.paragraphs, settings.sizes
    (language,) = settings.columns
    seen: set[Meaning] = set()
    counts: Counter[int] = Counter()
    known: set[int] = set()
    turned_down: dict[str, int] = {}
    for name, n_bytes in (
        ("train", sizes.train_bytes),
        ("valid", sizes.valid_bytes),
        ("test", sizes.test_bytes),
    ):
        draws = make_stream(f"paragraphs of {name}", *stream_label(settings))
        spells = make_stream(f"spelling of {name}", language, *stream_label(settings))
        lines: list[str] = []
        paragraphs: list[Paragraph] = []
        fresh: set[Meaning] = set()
        # Sized by the Latin spelling, so that the other alphabet has the same sentences.
        n_left, tries, turned_down[name] = n_bytes, 0, 0
        while n_left > 0:
            paragraph = model.draw(draws).meanings
            if name != "train" and not _is_fresh(paragraph, seen, known, lexicon):
                turned_down[name] += 1
                tries += 1
                if tries > MAX_TRIES:
                    raise SettingsError(
                        f"data.difficulty={settings.difficulty}",
                        f"too few paragraphs for the split {name}",
                        "choose another difficulty",
                    )
                continue
            tries = 0
            speller = corpus.spellers[language]
            line = " ".join(draw_spelling(speller, meaning, spells) for meaning in paragraph)
            n_left -= len(line) + 1
            lines.append(line)
            paragraphs.append(paragraph)
            fresh.update(paragraph)
        if name == "train":
            for paragraph in paragraphs:
                for meaning in paragraph:
                    counts.update(iterate_concepts(meaning, lexicon))
            known = find_known(lexicon, counts, {language: lines})
        seen |= fresh
        texts = {"text": [corpus.to_script(language, line) for line in lines]}
        corpus.splits[name] = GrammarSplit(texts, paragraphs)
    corpus.finish({"left_out": _note_left_out(corpus, known, counts), "turned_down": turned_down})


def _is_fresh(paragraph: Paragraph, seen: set[Meaning], known: set[int], lexicon: Lexicon) -> bool:
    return all(
        meaning not in seen and all(concept in known for concept in iterate_concepts(meaning, lexicon))
        for meaning in paragraph
    )


def _note_left_out(corpus: GrammarCorpus, known: set[int], counts: Counter[int]) -> dict[str, int]:
    n_lexemes = len(corpus.lexicon.kind)
    n_absent = sum(not counts[concept] for concept in range(n_lexemes))
    n_left_out = n_lexemes - len(known)
    corpus.notes.append(
        f"{n_left_out} of {n_lexemes} lexemes are left out of all splits but train: {n_absent} "
        f"are absent from train, of {n_left_out - n_absent} a synonym is"
    )
    return {
        "n_lexemes": n_lexemes,
        "n_absent_from_train": n_absent,
        "n_with_absent_synonym": n_left_out - n_absent,
    }
