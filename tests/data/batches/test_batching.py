import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from of_lengths import check_rows, lines_of, mt, pairs_of_lengths, quick
from tietrain.config import DataConfig, ModelConfig, RunConfig, TaskConfig
from tietrain.data.batches.batching import split_batch
from tietrain.data.batches.pairs import MtBatches
from tietrain.data.prepare import prepare


@pytest.fixture
def padding_efficiency(monkeypatch):
    """As the benchmark measures it."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "scripts")
    return import_module("bench").padding_efficiency


def test_mt_batches_have_little_padding(padding_efficiency):
    random = np.random.default_rng(0)
    src = random.poisson(14, 20_000) + 1
    sizes = list(zip(src.tolist(), np.maximum(1, src + random.integers(-4, 5, len(src))).tolist(), strict=True))
    assert padding_efficiency(mt(sizes, 4096))["both"] > 0.95


@quick
@given(pairs_of_lengths, st.integers(1, 100))
def test_split_batch_gives_parts_that_are_the_batch(sizes, budget):
    src, tgt = (lines_of(s) for s in zip(*sizes, strict=True))
    batch = mt(sizes, 10**6).batch(0, 0)
    rows = mt(sizes, 10**6).step(0, 0)[1]
    parts = split_batch(batch, budget)
    at = 0
    for part in parts:
        n = len(part.tgt_in_ids)
        check_rows(part, src, tgt, rows[at : at + n])
        assert n == 1 or max(part.sources["encoder"].numel(), part.tgt_in_ids.numel()) <= budget
        at += n
    assert at == len(rows)
    assert sum(part.n_tokens for part in parts) == batch.n_tokens


@pytest.mark.skipif(not os.environ.get("TIETRAIN_DATA"), reason="TIETRAIN_DATA is not set")
def test_mt_batches_have_little_padding_on_multi30k(tmp_path, padding_efficiency):
    values = yaml.safe_load((Path(__file__).parents[3] / "conf/data/multi30k_en_de.yaml").read_text(encoding="utf-8"))
    data = DataConfig(root=os.environ["TIETRAIN_DATA"], cache=str(tmp_path), vocabulary="joint", **values)
    config = RunConfig(task=TaskConfig(name="mt"), data=data, model=ModelConfig(vocab_size=8000))
    prepared = prepare(config)
    batches = MtBatches([prepared.training_pairs(config.directions[0])], 4096, 1)
    assert padding_efficiency(batches)["both"] > 0.96
