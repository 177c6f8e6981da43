"""A model under other ties: untying copies, tying takes the mean or the first, views hold what they can."""

import pytest
import torch

from tietrain.errors import TyingError
from tietrain.model.convert import FIRST, MEAN, changed_share, convert_weights
from tietrain.model.transformer import Transformer
from tietrain.plan import views
from tietrain.plan.schemes import make_plan
from tiny_models import make_shape, sources_of

UNIVERSAL, CYCLE = (
    {"universal": {"rule": "cross_layer"}},
    {"cycle": {"rule": "cross_layer", "order": "cycle", "n_unique": 2}},
)


def tie(rule: str, **options) -> dict:
    return {rule: {"rule": rule, **options}}


def trained(task: str, ties: dict) -> Transformer:
    """A model whose every stored number, those of views and norms too, is like one that training has moved."""
    model = made(task, ties)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn(p.shape)
    return model


def made(task: str, ties: dict) -> Transformer:
    model = Transformer(make_plan(make_shape(task), ties))
    model.initialize(2)
    return model


def converted(old: Transformer, ties: dict, rule: str = MEAN) -> Transformer:
    new = made("mt" if len(old.shape.stacks) > 1 else "lm", ties)
    convert_weights(old, new, rule)
    return new


@torch.no_grad()
def logits(model: Transformer) -> torch.Tensor:
    ids = torch.arange(4, 20).view(2, 8)
    return model.logits(model(sources_of(model, ids.flip(1)), ids))


TIED = {"lm": tie("pre_softmax"), "mt": tie("three_way")}
WITHOUT_NORMS = tie("cross_layer", norms=False)
VIEWED = tie("relaxed", rank=2) | tie("scaled")


@pytest.mark.parametrize("task", ["lm", "mt"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (UNIVERSAL, {}),
        (UNIVERSAL, CYCLE),
        ("tables", {}),
        (UNIVERSAL | VIEWED, {}),
        (UNIVERSAL, UNIVERSAL | VIEWED | tie("step_signal")),
        (UNIVERSAL | tie("transposed") | tie("step_signal"), tie("transposed") | tie("step_signal")),
        ("factorised", tie("factorised", rank=3)),
    ],
    ids=str,
)
def test_convert_weights_keeps_what_the_new_plan_can_say_bit_for_bit(task, before, after):
    tables = {"tables": TIED[task], "factorised": TIED[task] | tie("factorised", rank=3)}
    old = trained(task, tables[before] if isinstance(before, str) else before)
    new = converted(old, after)
    assert torch.equal(logits(new), logits(old))
    assert changed_share(old, new) == 0


@pytest.mark.parametrize("task", ["lm", "mt"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, WITHOUT_NORMS | tie("relaxed", rank=16)),
        ({}, tie("factorised", rank=16)),
        (tie("factorised", rank=3), {}),
        (tie("transposed"), {}),
    ],
    ids=["relaxed", "factorised", "from factorised", "from transposed"],
)
def test_convert_weights_to_views_of_full_rank_changes_rounding_alone(task, before, after):
    old = trained(task, before)
    new = converted(old, after)
    torch.testing.assert_close(logits(new), logits(old), rtol=1e-4, atol=1e-5)
    assert changed_share(old, new) < 1e-6


def test_convert_weights_ties_by_the_mean_or_the_first():
    old = trained("mt", {})
    for rule in (MEAN, FIRST):
        new = converted(old, CYCLE | TIED["mt"], rule)
        for owner, uses in new.plan.uses.items():
            before = torch.stack([old.tensor(use) for use in uses])
            wanted = before.double().mean(0).float() if rule == MEAN else before[0]
            assert torch.equal(new.parameter(owner), wanted), owner


@pytest.mark.parametrize("up", ["own", "shared"])
@pytest.mark.parametrize("rule", [MEAN, FIRST])
def test_convert_weights_fits_views_as_well_as_their_rank_allows(up, rule):
    """The error of a product of low rank is the rest of the singular values (Eckart & Young 1936)."""
    old = trained("lm", {})
    new = converted(old, WITHOUT_NORMS | tie("relaxed", rank=3) | TIED["lm"] | tie("factorised", rank=5, up=up), rule)
    for slot in new.plan.slots:
        if slot.layer is not None and len(slot.shape) == 2:
            rest = old.tensor(slot.name) - new.parameter(slot.name)
            error = (new.tensor(slot.name) - old.tensor(slot.name)).norm()
            torch.testing.assert_close(error, torch.linalg.svdvals(rest)[3:].norm(), rtol=1e-3, atol=1e-5)
    names = ("decoder.embed.weight", "decoder.output.weight")
    tables = [old.tensor(name) for name in names]
    errors = [(new.tensor(name) - table).norm() for name, table in zip(names, tables, strict=True)]
    if rule == FIRST:
        torch.testing.assert_close(errors[0], torch.linalg.svdvals(tables[0])[5:].norm())
    elif up == "own":
        torch.testing.assert_close(torch.stack(errors).norm(), torch.linalg.svdvals(torch.cat(tables, 1))[5:].norm())
    else:
        mean = (tables[0] + tables[1]) / 2
        torch.testing.assert_close(
            (new.tensor("decoder.embed.weight") - mean).norm(), torch.linalg.svdvals(mean)[5:].norm()
        )


def test_convert_weights_leaves_products_without_a_rest_able_to_learn():
    new = converted(trained("lm", UNIVERSAL), UNIVERSAL | tie("relaxed", rank=2))
    left, right = (new.get_parameter(f"decoder.1.ffn.in.weight_{name}") for name in ("left", "right"))
    assert not left.any() and right.all()


def test_convert_weights_refuses_a_view_without_a_law(monkeypatch):
    monkeypatch.setitem(views.VIEWS, "scaled", lambda shape, of: views.View(lambda w: w))
    with pytest.raises(TyingError) as refused:
        converted(trained("lm", {}), UNIVERSAL | tie("scaled"))
    assert refused.value.setting.startswith("view scaled of decoder.0")
