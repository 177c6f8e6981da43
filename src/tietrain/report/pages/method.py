"""How the runs of a comparison were made, from their records: a paragraph to paste, and a list of every setting."""

from collections.abc import Callable, Mapping, Sequence

from tietrain.config.keys import read_settings
from tietrain.report.arms import Comparison, count_statuses, show_value
from tietrain.report.contrasts import LEVEL
from tietrain.report.differences import describe_matching, describe_origins, differing_settings
from tietrain.report.pages.markup import code, count, escape, join_words
from tietrain.report.pages.tuning_text import method_sentence
from tietrain.report.ties import describe_ties
from tietrain.report.verdicts import Verdicts
from tietrain.runs.view import Run, Scalar, configured

# Key -> every value that some run has, in order.
Values = dict[str, list[str]]
# Of a key with more values than this, the others are an ellipsis.
MOST_VALUES = 4
HASH_DIGITS = 16
UNKNOWN = "not recorded"
# Group of settings -> how their keys begin.
PREFIXES = {"Task": "task.", "Data": "data.", "Model": "model.", "Optimizer": "optim.", "Budget and batches": "train."}
VECTORS = "Files of vectors that token tables start from (sha256)"
PREFIXES[VECTORS] = "init_tables.contents."
HASHES, WINDOWS, MACHINE = "Hashes (sha256)", "Windows of the language model", "Software and hardware"


def used_settings(run: Run) -> dict[str, Scalar]:
    """Full key -> value of what had an effect; without hardware.*, because the record of the machine says what was used."""
    flat = {key: configured(recorded) for key, recorded in run.settings.items()} | {"task.name": run.task}
    read = read_settings(flat).keys()
    return {k: v for k, v in run.settings.items() if k in read and not k.startswith("hardware.")}


def setting_groups(runs: Sequence[Run]) -> dict[str, Values]:
    """Every setting that the runs read, their hashes and machines: title of a group -> key -> values."""
    one_of_each = {run.arm: run for run in runs}.values()  # the settings of an arm are those of each of its runs
    settings = _values([used_settings(run) for run in one_of_each])
    groups = {
        title: {key.removeprefix(prefix): texts for key, texts in settings.items() if key.startswith(prefix)}
        for title, prefix in PREFIXES.items()
    }
    hashes = _values([run.fingerprints for run in runs])
    groups[HASHES] = {
        key: list(dict.fromkeys(text[:HASH_DIGITS] for text in texts))
        for key, texts in hashes.items()
        if key.startswith(("corpus", "vocabulary"))
    }
    groups[WINDOWS] = _values([run.windows for run in runs])
    groups[MACHINE] = _values([run.machine for run in runs])
    return {title: values for title, values in groups.items() if values or title not in (WINDOWS, VECTORS)}


def _values(maps: Sequence[Mapping[str, Scalar]]) -> Values:
    """A key that is empty in all maps is left out."""
    values: dict[str, dict[str, None]] = {}
    for found in maps:
        for key, value in found.items():
            values.setdefault(key, {})[show_value(value)] = None
    return {key: list(texts) for key, texts in values.items() if texts.keys() - {"null", "", "{}", "[]"}}


def _plain(values: Values) -> str:
    """`key value, key value or value`."""
    return ", ".join(f"{key} {_either(texts)}" for key, texts in values.items()) or UNKNOWN


def _coded(values: Values) -> str:
    """`key=value`, `key=value or value`, in code type."""
    return ", ".join(code(f"{key}={_either(texts)}") for key, texts in values.items()) or UNKNOWN


def _either(texts: Sequence[str], show: Callable[[str], str] = str) -> str:
    """Distinct values, up to a few."""
    distinct = [show(text) for text in dict.fromkeys(texts) if text]
    return " or ".join(distinct[:MOST_VALUES] + ["…"] * (len(distinct) > MOST_VALUES)) or UNKNOWN


def method_sentences(comparison: Comparison, verdicts: Verdicts) -> list[str]:
    """The method as plain text for a paper, each sentence from the records of the runs."""
    runs = _described_runs(comparison)
    groups = setting_groups(runs)
    groups["Data"].pop("vocabulary", None)  # the request; the hash of the vocabulary says what was made
    signatures = _values([run.signatures for run in runs])
    return [
        _arms(comparison),
        _ties(comparison),
        *(f"{title}: {_plain(values)}." for title, values in groups.items()),
        *_sizes(comparison),
        *_vocabularies(comparison),
        f"Scored weights: {_either([run.chosen_by for run in runs])}.",
        *(line.replace("`", "").replace("**", "") for line in describe_matching(comparison)),
        *_parents(runs),
        *describe_origins(comparison.arms, str),
        _tuning(comparison, verdicts),
        _seeds(comparison),
        _statistics(verdicts),
        *([f"Signatures: {_plain(signatures)}."] if signatures else []),
        "Stored parameters count a shared tensor once. Training FLOPs are those of forward and backward passes over real "
        f"lengths ({_either([run.convention for run in runs])}) and count every use.",
    ]


def method_details(comparison: Comparison) -> list[str]:
    """Every setting, one line of Markdown per group; a key with several values shows them all."""
    runs = _described_runs(comparison)
    step = _either([count(run.checkpoint_step) for run in runs], code)
    return [
        *(f"{title}: {_coded(values)}." for title, values in setting_groups(runs).items()),
        f"FLOPs: {_either([run.convention for run in runs], code)}, forward and backward, over real lengths.",
        f"Scored weights: {_either([run.chosen_by for run in runs], code)}, at step {step}.",
        *_parents(runs, code),
        *describe_origins(comparison.arms),
        *(escape(note) for note in dict.fromkeys(note for run in runs for note in run.notes)),
    ]


def _described_runs(comparison: Comparison) -> list[Run]:
    """The finished runs, and one run of each arm that has none."""
    return [run for arm in comparison.arms for run in (arm.done or (arm.first,))]


def _arms(comparison: Comparison) -> str:
    names = join_words([arm.name for arm in comparison.arms])
    differ = ["the tie", "the vocabulary"] if len(comparison.vocabularies) > 1 else ["the tie"]
    differ += differing_settings(comparison)
    return f"{comparison.title}: {len(comparison.arms)} arms ({names}), which differ only in {join_words(differ)}."


def _ties(comparison: Comparison) -> str:
    tied = [
        (arm, "; ".join(describe_ties(arm.first.owner, arm.first.views)).replace("`", "")) for arm in comparison.arms
    ]
    return "Shared: " + ". ".join(f"{arm.name}: {ties or 'nothing'}" for arm, ties in tied) + "."


def _sizes(comparison: Comparison) -> list[str]:
    sizes = [
        f"{split} {count(found['tokens'])} target tokens and {count(found.get('bytes'))} bytes"
        for split, found in comparison.arms[0].first.scores.items()
        if "tokens" in found
    ]
    return [f"Scored: {', '.join(sizes)}."] if sizes else []


def _vocabularies(comparison: Comparison) -> list[str]:
    sizes = sorted({arm.vocab_size for arm in comparison.arms if arm.vocab_size})
    sentences = [f"Vocabulary: {' or '.join(map(count, sizes))} target pieces."] if sizes else []
    kinds: dict[str, list[str]] = {}
    for arm in comparison.arms:
        contents = [text for key, text in arm.first.fingerprints.items() if key.startswith("vocabulary.")]
        if len(contents) > 1:
            kind = "One vocabulary for all stacks" if len(set(contents)) == 1 else "One vocabulary per stack"
            kinds.setdefault(kind, []).append(arm.name)
    return sentences + [f"{kind}: {join_words(names)}." for kind, names in kinds.items()]


def _parents(runs: Sequence[Run], show: Callable[[str], str] = str) -> list[str]:
    parents = [show(parent) for parent in sorted({run.parent for run in runs if run.parent and not run.origin})]
    return [f"Runs started from the weights of {join_words(parents)}."] if parents else []


def _tuning(comparison: Comparison, verdicts: Verdicts) -> str:
    if verdicts.tuned:
        return method_sentence(comparison)
    if any(arm.tuning for arm in comparison.arms):
        return "Not every arm was tuned in the same way."
    n = comparison.n_rates
    return "No arm was tuned: all were trained " + ("at one common rate." if n == 1 else f"at {n} rates.")


def _seeds(comparison: Comparison) -> str:
    seeds = {arm.name: ", ".join(str(run.seed) for run in arm.done) or "none" for arm in comparison.arms}
    distinct = set(seeds.values())
    text = "; ".join(f"{name}: {found}" for name, found in seeds.items())
    if len(distinct) == 1:
        text = f"{distinct.pop()} for every arm"
    statuses = count_statuses(run for arm in comparison.arms for run in arm.runs)
    ended = {"diverged": 0, **statuses}
    others = [f"{n} {status.replace('_', ' ')}" for status, n in ended.items() if status != "done"]
    text = f"Training seeds that finished: {text}. Of {sum(statuses.values())} runs: {join_words(others)}."
    if ended["diverged"]:
        text += " Means leave these out; medians count diverged runs as worst."
    return text


def _statistics(verdicts: Verdicts) -> str:
    declared = verdicts.declared
    primary = f"{declared.score.title} on {declared.split}"
    if declared.doubt:
        return f"No primary score was declared before training ({declared.doubt}); {primary} is exploratory."
    margin = f", margin {declared.margin * declared.score.scale:g}" if declared.margin else ""
    text = f"Primary score, declared before training: {primary}{margin}; every other score and split is exploratory."
    tests = [arm_verdict.test for arm_verdict in verdicts.arms if arm_verdict.test]
    if not tests:
        return f"{text} No test was made: no arm and its baseline {declared.baseline} have two seeds each."
    equal = any(test.equal_noise for test in tests)
    kind = "t tests with one seed noise for all arms" if equal else "Welch's t tests (Welch 1947)"
    text += (
        f" {len(tests)} arm{'s' if len(tests) > 1 else ''} against {declared.baseline}: two-sided {kind} over training "
        f"seeds and 95 % t intervals; p adjusted over arms (Holm 1979), level {verdicts.level:.2g}."
    )
    if declared.looks:
        looks = join_words(list(map(str, declared.looks)))
        text += f" The level of {LEVEL:g} is spent over looks at {looks} seeds (Lan and DeMets 1983)."
    if verdicts.design.luck:
        text += f" For the luck of tuning, {verdicts.design.luck:.2g} seed variances are added to the variance of every mean."
    if declared.margin:
        text += (
            " Equivalence: two one-sided tests against the margin (Schuirmann 1987); not worse: one of them; both adjusted "
            "over arms."
        )
    if any(arm_verdict.two_level for arm_verdict in verdicts.arms):
        text += " Intervals over seeds and documents together: pigeonhole bootstrap (Owen 2007)."
    if not verdicts.tuned:
        text += " Without tuning, no arm is called better or worse."
    return text
