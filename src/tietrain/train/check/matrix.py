"""Schemes x checks: which schemes apply to which task, what each check found, and all of it as a table, text or JSON."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from tietrain.config import RunConfig, TyingConfig
from tietrain.config.compose import compose_config, parse_overrides
from tietrain.config.keys import tying_choices
from tietrain.errors import SettingsError, TietrainError, TyingError, first_line
from tietrain.model.transformer import Transformer
from tietrain.plan import catalogue
from tietrain.plan.catalogue import Scheme, load_in_order
from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import Slot
from tietrain.train.check import checks
from tietrain.train.check.initial import check_initial_loss, is_predicted
from tietrain.train.check.lifecycle import check_compile, check_ties
from tietrain.train.check.reference import NARROW, WIDE, build_reference, describe_reference

# What the reference of --all is: every kind of slot there is, and the six layers that examples of rules are made for.
REFERENCE = (
    *("model.n_layers=6", "model.positions=learned", "model.max_len=48", "task.window=48", "task.max_len=47"),
    *(f"model.{part}_bias=true" for part in ("attn", "ffn", "norm", "output")),
)
# The kinds of model, as in `tying.table.REFERENCE`, and what chooses them: every way in which stacks can be joined.
MODELS = {
    "lm": ("task=lm",),
    "mlm": ("task=mlm",),
    "mt": ("task=mt",),
    "sources": ("task=mt", "data.columns=[a,c,b]", "model.source_attention=each"),
    "features": ("task=mt", "data.columns=[a,features,b]", "+data.features.features=24"),
    "languages": (
        *("task=mt", "data.columns=[a,b]", "task.directions=[a-b,b-a]"),
        *("model.encoders=each", "model.decoders=each"),
    ),
}
N_SEEDS = 3
MARKS = {"pass": "[green]pass", "fail": "[bold red]FAIL", "seen": "[dim]seen", "n/a": "[dim]n/a"}
UNBOUNDED = 10_000  # columns, for a table that a terminal or a file is too narrow for
Log = Callable[[str], None]

# Check -> what it takes and what it says of a model, in the order of the columns.
EXACT: dict[str, Callable[[Transformer], str]] = {
    "ties": check_ties,
    "gradient": checks.check_gradients,
    "steps": checks.check_optimizers,
    "decay": checks.check_decay,
    "cache": checks.check_cache,
    "params": checks.check_params,
    "flops": checks.check_flops,
}
CHECKS = {
    "ties": "every slot reads its owner's tensor after build, move, cast, copy, meta build, load, save, averaging",
    "gradient": "the gradient of a tied parameter is the sum over its uses in an untied twin",
    "steps": "untied copies, each stepped with the sum of their gradients, follow the tied model",
    "decay": "weight decay is applied once, and optimizer state is held once, per stored parameter",
    "cache": "cached decoding equals the full forward pass, also for selected rows",
    "params": "the parameter ledger equals what memory and optimizer hold",
    "flops": "the FLOP ledger equals torch's own count, forward and in training",
    "start": "the initial loss equals the one predicted from the initial distribution",
    "compile": "compiled loss and gradients equal the eager ones, and the ties hold",
}


@dataclass(frozen=True)
class CheckResult:
    """The result of one check: pass, fail, seen (its mechanism was compiled in another row) or n/a, and why."""

    status: str
    note: str = ""
    flag: str = ""


@dataclass
class Row:
    """One scheme in one kind of model; `reason` says why it does not apply, and its cells are then all n/a."""

    model: str
    scheme: str
    plan: str = ""
    reason: str = ""
    seconds: float = 0.0
    cells: dict[str, CheckResult] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.model} {self.scheme}"


def check_configured(config: RunConfig, log: Log) -> Row:
    """The row of one configuration.

    Raises:
        TyingError: its ties do not fit its model.
    """
    return _check_row(config, config.task.name, config.tying_label, log, compiles=True)


def check_all(overrides: Sequence[str], config_dirs: Sequence[str], log: Log) -> list[Row]:
    """A row for every scheme in the first kind of model that it applies to, and for one scheme of every rule in every kind.

    Args:
        overrides: change the reference model, or anything else but task and tying.
    Raises:
        SettingsError: they choose a task or scheme.
    """
    keys = [override.key_or_group for override in parse_overrides(overrides)]
    if chosen := [key for key in keys if key in ("task", "tying") or key.startswith("tying.")]:
        raise SettingsError(f"check --all {chosen[0]}", "it checks every scheme under every task", "leave out --all")
    rows: list[Row] = []
    compiled: set[str] = set()
    schemes = load_in_order(tying_choices())
    first = _one_a_rule(schemes)
    for kind, chosen_by in MODELS.items():
        depth = () if kind in ("lm", "mt") else ("model.n_layers=2",)  # no rule here is an example for six layers
        common = compose_config([*REFERENCE, *depth, *overrides, *chosen_by], config_dirs)
        checked = {row.scheme for row in rows if not row.reason}
        for scheme in (s for s in schemes if s in first or s.name not in checked):
            config = with_examples(replace(common, tying=TyingConfig(dict(scheme.ties))))
            try:
                kinds = mechanisms(build_reference(config, NARROW).plan)
            except TyingError as e:
                cells = dict.fromkeys(CHECKS, CheckResult("n/a"))
                rows.append(Row(kind, scheme.name, reason=e.problem, cells=cells))
                continue
            rows.append(_check_row(config, kind, scheme.name, log, compiles=not kinds <= compiled))
            compiled |= kinds
    return rows


def _one_a_rule(schemes: Sequence[Scheme]) -> list[Scheme]:
    """The first scheme of each rule; all maps of layers count as one, because they act within a stack."""
    first: dict[str, Scheme] = {}
    for scheme in schemes:
        (tie,) = scheme.ties.values()
        first.setdefault("layers" if {"stacks", "norms"} <= tie.keys() else tie["rule"], scheme)
    return list(first.values())


def describe_all(overrides: Sequence[str]) -> str:
    """The model that `check_all` checks, in words."""
    words = [*REFERENCE, *overrides]
    return f"{' '.join(words)}\n{describe_reference(compose_config(words))}"


def with_examples(config: RunConfig) -> RunConfig:
    """The configuration with values, fit for six layers, where a scheme leaves them to the user."""
    return replace(config, tying=TyingConfig(catalogue.with_examples(config.tying.ties)))


def _check_row(config: RunConfig, kind: str, scheme: str, log: Log, *, compiles: bool) -> Row:
    began, model = time.monotonic(), build_reference(config, NARROW)
    row = Row(kind, scheme, model.plan.hash)
    log(f"checking {row.title}")
    row.cells = {name: _result(check, model) for name, check in EXACT.items()}
    unknown = CheckResult("n/a", "a feed-forward that reads one matrix twice is not predicted")
    row.cells["start"] = _result(check_start, config) if is_predicted(model.plan) else unknown
    kinds = ", ".join(sorted(mechanisms(model.plan)))
    seen = CheckResult("seen", f"{kinds}: compiled in a row above")
    row.cells["compile"] = _result(check_compile, model) if compiles else seen
    row.seconds = time.monotonic() - began
    return row


def check_start(config: RunConfig) -> tuple[str, str]:
    """What `check_initial_loss` says of a configuration, over three seeds."""
    models = [build_reference(replace(config, seed=config.seed + i), WIDE) for i in range(N_SEEDS)]
    untied = build_reference(replace(config, tying=TyingConfig()), WIDE)
    return check_initial_loss(models, untied)


def _result(check: Callable[[Any], str | tuple[str, str]], what: Any) -> CheckResult:
    """The result of a check, which returns a note, or a note and a flag."""
    try:
        found = check(what)
        return CheckResult("pass", found) if isinstance(found, str) else CheckResult("pass", *found)
    except TietrainError as e:
        return CheckResult("fail", f"{e.setting}: {e.problem}")
    except Exception as e:  # a check that cannot be carried out has not passed, and the others are still worth knowing
        return CheckResult("fail", f"{type(e).__name__}: {first_line(e)}")


def mechanisms(plan: TyingPlan) -> set[str]:
    """The kinds of tie in a plan: table, cross-stack, layer, projection; `no tie` if it has none."""
    found = {_mechanism([slot for slot in plan.slots if plan.owner[slot.name] == owner]) for owner in plan.groups}
    return found or {"no tie"}


def _mechanism(uses: Sequence[Slot]) -> str:
    if uses[0].layer is None:
        return "table tie"
    if len({slot.stack for slot in uses}) > 1:
        return "cross-stack tie"
    return "layer tie" if len({slot.layer for slot in uses}) > 1 else "projection tie"


def passed(rows: Sequence[Row]) -> bool:
    """Whether something was checked and no check failed."""
    cells = [cell.status for row in rows for cell in row.cells.values()]
    return "pass" in cells and "fail" not in cells


@contextmanager
def progress() -> Iterator[Log]:
    """A function that shows on stderr what is being done: one changing line on a terminal, one line per step elsewhere."""
    if not sys.stderr.isatty():
        yield lambda line: print(line, file=sys.stderr, flush=True)
        return
    with Console(stderr=True).status("") as status:
        yield status.update


def show_rows(rows: Sequence[Row], heading: str) -> None:
    """Print the matrix, what each check means, and remarks on single results."""
    table = Table(box=None, pad_edge=False)
    for name in ("model", "scheme", *CHECKS):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(row.model, row.scheme, *(MARKS[cell.status] for cell in row.cells.values()))
    fits = Console(width=UNBOUNDED).measure(table).maximum <= Console().width
    Console(width=None if fits else UNBOUNDED).print(table)
    print("\n".join([heading, *_legend(rows), *_remarks(rows), _summary(rows)]))


def _legend(rows: Sequence[Row]) -> Iterator[str]:
    """What each check proves; of a single row, what it found."""
    for name, meaning in CHECKS.items():
        yield f"  {name:<9}{meaning}"
        if len(rows) == 1 and rows[0].cells[name].note:
            yield f"  {'':<9}{rows[0].cells[name].note}"


def _remarks(rows: Sequence[Row]) -> list[str]:
    """One line per failure and per flag, and one for every reason why schemes do not apply."""
    cells = [(row, name, cell) for row in rows for name, cell in row.cells.items()]
    lines = [f"FAIL {row.title}, {name}: {cell.note}" for row, name, cell in cells if cell.status == "fail"]
    lines += [f"flag {row.title}: {cell.flag}" for row, _, cell in cells if cell.flag]
    absent: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.reason:
            absent.setdefault((row.model, row.reason), []).append(row.scheme)
    lines += [f"n/a  {model} {', '.join(schemes)}: {reason}" for (model, reason), schemes in absent.items()]
    if any(cell.status == "seen" for _, _, cell in cells):
        lines.append("seen: the same kind of tie was compiled in a row above")
    return lines


def _summary(rows: Sequence[Row]) -> str:
    count = Counter(cell.status for row in rows for cell in row.cells.values())
    verdict = "all checks passed" if passed(rows) else "NOT all checks passed"
    seconds = sum(row.seconds for row in rows)
    return f"{verdict}: {count['pass']} passed, {count['fail']} failed, {count['n/a']} do not apply, {seconds:.0f} s"


def to_json(rows: Sequence[Row], heading: str) -> dict[str, Any]:
    """What was checked and found, as JSON."""
    body = [asdict(row) | {"seconds": round(row.seconds, 2)} for row in rows]
    return {"passed": passed(rows), "reference": heading, "checks": CHECKS, "rows": body}
