"""Parameters that schemes save, against published counts and closed forms written by hand."""

from expected_ties import MORE_STACKS, ties_of
from tietrain.config.keys import tying_choices
from tietrain.plan.params import count_params
from tietrain.plan.schemes import make_plan
from tiny_models import make_shape

# Transformer big (Vaswani et al. 2017, table 3; 37,000 pieces): d, f, layers per stack.
D, F, N, V, ROWS = 1024, 4096, 6, 37_000, 512
TABLE = V * D
ATTENTION = 4 * D * D  # without biases
FFN = 2 * D * F + F + D  # with both biases
NORM = 2 * D  # gain and bias
ENCODER_LAYER = ATTENTION + FFN + 2 * NORM
BOTH_LAYERS = 3 * ATTENTION + 2 * FFN + 5 * NORM  # one of each stack; the decoder's has cross-attention

# Saved: layers that own nothing, times what they would have had.
SAVED = {
    "none": 0,
    "shared_vocab": 0,
    "pre_softmax": TABLE,
    "embeddings": TABLE,
    "three_way": 2 * TABLE,
    "cross_layer": 5 * BOTH_LAYERS,
    "universal": 5 * BOTH_LAYERS,
    "attention_only": 5 * 3 * (ATTENTION + NORM),
    "ffn_only": 5 * 2 * (FFN + NORM),
    "sequence": 4 * BOTH_LAYERS,
    "cycle": 4 * BOTH_LAYERS,
    "cycle_rev": 4 * BOTH_LAYERS,
    "mirror": 3 * BOTH_LAYERS,
    "immediate": 3 * BOTH_LAYERS,
    "sandwich": 3 * (BOTH_LAYERS - 5 * NORM),
    "all_but_last": 4 * (BOTH_LAYERS - 5 * NORM),
    "middle_cycle": 2 * BOTH_LAYERS,
    "middle_sequence": 2 * BOTH_LAYERS,
    "prelude_loop_coda": 2 * BOTH_LAYERS,
    "execution": 2 * BOTH_LAYERS,
    "index_vector": 3 * BOTH_LAYERS,
    "random_map": 4 * BOTH_LAYERS,
    "shared_enc": 5 * FFN,
    "shared_dec": 5 * FFN,
    "shared_enc_shared_dec": 10 * FFN,
    "shared_enc_dec": 11 * FFN,
    "encoder_self_attn": 5 * ATTENTION,
    "decoder_self_attn": 5 * ATTENTION,
    "cross_attn": 5 * ATTENTION,
    "query_key": (6 + 2 * 6) * D * D,
    "encoder_decoder": 6 * ENCODER_LAYER,
    "one_layer": 11 * ENCODER_LAYER + 5 * (ATTENTION + NORM),
    "positions": ROWS * D,
    "groups": FFN,
    "factorised": 3 * (TABLE - V * 128 - 128 * D),
    "input_gradient": 0,
    "relaxed": 0,
    "scaled": 0,
    "step_signal": 0,
    "transposed": 12 * D * F,
}


def big(**options):
    fields = {"d_model": D, "n_heads": 16, "n_kv_heads": 16, "d_head": 64, "d_ff": F, "vocab_size": V, "n_layers": N}
    recipe = {"norm_position": "post", "positions": "learned", "max_len": ROWS, "ffn_bias": True, "norm_bias": True}
    return make_shape("mt", **{**fields, **recipe, **options})


def saved(name: str, **options) -> int:
    return count_params(make_plan(big(**options), ties_of(name))).params_saved


def test_closed_forms_cover_every_scheme():
    assert set(SAVED) | set(MORE_STACKS) == set(tying_choices())


def test_params_saved_on_transformer_big():
    untied = 289_947_648 + 2 * ROWS * D  # of papers.md, section 3, with two position tables
    ledgers = {name: count_params(make_plan(big(), ties_of(name))) for name in SAVED}
    assert {name: ledger.params_saved for name, ledger in ledgers.items()} == SAVED
    signals = {"step_signal": 12 * D}
    stored = {name: untied - SAVED[name] + signals.get(name, 0) for name in SAVED}
    assert {name: ledger.params for name, ledger in ledgers.items()} == stored
    assert all(ledger.params + ledger.params_saved == ledger.params_untied for ledger in ledgers.values())


def test_params_saved_are_the_differences_of_pires():
    """Source: Pires et al. 2023, tables 1 and 2 (X4): multiples of 2 d f; biases come on top if the model has them."""
    weights = {"shared_enc": 5, "shared_dec": 5, "shared_enc_shared_dec": 10, "shared_enc_dec": 11}
    assert 2 * D * F == 8_388_608
    for name, n in weights.items():
        assert saved(name, ffn_bias=False) == n * 8_388_608, name
        assert saved(name) == n * FFN, name


def test_params_are_the_rounded_sizes_of_pires():
    """Source: the same tables, in millions: 228 whole, 186 with one side shared, 144 with both, 136 with one for all."""
    sizes = {"shared_enc": 186, "shared_dec": 186, "shared_enc_shared_dec": 144, "shared_enc_dec": 136}
    for name, millions in sizes.items():
        assert abs(228 - saved(name) / 1e6 - millions) < 0.6, name
    for name in ("encoder_self_attn", "decoder_self_attn", "cross_attn"):
        assert abs(228 - saved(name) / 1e6 - 207) < 0.6, name


# Lan et al. 2019, table 4, base: 12 layers, H 768, F 3,072, V 30,000, 512 positions.
H, INNER, VOCABULARY, POSITIONS = 768, 3072, 30_000, 512
ALBERT = {
    ("all", 768): (30_524_160, 31e6),
    ("attention", 768): (82_487_808, 83e6),
    ("ffn", 768): (56_527_104, 57e6),
    ("none", 768): (108_490_752, 108e6),
    ("all", 128): (11_092_992, 12e6),
    ("attention", 128): (63_056_640, 64e6),
    ("ffn", 128): (37_095_936, 38e6),
    ("none", 128): (89_059_584, 89e6),
}


def test_params_are_the_sizes_of_albert():
    """Source: Lan et al. 2019, table 4 (X2). The stack is ours; the rest is that paper's, written out here: tables of
    pieces, positions and two segments of width E, their norm, and a projection from E to H if E < H."""
    schemes = {"all": "universal", "attention": "attention_only", "ffn": "ffn_only", "none": "none"}
    fields = {"d_model": H, "n_heads": 12, "n_kv_heads": 12, "d_head": 64, "d_ff": INNER, "vocab_size": VOCABULARY}
    recipe = {"norm_position": "post", "positions": "learned", "max_len": POSITIONS, "attn_bias": True}
    shape = make_shape("lm", n_layers=12, **fields, **recipe, ffn_bias=True, norm_bias=True)
    for (shared, width), (count, printed) in ALBERT.items():
        ties = ties_of("pre_softmax") | (ties_of(schemes[shared]) if shared != "none" else {})
        ledger = count_params(make_plan(shape, ties))
        around = (VOCABULARY + POSITIONS + 2) * width + 2 * width + (width * H + H if width < H else 0)
        assert ledger.n_once + ledger.n_repeated + around == count, (shared, width)
        assert abs(count - printed) < 1e6, (shared, width)
        if width == H:
            segments_and_norm = 2 * H + 2 * H
            assert ledger.params + segments_and_norm == count, shared


def test_params_do_not_depend_on_depth():
    """Source: Takase & Kiyono 2021, table 2 (X3): M = 6 sets at N = 6, 12 and 18 layers, norms shared."""
    for task in ("lm", "mt"):
        untied = count_params(make_plan(make_shape(task, n_layers=6), {})).params
        for order in ("sequence", "cycle", "cycle_rev"):
            ties = {"x": {"rule": "cross_layer", "order": order, "n_unique": 6}}
            counts = {count_params(make_plan(make_shape(task, n_layers=n), ties)).params for n in (6, 12, 18)}
            assert counts == {untied}, (task, order)


def test_make_plan_gives_equal_plans_for_two_names():
    """X8: L9 is L5 and L8 is L7 with half as many sets as layers."""
    for n in (4, 6, 12):
        shape = make_shape("mt", n_layers=n)
        for rule, order in (("immediate", "sequence"), ("mirror", "cycle_rev")):
            plan = make_plan(shape, {"x": {"rule": rule}})
            other = make_plan(shape, {"x": {"rule": "cross_layer", "n_unique": n // 2, "order": order}})
            assert (plan.hash, plan.owner) == (other.hash, other.owner), (n, rule)
