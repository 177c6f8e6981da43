import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from of_lengths import check_rows, lengths, lines_of, mt, pairs_of_lengths, quick
from tietrain.config import DataConfig, ModelConfig, RunConfig, TaskConfig
from tietrain.data.batches.batching import padding_efficiency, split_batch
from tietrain.data.batches.pairs import MtBatches
from tietrain.data.encoded import EncodedLines, cut
from tietrain.data.prepare import prepare


def test_little_padding_is_left():
    random = np.random.default_rng(0)
    src = random.poisson(14, 20_000) + 1
    sizes = list(zip(src.tolist(), np.maximum(1, src + random.integers(-4, 5, len(src))).tolist(), strict=True))
    assert padding_efficiency(mt(sizes, 4096))["both"] > 0.95


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
        assert n == 1 or max(part.sources["encoder"].numel(), part.tgt_in_ids.numel()) <= budget
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
    values = yaml.safe_load((Path(__file__).parents[3] / "conf/data/multi30k_en_de.yaml").read_text(encoding="utf-8"))
    data = DataConfig(root=os.environ["TIETRAIN_DATA"], cache=str(tmp_path), vocabulary="joint", **values)
    config = RunConfig(task=TaskConfig(name="mt"), data=data, model=ModelConfig(vocab_size=8000))
    prepared = prepare(config)
    batches = MtBatches([prepared.training_pairs(config.directions[0])], 4096, 1)
    assert padding_efficiency(batches)["both"] > 0.96
