"""Masked language modelling: every token is asked once, and nothing asked is seen."""

import math

import numpy as np
import pytest
import torch

from tietrain.config.compose import compose_config
from tietrain.config.layout import MASK
from tietrain.data.prepare import prepare
from tietrain.model.transformer import Transformer
from tietrain.plan.tables import Tables
from tietrain.train.experiment import Experiment
from tietrain.train.tasks import mlm
from tietrain.train.tasks.mlm import MaskedLanguageModelling

WORDS = ["task=mlm", "data.preset=tiny", "model.d_model=16", "model.n_heads=2", "model.d_ff=16", "task.window=32"]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    config = compose_config(
        [*WORDS, "model.n_layers=1", "model.vocab_size=400", "tying=pre_softmax", f"data.cache={cache}"]
    )
    return MaskedLanguageModelling(config, prepare(config))


@pytest.fixture(scope="module")
def model(task):
    model = Transformer(Experiment(task.config, task.prepared.vocabularies).plan, tables=Tables(0.02))
    model.initialize(1)
    return model


def test_mask_is_a_piece_that_no_text_has(task):
    mask_id = task.vocabulary.tags[MASK]
    for split in ("train", "valid", "test"):
        assert mask_id not in task.prepared.lines(split, "encoder", "text").values
    assert mask_id not in [i for ids in task.vocabulary.encode(["<mask>", "<2mask>", "mask"]) for i in ids]


def test_score_of_a_uniform_model_is_ln_v_per_token(task, model):
    uniform = Transformer(model.plan)
    uniform.load_state_dict({name: torch.zeros_like(p) for name, p in model.state_dict().items()})
    result = task.score(uniform, "test")
    assert result.scores["nats_per_token"] == pytest.approx(math.log(task.vocabulary.size), rel=1e-6)
    assert task.evaluate(uniform)["nats_per_token"] == pytest.approx(math.log(task.vocabulary.size), rel=1e-6)
    lines = task.prepared.lines("test", "encoder", "text")
    assert [d["tokens"] for d in result.documents] == (lines.lengths + 1).tolist()
    assert "excess_nats" not in result.scores and "passes:7" in result.signatures["masking"]


@pytest.mark.parametrize("rate", [0.02, 0.15, 0.4, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("n_tokens", [5, 1000])
def test_score_asks_for_every_token_once_and_hides_exactly_the_rate(task, model, monkeypatch, rate, n_tokens):
    """A model that copies what it reads would be found out: what is asked is always read as the mask."""
    monkeypatch.setattr(task.config.task, "mask_rate", rate)
    mask = task.vocabulary.tags[MASK]
    stream = task._stream("valid")[:n_tokens]
    asked_of, n_hidden = [], []
    real = mlm.batch_nats

    def watch(model, batch):
        requested = (batch.tgt_out_ids != 0).numpy()
        hidden = (batch.tgt_in_ids == mask).numpy()
        assert hidden[requested].all()
        asked_of.append(batch.tgt_out_ids.numpy()[requested])
        n_hidden.append(hidden.sum())
        return real(model, batch)

    monkeypatch.setattr(mlm, "batch_nats", watch)
    monkeypatch.setattr(task.config.task, "window", n_tokens)  # one window: no context is read twice
    nats = task._nats(model, stream)
    assert (nats > 0).all()
    assert np.array_equal(np.sort(np.concatenate(asked_of)), np.sort(stream))
    assert all(abs(n - rate * n_tokens) <= 1 for n in n_hidden)
    evaluated = task.evaluate(model)["nats_per_token"]
    assert math.isfinite(evaluated), "the first pass asks for something, however short the text"


def test_masked_model_reads_both_sides(task, model):
    """The state of a hidden token depends on what follows it."""
    ids = torch.tensor([[7, 8, 4, 9, 10]])
    with torch.no_grad():
        before = model(None, ids)[0, 2]
        after = model(None, torch.tensor([[7, 8, 4, 9, 11]]))[0, 2]
        padded = model(None, torch.tensor([[7, 8, 4, 9, 10, 0, 0]]))[0, 2]
    assert not torch.allclose(before, after)
    torch.testing.assert_close(padded, before)
