"""Units: which parts of a model are brought together when a layer needs them, if its parameters lie in slices."""

from itertools import accumulate

from tietrain.plan.plan import TyingPlan

# Stack and number.
Layer = tuple[str, int]


def units_of(plan: TyingPlan) -> dict[str, frozenset[Layer]]:
    """Unit -> the layers that read it.

    A unit is the longest branch of the tree of names, `decoder.3` or `decoder.0.self_attn.q`, all of whose stored tensors are
    read by the same layers. What is read outside layers, tables, positions and final norms, is in no unit, and neither is a
    tensor beside which another one of its block is read by other layers.
    """
    readers: dict[str, set[frozenset[tuple[str, int | None]]]] = {}
    for store in plan.stores:
        slots = map(plan.slots.place, plan.readers[store.name])
        layers = frozenset((slot.stack, slot.layer) for slot in slots)
        _stack, *branches, _tensor = accumulate(store.name.split("."), "{}.{}".format)
        for branch in branches:
            readers.setdefault(branch, set()).add(layers)
    units: dict[str, frozenset[Layer]] = {}
    for branch, (layers, *others) in readers.items():
        inside = any(branch.startswith(f"{unit}.") for unit in units)
        known = frozenset((stack, layer) for stack, layer in layers if layer is not None)
        if not inside and not others and known == layers:
            units[branch] = known
    return units
