"""Decoding speed: tietrain's beam search against transformers' generate, CTranslate2 and a plain one by hand, in one run.

All have the same shape, random weights and an end mark that is never likely, so that every output has `N_TOKENS` and
all beams stay alive; or the weights of a trained run, in fp32 and bf16, beside CTranslate2 in fp32. Seconds are those of
the CPU, of one thread: they hold on a busy machine.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench_peers import marian_model
from tietrain.config import HardwareConfig, RunConfig
from tietrain.config.layout import make_shape
from tietrain.data.batches import pairs
from tietrain.data.encoded import EncodedLines
from tietrain.data.prepare import prepare
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID
from tietrain.model.beam import Search, search
from tietrain.model.cache import Cache
from tietrain.model.layers import StillWeights
from tietrain.model.transformer import Transformer
from tietrain.plan.schemes import make_plan
from tietrain.train.saved import open_run
from tietrain.train.tasks.mt import max_output

BEAM, N_TOKENS, BATCH_ROWS = 5, 16, 64
CTRANSLATE2_ROWS = 32
NEVER = -1e9

Sources = Sequence[np.ndarray]
# What decodes all sources once.
Decoder = Callable[[Sources], None]


def random_sources(n: int, vocab_size: int) -> Sources:
    """Lengths about those of Multi30k in 8,000 pieces."""
    draw = np.random.default_rng(0)
    return [draw.integers(4, vocab_size, length) for length in np.clip(draw.normal(13, 4, n), 4, 40).astype(int)]


def real_sources(config: RunConfig, n: int) -> Sources:
    """Of the first test split."""
    prepared = prepare(config)
    split = next(name for name in prepared.encoded if name not in ("train", "valid"))
    return list(prepared.sources(split, config.directions[0]).lines["encoder"][:n])


def read(sources: Sources) -> pairs.Sources:
    """Pieces as what the encoder reads."""
    return pairs.Sources({"encoder": EncodedLines.of(sources)})


def build_model(config: RunConfig) -> Transformer:
    """Random weights, an end mark that is never likely."""
    sizes = dict.fromkeys(("encoder", "decoder"), config.model.vocab_size)
    plan = make_plan(make_shape(config, sizes, dict.fromkeys(sizes, "joint")), config.tying.ties)
    model = Transformer(plan, tables=config.model.table_values)
    model.initialize(1)
    with torch.no_grad():
        model.parameter("decoder.output.bias")[EOS_ID] = NEVER
    return model


def our_decoder(config: RunConfig) -> Decoder:
    model = build_model(config)
    kept: dict[str, StillWeights] = {}

    def decode(sources: Sources) -> None:
        n = len(sources)
        found = search(model, read(sources), [[]] * n, [N_TOKENS] * n, Search(beam=BEAM), kept=kept)
        assert {len(hypotheses[0].pieces) for _, hypotheses in chain.from_iterable(found)} == {
            N_TOKENS - 1
        }  # and the end mark

    return decode


def batches_of(sources: Sources) -> list[Tensor]:
    """Sorted by length, BATCH_ROWS at a time."""
    ordered = sorted(sources, key=len, reverse=True)
    ids = read(ordered)
    rows = np.arange(len(ordered))
    return [ids.padded(rows[i : i + BATCH_ROWS])["encoder"] for i in range(0, len(ordered), BATCH_ROWS)]


def transformers_decoder(config: RunConfig) -> Decoder:
    """MarianMT of the same shape; ImportError if transformers is not installed."""
    model = marian_model(config, config.model.vocab_size).eval()
    model.final_logits_bias[0, EOS_ID] = NEVER

    def decode(sources: Sources) -> None:
        for src_ids in batches_of(sources):
            mask = (src_ids != PAD_ID).long()
            out = model.generate(
                input_ids=src_ids, attention_mask=mask, num_beams=BEAM, max_new_tokens=N_TOKENS, do_sample=False
            )
            assert out.shape[1] == N_TOKENS + 1  # and the start token

    return decode


def ctranslate2_decoder(config: RunConfig) -> Decoder:
    """CTranslate2 with tietrain's weights in float32; ImportError if it is not installed."""
    from bench_ctranslate2 import converted

    decode = converted(build_model(config), "float32")

    def decode_all(sources: Sources) -> None:
        found = decode([source.tolist() for source in sources], CTRANSLATE2_ROWS, BEAM, N_TOKENS, True)
        assert {len(pieces) for pieces in found} == {N_TOKENS}

    return decode_all


def plain_decoder(config: RunConfig) -> Decoder:
    """Every beam a row: source repeated for each, probabilities of all pieces, caches put in order at every step."""
    model = build_model(config)

    @torch.inference_mode()
    def decode(sources: Sources) -> None:
        for src_ids in batches_of(sources):
            n = len(src_ids)
            memory, cache = model.encode({"encoder": src_ids}).select(torch.arange(n).repeat_interleave(BEAM)), Cache()
            scores = torch.tensor([0.0] + [-torch.inf] * (BEAM - 1)).repeat(n, 1)
            ids = torch.full((n * BEAM, 1), BOS_ID)
            for _ in range(N_TOKENS):
                log_probs = model.logits(model.decode(ids[:, -1:], memory, cache))[:, -1].log_softmax(-1)
                scores, best = (scores.view(-1, 1) + log_probs).view(n, -1).topk(BEAM)
                rows = (best // log_probs.shape[1] + BEAM * torch.arange(n)[:, None]).flatten()
                ids = torch.cat((ids[rows], (best % log_probs.shape[1]).view(-1, 1)), dim=1)
                cache.select(rows)

    return decode


def bench_run(directory: Path, n: int, rounds: int) -> None:
    """The same with a trained run's weights and the first n sentences of its first test split."""
    from bench_ctranslate2 import converted

    saved = open_run(directory, hardware=HardwareConfig(device="cpu", precision="fp32", threads=1))
    prepared, direction = prepare(saved.config), saved.config.directions[0]
    split = next(name for name in prepared.encoded if name not in ("train", "valid"))
    pairs = prepared.pairs(split, direction).first(n)
    limits = [max_output(saved.config, length) for length in pairs.sources.length_basis.tolist()]
    peer = converted(saved.model, "float32")

    def ours(model: Transformer) -> Callable[[], list[list[int]]]:
        kept: dict[str, StillWeights] = {}

        def translate() -> list[list[int]]:
            options = (pairs.sources, [[]] * len(limits), limits, Search(beam=BEAM))
            found = search(model, *options, stack=pairs.stack, kept=kept)
            rows = dict(chain.from_iterable(found))
            return [rows[row][0].pieces for row in range(len(limits))]

        return translate

    lines = [line.tolist() for line in pairs.sources.lines["encoder"]]
    arms = {
        "tietrain": ours(saved.model),
        "tietrain, bf16": ours(copy.deepcopy(saved.model).to(torch.bfloat16)),
        "ctranslate2": lambda: peer(lines, CTRANSLATE2_ROWS, BEAM, max(limits), False),
    }
    written = {name: arm() for name, arm in arms.items()}
    for name, pieces in written.items():
        same = sum(a == b for a, b in zip(pieces, written["ctranslate2"], strict=True))
        print(f"  {name:<44} {same:6}   of {len(limits)} translations as ctranslate2's")
    print_rates(arms, len(limits), rounds, [(name, "ctranslate2") for name in list(arms)[:-1]])


def bench_decoding(config: RunConfig, sources: Sources, rounds: int) -> None:
    """Print sentences a CPU second of every arm that is installed, and the ratio to each."""
    decoders = {"tietrain": our_decoder(config)}
    for name, make in {"transformers": transformers_decoder, "ctranslate2": ctranslate2_decoder}.items():
        try:
            decoders[name] = make(config)
        except ImportError:
            print(f"  {name} is not installed")
    decoders["by hand"] = plain_decoder(config)
    arms = {name: partial(decoder, sources) for name, decoder in decoders.items()}
    print_rates(arms, len(sources), rounds, [("tietrain", name) for name in list(arms)[1:]])


def print_rates(
    arms: Mapping[str, Callable[[], object]], n: int, rounds: int, compared: Sequence[tuple[str, str]]
) -> None:
    """Sentences a CPU second of every arm, run in turn, and for each pair how many times as fast the first is."""
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for arm in arms.values():
        arm()
    for i in range(rounds):
        for name in list(arms) if i % 2 else reversed(arms):
            began = time.process_time()
            arms[name]()
            rates[name].append(n / (time.process_time() - began))
    for name, rate in rates.items():
        print(
            f"  {name:<44} {statistics.median(rate):6.1f}   sentences a CPU second ({min(rate):.1f} to {max(rate):.1f})"
        )
    for name, peer in compared:
        ratios = [a / b for a, b in zip(rates[name], rates[peer], strict=True)]
        words = f"speed of {name}, {peer} = 1"
        print(f"  {words:<44} {statistics.median(ratios):6.3f}   ({min(ratios):.3f} to {max(ratios):.3f})", flush=True)
