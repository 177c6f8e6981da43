"""Whose parameters every slot reads under every scheme, typed from the papers for six layers per stack.

A line is (stacks, parts, owners). Six digits are the layers whose parameters layers 0 to 5 read, `e` before one is the
encoder's. A dotted name is another part of the same layer, or of no layer. What no line names is its own owner.
"""

from collections.abc import Iterable

from tietrain.plan.catalogue import load_scheme
from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import ModelShape, Slot, Slots
from tiny_models import make_shape

N_LAYERS = 6
Line = tuple[str, str, str]

BOTH = "encoder decoder"
WEIGHTS = "self_attn cross_attn ffn"
LAYER = "self_attn_norm self_attn cross_attn_norm cross_attn ffn_norm ffn"


def layers(owners: str, parts: str = LAYER, stacks: str = BOTH) -> list[Line]:
    return [(stacks, parts, owners)]


ONE, IN_E = "0 0 0 0 0 0", "e0 e0 e0 e0 e0 e0"
EXPECTED: dict[str, list[Line]] = {
    "none": [],
    "shared_vocab": [],
    "pre_softmax": [("decoder", "output.weight", "decoder.embed.weight")],
    "embeddings": [("decoder", "embed", "encoder.embed")],
    "three_way": [("decoder", "embed", "encoder.embed"), ("decoder", "output.weight", "encoder.embed.weight")],
    "cross_layer": layers(ONE),
    "universal": layers(ONE),
    "attention_only": layers(ONE, "self_attn_norm self_attn cross_attn_norm cross_attn"),
    "ffn_only": layers(ONE, "ffn_norm ffn"),
    "sequence": layers("0 0 0 3 3 3"),
    "cycle": layers("0 1 0 1 0 1"),
    "cycle_rev": layers("0 1 0 1 1 0"),
    "mirror": layers("0 1 2 2 1 0"),
    "immediate": layers("0 0 2 2 4 4"),
    "sandwich": layers("0 1 1 1 1 5", WEIGHTS),
    "all_but_last": layers("0 0 0 0 0 5", WEIGHTS),
    "middle_cycle": layers("0 1 2 1 2 5"),
    "middle_sequence": layers("0 1 1 3 3 5"),
    "prelude_loop_coda": layers("0 1 2 1 2 5"),
    "execution": layers("0 1 2 3 2 3"),
    "index_vector": layers("0 0 2 2 2 5"),
    "random_map": layers("0 0 0 0 4 4"),
    "shared_enc": layers(ONE, "ffn", "encoder"),
    "shared_dec": layers(ONE, "ffn", "decoder"),
    "shared_enc_shared_dec": layers(ONE, "ffn"),
    "shared_enc_dec": layers(ONE, "ffn", "encoder") + layers(IN_E, "ffn", "decoder"),
    "encoder_self_attn": layers(ONE, "self_attn", "encoder"),
    "decoder_self_attn": layers(ONE, "self_attn", "decoder"),
    "cross_attn": layers(ONE, "cross_attn", "decoder"),
    "query_key": [(BOTH, "self_attn.k", "self_attn.q"), (BOTH, "cross_attn.k", "cross_attn.q")],
    "encoder_decoder": layers("e0 e1 e2 e3 e4 e5", "self_attn_norm self_attn ffn_norm ffn", "decoder"),
    "one_layer": [
        *layers(ONE, stacks="encoder"),
        *layers(IN_E, "self_attn_norm self_attn ffn_norm ffn", "decoder"),
        *layers(ONE, "cross_attn_norm cross_attn", "decoder"),
    ],
    "positions": [("decoder", "positions", "encoder.positions")],
    "groups": layers("0 0 2 3 4 5", "ffn", "decoder"),
    "factorised": [],
    "input_gradient": [],
    "relaxed": [],
    "scaled": [],
    "step_signal": [],
    "transposed": [(BOTH, "ffn.out.weight", "ffn.in.weight")],
}

# Schemes a language model has no use for, and a word of why.
NOT_FOR_LM = dict.fromkeys(
    ["shared_vocab", "embeddings", "three_way", "positions", "shared_enc_dec", "encoder_decoder", "one_layer"],
    "it joins source and target, and this model has one stack",
) | {
    "shared_enc": "this model has no stack encoder",
    "shared_enc_shared_dec": "this model has no stack encoder",
    "encoder_self_attn": "this model has no stack encoder",
    "cross_attn": "no layer of decoder has it",
}

# Schemes of models with several encoders or decoders -> model of `table.REFERENCE` -> slots that read another, and which.
_LAYERED = r"(\d\..*|final_norm\..*)"
MORE_STACKS: dict[str, dict[str, tuple[str, str]]] = {
    "one_encoder": {
        "sources": (rf"encoder_mt\.{_LAYERED}", r"encoder_src.\1"),
        "languages": (rf"encoder_b\.{_LAYERED}", r"encoder_a.\1"),
    },
    "one_decoder": {"languages": (rf"decoder_a\.{_LAYERED}", r"decoder_b.\1")},
    "partial_decoders": {
        "languages": (r"decoder_a\.(\d\.(?:self|cross)_attn(?:_norm|\.[qk])\..*)", r"decoder_b.\1"),
    },
    "cross_attentions": {"sources": (r"decoder\.(\d)\.cross_attn2(.*)", r"decoder.\1.cross_attn\2")},
}

# Values for the schemes whose files leave one to the user.
CHOSEN = {
    "execution": {"blocks": ["0-3", "2-3"]},
    "index_vector": {"layers": [1, 1, 3, 3, 3, 6]},
    "groups": {"groups": [["decoder.0.ffn", "decoder.1.ffn"]]},
}


def ties_of(name: str) -> dict[str, dict]:
    """The ties of a file of conf/tying, with values for six layers where it has none."""
    return {label: {**tie, **CHOSEN.get(name, {})} for label, tie in load_scheme(name).ties.items()}


def six_layers(task: str, **options) -> ModelShape:
    """A shape with every kind of slot: learned positions and all biases."""
    biases = dict.fromkeys(["attn_bias", "ffn_bias", "norm_bias", "output_bias"], True)
    return make_shape(task, **{"n_layers": N_LAYERS, "positions": "learned", **biases, **options})


def expected_owners(shape: ModelShape, lines: Iterable[Line]) -> dict[str, str]:
    """Slot -> owner as the lines say."""
    owners = {slot.name: slot.name for slot in Slots(shape)}
    for stacks, parts, said in lines:
        for slot in Slots(shape):
            name = f"{slot.part}.{slot.leaf}"
            for part in parts.split() if slot.stack in stacks.split() else ():
                if f"{name}.".startswith(f"{part}."):
                    owners[slot.name] = _owner(slot, part, name.removeprefix(part), said)
    return owners


def _owner(slot: Slot, part: str, rest: str, said: str) -> str:
    if " " not in said:
        return f"{said}{rest}" if slot.layer is None else f"{slot.stack}.{slot.layer}.{said}{rest}"
    layer = said.split()[slot.layer]
    stack = "encoder" if layer.startswith("e") else slot.stack
    return f"{stack}.{layer.removeprefix('e')}.{part}{rest}"


def difference(plan: TyingPlan, lines: Iterable[Line]) -> dict[str, tuple[str, str]]:
    """Slot -> its owner in the plan and the expected one, where they differ."""
    wanted = expected_owners(plan.slots.shape, lines)
    return {slot: (plan.owner[slot], owner) for slot, owner in wanted.items() if plan.owner[slot] != owner}
