"""Slots in forward order, with the names and shapes checkpoints rely on."""

import pytest

from tietrain.plan.slots import Slots, clip_length, place_of
from tiny_models import make_shape

DECODER_LAYER = [
    ("self_attn_norm.weight", (16,)),
    ("self_attn.q.weight", (16, 16)),
    ("self_attn.k.weight", (8, 16)),
    ("self_attn.v.weight", (8, 16)),
    ("self_attn.o.weight", (16, 16)),
    ("cross_attn_norm.weight", (16,)),
    ("cross_attn.q.weight", (16, 16)),
    ("cross_attn.k.weight", (8, 16)),
    ("cross_attn.v.weight", (8, 16)),
    ("cross_attn.o.weight", (16, 16)),
    ("ffn_norm.weight", (16,)),
    ("ffn.gate.weight", (24, 16)),
    ("ffn.in.weight", (24, 16)),
    ("ffn.out.weight", (16, 24)),
]


def test_slots_have_names_and_shapes_in_forward_order():
    slots = Slots(make_shape("mt", n_layers=1, n_kv_heads=2, activation="swiglu", positions="learned"))
    encoder_layer = [(name, extent) for name, extent in DECODER_LAYER if not name.startswith("cross")]
    tables = [("embed.weight", (23, 16)), ("positions.weight", (32, 16))]
    wanted = [(f"encoder.{n}", e) for n, e in tables] + [(f"encoder.0.{n}", e) for n, e in encoder_layer]
    wanted += [("encoder.final_norm.weight", (16,))]
    wanted += [(f"decoder.{n}", e) for n, e in tables] + [(f"decoder.0.{n}", e) for n, e in DECODER_LAYER]
    wanted += [("decoder.final_norm.weight", (16,)), ("decoder.output.weight", (23, 16))]
    assert [(slot.name, slot.shape) for slot in slots] == wanted


def test_slots_of_each_bias_switch():
    switches = {
        "attn_bias": {f"{part}.{m}.bias" for part in ("self_attn", "cross_attn") for m in "qkvo"},
        "ffn_bias": {"ffn.in.bias", "ffn.out.bias"},
        "norm_bias": {"self_attn_norm.bias", "cross_attn_norm.bias", "ffn_norm.bias", "final_norm.bias"},
        "output_bias": {"output.bias"},
    }
    for option, leaves in switches.items():
        slots = Slots(make_shape("mt", n_layers=1, **{option: True})).under("decoder")
        assert {place_of(slot.name).in_layer for slot in slots if slot.leaf.endswith("bias")} == leaves


def test_place_of_is_the_inverse_of_a_slots_name():
    for slot in Slots(make_shape("mt", n_layers=12, positions="learned", output_bias=True)):
        assert place_of(slot.name) == (slot.stack, slot.layer, slot.part, slot.leaf)
    for name in ("", "decoder", "decoder.embed", "decoder.3", "decoder.3.ffn"):
        with pytest.raises(ValueError, match="unpack"):
            place_of(name)


def test_clip_length_limits_learned_positions_only():
    learned = make_shape("lm", positions="learned", max_len=8)
    assert (clip_length(learned, 7), clip_length(learned, 9)) == (7, 8)
    assert clip_length(make_shape("lm", positions="rotary", max_len=8), 9) == 9


def test_slots_of_post_norm_have_norms_after_parts_and_no_final_norm():
    names = [slot.name for slot in Slots(make_shape("lm", n_layers=1, norm_position="post"))]
    assert names.index("decoder.0.ffn_norm.weight") == names.index("decoder.0.ffn.out.weight") + 1
    assert not any("final_norm" in name for name in names)


def test_slots_of_rms_norm_have_no_bias():
    assert not any(slot.leaf == "bias" for slot in Slots(make_shape("mt", norm="rms", norm_bias=True)))


def test_under_takes_a_prefix_that_ends_at_a_dot():
    slots = Slots(make_shape("lm", n_layers=12))
    assert {slot.layer for slot in slots.under("decoder.1")} == {1}
    assert slots.under("decoder.1.self") == []
    assert [slot.name for slot in slots.under("decoder.embed.weight")] == ["decoder.embed.weight"]
