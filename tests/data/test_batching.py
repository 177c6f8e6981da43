import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tietrain.config import DataConfig, ModelConfig, RunConfig, TaskConfig
from tietrain.data.batching import (
    Batch,
    MtBatches,
    mt_eval_batches,
    padding_efficiency,
    split_batch,
)
from tietrain.data.encoded import EncodedLines
from tietrain.data.ordering import cut
from tietrain.data.prepare import prepare
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID

lengths = st.integers(0, 40)
pairs_of_lengths = st.lists(st.tuples(lengths, lengths), min_size=1, max_size=120)
quick = settings(max_examples=60, deadline=None)


def lines_of(sizes, start=4) -> list[np.ndarray]:
    """Lines of the given sizes; every id is different, so that a mixed-up row shows."""
    ends = np.cumsum(sizes) + start
    return [np.arange(end - n, end, dtype=np.int32) for n, end in zip(sizes, ends, strict=True)]


def mt(sizes, batch_tokens=60, seed=1, own=None) -> MtBatches:
    src, tgt = zip(*sizes, strict=True)
    reference = {"encoder": np.asarray(src), "decoder": np.asarray(tgt)}
    own_src, own_tgt = zip(*(own or sizes), strict=True)
    return MtBatches(lines_of(own_src), lines_of(own_tgt), reference, batch_tokens, seed)


def epoch_rows(batches, epoch) -> list[list[int]]:
    return [batches.rows(epoch, i).tolist() for i in range(batches.n_batches(epoch))]


def check_rows(batch: Batch, src, tgt, rows) -> None:
    """Every row is its sentence, shifted, ended and padded."""
    for i, row in enumerate(rows):
        for ids, want in (
            (batch.src_ids, [*src[row], EOS_ID]),
            (batch.tgt_out_ids, [*tgt[row], EOS_ID]),
            (batch.tgt_in_ids, [BOS_ID, *tgt[row]]),
        ):
            assert ids.dtype == torch.int64
            assert ids[i].tolist() == [*want, *[PAD_ID] * (ids.shape[1] - len(want))]
        assert (batch.lengths["encoder"][i], batch.lengths["decoder"][i]) == (len(src[row]) + 1, len(tgt[row]) + 1)
    assert batch.n_tokens == sum(len(tgt[row]) + 1 for row in rows) == int((batch.tgt_out_ids != PAD_ID).sum())


@quick
@given(pairs_of_lengths, st.integers(1, 200), st.integers(0, 3), st.integers(0, 5))
def test_every_pair_once_an_epoch_within_the_budget(sizes, budget, seed, epoch):
    batches = mt(sizes, budget, seed)
    src, tgt = (lines_of(s) for s in zip(*sizes, strict=True))
    seen = []
    for index in range(batches.n_batches(epoch)):
        batch, rows = batches.batch(epoch, index), batches.rows(epoch, index)
        check_rows(batch, src, tgt, rows)
        assert len(rows) == 1 or batch.tgt_in_ids.numel() <= budget
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(sizes)))


@quick
@given(pairs_of_lengths, st.integers(0, 9))
def test_batches_are_a_pure_function_of_their_arguments(sizes, epoch):
    first, again = mt(sizes), mt(sizes)
    rows = epoch_rows(first, epoch)
    for other in (epoch + 1, 0, epoch):
        epoch_rows(again, other)
    assert epoch_rows(again, epoch) == rows
    assert first.fingerprint == again.fingerprint


@quick
@given(pairs_of_lengths, st.randoms(use_true_random=False))
def test_arms_with_other_vocabularies_see_the_same_sentences(sizes, random):
    own = [(random.randint(0, 50), random.randint(0, 50)) for _ in sizes]
    joint, separate = mt(sizes), mt(sizes, own=own)
    assert joint.fingerprint == separate.fingerprint
    assert [epoch_rows(joint, e) for e in range(3)] == [epoch_rows(separate, e) for e in range(3)]


def test_epochs_and_seeds_differ_in_order_and_composition():
    sizes = [(5 + i % 7, 5 + i % 5) for i in range(2000)]
    plans = [epoch_rows(mt(sizes, 500, seed), epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert len({str(plan) for plan in plans}) == 3
    assert len({str(sorted(sorted(rows) for rows in plan)) for plan in plans}) == 3
    assert mt(sizes, 500, 1).fingerprint != mt(sizes, 500, 2).fingerprint != mt(sizes, 400, 2).fingerprint


def test_the_order_does_not_change_from_version_to_version():
    sizes = [(3 + i % 4, 2 + i % 3) for i in range(12)]
    assert epoch_rows(mt(sizes, 12, 7), 0) == [[8, 2], [10, 6, 3], [1, 5], [4, 0, 9], [7, 11]]


def test_little_padding_is_left():
    random = np.random.default_rng(0)
    src = random.poisson(14, 20_000) + 1
    sizes = list(zip(src.tolist(), np.maximum(1, src + random.integers(-4, 5, len(src))).tolist(), strict=True))
    assert padding_efficiency(mt(sizes, 4096))["both"] > 0.95


@quick
@given(pairs_of_lengths, st.integers(1, 200))
def test_evaluation_covers_every_pair_once(sizes, budget):
    src, tgt = (lines_of(s) for s in zip(*sizes, strict=True))
    seen = []
    for batch, rows in mt_eval_batches(src, tgt, budget):
        check_rows(batch, src, tgt, rows)
        assert len(rows) == 1 or max(batch.src_ids.numel(), batch.tgt_in_ids.numel()) <= budget
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(sizes)))


def test_evaluating_nothing_gives_no_batches():
    assert not list(mt_eval_batches([], [], 100))


@quick
@given(pairs_of_lengths, st.integers(1, 100))
def test_parts_of_a_batch_are_the_batch(sizes, budget):
    src, tgt = (lines_of(s) for s in zip(*sizes, strict=True))
    batch = mt(sizes, 10**6).batch(0, 0)
    rows = mt(sizes, 10**6).rows(0, 0)
    parts = split_batch(batch, budget)
    at = 0
    for part in parts:
        n = len(part.tgt_in_ids)
        check_rows(part, src, tgt, rows[at : at + n])
        assert n == 1 or max(part.src_ids.numel(), part.tgt_in_ids.numel()) <= budget
        at += n
    assert at == len(rows)
    assert sum(part.n_tokens for part in parts) == batch.n_tokens


@quick
@given(st.lists(st.integers(1, 30), max_size=60), st.integers(1, 100))
def test_runs_are_as_long_as_the_budget_allows(sizes, budget):
    order, sizes = np.arange(len(sizes)), np.asarray(sizes, dtype=np.int64)
    runs = cut(order, sizes, budget)
    assert [int(i) for run in runs for i in run] == order.tolist()
    assert all(len(run) == 1 or len(run) * sizes[run].max() <= budget for run in runs)
    for run, following in itertools.pairwise(runs):
        assert (len(run) + 1) * max(sizes[run].max(), sizes[following[0]]) > budget


@quick
@given(st.lists(lengths, max_size=20), st.integers(-25, 25), st.integers(-25, 25))
def test_encoded_lines_are_a_sequence(sizes, start, stop):
    lines = lines_of(sizes)
    packed = EncodedLines.of(lines)
    as_lists = [line.tolist() for line in lines]
    assert [line.tolist() for line in packed] == as_lists
    for part in (slice(start, stop), slice(None, stop), slice(start, None, 2), slice(None, None, -1)):
        assert [line.tolist() for line in packed[part]] == as_lists[part]
    assert packed.lengths.tolist() == sizes
    assert EncodedLines.of(packed) is packed
    with pytest.raises(IndexError):
        packed[len(lines)]


@pytest.mark.skipif(not os.environ.get("TIETRAIN_DATA"), reason="TIETRAIN_DATA is not set")
def test_padding_on_multi30k(tmp_path):
    values = yaml.safe_load((Path(__file__).parents[2] / "conf/data/multi30k_en_de.yaml").read_text(encoding="utf-8"))
    data = DataConfig(root=os.environ["TIETRAIN_DATA"], cache=str(tmp_path), vocabulary="joint", **values)
    prepared = prepare(RunConfig(task=TaskConfig(name="mt"), data=data, model=ModelConfig(vocab_size=8000)))
    train = prepared.encoded["train"]
    batches = MtBatches(train["encoder"], train["decoder"], prepared.reference_lengths, 4096, 1)
    assert padding_efficiency(batches)["both"] > 0.96
