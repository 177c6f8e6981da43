"""A run under other ties: a new run directory with the converted weights and moments of a trained one, ready to train on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from tietrain.config import HardwareConfig, MatchConfig, RunConfig, TuneConfig
from tietrain.config.identity import result_settings
from tietrain.config.model import InitTables
from tietrain.errors import DataError, LockedError, SettingsError
from tietrain.model.audit import audit_model, audit_optimizer
from tietrain.model.convert import FACTORISED, changed_share, convert_weights, reads_alike
from tietrain.model.transformer import Transformer
from tietrain.plan.plan import TyingPlan
from tietrain.plan.schemes import needs_joint_vocabulary
from tietrain.runs import record as runs
from tietrain.train.begun import begun_record, check_begin, write_begun
from tietrain.train.checkpoint import OPTIMIZER, load_optimizer, newest_whole
from tietrain.train.experiment import Experiment
from tietrain.train.optim import Optimizer, build_optimizer, fraction_spent
from tietrain.train.resume import newest_body, state_of
from tietrain.train.saved import SavedRun, open_run
from tietrain.train.state import Interval, TrainState

# Settings that decide text, shape, batches and what the optimizer holds: a converted run goes on with those of its parent.
FIXED = (
    "task.",
    "data.",
    "model.",
    "match.",
    "tune.",
    "train.batch_",
    "optim.name",
    "seed",
    "init_from",
    "init_tables.",
)
# State of the optimizer that is linear in the gradient, and its second moment.
LINEAR, SQUARED = ("exp_avg", "momentum_buffer"), "exp_avg_sq"


@dataclass(frozen=True)
class Conversion:
    """What was made. change: see `changed_share`. fresh: stored tensors whose moments begin at zero."""

    directory: str
    parent: str
    converted: str
    step: int
    params: int
    params_before: int
    change: float
    fresh: list[str]


def as_start(config: RunConfig) -> RunConfig:
    """The configuration of a run as a converted one takes it over: without its folder, and of no grid, match or tuning."""
    started = replace(config, init_from=None, init_tables=InitTables())
    return replace(started, run_dir=None, swept=[], match=MatchConfig(), tune=TuneConfig())


def convert_run(parent: Path, base: RunConfig, config: RunConfig, rule: str, words: Sequence[str]) -> Conversion:
    """Make the directory of a converted run.

    Args:
        base: the parent's configuration, `as_start`. config: the same with other ties, and other settings that may differ.
        rule: MEAN or FIRST, see `convert_weights`.
        words: of the command line, for the record.
    Raises:
        SettingsError: the ties are the parent's; or something else differs that must not; or the folder is not free.
        DataError: the parent has no whole checkpoint. LockedError: a process is writing it.
    """
    if runs.is_locked(parent):
        raise LockedError(str(parent), "another process is writing this run", "wait for it, or stop it: it saves first")
    config = _with_vocabulary(parent, base, config)
    checkpoint, body = newest_whole(parent), newest_body(parent)
    if checkpoint is None or body is None:
        problem = "it has no whole checkpoint of a step, which would hold weights and moments"
        remedy = "continue the run until it saves one, restore a damaged one, or name another run"
        raise DataError(str(parent), problem, remedy)
    saved = open_run(parent, checkpoint.name, HardwareConfig(device="cpu"))
    state = _state_of_start(state_of(parent, body))
    by = f"tying={saved.record.label} at step {state.step} by {rule}, arm {saved.record.arm}"
    experiment = Experiment(replace(config, converted=by)).with_vocabularies(saved.vocabularies)
    _check_new(parent, saved, experiment, state)

    before = build_optimizer(saved.model, base.optim)
    load_optimizer(checkpoint / OPTIMIZER, saved.model, before)
    model = experiment.build_model()
    convert_weights(saved.model, model, rule)
    optimizer = build_optimizer(model, config.optim)
    fresh = convert_moments(saved.model, before, model, optimizer)
    audit_model(model)
    audit_optimizer(model, optimizer)
    record = begun_record(experiment, body["fingerprints"], words)
    record.earlier_machines = [*saved.record.earlier_machines, saved.record.machine]
    record.parent = saved.record.id
    log = f"converted from {saved.record.id} ({by})\n"
    write_begun(experiment, model, optimizer, state, record, log)
    return Conversion(
        directory=str(experiment.directory.absolute()),
        parent=str(parent),
        converted=by,
        step=state.step,
        params=experiment.params.params,
        params_before=saved.experiment.params.params,
        change=changed_share(saved.model, model),
        fresh=fresh,
    )


def _with_vocabulary(parent: Path, base: RunConfig, config: RunConfig) -> RunConfig:
    """The configuration with the parent's kind of vocabulary, which `auto` would derive from the ties.

    Raises:
        SettingsError: the ties need another one, or a setting differs that must not.
    """
    if "auto" == config.data.vocabulary == base.data.vocabulary and config.joint_vocabulary != base.joint_vocabulary:
        if needs_joint_vocabulary(config.tying.ties):
            problem = f"it ties tables of several languages, and {parent} has a vocabulary for each"
            remedy = "start from a run that was made with data.vocabulary=joint"
            raise SettingsError(f"tying={config.tying_label}", problem, remedy)
        config = replace(config, data=replace(config.data, vocabulary="joint"))
        base = replace(base, data=config.data)
    before, now = result_settings(base), result_settings(config)
    for key in sorted(before.keys() | now.keys()):
        if key.startswith(FIXED) and before.get(key) != now.get(key):
            problem = f"{parent} was trained with {before.get(key)}, and a converted run goes on from there"
            remedy = "leave it out, or train a run from the start"
            raise SettingsError(f"{key}={now.get(key)}", problem, remedy)
    return config


def _state_of_start(state: TrainState) -> TrainState:
    """Where a converted run begins: at the parent's step, without what was measured of the parent's model."""
    return replace(state, interval=Interval(), best=None, averaged=[])


def _check_new(parent: Path, saved: SavedRun, experiment: Experiment, state: TrainState) -> None:
    config, directory = experiment.config, experiment.directory
    if experiment.plan.hash == saved.experiment.plan.hash:
        remedy = f"choose other ties, or continue the run: `{runs.resume_command(parent)}`"
        raise SettingsError(f"tying={config.tying_label}", f"{parent} has these ties already", remedy)
    budgets = config.train.budgets
    if fraction_spent(state.used, budgets) >= 1:
        unit, limit = max(budgets.items(), key=lambda budget: state.used[budget[0]] / budget[1])
        problem = f"{parent} has spent this budget, and a converted run goes on counting"
        raise SettingsError(f"train.max_{unit}={limit:g}", problem, f"give more: train.max_{unit}={2 * limit:g}")
    check_begin(directory)


def convert_moments(old: Transformer, before: Optimizer, new: Transformer, after: Optimizer) -> list[str]:
    """Give an optimizer the state that another one has reached, for the plan of the new model.

    A gradient of n tied uses is the sum of theirs, so that each has 1/n of its first moment, 1/n^2 of its second. Those of
    uses that are tied add up, of second moments their roots: exact if the gradients of the uses are proportional. What
    `optim.shared_gradient` multiplies gradients with counts in both.

    Returns:
        The stored tensors whose state begins at zero, because what they stand for was not stored before.
    """
    fields = list(dict.fromkeys(name for held in before.state.values() for name in held))
    fresh = []
    for store, readers in new.plan.readers.items():
        parameter = new.get_parameter(store)
        sources = [_source(old.plan, new.plan, store, reader) for reader in readers]
        found = [source for source in sources if source]
        if len(found) < len(sources):
            fresh.append(store)
            found = []
        uses = [(old.get_parameter(name), len(old.plan.readers[name])) for name in found]
        shares = [(before.state.get(p, {}), n * before.of_uses.get(p, 1.0)) for p, n in uses]
        factor = after.of_uses.get(parameter, 1.0)
        turned = [_is_turned(old.plan, new.plan, reader) for reader in readers]
        state = {
            field: _moment(field, parameter, factor, [_of_use(held, field, n) for held, n in shares], turned)
            for field in fields
        }
        if state:  # SGD without momentum has none
            after.state[parameter] = state
    return fresh


def _source(old: TyingPlan, new: TyingPlan, store: str, reader: str) -> str | None:
    """The stored tensor whose moments a use of a stored tensor takes over; None if none means the same."""
    alike = reads_alike(old, new, reader)
    if store not in new.owner:
        return old.read_by(reader)[new.read_by(reader).index(store)] if alike else None
    through = [name for plan in (old, new) for name, _ in plan.views.get(reader, ())]
    return old.owner[reader] if alike or FACTORISED not in through else None


def _is_turned(old: TyingPlan, new: TyingPlan, reader: str) -> bool:
    """Whether a use reads its owner transposed in one of the plans alone."""
    slot = new.slots.named(reader)
    return slot is not None and old.asked(slot).kind != new.asked(slot).kind


def _of_use(state: Mapping[str, Tensor], field: str, share: float) -> Tensor | None:
    """An owner's state over `share`, which makes it one use's, of a second moment its root; None if it was never moved."""
    value = state.get(field)
    if value is None or field not in (*LINEAR, SQUARED):
        return value
    return (value.double().sqrt() if field == SQUARED else value.double()) / share


def _moment(
    field: str, parameter: Tensor, factor: float, parts: Sequence[Tensor | None], turned: Sequence[bool]
) -> Tensor:
    """The state of an owner, whose gradient is multiplied by a factor, from those of its uses; of their counts the largest."""
    found = [
        part.t() if is_turned else part for part, is_turned in zip(parts, turned, strict=False) if part is not None
    ]
    if field not in (*LINEAR, SQUARED):
        return max(found, key=float).clone() if found else torch.zeros(())
    total = factor * sum(found, torch.zeros(parameter.shape, dtype=torch.float64))
    return (total.square() if field == SQUARED else total).to(parameter.dtype)
