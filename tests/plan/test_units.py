"""Units of a model in slices: the same layers read all of one, no tensor is in two, and what is read outside layers is in none."""

import pytest

from tietrain.plan.units import units_of
from tiny_models import CASES, plan_of


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_units_have_what_the_same_layers_read(task, scheme):
    plan = plan_of(task, scheme)
    units = units_of(plan)
    for store in plan.stores:
        slots = [plan.slots.place(name) for name in plan.readers[store.name]]
        layers = {(slot.stack, slot.layer) for slot in slots}
        inside = [layers_of for unit, layers_of in units.items() if store.name.startswith(f"{unit}.")]
        assert inside == ([] if store.layer is None else [layers])


def test_units_are_as_large_as_they_can_be():
    assert list(units_of(plan_of("lm", "none"))) == [f"decoder.{i}" for i in range(4)]
    assert list(units_of(plan_of("lm", "sequence-1"))) == ["decoder.0"]
    blocks = ["decoder.0.self_attn_norm", "decoder.0.self_attn", "decoder.0.ffn_norm", "decoder.0.ffn"]
    assert list(units_of(plan_of("lm", "ffn-only")))[:4] == blocks
