import math
from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from of_lengths import check_rows, epoch_rows, lines_of, mt, pairs_of, pairs_of_lengths, quick, training_pairs
from tietrain.data.batches.batching import split_batch
from tietrain.data.batches.pairs import MtBatches, Pairs, Sources, mt_eval_batches, shares
from tietrain.data.encoded import EncodedLines
from tietrain.data.sources.features import FeatureRows
from tietrain.data.tokenizer import EOS_ID, PAD_ID


@quick
@given(pairs_of_lengths, st.integers(1, 200), st.integers(0, 3), st.integers(0, 5))
def test_mt_batches_hold_every_pair_once_per_epoch(sizes, budget, seed, epoch):
    batches = mt(sizes, budget, seed)
    src, tgt = (lines_of(s) for s in zip(*sizes, strict=True))
    seen = []
    for index in range(batches.n_batches(epoch)):
        batch, rows = batches.batch(epoch, index), batches.step(epoch, index)[1]
        check_rows(batch, src, tgt, rows)
        assert len(rows) == 1 or batch.tgt_in_ids.numel() <= budget
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(sizes)))


@quick
@given(pairs_of_lengths, st.integers(0, 9))
def test_mt_batches_are_a_pure_function(sizes, epoch):
    first, again = mt(sizes), mt(sizes)
    rows = epoch_rows(first, epoch)
    for other in (epoch + 1, 0, epoch):
        epoch_rows(again, other)
    assert epoch_rows(again, epoch) == rows
    assert first.fingerprint == again.fingerprint


@quick
@given(pairs_of_lengths, st.randoms(use_true_random=False))
def test_mt_batches_are_the_same_under_other_vocabularies(sizes, random):
    own = [(random.randint(0, 50), random.randint(0, 50)) for _ in sizes]
    joint, separate = mt(sizes), mt(sizes, own=own)
    assert joint.fingerprint == separate.fingerprint
    assert [epoch_rows(joint, e) for e in range(3)] == [epoch_rows(separate, e) for e in range(3)]


def test_mt_batches_differ_between_epochs_and_seeds():
    sizes = [(5 + i % 7, 5 + i % 5) for i in range(2000)]
    plans = [epoch_rows(mt(sizes, 500, seed), epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert len({str(plan) for plan in plans}) == 3
    assert len({str(sorted(sorted(rows) for rows in plan)) for plan in plans}) == 3
    assert mt(sizes, 500, 1).fingerprint != mt(sizes, 500, 2).fingerprint != mt(sizes, 400, 2).fingerprint


def test_mt_batches_keep_their_order_from_version_to_version():
    sizes = [(3 + i % 4, 2 + i % 3) for i in range(12)]
    assert epoch_rows(mt(sizes, 12, 7), 0) == [[8, 2], [10, 6, 3], [1, 5], [4, 0, 9], [7, 11]]


@quick
@given(pairs_of_lengths, st.integers(1, 200))
def test_mt_eval_batches_hold_every_pair_once(sizes, budget):
    src, tgt = (lines_of(s) for s in zip(*sizes, strict=True))
    seen = []
    for batch, rows in mt_eval_batches(pairs_of(sizes), budget):
        check_rows(batch, src, tgt, rows)
        assert len(rows) == 1 or max(batch.sources["encoder"].numel(), batch.tgt_in_ids.numel()) <= budget
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(sizes)))


def test_mt_eval_batches_of_nothing():
    nothing = EncodedLines.of([])
    assert not list(mt_eval_batches(Pairs(Sources({"encoder": nothing}), "decoder", nothing), 100))


E1, E2, D = "encoder_a", "encoder_b", "decoder"
several = st.lists(pairs_of_lengths, min_size=2, max_size=4)


def directions(sizes, **options):
    return [training_pairs(one, name=f"a-{i}", **options) for i, one in enumerate(sizes)]


def seen_in(batches, epoch) -> dict[str, list[int]]:
    """Direction -> the rows of its steps."""
    seen = {}
    for i in range(batches.n_batches(epoch)):
        seen.setdefault(batches.step(epoch, i)[0].name, []).extend(batches.step(epoch, i)[1].tolist())
    return seen


@quick
@given(several, st.integers(1, 200), st.integers(0, 3), st.integers(0, 5))
def test_mt_batches_hold_every_pair_of_every_direction_once(sizes, budget, seed, epoch):
    batches = MtBatches(directions(sizes), budget, seed)
    assert {name: sorted(rows) for name, rows in seen_in(batches, epoch).items()} == {
        f"a-{i}": list(range(len(one))) for i, one in enumerate(sizes)
    }
    for i in range(batches.n_batches(epoch)):
        batch = batches.batch(epoch, i)
        assert len(batches.step(epoch, i)[1]) == 1 or batch.tgt_in_ids.numel() <= budget
        one = sizes[int(batches.step(epoch, i)[0].name[-1])]
        check_rows(batch, *(lines_of(side) for side in zip(*one, strict=True)), batches.step(epoch, i)[1])


@quick
@given(several, st.integers(0, 9), st.sampled_from([1.0, 5.0]))
def test_mt_batches_of_directions_are_a_pure_function(sizes, epoch, temperature):
    first, again = (MtBatches(directions(sizes), 60, 1, temperature) for _ in range(2))
    rows = epoch_rows(first, epoch)
    for other in (epoch + 1, 0, epoch):
        epoch_rows(again, other)
    assert epoch_rows(again, epoch) == rows
    assert first.fingerprint == again.fingerprint


@quick
@given(several, st.sampled_from([1.5, 5.0, 100.0]))
def test_mt_batches_draw_directions_as_temperature_says(sizes, temperature):
    batches = MtBatches(directions(sizes), 60, 1, temperature)
    counts = shares([len(one) for one in sizes], temperature)
    n_epochs, drawn = 3, [Counter() for _ in sizes]
    for epoch in range(n_epochs):
        seen = seen_in(batches, epoch)
        assert [len(seen[f"a-{i}"]) for i in range(len(sizes))] == counts
        for i, one in enumerate(drawn):
            one.update(seen[f"a-{i}"])
    for one, n, share in zip(drawn, map(len, sizes), counts, strict=True):
        turns = n_epochs * share / n
        assert all(math.floor(turns) <= one[row] <= math.ceil(turns) for row in range(n))


def test_shares_approach_equality_as_temperature_grows():
    assert shares([900, 90, 10], 1.0) == [900, 90, 10]
    cold, warm, hot = (np.asarray(shares([900, 90, 10], t)) for t in (1.0, 5.0, 1e6))
    assert np.ptp(cold) > np.ptp(warm) > np.ptp(hot)
    assert hot.tolist() == [333, 333, 333]
    assert (
        warm.tolist() == np.rint(1000 * np.asarray([900, 90, 10]) ** 0.2 / sum(n**0.2 for n in (900, 90, 10))).tolist()
    )
    assert shares([10**6, 1], 1.0)[1] == 1


def test_mt_batches_are_the_same_with_other_stacks():
    sizes = [[(5 + i % 7, 3 + i % 5) for i in range(90)], [(5 + i % 7, 2 + i % 11) for i in range(60)]]
    shared = MtBatches(directions(sizes), 60, 1)
    own = [
        training_pairs(
            one,
            name=f"a-{i}",
            pairs=Pairs(
                Sources({"encoder": pairs_of(one).sources.lines["encoder"]}, tag=5),
                f"decoder_{i}",
                EncodedLines.of(lines_of([7] * len(one))),
            ),
        )
        for i, one in enumerate(sizes)
    ]
    apart = MtBatches(own, 60, 1)
    assert shared.fingerprint == apart.fingerprint
    assert [epoch_rows(shared, e) for e in range(3)] == [epoch_rows(apart, e) for e in range(3)]
    assert {apart.batch(0, i).stack for i in range(apart.n_batches(0))} == {"decoder_0", "decoder_1"}
    other = [*directions(sizes)[:1], training_pairs(sizes[1], name="a-1", rows=range(1, 60))]
    assert MtBatches(other, 60, 1).fingerprint != shared.fingerprint


def test_mt_batches_hold_only_the_training_rows():
    rows = [3, 4, 9, 17]
    batches = MtBatches([training_pairs([(i % 5, i % 3) for i in range(20)], rows=rows)], 10, 1)
    assert sorted(row for step in epoch_rows(batches, 2) for row in step) == rows


def test_pairs_batch_puts_the_tag_before_the_first_text():
    vectors = FeatureRows.of([np.full((n, 2), n, np.float32) for n in (1, 3)])
    texts = EncodedLines.of([[7, 8], [9]])
    batch = Pairs(Sources({"v": vectors, E1: texts, E2: texts}, tag=5), D, texts).batch(np.asarray([1, 0]))
    assert list(batch.sources) == ["v", E1, E2]
    assert batch.sources[E1].tolist() == [[5, 9, EOS_ID, PAD_ID], [5, 7, 8, EOS_ID]]
    assert batch.sources[E2].tolist() == [[9, EOS_ID, PAD_ID], [7, 8, EOS_ID]]
    assert batch.lengths == {"v": [3, 1], E1: [3, 4], E2: [2, 3], D: [2, 3]}
    assert batch.sources["v"].shape == (2, 3, 2) and batch.sources["v"].dtype == torch.float32
    assert batch.sources["v"][..., 0].nan_to_num().tolist() == [[3, 3, 3], [1, 0, 0]]
    assert batch.sources["v"][1, 1:].isnan().all()
    assert batch.padded_tokens == 6 + 8 + 6 + 6
    (whole,) = split_batch(batch, 1000)
    first, second = split_batch(batch, 4)
    assert whole is batch
    assert first.sources["v"].shape == (1, 3, 2) and second.sources["v"].shape == (1, 1, 2)
    assert first.sources[E1].tolist() == [[5, 9, EOS_ID]] and second.sources[E1].tolist() == [[5, 7, 8, EOS_ID]]


def test_length_basis_is_that_of_the_longest_text():
    texts, longer = EncodedLines.of([[7, 8], [9]]), EncodedLines.of([[7], [9, 9, 9]])
    vectors = FeatureRows.of([np.zeros((n, 2)) for n in (4, 9)])
    assert Sources({"v": vectors, E1: texts, E2: longer}, tag=5).length_basis.tolist() == [2, 3]
    assert Sources({"v": vectors}).length_basis.tolist() == [4, 9]
