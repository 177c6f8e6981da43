"""Ties by construction: one parameter an owner, whatever is done to the module."""

import math

import pytest
import torch

from tietrain.errors import SettingsError
from tietrain.model import transformer
from tietrain.model.audit import audit_model
from tietrain.model.cache import Cache
from tietrain.model.loss import token_loss
from tietrain.model.transformer import Transformer
from tietrain.plan.plan import resolve
from tietrain.plan.tables import Tables
from tietrain.train.check.lifecycle import WAYS
from tiny_models import CASES, build, make_shape, sources_of

MT_IDS = torch.tensor([[5, 6, 7, 3, 0], [8, 9, 3, 0, 0]]), torch.tensor([[2, 5, 6, 7], [2, 8, 9, 0]])


def run(model: Transformer) -> torch.Tensor:
    source, target = MT_IDS
    with torch.no_grad():
        return model.logits(model(sources_of(model, source), target))


def test_state_keys_are_the_owners():
    for task, scheme in CASES:
        model = build(task, scheme)
        owners = [slot.name for slot in model.plan.owners]
        assert sorted(model.state_dict()) == sorted(owners), scheme
        stored = dict(model.named_parameters())
        assert sorted(stored) == sorted(owners), scheme
        for slot in model.plan.slots:
            assert model.parameter(slot.name) is stored[model.plan.owner[slot.name]], scheme


@pytest.mark.parametrize("way", ["dtype change", "deepcopy", "meta build", "assigned load", "save and load"])
def test_copies_have_memory_of_their_own(way):
    model = build("mt", "three_way+cycle-2", positions="learned")
    before, again = run(model), WAYS[way](model)
    with torch.no_grad():
        again.parameter("decoder.3.ffn.in.weight").add_(1.0)
        again.parameter("decoder.output.weight").add_(1.0)
    audit_model(again)
    assert not torch.equal(run(again), before) and torch.equal(run(model), before)


def test_functional_call_reaches_every_use_of_an_owner():
    model = build("lm", "pre_softmax")
    table = {"decoder.embed.weight": torch.randn(23, 16)}
    hidden = torch.func.functional_call(model, table, (None, MT_IDS[1]))
    with torch.no_grad():
        model.parameter("decoder.output.weight").copy_(table["decoder.embed.weight"])
        torch.testing.assert_close(hidden, model(None, MT_IDS[1]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_compiled_model_with_dropout_has_the_same_gradients():
    """Tying bug 34: a traced graph returned a tied gradient twice. Dropout drops the same."""
    model = build("mt", "three_way+cycle-2", dropout=0.1, n_layers=2)
    source, target = MT_IDS
    args = (sources_of(model, source), target, torch.tensor([5, -6], dtype=torch.int32))
    grads = []
    for forward in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
        model.zero_grad()
        token_loss(model, forward(*args), target).objective.backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-6)
    audit_model(model)


def test_initialize_draws_from_seed_and_name_alone():
    tied, untied, other = build("mt", "three_way+cycle-2"), build("mt", "none"), build("mt", "none", seed=2)
    for slot in tied.plan.owners:
        assert torch.equal(tied.parameter(slot.name), untied.parameter(slot.name)), slot.name
        if len(slot.shape) > 1:
            assert not torch.equal(untied.parameter(slot.name), other.parameter(slot.name)), slot.name
    assert not torch.equal(untied.parameter("encoder.0.ffn.in.weight"), untied.parameter("encoder.1.ffn.in.weight"))


def test_initialize_scales():
    shape = make_shape(
        "mt", d_model=256, d_head=64, d_ff=1024, vocab_size=500, max_len=64, positions="learned", ffn_bias=True
    )
    model = Transformer(resolve(shape, []))
    model.initialize(1)
    stds = {
        "decoder.embed.weight": 256**-0.5,
        "decoder.output.weight": 256**-0.5,
        "decoder.positions.weight": 0.02,
        "decoder.1.self_attn.k.weight": 256**-0.5,
        "decoder.1.ffn.in.weight": 256**-0.5,
        "decoder.1.ffn.out.weight": 1024**-0.5 / math.sqrt(4 * 3),
        "decoder.1.cross_attn.o.weight": 256**-0.5 / math.sqrt(4 * 3),
        # Of both stacks the deeper one decides, so that layers that they share are nobody's own.
        "encoder.1.self_attn.o.weight": 256**-0.5 / math.sqrt(4 * 3),
    }
    for name, std in stds.items():
        assert model.parameter(name).std().item() == pytest.approx(std, rel=0.03), name
        assert abs(model.parameter(name).mean().item()) < 0.1 * std
    assert model.parameter("decoder.0.ffn_norm.weight").eq(1).all()
    assert model.parameter("decoder.0.ffn.in.bias").eq(0).all()


ROLES = {"source": 0.1, "input": 0.2, "output": 0.3, "tied": 0.4, "positions": 0.05}


@pytest.mark.parametrize(
    ("ties", "roles"),
    [
        ([], ("source", "input", "output")),
        ([("encoder.embed", "decoder.embed")], ("input", "input", "output")),
        ([("decoder.embed", "decoder.output")], ("source", "tied", "tied")),
        ([("encoder.embed", "decoder.output")], ("tied", "input", "tied")),
        ([("encoder.embed", "decoder.embed"), ("decoder.embed", "decoder.output")], ("tied", "tied", "tied")),
    ],
)
def test_initialize_gives_a_table_the_scale_of_its_role(ties, roles):
    shape = make_shape("mt", vocab_size=500, positions="learned")
    model = Transformer(resolve(shape, ties), tables=Tables(by_role=ROLES))
    model.initialize(1)
    for slot, role in zip(("encoder.embed", "decoder.embed", "decoder.output"), roles, strict=True):
        assert model.parameter(f"{slot}.weight").std().item() == pytest.approx(ROLES[role], rel=0.05), slot
    assert model.parameter("decoder.positions.weight").std().item() == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_padding_changes_nothing_and_order_matters(positions):
    model = build("mt", "none", positions=positions)
    source, target = {"encoder": torch.tensor([[5, 6, 7, 3]])}, torch.tensor([[2, 5, 6]])
    wide_source, wide_target = {"encoder": torch.tensor([[5, 6, 7, 3, 0, 0]])}, torch.tensor([[2, 5, 6, 0, 0]])
    with torch.no_grad():
        alone = model(source, target)
        torch.testing.assert_close(model(wide_source, wide_target)[:, :3], alone, rtol=1e-5, atol=1e-6)
        swapped = model({"encoder": torch.tensor([[6, 5, 7, 3]])}, target)
    assert (swapped - alone).abs().max() > 1e-5


def test_future_is_not_visible():
    model = build("lm", "none")
    ids = torch.tensor([[2, 5, 6, 7]])
    with torch.no_grad():
        before, after = model(None, ids), model(None, torch.tensor([[2, 5, 9, 7]]))
    assert torch.equal(before[:, :2], after[:, :2]) and not torch.equal(before[:, 2:], after[:, 2:])


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_dropout_needs_row_seeds_and_is_a_function_of_them(task):
    model, plain = build(task, "none", dropout=0.5), build(task, "none")
    source, target = sources_of(model, MT_IDS[0]), MT_IDS[1]
    seeds, others = torch.tensor([[5, 6], [7, 6]], dtype=torch.int32)
    with torch.no_grad():
        assert torch.equal(model(source, target), plain(source, target))
        assert torch.equal(plain(source, target, seeds), plain(source, target))
        one, same, other = model(source, target, seeds), model(source, target, seeds), model(source, target, others)
    assert torch.equal(one, same)
    assert not torch.equal(one[0], other[0])
    torch.testing.assert_close(one[1], other[1])


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_dropout_of_a_row_is_the_same_alone_and_without_padding(task):
    model, seeds = build(task, "none", dropout=0.3).double(), torch.tensor([5, 6], dtype=torch.int32)
    source, target = sources_of(model, MT_IDS[0]), MT_IDS[1]
    with torch.no_grad():
        both = model(source, target, seeds)
        alone = model(sources_of(model, MT_IDS[0][1:, :3]), target[1:, :3], seeds[1:])
    torch.testing.assert_close(alone, both[1:, :3])


def test_dropout_continues_with_a_cache():
    model, cache = build("lm", "none", dropout=0.3).double(), Cache()
    seeds, target = torch.tensor([5, 6], dtype=torch.int32), MT_IDS[1]
    with torch.no_grad():
        parts = [model.decode(ids, cache=cache, row_seeds=seeds) for ids in (target[:, :3], target[:, 3:])]
        torch.testing.assert_close(torch.cat(parts, dim=1), model(None, target, seeds))


def test_dropout_differs_by_place_and_not_by_scheme(monkeypatch):
    places = []
    monkeypatch.setattr(transformer, "dropout", lambda x, rate, seeds, place: places.append(place) or x)
    for scheme in ("none", "three_way+cycle-2"):
        model = build("mt", scheme, dropout=0.1)
        model({"encoder": MT_IDS[0]}, MT_IDS[1], torch.zeros(2, dtype=torch.int32))
    n_places = 1 + 4 * 2 + 1 + 4 * 3  # an embedding and four layers of two and of three parts
    assert len(set(places)) == n_places
    assert places[:n_places] == places[n_places:]


def test_output_reading_is_never_scaled():
    model = build("lm", "pre_softmax")
    hidden = torch.randn(2, 16)
    torch.testing.assert_close(model.logits(hidden), hidden @ model.parameter("decoder.embed.weight").t())


def test_learned_positions_refuse_a_sequence_that_is_too_long():
    model = build("lm", "none", positions="learned", max_len=8)
    with pytest.raises(SettingsError) as refused:
        model(None, torch.full((1, 9), 5))
    assert refused.value.setting == "model.max_len=8"


def test_parameter_of_an_unknown_slot_is_a_key_error():
    with pytest.raises(KeyError, match=r"decoder\.9"):
        build("lm", "none").parameter("decoder.9.ffn.in.weight")
