"""In what arms differ: the reader is told of everything that is not the tie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tietrain.report.arms import Arm, Comparison, show_value
from tietrain.report.pages.markup import code, join_words
from tietrain.runs.view import Run, Scalar

# A setting of the hardware may change rounding and speed only; it is compared with the machine, not as a treatment.
HARDWARE = "hardware."
TYING = "tying."
# As in config.py: what decides the pieces of a vocabulary, and so the batches that are cut by them.
VOCABULARY_KEYS = ("model.vocab_size", "data.kind", "data.byte_fallback")
REMEDY = (
    f"batches were cut by the tokens of unlike vocabularies, {code('train.batch_by=chars')} makes them the same text"
)
# Which run it is, where it was made, and what its speed is compared with: no condition of its result.
NOT_A_CONDITION = ("seed", "tune.point", "host", "hostname", "pid", "peak_flops", "peak_flops_source")


def differing_settings(comparison: Comparison) -> dict[str, dict[str, Scalar]]:
    """Setting -> arm name -> value, for every setting besides the tie on which the arms do not agree."""
    keys = sorted({key for arm in comparison.arms for key in _conditions(arm)})
    table = {key: {arm.name: arm.first.settings.get(key) for arm in comparison.arms} for key in keys}
    return {key: values for key, values in table.items() if len(set(map(repr, values.values()))) > 1}


def _conditions(arm: Arm) -> list[str]:
    return [k for k in arm.first.settings if not k.startswith((TYING, HARDWARE)) and k not in NOT_A_CONDITION]


def things(arm: Arm, base: Arm) -> list[str]:
    """What sets one arm apart from another, in words: tying, vocabulary, corpus, batches, settings."""
    found = ["tying"] if arm.ties != base.ties else []
    if _vocabularies(arm) != _vocabularies(base):
        found.append("vocabulary")
    if arm.corpus != base.corpus:
        found.append("corpus")
    keys = sorted({*_conditions(arm), *_conditions(base)})
    changed = [k for k in keys if arm.first.settings.get(k) != base.first.settings.get(k)]
    found += [f"{code(k)} ({_shown(arm, k)}, not {_shown(base, k)})" for k in changed]
    # Batches follow from vocabulary, settings and seed: named only where those do not explain them.
    if not changed and "vocabulary" not in found and _batches_differ(arm, base):
        found.append("batches")
    return found


def _vocabularies(arm: Arm) -> dict[str, Scalar]:
    return {k: v for k, v in arm.first.fingerprints.items() if k.startswith("vocabulary")}


def _batches_differ(arm: Arm, base: Arm) -> bool:
    ours, theirs = ({run.seed: run.fingerprints.get("batches") for run in a.done} for a in (arm, base))
    return any(ours[seed] != theirs[seed] for seed in ours.keys() & theirs.keys())


def _shown(arm: Arm, key: str) -> str:
    return code(show_value(arm.first.settings.get(key)))


def base_of(arm: Arm, comparison: Comparison) -> Arm | None:
    """The arm to read another against: untied, differing in the fewest things besides tie and vocabulary.

    An untied arm is read against those before it, and the first of all against none.
    """
    before = comparison.arms[: comparison.arms.index(arm)]
    untied = [other for other in (comparison.arms if arm.ties else before) if not other.ties]
    return closest(arm, untied)


def closest(arm: Arm, others: Sequence[Arm]) -> Arm | None:
    """The one that differs in the fewest things besides tie and vocabulary; the first of several."""
    return min(others, key=lambda other: len(set(things(arm, other)) - {"tying", "vocabulary"}), default=None)


def describe_differences(comparison: Comparison) -> list[str]:
    """One sentence an arm: what sets it apart from the arm it is read against, and the chain where two things do."""
    sentences = []
    for arm in comparison.arms:
        base = base_of(arm, comparison)
        if base is None:
            continue
        found = things(arm, base)
        if not found:
            sentences.append(
                f"{code(arm.name)} and {code(base.name)} differ in nothing that is recorded but their names."
            )
            continue
        sentence = f"{code(arm.name)} differs from {code(base.name)} in {_how_many(len(found))}: {join_words(found)}"
        if {"tying", "vocabulary"} <= set(found):
            sentence += f" ({_chain(arm, base, comparison)})"
        sentences.append(sentence + ".")
    return sentences


def _chain(arm: Arm, base: Arm, comparison: Comparison) -> str:
    """The arm between: the vocabulary of the one, the ties (none) of the other."""
    for between in comparison.arms:
        if things(between, base) == ["vocabulary"] and _vocabularies(between) == _vocabularies(arm):
            return f"read the chain {code(base.name)} → {code(between.name)} → {code(arm.name)}"
    return "no arm here has one of the two alone, so their effects cannot be told apart"


def _how_many(n: int) -> str:
    words = ("no thing", "one thing", "two things", "three things", "four things", "five things")
    return words[n] if n < len(words) else f"{n} things"


def machine_warnings(comparison: Comparison) -> list[str]:
    """One sentence for each machine or hardware value that is not the same in all finished runs."""
    return [f"{code(key)} is not the same in all runs: {sides}" for key, sides in _unlike(comparison, _machine)]


def signature_warnings(comparison: Comparison) -> list[str]:
    """One sentence for each score, and the search, that is not signed alike in all finished runs that have it."""
    return [
        f"{_SIGNED.get(name, f'{code(name)} was not computed alike and is not comparable')}: {sides}"
        for name, sides in _unlike(comparison, lambda run: run.signatures, optional=True)
    ]


_SIGNED = {"decoding": "translations were not searched for alike, which is part of every difference of their scores"}


def _unlike(
    comparison: Comparison, values_of: Callable[[Run], Mapping[str, Scalar]], *, optional: bool = False
) -> list[tuple[str, str]]:
    """Each key whose value is not the same in all finished runs, and which runs have which value.

    Args:
        optional: whether a run without a value is left out, or has the value null.
    """
    everywhere = [(f"{code(arm.name)} seed {run.seed}", values_of(run)) for arm in comparison.arms for run in arm.done]
    unlike = []
    for key in sorted({key for _, found in everywhere for key in found}):
        who: dict[str, list[str]] = {}
        for name, found in everywhere:
            if key in found or not optional:
                who.setdefault(show_value(found.get(key)), []).append(name)
        if len(who) > 1:
            unlike.append((key, "; ".join(f"{code(value)} in {_some(names)}" for value, names in who.items())))
    return unlike


def _machine(run: Run) -> dict[str, Scalar]:
    hardware = {k: v for k, v in run.settings.items() if k.startswith(HARDWARE)}
    machine = {f"machine {k}": v for k, v in run.machine.items() if k.rsplit(".", 1)[-1] not in NOT_A_CONDITION}
    return hardware | machine


def _some(names: Sequence[str], most: int = 4) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def fingerprint_warnings(comparison: Comparison) -> list[str]:
    """One sentence for each seed whose batches are not the same in all arms, with the remedy where vocabularies differ."""
    sentences = []
    groups: dict[int, dict[Scalar, list[str]]] = {}
    runs: dict[int, list[Run]] = {}
    for arm in comparison.arms:
        for run in arm.done:
            groups.setdefault(run.seed, {}).setdefault(run.fingerprints.get("batches"), []).append(arm.name)
            runs.setdefault(run.seed, []).append(run)
    for seed, found in groups.items():
        if len(found) > 1:
            sides = " against ".join(", ".join(map(code, names)) for names in found.values())
            said = f"seed {seed}: the arms did not see the same batches ({sides})"
            sentences.append(said + (f"; {REMEDY}" if _cut_by_unlike_tokens(runs[seed]) else ""))
    return sentences


def _cut_by_unlike_tokens(runs: Sequence[Run]) -> bool:
    """Whether settings of the vocabulary differ, and not every run's batches were cut by characters."""
    vocabularies = {tuple(run.settings.get(key) for key in VOCABULARY_KEYS) for run in runs}
    return len(vocabularies) > 1 and any(run.settings.get("train.batch_by") != "chars" for run in runs)
