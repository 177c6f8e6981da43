"""Rules tested from outside: index lists and closed-form counts of the papers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.errors import TyingError
from tietrain.ledger.params import count_params
from tietrain.tying.schemes import RULES, layer_sets, make_plan, needs_joint_vocabulary, tying_label
from tiny_models import cross, make_shape, plan_of


def digits(text: str) -> list[int]:
    return [int(c) for c in text]


@pytest.mark.parametrize(
    ("order", "n", "m", "sets"),
    [
        ("sequence", 6, 3, "001122"),
        ("cycle", 6, 3, "012012"),
        ("cycle_rev", 6, 3, "012210"),
        ("sequence", 18, 6, "000111222333444555"),
        ("cycle", 18, 6, "012345012345012345"),
        ("cycle_rev", 18, 6, "012345012345543210"),
        ("sequence", 6, 1, "000000"),
        ("cycle", 6, 1, "000000"),
        ("cycle_rev", 6, 1, "000000"),
        ("sequence", 6, 6, "012345"),
        ("cycle", 6, 6, "012345"),
        # Where M does not divide N the formulas hold and the released code differs.
        ("sequence", 7, 3, "0001122"),
        ("cycle", 7, 3, "0120120"),
        ("cycle_rev", 7, 3, "0120210"),
    ],
)
def test_golden_index_lists(order, n, m, sets):
    """Source: Takase & Kiyono 2021, section 2 and figure 2."""
    assert layer_sets(order, n, m) == digits(sets)


@pytest.mark.parametrize("order", ["sequence", "cycle", "cycle_rev"])
@given(m=st.integers(1, 8), repeats=st.integers(2, 6))
def test_released_code_gives_the_same_lists_where_m_divides_n(order, m, repeats):
    """Source: takase/share_layer_params, fairseq/models/transformer.py, driven by the group size s = N / M."""
    n, s = m * repeats, repeats
    unique = -(-n // s)
    if order == "sequence":
        released = [i // s for i in range(n)]
    elif order == "cycle":
        released = [i % unique for i in range(n)]
    else:
        released = [*range(unique), *[i % unique for i in range(unique, n - unique)], *reversed(range(unique))]
    assert layer_sets(order, n, m) == released


@given(order=st.sampled_from(["sequence", "cycle", "cycle_rev"]), n=st.integers(1, 24), m=st.integers(1, 24))
def test_every_set_is_used_and_parameters_follow_m_alone(order, n, m):
    """Source: Takase & Kiyono 2021, table 2 (X3): with M sets, depth N changes no parameter."""
    if m > n:
        return
    assert set(layer_sets(order, n, m)) == set(range(m))
    shallow = count_params(make_plan(make_shape("lm", n_layers=m), {}))
    deep = count_params(make_plan(make_shape("lm", n_layers=n), cross(order=order, n_unique=m)))
    assert deep.params == shallow.params
    assert sorted(set(deep.uses.values()) - {1}) == sorted(
        {u for u in (layer_sets(order, n, m).count(i) for i in range(m)) if u > 1}
    )


def test_owner_is_the_first_layer_of_a_set_not_the_set_number():
    plan = plan_of("lm", "sequence-3")  # sets 0 0 1 2: set 1 first serves layer 2
    assert [plan.owner[f"decoder.{i}.ffn.in.weight"][8] for i in range(4)] == ["0", "0", "2", "3"]


@pytest.mark.parametrize(
    ("parts", "params"),
    [(None, 30_524_160), (["self_attn"], 82_487_808), (["ffn"], 56_527_104), ([], 108_490_752)],
)
def test_albert_counts(parts, params):
    """Source: Lan et al. 2019, table 4 at E = 768; its encoder's embeddings and their norm are added by hand."""
    hidden, vocab, rows = 768, 30_000, 512
    shape = make_shape(
        "lm",
        n_layers=12,
        vocab_size=vocab,
        d_model=hidden,
        n_heads=12,
        n_kv_heads=12,
        d_head=64,
        d_ff=3072,
        max_len=rows,
        norm_position="post",
        positions="learned",
        attn_bias=True,
        ffn_bias=True,
        norm_bias=True,
    )
    ties = {
        "tables": {"rule": "pre_softmax"},
        **({} if parts == [] else {"layers": {"rule": "cross_layer", "parts": parts}}),
    }
    embedding_norm, segments = 2 * hidden, 2 * hidden
    assert count_params(make_plan(shape, ties)).params + embedding_norm + segments == params


def test_one_encoder_feed_forward_saves_what_pires_counted():
    """Source: Pires et al. 2023, SharedEnc on Transformer Big: 5 x 2 d f weights (X4)."""
    big = make_shape("mt", n_layers=6, d_model=1024, n_heads=16, n_kv_heads=16, d_head=64, d_ff=4096)
    saved = {"encoder": 41_943_040, "decoder": 41_943_040}
    for stack, wanted in saved.items():
        assert count_params(make_plan(big, cross(stacks=[stack], parts=["ffn"], norms=False))).params_saved == wanted


def test_norms_come_with_their_part_only_where_asked():
    with_norms, without = plan_of("lm", "cycle-2"), plan_of("lm", "cycle-2-no-norms")
    assert with_norms.owner["decoder.2.ffn_norm.weight"] == "decoder.0.ffn_norm.weight"
    assert without.owner["decoder.2.ffn_norm.weight"] == "decoder.2.ffn_norm.weight"
    assert all("final_norm" not in owner for owner in with_norms.groups)


def test_stacks_and_parts_limit_what_is_shared():
    plan = plan_of("mt", "decoder-cross_attn")
    assert {owner.rsplit(".", 2)[0] for owner in plan.groups} == {"decoder.0.cross_attn", "decoder.0"}
    assert all("cross_attn" in owner for owner in plan.groups)


@pytest.mark.parametrize(
    ("task", "ties", "words"),
    [
        (
            "lm",
            {"three_way": {"rule": "three_way"}},
            ["tying=three_way", "one stack", "decoder.embed", "tying=pre_softmax"],
        ),
        ("lm", {"shared_vocab": {"rule": "shared_vocab"}}, ["tying=shared_vocab", "tying=pre_softmax"]),
        ("lm", {"embeddings": {"rule": "embeddings"}}, ["tying=embeddings"]),
        ("lm", cross(n_unique=5), ["tying=cross_layer", "n_unique=5", "4 layers", "1 to 4"]),
        ("lm", cross(n_unique=0), ["n_unique=0"]),
        ("lm", cross(order="cylce"), ["order=cylce", "did you mean cycle"]),
        ("lm", cross(parts=["cross_attn"]), ["parts=cross_attn", "no layer of decoder has it"]),
        ("lm", cross(stacks=["encoder"]), ["stacks=encoder", "decoder"]),
        ("lm", {"a": {"rule": "cross_layr"}}, ["tying.ties.a.rule=cross_layr", "did you mean cross_layer"]),
        ("lm", cross(uniq=2), ["tying.ties.cross_layer.option=uniq"]),
        (
            "mt",
            {"none": {"rule": "none"}, "three_way": {"rule": "three_way"}},
            ["tying=[none, three_way]", "leave none out"],
        ),
    ],
)
def test_refusals_say_what_was_asked_and_what_would_fit(task, ties, words):
    with pytest.raises(TyingError) as refusal:
        make_plan(make_shape(task), ties)
    assert refusal.value.exit_code == 2
    for word in words:
        assert word in str(refusal.value)


def test_the_table_of_rules_is_documented():
    for name, rule in RULES.items():
        assert rule.summary.endswith("."), name
        assert rule.source
    assert {name for name, rule in RULES.items() if rule.joint_vocabulary} == {
        "shared_vocab",
        "embeddings",
        "three_way",
    }
    assert needs_joint_vocabulary({"x": {"rule": "three_way"}}) and not needs_joint_vocabulary(cross())


def test_label_of_a_list():
    assert tying_label({"three_way": {}, "cross_layer": {}}) == "three_way+cross_layer"
    assert tying_label({}) == "none"
