"""Models of several sources and targets, against equations written out for one sentence, and the ties of their stacks."""

import math

import pytest
import torch
import torch.nn.functional as F

from several_stacks import KINDS, ROUTES, A, B, build_several, draw, only, shape_of
from tietrain.errors import TyingError
from tietrain.model.cache import Cache
from tietrain.model.loss import token_loss
from tietrain.model.transformer import Transformer
from tietrain.plan.plan import resolve
from tietrain.plan.slots import Slots
from tietrain.train.check.checks import check_cache, check_gradients
from tietrain.train.check.reference import CheckFailed

EXACT = {"rtol": 1e-10, "atol": 1e-12}
LENGTHS = {A: 6, B: 3}


def exact(kind: str, **options) -> Transformer:
    return build_several(kind, positions="learned", **options).double()


def padded(values: torch.Tensor, n: int) -> torch.Tensor:
    """n positions more in every row: PAD, or vectors of NaN."""
    return F.pad(values, (0, n)) if values.ndim == 2 else F.pad(values, (0, 0, 0, n), value=torch.nan)


def normed(model, x, name):
    return F.layer_norm(x, x.shape[-1:], model.parameter(f"{name}.weight"))


def attention_by_hand(model, block, x, read, causal=False):
    """Over [T, D] and all of [S, D], head by head. Source: Vaswani et al. 2017, section 3.2."""
    times = {leaf: model.parameter(f"{block}.{leaf}.weight").T for leaf in "qkvo"}
    heads = []
    for q, k, v in zip(
        *(y.split(4, dim=-1) for y in (x @ times["q"], read @ times["k"], read @ times["v"])), strict=True
    ):
        hidden = torch.ones(len(x), len(read), dtype=torch.bool).triu(1) & causal
        heads.append((q @ k.T / math.sqrt(4)).masked_fill(hidden, -torch.inf).softmax(-1) @ v)
    return torch.cat(heads, dim=-1) @ times["o"]


def stack_by_hand(model, stack, values, memories=()):
    """Hidden states [T, D] of one row: self-attention, a cross-attention a memory, feed-forward, all of it pre-norm."""
    if values.ndim == 1:
        x = 2 * model.parameter(f"{stack}.embed.weight")[values]
    else:
        x = values @ model.parameter(f"{stack}.adapter.weight").T
    x = x + model.parameter(f"{stack}.positions.weight")[: len(x)]
    for layer in range(2):
        block = f"{stack}.{layer}"
        inner = normed(model, x, f"{block}.self_attn_norm")
        x = x + attention_by_hand(model, f"{block}.self_attn", inner, inner, causal=stack.startswith("decoder"))
        for part, memory in zip(("cross_attn", "cross_attn2"), memories, strict=False):
            x = x + attention_by_hand(model, f"{block}.{part}", normed(model, x, f"{block}.{part}_norm"), memory)
        inner = normed(model, x, f"{block}.ffn_norm") @ model.parameter(f"{block}.ffn.in.weight").T
        x = x + F.gelu(inner) @ model.parameter(f"{block}.ffn.out.weight").T
    return normed(model, x, f"{stack}.final_norm")


@torch.no_grad()
@pytest.mark.parametrize(("kind", "route"), ROUTES)
def test_hidden_states_are_those_of_the_equations(kind, route):
    """Joined memories are one attention over both; two cross-attentions come in the order of their sources."""
    model, (*names, target) = exact(kind), route
    sources, ids = {name: draw(model, name, 2, LENGTHS[name]) for name in names}, torch.randint(4, 23, (2, 5))
    hidden = model(sources, ids, stack=target)
    for row in range(2):
        read = [stack_by_hand(model, name, sources[name][row]) for name in names]
        memories = read if kind == "one after the other" else [torch.cat(read)]
        torch.testing.assert_close(hidden[row], stack_by_hand(model, target, ids[row], memories), **EXACT)
    backwards = dict(reversed(sources.items()))
    assert torch.equal(model(backwards, ids, stack=target), hidden), "the order in which sources are given is none"


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "source", "target"),
    [("joined", A, "decoder"), ("joined", B, "decoder"), ("vectors", A, "decoder"), ("vectors", B, "decoder")]
    + [("languages", source, f"decoder_{to}") for source in (A, B) for to in "ab"],
)
def test_hidden_states_without_the_other_source_are_those_of_the_model_of_one(kind, source, target):
    """With the same initial values, and the same hidden states, where rows are padded too."""
    model, small = exact(kind), only(kind, source, target, positions="learned").double()
    for slot in small.plan.slots:
        assert torch.equal(small.parameter(slot.name), model.parameter(slot.name)), slot.name
    values, ids = draw(model, source, 2, 5), torch.randint(4, 23, (2, 5))
    values[1, 3:] = padded(values[1:, :3], 2)[0, 3:]
    assert torch.equal(model({source: values}, ids, stack=target), small({source: values}, ids))


def test_initial_values_with_a_second_cross_attention_differ_in_depth_scales_only():
    """What a stack adds to its residual stream is divided by the root of the deepest stack's sublayers: 4 per layer for 3."""
    model, small = exact("one after the other"), only("one after the other", A, "decoder", positions="learned").double()
    for slot in small.plan.slots:
        adds = slot.leaf in ("o.weight", "out.weight")
        wanted = small.parameter(slot.name) * (math.sqrt(3 / 4) if adds else 1.0)
        torch.testing.assert_close(model.parameter(slot.name), wanted, rtol=1e-6, atol=0.0)
    for layer in range(2):
        first, second = (model.parameter(f"decoder.{layer}.{part}.q.weight") for part in ("cross_attn", "cross_attn2"))
        assert not torch.equal(first, second)


def test_initial_values_of_an_adapter_keep_the_variance_of_its_vectors():
    model = build_several("vectors", d_model=512, d_head=128)
    assert model.parameter(f"{B}.adapter.weight").shape == (512, 5)
    assert model.parameter(f"{B}.adapter.weight").std().item() == pytest.approx(5**-0.5, rel=0.05)


@pytest.mark.parametrize("name", [A, B])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_of_either_source_changes_nothing(kind, name):
    """Neither hidden states nor gradients, of which a NaN would be one; what is no padding changes both."""
    model = exact(kind)
    target = next(route[-1] for of_kind, route in reversed(ROUTES) if of_kind == kind)
    sources, ids = {source: draw(model, source, 2, n) for source, n in LENGTHS.items()}, torch.randint(4, 23, (2, 5))

    def learn(**changed):
        model.zero_grad()
        hidden = model(sources | changed, ids, stack=target)
        token_loss(model, hidden, ids, stack=target).objective.backward()
        return hidden.detach(), {owner: p.grad for owner, p in model.named_parameters() if p.grad is not None}

    plain, wide = learn(), learn(**{name: padded(sources[name], 3)})
    torch.testing.assert_close(wide, plain, **EXACT)
    assert plain[1].keys() == {slot.name for slot in model.plan.slots if slot.stack in (A, B, target)}
    longer = torch.cat([sources[name], draw(model, name, 2, 1)], dim=1)
    assert (learn(**{name: longer})[0] - plain[0]).abs().max() > 1e-6


def test_stack_parts_are_in_forward_order():
    decoder = shape_of("one after the other").stack("decoder")
    assert decoder.parts == ("self_attn", "cross_attn", "cross_attn2", "ffn")
    assert decoder.crossings == {"cross_attn": (A,), "cross_attn2": (B,)}
    parts = [
        slot.part for slot in Slots(shape_of("one after the other")) if slot.stack == "decoder" and slot.layer == 0
    ]
    assert list(dict.fromkeys(parts)) == [name for part in decoder.parts for name in (f"{part}_norm", part)]
    vectors = [slot for slot in Slots(shape_of("vectors")) if slot.stack == B and slot.layer is None]
    assert [(slot.part, slot.shape) for slot in vectors] == [("adapter", (16, 5)), ("final_norm", (16,))]


def _tables(slot, shape):
    return f"{A}.embed.weight" if slot.kind == "table" else slot.name


def _embeddings(slot, shape):
    return f"{A}.embed.weight" if slot.part == "embed" else slot.name


def _outputs(slot, shape):
    return f"{slot.stack}.embed.weight" if slot.part == "output" else slot.name


def _stacks(slot, shape):
    """Every layer is that of the first stack that has its part."""
    if slot.layer is None:
        return slot.name
    first = shape.predictors[0].name if slot.part.startswith("cross_attn") else A
    return slot.name.replace(slot.stack, first, 1)


def _encoder_layers(slot, shape):
    return slot.name.replace(".1.", ".0.") if slot.stack in (A, B) else slot.name


def _attentions(slot, shape):
    return slot.name.replace(".1.", ".0.") if "attn" in slot.part else slot.name


def _queries(slot, shape):
    return slot.name.replace(".k.", ".q.")


# rule and options -> the owner of a slot, as its words say
RULES = {
    "three_way": ({"rule": "three_way"}, _tables),
    "embeddings": ({"rule": "embeddings"}, _embeddings),
    "pre_softmax": ({"rule": "pre_softmax"}, _outputs),
    "encoder_decoder": ({"rule": "encoder_decoder"}, _stacks),
    "encoder layers": ({"rule": "cross_layer", "stacks": ["encoder"]}, _encoder_layers),
    "attention": ({"rule": "cross_layer", "parts": ["attention"]}, _attentions),
    "query_key": ({"rule": "query_key"}, _queries),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_rules_own_what_their_words_say(kind, name):
    """Every slot has the owner that is typed here, and its gradient is the sum over all uses."""
    (tie, owner_of), shape = RULES[name], shape_of(kind)
    model = build_several(kind, {"mine": tie})
    assert dict(model.plan.owner) == {slot.name: owner_of(slot, shape) for slot in model.plan.slots}
    check_gradients(model)


@pytest.mark.parametrize("leaf", ["", ".q", "_norm"])
def test_resolve_ties_cross_attentions_and_never_self_attention(leaf):
    shape = shape_of("one after the other")
    plan = resolve(shape, [(f"decoder.0.cross_attn2{leaf}", f"decoder.0.cross_attn{leaf}")])
    tied = {slot.name for slot in plan.slots if plan.owner[slot.name] != slot.name}
    assert tied == {slot.name for slot in plan.slots.under(f"decoder.0.cross_attn2{leaf}")}
    assert all(plan.owner[name] == name.replace("cross_attn2", "cross_attn") for name in tied)
    for stack, part in (("decoder", "self_attn"), (A, "self_attn")):
        with pytest.raises(TyingError, match=r"cross_attn.* and self_attn"):
            resolve(shape, [(f"decoder.0.cross_attn2{leaf}", f"{stack}.0.{part}{leaf}")])


def test_check_cache_finds_keys_of_two_sources_in_one_place(monkeypatch):
    """The check of cached decoding sees it."""
    memory = Cache.memory
    monkeypatch.setattr(Cache, "memory", lambda self, place, make: memory(self, place[:2], make))
    with pytest.raises(CheckFailed) as failed:
        check_cache(build_several("one after the other"))
    assert failed.value.setting == "cached decoding"
    check_cache(build_several("joined"))
