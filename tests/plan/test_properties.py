"""Random models under random lists of rules, against an independent account of what each rule ties.

The account gives every slot a key a rule: slots of equal keys are tied. Joining the keys of all rules, and counting
numbers from the widths, is done here by other means than in the code.
"""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tietrain.model.transformer import Transformer
from tietrain.plan.flops import count_flops, length_units
from tietrain.plan.params import count_params
from tietrain.plan.schemes import make_plan
from tietrain.plan.slots import Slots
from tietrain.train.check.checks import count_matmul_flops
from tiny_models import make_shape

SETS = {
    "sequence": lambda n, o: [i * o["n_unique"] // n for i in range(n)],
    "cycle": lambda n, o: [i % o["n_unique"] for i in range(n)],
    "cycle_rev": lambda n, o: [n - 1 - i if i >= n - o["n_unique"] else i % o["n_unique"] for i in range(n)],
    "mirror": lambda n, o: [*range((n + 1) // 2), *reversed(range(n // 2))],
    "immediate": lambda n, o: [i // 2 for i in range(n)],
    "sandwich": lambda n, o: ["first", *["middle"] * (n - 2), "last"][:n] if n > 1 else ["first"],
    "all_but_last": lambda n, o: [*["most"] * (n - 1), "last"],
    "middle_cycle": lambda n, o: ["a", *[*range((n - 2) // o["repeats"])] * o["repeats"], "z"],
    "middle_sequence": lambda n, o: ["a", *[i // o["repeats"] for i in range(n - 2)], "z"],
    "prelude_loop_coda": lambda n, o: [
        *[f"p{i}" for i in range(o["prelude"])],
        *[*range((n - o["prelude"] - o["coda"]) // o["repeats"])] * o["repeats"],
        *[f"c{i}" for i in range(o["coda"])],
    ],
    "execution": lambda n, o: o["blocks"],
    "index_vector": lambda n, o: o["layers"],
}
PROJECTIONS = {"self_attn": "q k v o", "cross_attn": "q k v o", "ffn": "in out"}
BIASES = ("attn_bias", "ffn_bias", "norm_bias", "output_bias")


@st.composite
def shapes(draw):
    choices = {
        "n_kv_heads": [4, 4, 2, 1],
        "d_ff": [8, 24],
        "activation": ["relu", "gelu", "swiglu"],
        "norm": ["layer", "rms"],
        "norm_position": ["pre", "post"],
        "positions": ["learned", "sinusoidal", "rotary"],
        **{key: [False, True] for key in BIASES},
    }
    shape = make_shape(
        draw(st.sampled_from(["lm", "mt", "mt"])), **{key: draw(st.sampled_from(v)) for key, v in choices.items()}
    )
    depths = [draw(st.integers(1, 6)) for _ in shape.stacks]
    if draw(st.booleans()):
        depths = depths[:1] * len(depths)
    return replace(shape, stacks=tuple(replace(s, n_layers=n) for s, n in zip(shape.stacks, depths, strict=True)))


@st.composite
def layer_ties(draw, shape):
    """A layer rule with options that every chosen stack admits."""
    stacks = draw(
        st.one_of(st.none(), st.lists(st.sampled_from([s.name for s in shape.stacks]), min_size=1, unique=True))
    )
    chosen = [s for s in shape.stacks if stacks is None or s.name in stacks]
    depths = {s.n_layers for s in chosen}
    fits = [*SETS] if len(depths) == 1 else [name for name in SETS if name not in ("execution", "index_vector")]
    name = draw(st.sampled_from(fits))
    n, options = min(depths), {}
    if name in ("sequence", "cycle", "cycle_rev"):
        options = {"order": name, "n_unique": draw(st.integers(1, n))}
    elif name in ("middle_cycle", "middle_sequence", "prelude_loop_coda"):
        prelude, coda = (1, 1) if name != "prelude_loop_coda" else draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
        loops = [depth - prelude - coda for depth in depths]
        repeats = [r for r in range(1, 7) if all(loop >= r and loop % r == 0 for loop in loops)]
        if not repeats:
            name = "mirror"
        else:
            options = {"repeats": draw(st.sampled_from(repeats))}
            options |= {"prelude": prelude, "coda": coda} if name == "prelude_loop_coda" else {}
    elif name == "execution":
        listed = draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n))
        options = {"blocks": [sorted(set(listed)).index(i) for i in listed]}
    elif name == "index_vector":
        options = {"layers": draw(st.lists(st.integers(1, n), min_size=n, max_size=n))}
    rule = "cross_layer" if "order" in options else name
    parts = draw(st.one_of(st.none(), part_lists(any(s.memories for s in chosen))))
    return {"rule": rule, "stacks": stacks, "parts": parts, "norms": draw(st.booleans()), **options}


def part_lists(with_cross: bool):
    names = [part for part in PROJECTIONS if with_cross or part != "cross_attn"]
    single = [f"{part}.{leaf}" for part in names for leaf in PROJECTIONS[part].split()]
    return st.lists(st.sampled_from([*names, *names, "attention", *single]), min_size=1, max_size=3, unique=True)


@st.composite
def ties_of_shape(draw, shape):
    """One rule that fits, of any kind."""
    kinds = ["layers", "layers", "pre_softmax"] + (["query_key"] if shape.n_kv_heads == shape.n_heads else [])
    if len(shape.stacks) > 1:
        kinds += ["embeddings", "three_way", "encoder_decoder"] + ["positions"] * (shape.positions == "learned")
    kind = draw(st.sampled_from(kinds))
    if kind == "layers":
        return draw(layer_ties(shape))
    if kind == "encoder_decoder":
        equal = len({s.n_layers for s in shape.stacks}) == 1
        depth = draw(st.sampled_from(["each", "one"] if equal else ["one"]))
        parts = draw(st.one_of(st.none(), part_lists(True)))
        return {"rule": kind, "depth": depth, "parts": parts, "norms": draw(st.booleans())}
    return {"rule": kind}


@st.composite
def cases(draw):
    """A shape and a list of rules with labels."""
    shape = draw(shapes())
    return shape, {f"tie{i}": draw(ties_of_shape(shape)) for i in range(draw(st.integers(0, 4)))}


def key_of(shape, tie, slot):
    """What slots of one rule have in common; None for a slot the rule leaves alone."""
    rule, stack = tie["rule"], shape.stack(slot.stack)
    table = slot.part == "embed" or f"{slot.part}.{slot.leaf}" == "output.weight"
    if rule in ("pre_softmax", "embeddings", "three_way"):
        read = table and (rule == "three_way" or (rule == "embeddings") == (slot.part == "embed"))
        read = read or (rule == "pre_softmax" and slot.part == "embed" and stack.has_output)
        return (slot.stack if rule == "pre_softmax" else "all") if read else None
    if rule == "positions":
        return "all" if slot.part == "positions" else None
    if slot.layer is None:
        return None
    projection, _, rest = slot.leaf.partition(".")
    if rule == "query_key":
        return (slot.stack, slot.layer, slot.part, rest) if projection in ("q", "k") else None
    if not covered(slot.part, projection, tie["parts"], tie["norms"]):
        return None
    if rule == "encoder_decoder":
        return slot.layer if tie["depth"] == "each" else "one", slot.part, slot.leaf
    if tie["stacks"] is not None and slot.stack not in tie["stacks"]:
        return None
    read = SETS[tie.get("order", rule)](stack.n_layers, tie)
    return slot.stack, read[slot.layer], slot.part, slot.leaf


def covered(part, projection, parts, norms) -> bool:
    whole = part.removesuffix("_norm")
    if parts is None:
        requested = {*PROJECTIONS}
    else:
        requested = {*parts} | ({"self_attn", "cross_attn"} if "attention" in parts else set())
    return (
        (norms and whole in requested) if whole != part else (part in requested or f"{part}.{projection}" in requested)
    )


def account(shape, ties) -> dict[str, str]:
    """Slot -> owner: colours spread over equal keys until none changes, the earliest slot's colour wins."""
    slots = list(Slots(shape))
    colour = list(range(len(slots)))
    keys = [[key_of(shape, tie, slot) for slot in slots] for tie in ties.values()]
    before = None
    while before != colour:
        before = list(colour)
        for of_rule in keys:
            best: dict = {}
            for i, key in enumerate(of_rule):
                best[key] = min(best.get(key, i), colour[i])
            colour = [c if key is None else best[key] for c, key in zip(colour, of_rule, strict=True)]
    return {slot.name: slots[c].name for slot, c in zip(slots, colour, strict=True)}


def numbers(shape, name) -> int:
    """Numbers in a slot's tensor, from its name and the widths alone."""
    stack, part, leaf = name.split(".")[0], *name.split(".")[-2:]
    d, f, v = shape.d_model, shape.d_ff, shape.stack(stack).vocab_size
    q, kv = shape.n_heads * shape.d_head, shape.n_kv_heads * shape.d_head
    if part.endswith("norm"):
        return d
    if part in ("embed", "output", "positions"):
        rows = shape.max_len if part == "positions" else v
        return rows * d if leaf == "weight" else rows
    outputs = {"q": q, "k": kv, "v": kv, "o": d, "in": f, "gate": f, "out": d}[part]
    inputs = {"o": q, "out": f}.get(part, d)
    return outputs * inputs if leaf == "weight" else outputs


@settings(max_examples=150)
@given(cases())
def test_make_plan_and_count_params_equal_the_account(case):
    shape, ties = case
    plan = make_plan(shape, ties)
    assert dict(plan.owner) == account(shape, ties)
    position = {slot.name: i for i, slot in enumerate(plan.slots)}
    for slot in plan.slots:
        owner = plan.slots.named(plan.owner[slot.name])
        assert plan.owner[owner.name] == owner.name and owner.spec == slot.spec
        assert position[owner.name] <= position[slot.name]
    ledger = count_params(plan)
    owners = set(account(shape, ties).values())
    assert ledger.params == sum(numbers(shape, name) for name in owners) == sum(slot.size for slot in plan.owners)
    assert ledger.params_untied == sum(numbers(shape, slot.name) for slot in plan.slots)
    assert ledger.params == sum(ledger.by_part.values()) == ledger.n_embedding + ledger.n_once + ledger.n_repeated
    assert {name: len(uses) for name, uses in plan.uses.items()} == ledger.uses


@settings(max_examples=60)
@given(cases(), st.randoms(use_true_random=False))
def test_make_plan_ignores_order_and_repetition(case, random):
    shape, ties = case
    plan = make_plan(shape, ties)
    shuffled = [*ties.items(), *((f"again {label}", tie) for label, tie in ties.items())]
    random.shuffle(shuffled)
    again = make_plan(shape, dict(shuffled))
    assert again.owner == plan.owner
    assert again.hash == plan.hash and again.to_json() == plan.to_json()


@settings(max_examples=60)
@given(st.data())
def test_hash_is_equal_only_for_equal_owners(data):
    shape = data.draw(shapes())
    small = st.lists(ties_of_shape(shape), max_size=2).map(lambda ties: {f"t{i}": tie for i, tie in enumerate(ties)})
    plans = [make_plan(shape, data.draw(small)) for _ in range(3)] + [make_plan(shape, {})]
    for one in plans:
        for other in plans:
            assert (one.hash == other.hash) == (one.owner == other.owner)
    wider = replace(shape, d_ff=shape.d_ff + 8)
    assert make_plan(wider, {}).hash != plans[-1].hash


def forward_flops(shape, s: int, t: int) -> int:
    """Papers.md, section 13, rule 5, for one pair of s and t tokens, with grouped keys and gates."""
    d, q, kv = shape.d_model, shape.n_heads * shape.d_head, shape.n_kv_heads * shape.d_head
    ffn = 2 * (3 if shape.activation == "swiglu" else 2) * d * shape.d_ff
    total = 0
    for stack in shape.stacks:
        n = t if stack.has_output else s
        layer = n * (4 * d * q + 4 * d * kv + ffn) + 4 * n * n * q
        cross = n * 4 * d * q + s * 4 * d * kv + 4 * s * n * q
        total += stack.n_layers * (layer + (cross if stack.memories else 0))
        total += 2 * n * d * stack.vocab_size if stack.has_output else 0
    return total


@settings(max_examples=12)
@given(cases())
def test_count_flops_equals_the_counter_under_any_ties(case):
    """Counted by torch while the tied and the untied model run. Tying bugs 28 to 31."""
    shape, ties = case
    s, t = 5, 7
    counts = set()
    for plan in (make_plan(shape, ties), make_plan(shape, {})):
        model = Transformer(plan)
        model.initialize(1)
        source = {"encoder": torch.full((1, s), 5)} if len(model.shape.stacks) > 1 else None
        with torch.no_grad():
            counts.add(count_matmul_flops(lambda m=model, x=source: m.logits(m(x, torch.full((1, t), 5)))))
    units = length_units(shape, {stack.name: [t if stack.has_output else s] for stack in shape.stacks})
    assert counts == {forward_flops(shape, s, t)} == {count_flops(shape).forward(units)}
