"""Units of a model in slices: the same layers read all of one, no tensor is in two, and what is read outside layers is in none."""

import pytest

from tietrain.plan.params import BYTES, count_memory
from tietrain.plan.units import count_process_memory, units_of
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


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_two_processes_in_slices_hold_together_what_one_holds(task, scheme):
    plan = plan_of(task, scheme)
    held = count_memory(plan, "adamw")
    of_each = count_process_memory(plan, "adamw", 0.0, 2)
    rows = {store.name: store.shape[0] for store in plan.stores}
    padding = sum(store.size // rows[store.name] for store in plan.stores if rows[store.name] % 2)
    counters = BYTES * len(plan.stores)  # which both have
    assert 2 * of_each.slices == held.training + counters + 4 * BYTES * padding
    assert (of_each.whole, of_each.sent, of_each.evaluating) == (held.training, held.parameters, held.parameters)


def test_what_several_layers_read_stays_together_in_a_step():
    plan = plan_of("lm", "sequence-1")
    assert count_process_memory(plan, "sgd", 0.0, 8).together == 2 * count_memory(plan, "sgd").parameters
    own = plan_of("lm", "none")
    tables = BYTES * sum(store.size for store in own.stores if store.layer is None)
    layer = BYTES * sum(store.size for store in own.stores if store.name.startswith("decoder.1."))
    assert count_process_memory(own, "sgd", 0.0, 8).together == 2 * (tables + 2 * layer)
