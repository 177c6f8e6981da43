"""Nats of each line are those of the line, however lines are batched and cut into windows."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tietrain.config.layout import make_layout
from tietrain.data.batches.pairs import mt_eval_batches
from tietrain.data.encoded import EncodedLines
from tietrain.data.prepared import Prepared
from tietrain.data.sources.files import Split
from tietrain.data.tokenizer import BOS_ID, EOS_ID
from tietrain.train.tasks.lm import LanguageModelling
from tietrain.train.tasks.mt import Translation
from tietrain.train.tasks.task import batch_loss
from tiny_run import V, build_model, tiny_config

DRAW = np.random.default_rng(3)
N = 30


def random_lines(n):
    return EncodedLines.of([DRAW.integers(4, V, length) for length in DRAW.integers(0, 9, n)])


@torch.inference_mode()
def plain_nats(model, src, before, tgt):
    """-log p of each token [T] of one row that is read after the token `before`, from all logits."""
    sources = None if src is None else {"encoder": torch.tensor([[*src, EOS_ID]])}
    logits = model.logits(model(sources, torch.tensor([[before, *tgt[:-1]]])))[0].double()
    return -logits.log_softmax(-1)[torch.arange(len(tgt)), torch.tensor(tgt)].numpy()


def make_prepared(config):
    layout = make_layout(config)
    encoded = {
        split: {name: {c: random_lines(N) for c in columns} for name, columns in layout.columns.items()}
        for split in ("train", "valid", "test")
    }
    lines = [f"line {i}" for i in range(N)]
    splits = {split: Split(dict.fromkeys(config.columns, lines)) for split in encoded}
    corpus = SimpleNamespace(splits=splits, columns=config.columns, grammar=None)
    vocabularies = {stack: SimpleNamespace(lossless=True) for stack in layout.vocabularies}
    features, seen = ({split: {} for split in encoded} for _ in range(2))
    return Prepared(corpus, layout, vocabularies, encoded, features, seen, [])


@pytest.mark.parametrize("tokens_a_batch", [8, 1000])
def test_score_of_a_pair_is_that_of_the_pair_alone(tokens_a_batch, monkeypatch):
    config = tiny_config("three_way", "mt", batch_tokens=tokens_a_batch)
    prepared, model = make_prepared(config), build_model(config)
    task = Translation(config, prepared)
    monkeypatch.setattr(Translation, "translate", lambda self, model, pairs, settings: [f"line {i}" for i in range(N)])
    result = task.score(model, "test")
    pairs = prepared.pairs("test", config.directions[0])
    src, tgt = pairs.sources.lines["encoder"], pairs.target
    for document, s, t in zip(result.documents, src, tgt, strict=True):
        assert document["nats"] == pytest.approx(plain_nats(model, s, BOS_ID, [*t, EOS_ID]).sum(), abs=1e-4)
        assert document["tokens"] == len(t) + 1
    losses = [batch_loss(model, batch, 0.0) for batch, _ in mt_eval_batches(pairs, tokens_a_batch)]
    assert result.scores["nats"] == pytest.approx(sum(float(loss.nll) for loss in losses), rel=1e-6)


@pytest.mark.parametrize(("window", "stride"), [(500, None), (12, None), (12, 5)])
def test_score_of_a_line_of_running_text(window, stride):
    config = tiny_config("pre_softmax")
    config.task.window, config.task.eval_stride = window, stride
    prepared, model = make_prepared(config), build_model(config)
    prepared.encoded["train"]["text"] = {"text": EncodedLines.of([DRAW.integers(4, V, 600)])}
    task = LanguageModelling(config, prepared)
    lines = prepared.lines("test", "decoder", "text")
    result = task.score(model, "test")
    stream = [token for line in lines for token in (*line, EOS_ID)]
    nats, end, scored = np.empty(len(stream)), min(window, len(stream)), 0
    while scored < len(stream):
        begin = max(0, end - window)
        nats[scored:end] = plain_nats(model, None, [BOS_ID, *stream][begin], stream[begin:end])[scored - begin :]
        scored, end = end, min(end + (stride or window), len(stream))
    starts = np.cumsum([0, *(len(line) + 1 for line in lines)])
    for i, document in enumerate(result.documents):
        assert document["tokens"] == starts[i + 1] - starts[i]
        assert document["nats"] == pytest.approx(nats[starts[i] : starts[i + 1]].sum(), abs=1e-4)
    whole_valid = task.score(model, "valid").scores["nats_per_token"]
    assert task.evaluate(model)["nats_per_token"] == pytest.approx(whole_valid)
