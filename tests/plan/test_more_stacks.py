"""Schemes of models with several encoders or decoders: owners typed by hand, and what they save."""

import re

from expected_ties import MORE_STACKS, ties_of
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


def test_make_plan_has_the_owners_typed_by_hand():
    for name, model in CASES:
        plan = make_plan(REFERENCE[model], ties_of(name))
        pattern, owner = MORE_STACKS[name][model]
        reads = {slot.name: re.sub(rf"^{pattern}$", owner, slot.name) for slot in plan.slots}
        assert dict(plan.owner) == reads, (name, model)
        assert any(slot != read for slot, read in reads.items()), (name, model)
        assert count_params(plan).params_saved == SAVED[name], (name, model)


def test_make_plan_notes_identical_decoders():
    alike = make_plan(REFERENCE["languages"], ties_of("three_way") | ties_of("one_decoder") | ties_of("positions"))
    assert [note for note in alike.notes if note.startswith("decoder_b and decoder_a ")]
    apart = make_plan(REFERENCE["languages"], ties_of("three_way") | ties_of("one_decoder"))  # position tables differ
    assert not apart.notes
