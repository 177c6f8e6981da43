"""In what arms differ besides the tie, and in what they were made equal, as far as their runs recorded it."""

from collections.abc import Callable, Mapping, Sequence

from tietrain.config.keys import LIMITS, PIECES
from tietrain.report.arms import Arm, Comparison, show_value
from tietrain.report.pages.markup import code, escape, join_words, some_words
from tietrain.report.ties import LAYERED
from tietrain.runs.view import Run, Scalar

# Settings of the hardware change only rounding and speed: they are compared as part of the machine.
HARDWARE = "hardware."
TYING = "tying."
REMEDY = (
    f"the batches were cut by tokens of different vocabularies; {code('train.batch_by=chars')} makes them the same text"
)
# Which run it is, where it was made, and what its speed is compared with: not conditions of its result.
NOT_A_CONDITION = ("seed", "tune.point", "host", "hostname", "pid", "peak_flops", "peak_flops_source")


def differing_settings(comparison: Comparison) -> dict[str, dict[str, Scalar]]:
    """Setting -> arm name -> value, for every setting besides the tie on which the arms do not agree."""
    keys = sorted({key for arm in comparison.arms for key in _conditions(arm)})
    table = {key: {arm.name: arm.settings.get(key) for arm in comparison.arms} for key in keys}
    return {key: values for key, values in table.items() if len(set(map(repr, values.values()))) > 1}


def _conditions(arm: Arm) -> list[str]:
    return [k for k in arm.settings if not k.startswith((TYING, HARDWARE)) and k not in NOT_A_CONDITION]


def distinct_settings(arm: Arm, base: Arm) -> list[str]:
    """In what one arm differs from another, in words: tying, vocabulary, corpus, settings, batches."""
    found = ["tying"] if arm.ties != base.ties else []
    if _vocabularies(arm) != _vocabularies(base):
        found.append("vocabulary")
    if arm.corpus != base.corpus:
        found.append("corpus")
    keys = sorted({*_conditions(arm), *_conditions(base)})
    changed = [k for k in keys if arm.settings.get(k) != base.settings.get(k)]
    for key in changed:
        values = [code(show_value(one.settings.get(key))) for one in (arm, base)]
        found.append(f"{code(key)} ({values[0]}, not {values[1]})")
    # Batches follow from vocabulary, settings and seed: named only if those do not explain the difference.
    if not changed and "vocabulary" not in found and _batches_differ(arm, base):
        found.append("batches")
    return found


def _vocabularies(arm: Arm) -> dict[str, Scalar]:
    return {k: v for k, v in arm.first.fingerprints.items() if k.startswith("vocabulary")}


def same_vocabulary(arm: Arm, other: Arm) -> bool:
    """Whether two arms read and write the same pieces."""
    return _vocabularies(arm) == _vocabularies(other)


def _batches_differ(arm: Arm, base: Arm) -> bool:
    ours = {run.seed: run.fingerprints.get("batches") for run in arm.done}
    theirs = {run.seed: run.fingerprints.get("batches") for run in base.done}
    return any(ours[seed] != theirs[seed] for seed in ours.keys() & theirs.keys())


def base_of(arm: Arm, comparison: Comparison) -> Arm | None:
    """The untied arm that an arm is compared with: the closest one.

    An untied arm is compared with those before it, so the first of all has none.
    """
    before = comparison.arms[: comparison.arms.index(arm)]
    untied = [other for other in (comparison.arms if arm.ties else before) if not other.ties]
    return closest(arm, untied)


def closest(arm: Arm, others: Sequence[Arm]) -> Arm | None:
    """The arm with the fewest differences besides tie and vocabulary; the first of several."""
    return min(others, key=lambda other: len({*distinct_settings(arm, other)} - {"tying", "vocabulary"}), default=None)


def describe_differences(comparison: Comparison) -> list[str]:
    """One sentence per arm: in what it differs from the arm it is compared with, and the arm between the two, if any."""
    sentences = []
    for arm in comparison.arms:
        base = base_of(arm, comparison)
        if base is None:
            continue
        found = distinct_settings(arm, base)
        if not found:
            names = f"{code(arm.name)} and {code(base.name)}"
            sentences.append(f"{names} differ only in their names, as far as the runs recorded it.")
            continue
        sentence = f"{code(arm.name)} differs from {code(base.name)} in {join_words(found)}"
        if {"tying", "vocabulary"} <= set(found):
            sentence += f" ({_chain(arm, base, comparison)})"
        sentences.append(sentence + ".")
    return sentences


def _chain(arm: Arm, base: Arm, comparison: Comparison) -> str:
    """The arm between: it has the vocabulary of `arm` and, like `base`, no ties."""
    for between in comparison.arms:
        if distinct_settings(between, base) == ["vocabulary"] and _vocabularies(between) == _vocabularies(arm):
            return f"read it in steps: {code(base.name)} → {code(between.name)} → {code(arm.name)}"
    return "no arm here differs in only one of the two, so their effects cannot be separated"


def describe_origins(arms: Sequence[Arm], show: Callable[[str], str] = code) -> list[str]:
    """One sentence per arm whose weights were converted from those of other runs, or imported."""
    sentences = []
    for arm in arms:
        if arm.converted:
            parents = some_words([show(name) for name in sorted({run.parent for run in arm.runs if run.parent})], 4)
            made = f"{show(arm.name)} was converted from {parents} ({show(arm.converted)}), whose steps it counts"
            if not parents:
                made = f"{show(arm.name)} began with the weights of a foreign model ({show(arm.converted)})"
            sentences.append(f"{made}; it is compared with arms of the same conversion alone.")
    return sentences


def machine_warnings(comparison: Comparison) -> list[str]:
    """One sentence per machine or hardware value that differs between finished runs."""
    return [f"{code(key)} is not the same in all runs: {sides}" for key, sides in _unlike(comparison, _machine)]


def signature_warnings(comparison: Comparison) -> list[str]:
    """One sentence per signature, of a score or of decoding, that differs between the finished runs that have it."""
    decoding = "translations were not decoded in the same way, which is part of every difference of their scores"
    other = "was not computed in the same way in all runs and cannot be compared"
    unlike = _unlike(comparison, lambda run: run.signatures, optional=True)
    return [f"{decoding if name == 'decoding' else f'{code(name)} {other}'}: {sides}" for name, sides in unlike]


def _unlike(
    comparison: Comparison, values_of: Callable[[Run], Mapping[str, Scalar]], *, optional: bool = False
) -> list[tuple[str, str]]:
    """Each key whose value differs between finished runs, and who has which; without a value: null, or left out."""
    everywhere = [(f"{code(arm.name)} seed {run.seed}", values_of(run)) for arm in comparison.arms for run in arm.done]
    unlike = []
    for key in sorted({key for _, found in everywhere for key in found}):
        who: dict[str, list[str]] = {}
        for name, found in everywhere:
            if key in found or not optional:
                who.setdefault(show_value(found.get(key)), []).append(name)
        if len(who) > 1:
            unlike.append((key, "; ".join(f"{code(value)} in {some_words(names, 4)}" for value, names in who.items())))
    return unlike


def _machine(run: Run) -> dict[str, Scalar]:
    hardware = {k: v for k, v in run.settings.items() if k.startswith(HARDWARE)}
    recorded = {"processes": 1, "shard": False} | run.machine  # all that older versions knew
    machine = {f"machine {k}": v for k, v in recorded.items() if k.rsplit(".", 1)[-1] not in NOT_A_CONDITION}
    return hardware | machine


def fingerprint_warnings(comparison: Comparison) -> list[str]:
    """One sentence per seed whose batches differ between arms, with the remedy if vocabularies differ."""
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
            remedy = f"; {REMEDY}" if _cut_by_unlike_tokens(runs[seed]) else ""
            sentences.append(f"seed {seed}: the arms were not trained on the same batches ({sides}){remedy}")
    return sentences


def _cut_by_unlike_tokens(runs: Sequence[Run]) -> bool:
    """Whether settings of the vocabulary differ and some run's batches were not cut by characters."""
    vocabularies = {(*(run.settings.get(key) for key in PIECES), *_given(run)) for run in runs}
    return len(vocabularies) > 1 and any(run.settings.get("train.batch_by") != "chars" for run in runs)


def _given(run: Run) -> list[Scalar]:
    """The contents of the vocabularies that a run was given."""
    return [value for key, value in sorted(run.settings.items()) if key.startswith("data.vocabulary_contents.")]


def layers_run(run: Run) -> int:
    """Layers on the route of a run's model, a shared one counted each time it is run."""
    found = [LAYERED.fullmatch(slot) for slot in run.owner]
    layers = {(m[1], m[2]) for m in found if m}
    return sum(not run.route or stack in run.route for stack, _ in layers)


# match.by -> what was made equal, and its value as a run recorded it.
MATCHED: dict[str, tuple[str, Callable[[Run], float | None]]] = {
    "params": ("stored parameters", lambda run: run.params),
    "flops": ("training FLOPs", lambda run: run.flops),
    "depth": ("layers run", layers_run),
    "seconds": ("seconds of training", lambda run: run.seconds),
}
# As in the configuration: arms that differ by more percent are not called matched.
WARN_PERCENT = 2.0


def describe_matching(comparison: Comparison) -> list[str]:
    """One sentence per arm, if any arm was matched."""
    if not any(arm.first.settings.get("match.by") for arm in comparison.arms):
        return []
    return [_sentence(arm, comparison) for arm in comparison.arms]


def _sentence(arm: Arm, comparison: Comparison) -> str:
    settings = arm.first.settings
    if settings.get("match.by") not in MATCHED:
        return f"{code(arm.name)} was not matched."
    unit, count = MATCHED[str(settings["match.by"])]
    base = _baseline_arm(settings, comparison)
    if base is arm:
        return f"{code(arm.name)} is the baseline that other arms are matched to, by {unit}."
    baseline = code(str(settings.get("match.baseline")))
    text = f"{code(arm.name)} was matched to {baseline} by {unit} ({_varied(settings)})"
    if base is None:
        notes = [note.removeprefix("match: ") for note in arm.first.notes if note.startswith("match: ")]
        recorded = f" Its runs recorded: {escape('; '.join(notes))}." if notes else ""
        return f"{text}; no arm here is that baseline.{recorded}"
    ours = arm.stat(count)
    theirs = base.stat(count)
    if not ours or not theirs or not theirs.mean:
        return f"{text}."
    percent = 100 * (ours.mean / theirs.mean - 1)
    verdict = "" if abs(percent) <= WARN_PERCENT else ": these are **not matched**"
    alike = arm.first.shapes == base.first.shapes
    shapes = "" if alike else " Shapes differ: initial values are equal only for parameters of equal name and shape."
    return f"{text}: {ours.mean:,.0f} against {theirs.mean:,.0f}, {percent:+.2f} %{verdict}.{shapes}"


def _varied(settings: dict[str, Scalar]) -> str:
    """The size or budget that was solved for, and its value before."""
    keys = (f"model.{settings.get('match.vary')}", *LIMITS)
    key = next((key for key in keys if settings.get(key) is not None), None)
    if key is None:
        return "its budget"
    return f"{code(key)} {show_value(settings[key])}, was {show_value(settings.get('match.solved.was'))}"


def _baseline_arm(settings: dict[str, Scalar], comparison: Comparison) -> Arm | None:
    """The arm that settings of match.* describe: its ties, the size before it was varied, and its other sizes."""
    wanted = _under("match.solved.model.", settings)
    vary = str(settings.get("match.vary"))
    if vary != "steps":
        wanted = {vary: settings.get("match.solved.was"), **wanted}
    for arm in comparison.arms:
        there = arm.first.settings
        if _under("tying.ties.", there) == _under("match.solved.ties.", settings):
            model = _under("model.", there)
            if all(model.get(key) == value for key, value in wanted.items()):
                return arm
    return None


def _under(prefix: str, settings: dict[str, Scalar]) -> dict[str, Scalar]:
    return {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
