"""How the runs of a comparison were made, from their records: a paragraph to paste, and every setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tietrain.report.arms import Comparison, count_statuses, show_value
from tietrain.report.differences import describe_matching, differing_settings
from tietrain.report.effective_settings import used_settings
from tietrain.report.pages.markup import code, count, escape, join_words
from tietrain.report.pages.tuning_text import method_sentence
from tietrain.report.statistics import LEVEL
from tietrain.report.ties import describe_ties
from tietrain.report.verdicts import Verdicts
from tietrain.runs.view import Run, Scalar


def method_paragraph(comparison: Comparison, judgement: Verdicts) -> str:
    """How this was done, as plain text for a paper."""
    return " ".join(method_sentences(comparison, judgement))


def method_sentences(comparison: Comparison, judgement: Verdicts) -> list[str]:
    """The sentences of `method_paragraph`, each from the records of the runs."""
    found = _runs(comparison)
    settings = _values([used_settings(run) for run in found])
    settings.pop("data.vocabulary", None)  # what was asked for: the sentence of the vocabulary says what was made

    def told(prefix: str) -> str:
        return _told({k.removeprefix(prefix): v for k, v in settings.items() if k.startswith(prefix)})

    return [
        _arms(comparison),
        _ties(comparison),
        f"Data: {told('data.')} ({_hashes(found, 'corpus')}){_sizes(comparison)}.",
        f"Vocabulary: {_hashes(found, 'vocabulary')}{_pieces(comparison)}.{_joint(comparison)}",
        f"Task: {told('task.')}.",
        f"Model: {told('model.')}.",
        f"Optimizer: {told('optim.')}.",
        f"Budget and batches: {told('train.')}.",
        f"Scored weights: {_plain([run.chosen_by for run in found])}.",
        *[line.replace("`", "").replace("**", "") for line in describe_matching(comparison)],
        *_parents(found),
        _tuning(comparison, judgement),
        _seeds(comparison),
        _statistics(judgement),
        *_signatures(found),
        "Stored parameters count a shared tensor once. Training FLOPs are those of forward and backward passes over real "
        f"lengths ({_plain([run.convention for run in found])}) and count every use.",
        f"Software and hardware: {_told(_values([run.machine for run in found]))}.",
    ]


def _runs(comparison: Comparison) -> list[Run]:
    """What the runs have in common is read from these: the finished ones, or one of an arm that has none."""
    return [run for arm in comparison.arms for run in (arm.done or (arm.first,))]


def _told(values: Mapping[str, Mapping[str, None]]) -> str:
    """`key value, key value`; of several values all, up to a few."""
    told = {key: [text for text in found if text not in ("{}", "[]")] for key, found in values.items()}
    return ", ".join(f"{key} {_plain(found)}" for key, found in told.items() if found) or "not recorded"


def _plain(texts: Sequence[str], most: int = 4) -> str:
    said = [text for text in dict.fromkeys(texts) if text]
    return " or ".join(said[:most] + ["…"] * (len(said) > most)) or "not recorded"


def _arms(comparison: Comparison) -> str:
    names = join_words([arm.name for arm in comparison.arms])
    besides = ["the vocabulary"] if len(comparison.vocabularies) > 1 else []
    besides += list(differing_settings(comparison))
    differ = f"besides the tie in {join_words(besides)}" if besides else "in the tie alone"
    return f"{comparison.title}: {len(comparison.arms)} arms ({names}), which differ {differ}."


def _ties(comparison: Comparison) -> str:
    tied = [(arm, "; ".join(describe_ties(arm.first.owner)).replace("`", "")) for arm in comparison.arms]
    return "Shared: " + ". ".join(f"{arm.name}: {ties or 'nothing'}" for arm, ties in tied) + "."


def _hashes(found: Sequence[Run], name: str) -> str:
    values = _values([run.fingerprints for run in found])
    short = {k: {v[:16]: None for v in vs} for k, vs in values.items() if k == name or k.startswith(f"{name}.")}
    return f"sha256 of {_told(short)}" if short else f"no hash of the {name} recorded"


def _sizes(comparison: Comparison) -> str:
    """Target tokens and bytes of the scored splits, as the first arm has them."""
    scores = comparison.arms[0].first.scores
    sizes = [
        f"{split} {count(found['tokens'])} target tokens and {count(found.get('bytes'))} bytes"
        for split, found in scores.items()
        if "tokens" in found
    ]
    return f"; scored: {', '.join(sizes)}" if sizes else ""


def _pieces(comparison: Comparison) -> str:
    sizes = sorted({arm.vocab_size for arm in comparison.arms if arm.vocab_size})
    return f"; {' or '.join(map(count, sizes))} target pieces" if sizes else ""


def _joint(comparison: Comparison) -> str:
    """Which arms have one vocabulary for several stacks; empty where a model has one stack."""
    kinds: dict[str, list[str]] = {}
    for arm in comparison.arms:
        contents = [text for key, text in arm.first.fingerprints.items() if key.startswith("vocabulary.")]
        if len(contents) > 1:
            joint = len(set(contents)) == 1
            kinds.setdefault("One for all stacks" if joint else "One vocabulary a stack", []).append(arm.name)
    return "".join(f" {kind}: {join_words(names)}." for kind, names in kinds.items())


def _tuning(comparison: Comparison, judgement: Verdicts) -> str:
    if judgement.tuned:
        return method_sentence(comparison)
    if any(arm.tuning for arm in comparison.arms):
        return "Not every arm was tuned alike."
    n = comparison.n_rates
    return "No arm was tuned: all were trained " + ("at one common rate." if n == 1 else f"at {n} rates.")


def _seeds(comparison: Comparison) -> str:
    seeds = {arm.name: ", ".join(str(run.seed) for run in arm.done) or "none" for arm in comparison.arms}
    alike = set(seeds.values())
    said = f"{alike.pop()} for every arm" if len(alike) == 1 else "; ".join(f"{n}: {s}" for n, s in seeds.items())
    statuses = count_statuses(run for arm in comparison.arms for run in arm.runs)
    ended = {"diverged": 0, **statuses}
    others = [f"{n} {status.replace('_', ' ')}" for status, n in ended.items() if status != "done"]
    said = f"Training seeds that finished: {said}. Of {sum(statuses.values())} runs {join_words(others)}."
    return said + (" Means leave these out, medians count diverged ones as worst." if ended["diverged"] else "")


def _parents(found: Sequence[Run]) -> list[str]:
    parents = sorted({run.parent for run in found if run.parent})
    return [f"Runs started from the weights of {join_words(parents)}."] if parents else []


def _statistics(judgement: Verdicts) -> str:
    declared = judgement.declared
    primary = f"{declared.score.title} on {declared.split}"
    if declared.doubt:
        return f"No primary score was stated before training ({declared.doubt}); {primary} is exploratory."
    margin = f", margin {declared.margin * declared.score.scale:g}" if declared.margin else ""
    said = f"Primary score, stated before training: {primary}{margin}; every other score and split is exploratory."
    tested = sum(one.paired is not None for one in judgement.arms)
    if not tested:
        return f"{said} No test was made: no arm has two seeds in common with {declared.baseline}."
    said += (
        f" {tested} arm{'s' if tested > 1 else ''} against {declared.baseline}: two-sided paired t tests over training seeds "
        f"and 95 % t intervals; p adjusted over arms (Holm 1979), level {LEVEL:g}; sign-flip p beside it (Fisher 1935)."
    )
    if declared.margin:
        said += " Equivalence: two one-sided tests against the margin (Schuirmann 1987), adjusted likewise."
    if any(one.two_level for one in judgement.arms):
        said += " Intervals over seeds and documents together: pigeonhole bootstrap (Owen 2007)."
    if not judgement.tuned:
        said += " Without tuning no arm is called better or worse."
    return said


def _signatures(found: Sequence[Run]) -> list[str]:
    signed = _values([run.signatures for run in found])
    sentences = (
        [f"Signatures: {'; '.join(f'{name}: {_plain(list(v))}' for name, v in signed.items())}."] if signed else []
    )
    windows = _values([run.windows for run in found])
    return sentences + ([f"Windows of the language model: {_told(windows)}."] if windows else [])


def method_details(comparison: Comparison) -> list[str]:
    """Every setting, one line of Markdown a group; a value that is not the same in all runs says so."""
    runs = _runs(comparison)
    settings = _values([used_settings(run) for run in runs])

    def listed(prefix: str, otherwise: str = "not recorded") -> str:
        return _listed({k.removeprefix(prefix) or k: v for k, v in settings.items() if k.startswith(prefix)}, otherwise)

    budget = listed("train.max_", "no limit stated, the default number of steps")
    lines = [
        f"Task: {listed('task.')}.",
        f"Corpus: {listed('data.')}; {_fingerprints(runs, 'corpus')}.",
        f"Vocabulary: {_fingerprints(runs, 'vocabulary')}.",
        f"Model: {listed('model.')}.",
        f"Budget: {budget}; target tokens a step: {listed('train.batch_tokens')}.",
        f"Optimizer and schedule: {listed('optim.')}.",
        f"Machine: {_listed(_values([run.machine for run in runs]))}.",
        f"FLOPs: {_either([run.convention for run in runs])}, forward and backward, over real lengths.",
        f"Scored weights: {_either([run.chosen_by for run in runs])}, "
        f"at step {_either([count(run.checkpoint_step) for run in runs])}.",
    ]
    if any(run.windows for run in runs):
        lines.append(f"Windows of the language model: {_listed(_values([run.windows for run in runs]))}.")
    if parents := sorted({run.parent for run in runs if run.parent}):
        lines.append(f"Started from the weights of {join_words([code(parent) for parent in parents])}.")
    return lines + [escape(note) for note in dict.fromkeys(note for run in runs for note in run.notes)]


def _values(maps: Sequence[Mapping[str, Scalar]]) -> dict[str, dict[str, None]]:
    """Key -> every value it has in some map, in order; a key that is empty everywhere is left out."""
    values: dict[str, dict[str, None]] = {}
    for found in maps:
        for key, value in found.items():
            values.setdefault(key, {})[show_value(value)] = None
    return {key: found for key, found in values.items() if found.keys() - {"null", "", "{}", "[]"}}


def _listed(values: Mapping[str, Mapping[str, None]], otherwise: str = "not recorded") -> str:
    """`key=value` of each key; several values are all said, up to a few."""
    shown = [
        code(f"{key}={' or '.join(list(found)[:4])}{' or …' if len(found) > 4 else ''}")
        for key, found in values.items()
    ]
    return ", ".join(shown) or otherwise


def _fingerprints(runs: Sequence[Run], name: str) -> str:
    found = _values([run.fingerprints for run in runs])
    short = {k: {value[:16]: None for value in v} for k, v in found.items() if k == name or k.startswith(name + ".")}
    return f"fingerprint {_listed(short)}" if short else "no fingerprint recorded"


def _either(texts: Sequence[str]) -> str:
    return " or ".join(code(text) for text in dict.fromkeys(texts) if text) or "not recorded"
