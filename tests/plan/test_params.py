"""The parameter ledger against tensors that exist, and against published counts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tietrain.config.compose import compose_config
from tietrain.config.layout import make_shape as shape_of_config
from tietrain.errors import TyingError
from tietrain.model.transformer import Transformer
from tietrain.plan.params import count_params
from tietrain.plan.schemes import make_plan
from tiny_models import CASES, make_shape, plan_of

OPTIONS = st.fixed_dictionaries(
    {
        "n_kv_heads": st.sampled_from([1, 2, 4]),
        "norm": st.sampled_from(["layer", "rms"]),
        "norm_position": st.sampled_from(["pre", "post"]),
        "positions": st.sampled_from(["learned", "sinusoidal", "rotary"]),
        "activation": st.sampled_from(["relu", "gelu", "swiglu"]),
        **{f"{part}_bias": st.booleans() for part in ("attn", "ffn", "norm", "output")},
    }
)


@settings(max_examples=60, deadline=None)
@given(case=st.sampled_from(CASES), options=OPTIONS)
def test_count_params_equals_the_tensors(case, options):
    plan = plan_of(*case, **options)
    with torch.device("meta"):
        model = Transformer(plan)
    ledger = count_params(plan)
    assert sum(p.numel() for p in model.parameters()) == ledger.params
    assert {name: p.numel() for name, p in model.named_parameters()} == {slot.name: slot.size for slot in plan.owners}
    assert ledger.params == sum(ledger.by_part.values()) == ledger.n_embedding + ledger.n_once + ledger.n_repeated
    assert ledger.params_saved == sum(ledger.saved_by_part.values())
    assert ledger.params_untied == count_params(make_plan(make_shape(case[0], **options), {})).params
    assert sum(ledger.uses.values()) == len(plan.slots)
    assert ledger.params == sum(ledger.by_role.values()) == sum(load.n_numbers for load in ledger.loads)
    assert ledger.params_saved == sum(ledger.saved_by_role.values())
    assert ledger.params_untied == sum(load.n_numbers * load.n_uses for load in ledger.loads)
    assert len(plan.owners) == sum(load.n_tensors for load in ledger.loads)


PRESETS = [
    (
        "vaswani_base",
        "mt",
        {"three_way": 63_045_632, "pre_softmax": 81_989_632, "embeddings": 81_989_632, "shared_vocab": 100_933_632},
    ),
    (
        "vaswani_big",
        "mt",
        {"three_way": 214_171_648, "pre_softmax": 252_059_648, "embeddings": 252_059_648, "shared_vocab": 289_947_648},
    ),
    ("gpt2", "lm", {"pre_softmax": 124_439_808}),
    ("mobilellm_125m", "lm", {"pre_softmax": 124_635_456, "none": 143_067_456}),
]


@pytest.mark.parametrize(("preset", "task", "counts"), PRESETS)
def test_count_params_of_presets_is_published(preset, task, counts):
    """Sources: Vaswani et al. 2017 (arithmetic for V = 37,000), Radford et al. 2019, Liu et al. 2024; see conf/model."""
    shape = shape_of_config(compose_config([f"task={task}", f"model={preset}", f"tying={min(counts)}"]))
    found = {scheme: count_params(make_plan(shape, {scheme: {"rule": scheme}})) for scheme in counts}
    assert {scheme: ledger.params for scheme, ledger in found.items()} == counts
    if "three_way" in counts:
        # Vaswani et al. 2017, section 3.4 (X1): 2 V d.
        table = 37_000 * shape.d_model
        assert found["three_way"].saved_by_part == {"decoder.embed": table, "decoder.output": table}


def test_count_params_of_once_and_repeated():
    ledger = count_params(plan_of("lm", "ffn-only"))
    assert ledger.n_repeated == 2 * 16 * 24 + 16
    assert ledger.uses["decoder.0.ffn.in.weight"] == 4
    assert ledger.saved_by_part == {"decoder.ffn": 3 * 2 * 16 * 24, "decoder.ffn_norm": 3 * 16}


ROLES = [
    ("none", {"source": 1, "input": 1, "output": 1}, {}),
    ("pre_softmax", {"source": 1, "input+output": 1}, {"output": 1}),
    ("embeddings", {"source+input": 1, "output": 1}, {"input": 1}),
    ("three_way", {"source+input+output": 1}, {"input": 1, "output": 1}),
]


def test_by_role_joins_the_roles_of_a_shared_table():
    for scheme, stored, saved in ROLES:
        ledger = count_params(plan_of("mt", scheme))
        tables = {role: n for role, n in ledger.by_role.items() if role not in ("attention", "ffn", "norm")}
        assert tables == {role: n * 23 * 16 for role, n in stored.items()}, scheme
        assert ledger.saved_by_role == {role: n * 23 * 16 for role, n in saved.items()}, scheme


def test_by_role_has_separate_roles_for_biases():
    biases = dict.fromkeys(("attn_bias", "ffn_bias", "norm_bias", "output_bias"), True)
    ledger = count_params(plan_of("lm", "ffn-only", positions="learned", **biases))
    assert ledger.by_role == {
        "input": 23 * 16,
        "positions": 32 * 16,
        "norm": (4 + 1 + 1) * 16,
        "norm.bias": (4 + 1 + 1) * 16,
        "attention": 4 * 4 * 16 * 16,
        "attention.bias": 4 * 4 * 16,
        "ffn": 2 * 16 * 24,
        "ffn.bias": 24 + 16,
        "output": 23 * 16,
        "output.bias": 23,
    }
    assert ledger.saved_by_role == {"norm": 48, "norm.bias": 48, "ffn": 3 * 2 * 16 * 24, "ffn.bias": 3 * 40}


def test_loads_group_tensors_by_role_and_uses():
    """Source: Ge et al. 2022: uses per parameter. Feed-forward of one set for four layers, everything else once."""
    loads = count_params(plan_of("lm", "ffn-only")).loads
    assert {(x.role, x.n_uses, x.n_tensors, x.n_numbers) for x in loads} == {
        ("input", 1, 1, 23 * 16),
        ("output", 1, 1, 23 * 16),
        ("norm", 1, 5, 5 * 16),
        ("norm", 4, 1, 16),
        ("attention", 1, 16, 4 * 4 * 16 * 16),
        ("ffn", 4, 2, 2 * 16 * 24),
    }


def test_params_saved_of_control_schemes_is_zero():
    for task, scheme in (("lm", "none"), ("mt", "none"), ("mt", "shared_vocab")):
        assert count_params(plan_of(task, scheme)).params_saved == 0


def test_count_params_has_a_table_of_its_own_size_for_targets():
    """fairseq's transformer_iwslt_de_en on its own dictionaries, with share-decoder-input-output-embed."""
    words = [
        "n_heads=4",
        "d_model=512",
        "d_ff=1024",
        "n_layers=6",
        "norm_position=post",
        "positions=sinusoidal",
        "activation=relu",
    ]
    words += ["attn_bias=true", "ffn_bias=true", "norm_bias=true", "vocab_size=8848", "target_vocab_size=6632"]
    overrides = ["task=mt", "tying=pre_softmax", *(f"model.{word}" for word in words)]
    config = compose_config(overrides)
    assert count_params(make_plan(shape_of_config(config), config.tying.ties)).params == 39_469_056
    refused = compose_config([*overrides, "tying=three_way"])
    with pytest.raises(TyingError, match="one vocabulary"):
        shape_of_config(refused)
