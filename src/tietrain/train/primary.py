"""The primary score of a run: known to exist, in this vocabulary and on this split, before the first step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tietrain.config import RunConfig
from tietrain.config.data import DRAWN
from tietrain.data.tokenizer import UNK_ID
from tietrain.errors import SettingsError, check_choice

if TYPE_CHECKING:
    from tietrain.config.directions import Direction
    from tietrain.data.prepared import Prepared

# Exists for every vocabulary; compared between arms of one vocabulary only.
ALWAYS = "ppl_token"
WAY_OUT = "set data.byte_fallback=true, or a report.metric that needs no bytes"


def settle_primary(config: RunConfig, prepared: Prepared) -> tuple[dict[str, Any], list[str]]:
    """What a run declares, and a note if a score that is there stands for the default one.

    Raises:
        SettingsError: the split is not scored, or the score that was asked for cannot be computed on it.
    """
    declared = config.declared
    texts = _texts(prepared, declared["split"])
    check_choice("report.split", declared["split"], [*texts])
    metric = declared["metric"]
    why = _why_missing(metric, texts[declared["split"]], config, prepared)
    if not why:
        return declared, []
    if config.report.metric:
        raise SettingsError(f"report.metric={metric}", f"on {declared['split']}, {why}", WAY_OUT)
    note = f"primary score: {ALWAYS}, not {metric}, as on {declared['split']} {why}; {WAY_OUT} to choose another"
    return declared | {"metric": ALWAYS}, [note]


def _texts(prepared: Prepared, default: str) -> dict[str, list[tuple[str, Direction]]]:
    """Scored name, means over directions included -> the texts it is about."""
    found = {name: [text] for name, text in prepared.scored.items()}
    if len(prepared.layout.directions) > 1:
        for split, direction in prepared.scored.values():
            suffix = "mean" if direction.name in prepared.rows else "zero_shot"
            found.setdefault(f"{split}.{suffix}", []).append((split, direction))
    return found


def _why_missing(metric: str, texts: list[tuple[str, Direction]], config: RunConfig, prepared: Prepared) -> str:
    """Why a score cannot be computed; empty if it can."""
    for split, direction in texts:
        stack = prepared.layout.decoders[direction.target]
        if metric == "bits_per_byte":
            n_unknown = int((prepared.lines(split, stack, direction.target).values == UNK_ID).sum())
            if n_unknown:
                return f"{n_unknown:,} tokens are <unk> and spell no bytes"
            if not prepared.vocabularies[stack].lossless:
                return "the vocabulary does not spell the raw text"
        if metric == "excess_nats" and not _has_generator(config, direction):
            return "no generator of the text is known that a score could be compared with"
    return ""


def _has_generator(config: RunConfig, direction: Direction) -> bool:
    """Whether the chance of a text under its generator can be summed: not if a source tells how the target was drawn."""
    faulty = any(source.endswith("_mt") for source in direction.sources)
    return config.data.format in DRAWN and config.task.name != "mlm" and not faulty
