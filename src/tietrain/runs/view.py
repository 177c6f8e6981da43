"""Run directories -> `Run` values: the only reader of the report. Never opens a checkpoint or an event file.

Whatever the files hold, if the system lets them be read, the answer is a Run: `unreadable` if its record cannot be read, `damaged` if the record says
`done` but a file of a finished run is missing, wrong, or not as it was sealed, both with the reason. Text and numbers are cleaned here: no
later module meets a control character, an unpaired surrogate, or a number that is not finite.
"""

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tietrain.errors import DataError
from tietrain.runs import record as runs
from tietrain.runs.metrics import rows
from tietrain.runs.reading import is_folder, is_there
from tietrain.runs.seal import broken

Scalar = str | int | float | bool | None

# No count or score of ours comes near this; a larger number is damage, and its square must still be finite.
LARGEST = 1e100
# Longest time that `clock` shows, in seconds.
LONGEST = 1e9
# What is read of a run, lines of its documents included.
FILES = (runs.RUN, runs.PLAN, runs.LEDGER, runs.EVAL, runs.METRICS, runs.DOCUMENTS)
TEXTS = ("id", "study", "label", "task", "status", "arm", "plan_hash", "reason", "started_at", "ended_at")
TOTALS = ("steps", "tokens", "flops", "seconds")
MAPS = ("settings", "fingerprints", "machine", "declared")
# Kinds of a term of the FLOP ledger.
FLOP_KINDS = ("projections", "ffn", "logits", "scores")
MAX_TEXT = 1000
# Evaluations that are kept of a curve; while there are more, every other one is left out.
MAX_POINTS = 1000
MAX_DEPTH = 12
# Looks at a model that are kept, and looks at its gradients.
MAX_LOOKS = 8
MAX_ANATOMY = 200


@dataclass(frozen=True)
class Point:
    """One evaluation on the validation split while training; seconds: None if not recorded."""

    step: int
    tokens: float
    flops: float
    nats_per_token: float
    seconds: float | None = None


@dataclass(frozen=True)
class Run:
    """What the report knows of one run directory.

    status: of `runs.STATUSES`, or `unreadable` or `damaged`; only `done` runs enter a mean.
    settings, fingerprints, machine, declared: full dotted key -> value. owner, shapes: slot -> owner, slot -> shape.
    views: what is read through views, in words. viewed: slot -> names of its views.
    flops_by_kind: kind of FLOP_KINDS -> forward FLOPs per target token along the route of stacks, with sources as long as
        targets; `scores` per token and per token of length.
    steps, tokens (target), flops (training), seconds: totals so far; None if not recorded.
    checkpoint_step, chosen_by: the step of the scored weights, and how they were chosen.
    looks: what was seen of the model at a few steps, in order (see `train.probe`). anatomy: of its gradients by use (see
        `train.anatomy`). row_norms: role of table -> mean norm of
        the rows that were scored.
    no_curve: why existing metrics could not be read.
    scores: split -> score -> number; reasons: `split.score` -> why it is empty. means: split that is the mean over
        directions -> the splits it is the mean of.
    """

    path: str
    status: str
    reason: str = ""
    id: str = ""
    study: str = ""
    label: str = ""
    task: str = ""
    seed: int = 0
    arm: str = ""
    plan_hash: str = ""
    settings: dict[str, Scalar] = field(default_factory=dict)
    fingerprints: dict[str, Scalar] = field(default_factory=dict)
    machine: dict[str, Scalar] = field(default_factory=dict)
    declared: dict[str, Scalar] = field(default_factory=dict)
    corrections: tuple[dict[str, Scalar], ...] = ()
    notes: tuple[str, ...] = ()
    parent: str = ""
    started_at: str = ""
    ended_at: str = ""
    total_seconds: float | None = None
    owner: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    viewed: dict[str, str] = field(default_factory=dict)
    convention: str = ""
    params: int | None = None
    params_untied: int | None = None
    params_saved: int | None = None
    by_part: dict[str, int] = field(default_factory=dict)
    saved_by_part: dict[str, int] = field(default_factory=dict)
    views: tuple[str, ...] = ()
    flops_by_kind: dict[str, int] = field(default_factory=dict)
    route: tuple[str, ...] = ()
    steps: float | None = None
    tokens: float | None = None
    flops: float | None = None
    seconds: float | None = None
    checkpoint_step: float | None = None
    chosen_by: str = ""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    means: dict[str, tuple[str, ...]] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    windows: dict[str, Scalar] = field(default_factory=dict)
    curve: tuple[Point, ...] = ()
    looks: tuple[dict[str, float], ...] = ()
    anatomy: tuple[dict[str, float], ...] = ()
    row_norms: dict[str, float] = field(default_factory=dict)
    no_curve: str = ""

    @property
    def origin(self) -> str:
        """What a converted or imported run was made of, in words; empty for one that was trained from its initial values."""
        how = self.settings.get("converted")
        if not how:
            return ""
        return f"converted from {self.parent} ({how})" if self.parent else f"began with the weights of {how}"

    @property
    def predictors(self) -> list[str]:
        """The stacks that have an output projection; `decoder` if no plan was recorded."""
        found = dict.fromkeys(slot.partition(".")[0] for slot in self.owner if slot.endswith(".output.weight"))
        return list(found) or ["decoder"]

    @property
    def target_vocabulary(self) -> str:
        """Fingerprint of the vocabulary whose tokens are scored; several decoders may have several."""
        contents = [str(self.fingerprints.get(f"vocabulary.{stack}", "")) for stack in self.predictors]
        return "+".join(dict.fromkeys(contents))


def collect(directory: Path) -> list[Run]:
    """Every run at or below a folder, by path.

    Raises:
        DataError: there is no such folder, or no run in it. StorageError: the system refuses to read a file or folder.
    """
    if not is_folder(directory):
        raise DataError(str(directory), "there is no such folder", "give a folder of runs, for example outputs/default")
    found = runs.find_runs(directory)
    if not found:
        remedy = "give a folder of run directories (each has a run.json), or make one with `tietrain study=NAME`"
        raise DataError(str(directory), "no runs found", remedy)
    return [read_run(path, str(path.relative_to(directory))) for path in found]


def read_run(directory: Path, shown: str) -> Run:
    """One run; `shown` is the path the report prints for it."""
    shown = clean_text(shown)
    try:
        _refuse_links(directory)
        record = runs.read_record(directory)
        run = _from_record(record, shown)
    except DataError as e:
        return Run(shown, "unreadable", f"{runs.RUN}: {_why(e)}")
    run, damages = _with_files(run, directory)
    run = _with_curve(run, directory)
    run = _with_progress(run, record)
    damages = broken(directory, record) | damages if run.status == "done" else {}
    if damages:
        return replace(run, status="damaged", reason="; ".join(f"{clean_text(k)}: {v}" for k, v in damages.items()))
    return run


def damages_of(directory: Path, record: runs.RunRecord) -> dict[str, str]:
    """File of a finished run -> what is wrong with it, as `read_run` judges; empty if the run is whole."""
    return broken(directory, record) | _with_files(_from_record(record, ""), directory)[1]


def _refuse_links(directory: Path) -> None:
    """DataError if a file is a link that leads out of the run."""
    for name in FILES:
        path = directory / name
        # For a circle of links `Path.resolve` raises an error; `realpath` does not.
        if os.path.islink(path) and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory)):
            raise DataError(str(path), f"{name} is a link that leads out of the run", "put the file in its place")


def _from_record(record: runs.RunRecord, shown: str) -> Run:
    texts: dict[str, Any] = {k: clean_text(getattr(record, k)) for k in TEXTS}
    maps: dict[str, Any] = {k: _flat(getattr(record, k)) for k in MAPS}
    notes = tuple(clean_text(str(note)) for note in record.notes)
    corrections = tuple(_flat(correction) for correction in record.corrections if isinstance(correction, dict))
    parent = clean_text(str(record.parent or ""))
    seconds = number(record.total_seconds)
    return Run(
        shown,
        seed=record.seed,
        notes=notes,
        corrections=corrections,
        parent=parent,
        total_seconds=seconds,
        **texts,
        **maps,
    )


def _with_files(run: Run, directory: Path) -> tuple[Run, dict[str, str]]:
    """The run with its ledger, plan and scores, and what is wrong with the files that a finished run must have."""
    damages: dict[str, str] = {}
    readers = {runs.LEDGER: _ledger_fields, runs.PLAN: _plan_fields, runs.EVAL: _eval_fields}
    for name, fields_of in readers.items():
        if run.status != "done" and not is_there(directory / name):
            continue
        try:
            run = replace(run, **fields_of(runs.read_json(directory / name)))
        except DataError as e:
            damages[name] = _why(e)
        except (KeyError, TypeError, AttributeError, ValueError):
            damages[name] = "a run does not write this there"
    return run, damages


def _ledger_fields(body: Any) -> dict[str, Any]:
    return {
        "convention": clean_text(str(body["convention"])),
        **{name: _count(body[name]) for name in ("params", "params_untied")},
        "params_saved": _saved(body["params_saved"]),
        "by_part": {clean_text(k): _count(v) for k, v in body["by_part"].items()},
        "saved_by_part": {clean_text(k): _saved(v) for k, v in body["saved_by_part"].items()},
        "views": tuple(clean_text(line) for line in body.get("views", ())),
        "flops_by_kind": _by_kind(body.get("flops", {})),
        "route": tuple(clean_text(stack) for stack in body.get("flops", {}).get("route", [])),
    }


def _by_kind(flops: Any) -> dict[str, int]:
    """Kind -> FLOPs; older ledgers have no route: the sum over all stacks, or empty if there are no terms."""
    if "per_token" in flops:
        return {kind: _count(flops["per_token"][kind]) for kind in FLOP_KINDS}
    terms = flops.get("terms", [])
    sums = dict.fromkeys(FLOP_KINDS, 0) if terms else {}
    for term in terms:
        sums[term["kind"]] += _count(term["per_unit"])
    return sums


def _plan_fields(body: Any) -> dict[str, Any]:
    slots = body["slots"]
    return {
        "owner": {clean_text(s["slot"]): clean_text(s["owner"]) for s in slots},
        "shapes": {clean_text(s["slot"]): tuple(_count(n) for n in s["shape"]) for s in slots},
        "viewed": {
            clean_text(slot): ", ".join(clean_text(str(name)) for name, _ in chain)
            for slot, chain in body.get("views", {}).items()
        },
    }


def _eval_fields(body: Any) -> dict[str, Any]:
    splits = {clean_text(split): _numbers(scores) for split, scores in body["splits"].items()}
    if not any(splits.values()):
        raise ValueError("no split has a score")
    checkpoint = body.get("checkpoint", {})
    return {
        "scores": splits,
        "means": {
            clean_text(split): tuple(clean_text(f"{split.rpartition('.')[0]}.{name}") for name in scores["directions"])
            for split, scores in body["splits"].items()
            if "directions" in scores
        },
        "signatures": {clean_text(k): clean_text(str(v)) for k, v in body.get("signatures", {}).items()},
        "reasons": {clean_text(k): clean_text(str(v)) for k, v in body.get("reasons", {}).items()},
        "windows": _flat(body.get("windows", {})),
        "row_norms": _numbers(body.get("row_norms", {})),
        "checkpoint_step": number(checkpoint.get("step")),
        "chosen_by": clean_text(str(checkpoint.get("chosen_by", ""))),
        **{name: number(body.get(name)) for name in TOTALS},
    }


def _with_progress(run: Run, record: runs.RunRecord) -> Run:
    """With totals that the scores did not give: from the record, else from the last evaluation."""
    last = run.curve[-1] if run.curve else None
    totals: dict[str, Any] = {}
    for name in TOTALS:
        of_scores = getattr(run, name)
        of_record = number(record.progress.get(name))
        of_curve = getattr(last, "step" if name == "steps" else name, None)
        totals[name] = next((v for v in (of_scores, of_record, of_curve) if v is not None), None)
    return replace(run, **totals)


def _with_curve(run: Run, directory: Path) -> Run:
    points = []
    looks: list[dict[str, float]] = []
    anatomy: list[dict[str, float]] = []
    try:
        for row in rows(directory):
            if row.get("split") == "probe" and len(looks) < MAX_LOOKS:
                looks.append(_numbers(row))
            if row.get("split") == "anatomy" and len(anatomy) < MAX_ANATOMY:
                anatomy.append(_numbers(row))
            if row.get("split") != "valid":
                continue
            numbers = _numbers({name: row.get(name) for name in ("step", "tokens", "flops", "nats_per_token")})
            if len(numbers) == 4:
                step, tokens, flops, nats = numbers.values()
                points.append(Point(int(step), tokens, flops, nats, number(row.get("seconds"))))
    except DataError as e:
        return replace(run, no_curve=f"{runs.METRICS}: {_why(e)}")
    points.sort(key=lambda p: p.step)
    while len(points) > MAX_POINTS:
        points = points[:0:-2][::-1]
    return replace(run, curve=tuple(points), looks=tuple(looks), anatomy=tuple(anatomy))


def number(value: Any) -> float | None:
    """The value if it is a number of sensible size, else None; Python reads NaN and Infinity from JSON."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < LARGEST else None


def clock(seconds: float) -> str:
    """Hours, minutes and seconds; a damaged file can ask for no more than 31 years.

    >>> clock(3725.4)
    '1:02:05'
    """
    minutes, rest = divmod(round(min(seconds, LONGEST)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _numbers(body: Any) -> dict[str, float]:
    found = {clean_text(name): number(value) for name, value in body.items()}
    return {name: value for name, value in found.items() if value is not None}


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**18:
        raise ValueError("not a count")
    return value


def _saved(value: Any) -> int:
    """A count; less than 0 if views bring more than tying spares."""
    return -_count(-value) if isinstance(value, int) and value < 0 else _count(value)


def _flat(value: Any, prefix: str = "", depth: int = 0) -> dict[str, Scalar]:
    """Dotted key -> leaf; a list is one leaf, written as JSON."""
    if isinstance(value, dict) and (value or not prefix) and depth < MAX_DEPTH:
        leaves: dict[str, Scalar] = {}
        for key, child in value.items():
            name = clean_text(str(key))
            leaves |= _flat(child, f"{prefix}.{name}" if prefix else name, depth + 1)
        return leaves
    if value is None or isinstance(value, bool) or number(value) is not None:
        return {prefix: value}
    if isinstance(value, str):
        return {prefix: clean_text(value)}
    with suppress(RecursionError, ValueError):
        return {prefix: clean_text(json.dumps(value, ensure_ascii=False))}
    return {prefix: "(nested too deep)"}


def configured(recorded: Scalar) -> Any:
    """A setting as the configuration has it: a record holds lists and empty mappings as their JSON text."""
    if isinstance(recorded, str) and recorded[:1] in ("[", "{"):
        with suppress(ValueError, RecursionError):
            return json.loads(recorded)
    return recorded


def clean_text(text: str) -> str:
    """One line of printable text of bounded length; white space becomes a space, what cannot be printed U+FFFD."""
    if not isinstance(text, str):
        raise TypeError("not text")
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + "…"
    if text.isprintable():  # the space is the only white space that can be printed
        return sys.intern(text.strip())  # thousands of runs have the same keys and values
    return "".join(" " if c.isspace() else c if c.isprintable() else "�" for c in text).strip()


def _why(error: DataError) -> str:
    return clean_text(error.problem)
