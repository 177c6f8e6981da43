"""Schemes of models with several encoders or decoders: owners typed by hand, what they save, and who is refused."""

import re

import pytest

from expected_ties import MORE_STACKS, ties_of
from tietrain.errors import TyingError
from tietrain.plan.catalogue import REFERENCE
from tietrain.plan.params import count_params
from tietrain.plan.schemes import make_plan

CASES = [(name, model) for name, models in MORE_STACKS.items() for model in models]

# Transformer base (Vaswani et al. 2017): 512, 2048, biases in norms and feed-forwards.
NORM, ATTENTION, FFN = 2 * 512, 4 * 512 * 512, 2 * 512 * 2048 + 2048 + 512
ENCODER = 6 * (ATTENTION + FFN + 2 * NORM) + NORM
DECODER = ENCODER + 6 * (ATTENTION + NORM)
SAVED = {
    "one_encoder": ENCODER,
    "one_decoder": DECODER,
    "partial_decoders": 6 * 2 * (2 * 512 * 512 + NORM),
    "cross_attentions": 6 * (ATTENTION + NORM),
}


@pytest.mark.parametrize(("name", "model"), CASES)
def test_owners_are_those_typed_by_hand(name, model):
    plan = make_plan(REFERENCE[model], ties_of(name))
    pattern, owner = MORE_STACKS[name][model]
    reads = {slot.name: re.sub(rf"^{pattern}$", owner, slot.name) for slot in plan.slots}
    assert dict(plan.owner) == reads
    assert any(slot != read for slot, read in reads.items())
    assert count_params(plan).params_saved == SAVED[name]


@pytest.mark.parametrize("name", MORE_STACKS)
@pytest.mark.parametrize("model", REFERENCE)
def test_other_models_are_told_what_they_lack(name, model):
    if model in MORE_STACKS[name]:
        return
    with pytest.raises(TyingError) as refused:
        make_plan(REFERENCE[model], ties_of(name))
    lacks = "second cross-attention" if name == "cross_attentions" else r"has [01] stacks? of that role"
    assert re.search(lacks, str(refused.value)) and f"tying={name}" in str(refused.value)


def test_a_role_is_encoder_or_decoder():
    with pytest.raises(TyingError, match="did you mean encoder"):
        make_plan(REFERENCE["sources"], {"x": {"rule": "same_role", "role": "encoders"}})


def test_decoders_that_nothing_tells_apart_are_noted():
    alike = make_plan(REFERENCE["languages"], ties_of("three_way") | ties_of("one_decoder") | ties_of("positions"))
    assert [note for note in alike.notes if "decoder_b and decoder_a read the same parameters" in note]
    apart = make_plan(REFERENCE["languages"], ties_of("three_way") | ties_of("one_decoder"))  # position tables differ
    assert not apart.notes
