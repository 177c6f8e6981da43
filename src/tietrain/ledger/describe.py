"""Plan and ledgers as JSON, for `ledger.json` and `tietrain plan --json`, and in words, printed before step 1."""

from __future__ import annotations

from typing import Any

from tietrain.ledger.flops import CONVENTION, count_flops, length_units
from tietrain.ledger.params import count_params
from tietrain.tying.plan import TyingPlan


def ledger_json(plan: TyingPlan) -> dict[str, Any]:
    """Counts as plain integers; FLOPs are forward, as coefficients in lengths."""
    ledger, flops = count_params(plan), count_flops(plan.slots.shape)
    return {
        "convention": CONVENTION,
        "params": ledger.params,
        "params_untied": ledger.params_untied,
        "params_saved": ledger.params_saved,
        "n_embedding": ledger.n_embedding,
        "n_once": ledger.n_once,
        "n_repeated": ledger.n_repeated,
        "by_part": ledger.by_part,
        "saved_by_part": ledger.saved_by_part,
        "uses": ledger.uses,
        "flops": {
            "coefficients": flops.coefficients,
            "terms": [{"slot": t.slot, "unit": t.unit, "per_unit": t.per_unit} for t in flops.terms],
        },
    }


def describe_plan(plan: TyingPlan, title: str, length: int) -> list[str]:
    """Tie groups, parameters by part and FLOPs at `length` tokens a sequence, as lines of text."""
    ledger, flops = count_params(plan), count_flops(plan.slots.shape)
    share = 100 * ledger.params_saved / ledger.params_untied
    lines = [f"{title} (plan {plan.hash})"]
    lines += [f"  {line}" for line in describe_ties(plan)] or ["  nothing is tied"]
    lines.append(
        f"parameters: {ledger.params:,} stored, {ledger.params_saved:,} saved by tying ({share:.1f} % of {ledger.params_untied:,})"
    )
    for part in dict.fromkeys([*ledger.by_part, *ledger.saved_by_part]):
        saved = ledger.saved_by_part.get(part, 0)
        lines.append(f"  {part:<24}{ledger.by_part.get(part, 0):>14,}" + (f"   saved {saved:,}" if saved else ""))
    units = length_units(plan.slots.shape, {stack.name: [length] for stack in plan.slots.shape.stacks})
    per_token = flops.forward(units) / length
    lines.append(
        f"FLOPs: {per_token:,.0f} forward a target token at {length} tokens a sequence, three times that in training ({CONVENTION})"
    )
    return lines


def describe_ties(plan: TyingPlan) -> list[str]:
    """Tie groups by block: `decoder.embed = decoder.output`; leaves that share alike are one line."""
    block = {slot.name: slot.block for slot in plan.slots}
    groups = {tuple(block[name] for name in names): None for names in plan.groups.values()}
    return [" = ".join(group) for group in groups]
