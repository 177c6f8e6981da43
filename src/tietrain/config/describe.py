"""Plan and ledgers as JSON, for `ledger.json` and `tietrain plan --json`, and in words, printed before step 1."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from tietrain.config import RunConfig
from tietrain.plan.conventions import PUBLISHED, UNIT, columns, estimate, estimate_all
from tietrain.plan.flops import CONVENTION, count_decoding, count_flops, equal_lengths
from tietrain.plan.params import MemoryLedger, count_memory, count_params
from tietrain.plan.plan import TyingPlan
from tietrain.plan.units import ProcessMemory, count_process_memory
from tietrain.plan.words import describe_manifest, describe_views, make_manifest, manifest_json, owner_map

# Of the ledger of parameters, in the order of `ledger.json`.
COUNTS = ("params", "params_untied", "params_saved", "n_embedding", "n_once", "n_repeated")


def ledger_json(plan: TyingPlan, config: RunConfig) -> dict[str, Any]:
    """Counts as plain integers; FLOPs are forward, as coefficients in lengths.

    `flops.per_token` is of a target token of `flops.route`, the first route of sentences, S = T; its scores are those for
    each token of length. What needs one length, conventions and decoding, is at the configuration's typical one.
    """
    ledger = count_params(plan)
    flops = count_flops(plan)
    return {
        "convention": CONVENTION,
        **{name: getattr(ledger, name) for name in COUNTS},
        "n_effective": flops.n_effective,
        **{name: getattr(ledger, name) for name in ("by_part", "saved_by_part", "by_role", "saved_by_role", "uses")},
        "loads": [asdict(load) for load in ledger.loads],
        "manifest": manifest_json(make_manifest(plan)),
        **({"views": describe_views(plan)} if plan.views else {}),
        "flops": {
            "coefficients": flops.coefficients,
            "terms": [asdict(term) for term in flops.terms],
            "route": list(flops.route),
            "per_token": flops.by_kind(equal_lengths(plan.slots.shape, 1)),
            **({"once": [asdict(term) for term in flops.once]} if flops.once else {}),
        },
        "conventions": {
            "unit": UNIT,
            "length": config.typical_length,
            "columns": columns(plan, config.typical_length),
            "published": estimate_all(plan, config.typical_length),
        },
        "decoding": asdict(count_decoding(plan)) | _decoding_at(plan, config) if _decodes(config) else None,
        "memory": {"optimizer": config.optim.name}
        | {f"{name}_bytes": n for name, n in asdict(memory_of(plan, config)).items()},
    }


def describe_plan(plan: TyingPlan, config: RunConfig) -> list[str]:
    """Tie groups, parameters by part, FLOPs and memory, as lines of text."""
    ledger = count_params(plan)
    length = config.typical_length
    lines = [f"{config.title} (plan {plan.hash})"]
    lines += [f"  {line}" for line in describe_ties(plan)] or ["  nothing is tied"]
    lines += [f"note: {note}" for note in plan.notes]
    what = "saved by tying" if ledger.params_saved >= 0 else "added by views"
    number = abs(ledger.params_saved)
    share = f"{100 * number / ledger.params_untied:.1f} % of {ledger.params_untied:,}"
    lines.append(f"parameters: {ledger.params:,} stored, {number:,} {what} ({share})")
    lines += _columns(ledger.by_part, ledger.saved_by_part)
    per_token = columns(plan, length)["with attention"] // 3
    routes = plan.slots.shape.routes
    of = f" of {' + '.join(routes[0])}, the first of {len(routes)} routes," if len(routes) > 1 else ""
    flops = f"{per_token:,} forward per target token{of} at {length} tokens per sequence"
    lines.append(f"FLOPs: {flops}, three times that in training ({CONVENTION})")
    if per_pass := count_flops(plan).of_pass(equal_lengths(plan.slots.shape, 1)):
        lines.append(f"views: {per_pass:,} more FLOPs per pass, whatever its tokens")
    return [*lines, *_cost_lines(plan, config)]


def describe_ledgers(plan: TyingPlan, config: RunConfig) -> list[str]:
    """Owner map, parameters by role, loads, conventions and FLOPs by kind, as lines of text: `tietrain plan --ledger`."""
    ledger = count_params(plan)
    length = config.typical_length
    shape = plan.slots.shape
    lines = ["owner of every layer's parameters", *(f"  {line}" for line in owner_map(plan))]
    lines += ["parameters by role, biases apart", *_columns(ledger.by_role, ledger.saved_by_role)]
    lines.append(f"not in tables: {ledger.n_once:,} read once, {ledger.n_repeated:,} read repeatedly; load")
    lines += [f"  {x.role:<24}{x.n_numbers:>14,}   read {x.n_uses}x, tensors: {x.n_tensors}" for x in ledger.loads]
    flops = count_flops(plan)
    lines.append(f"FLOPs by kind, forward per target token at {length} tokens per sequence")
    by_kind = flops.by_kind(equal_lengths(shape, length))
    lines += [f"  {kind:<24}{n // length:>14,}" for kind, n in by_kind.items()]
    lines.append(f"training FLOPs per target token, every use counted: N_eff = {flops.n_effective:,}")
    lines += [f"  {name:<24}{n:>14,}" for name, n in columns(plan, length).items()]
    lines.append("the same by published conventions, N counted as stored (docs/flops.md)")
    for name in PUBLISHED:
        found = estimate(name, plan, length)
        value = "not defined" if found.flops is None else f"{found.flops:,}"
        lines.append(f"  {name:<24}{value:>14}   {found.reason or PUBLISHED[name].formula}")
    return lines


def describe_ties(plan: TyingPlan) -> list[str]:
    """Tie groups: tables by block, `decoder.embed = decoder.output`, one line per kind of shared layer, and views."""
    place = {slot.name: slot for slot in plan.slots}
    tables = [names for names in plan.groups.values() if any(place[name].layer is None for name in names)]
    groups = dict.fromkeys(tuple(place[name].block for name in names) for names in tables)
    tied = [*(" = ".join(group) for group in groups), *describe_manifest(make_manifest(plan))]
    return [*tied, *(f"read {line}" for line in describe_views(plan))]


def _columns(stored: dict[str, int], saved: dict[str, int]) -> Iterator[str]:
    for name in dict.fromkeys([*stored, *saved]):
        spared = saved.get(name, 0)
        less = f"   {'saved' if spared > 0 else 'added'} {abs(spared):,}" if spared else ""
        yield f"  {name:<24}{stored.get(name, 0):>14,}{less}"


def _decoding_at(plan: TyingPlan, config: RunConfig) -> dict[str, int]:
    """What the last token and the whole of a sentence of typical length cost."""
    n = config.typical_length
    decoding = count_decoding(plan)
    n_source = n if len(plan.slots.shape.routes[0]) > 1 else 0
    return {
        "n_tokens": n,
        "n_source": n_source,
        "last_token": decoding.token(n - 1, n_source),
        "sentence": decoding.sentence(n, n_source),
    }


def _decodes(config: RunConfig) -> bool:
    """Whether the model writes: a masked one only guesses."""
    return config.task.name != "mlm"


def memory_of(plan: TyingPlan, config: RunConfig) -> MemoryLedger:
    """The memory ledger of a plan with the optimizer of a configuration."""
    return count_memory(plan, config.optim.name, config.optim.momentum)


def process_memory_of(plan: TyingPlan, config: RunConfig, processes: int) -> ProcessMemory:
    """The memory of each of several processes, with the optimizer of a configuration."""
    return count_process_memory(plan, config.optim.name, config.optim.momentum, processes)


def describe_processes(plan: TyingPlan, config: RunConfig, processes: int) -> list[str]:
    """What each of several processes needs, in slices and not, as lines of text: `tietrain plan --processes N`."""
    memory = process_memory_of(plan, config, processes)
    together = f"{megabytes(memory.together)} together in a step, {megabytes(memory.evaluating)} in an evaluation"
    return [
        f"memory of each of {processes} processes, without activations",
        f"  each has all of it      {megabytes(memory.whole):>14}   and {megabytes(memory.sent)} while they exchange it",
        f"  hardware.shard=true     {megabytes(memory.slices):>14}   and {together}",
    ]


def _cost_lines(plan: TyingPlan, config: RunConfig) -> Iterator[str]:
    """FLOPs of decoding, if the model writes, and memory."""
    memory = memory_of(plan, config)
    cache = ""
    if _decodes(config):
        at = _decoding_at(plan, config)
        of = f" of {at['n_source']} source tokens" if at["n_source"] else ""
        last = f"{at['last_token']:,} FLOPs for token {at['n_tokens']}{of}"
        yield f"cached decoding: {last}, {at['sentence']:,} for all {at['n_tokens']}"
        source = f", {memory.kv_per_source_token:,} per source token" if memory.kv_per_source_token else ""
        cache = f"; cache of decoding {memory.kv_per_token:,} bytes per token{source}"
    held = [("parameters", memory.parameters), ("gradients", memory.gradients), (config.optim.name, memory.optimizer)]
    yield f"memory: {', '.join(f'{name} {megabytes(n)}' for name, n in held)}{cache}"


def megabytes(n_bytes: int) -> str:
    """Bytes in millions, `2.5 MB`."""
    return f"{n_bytes / 1e6:,.1f} MB"
