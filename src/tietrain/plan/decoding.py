"""FLOPs of cached decoding: one target token after another, keys and values of the past kept.

Every term of a forward pass that a target token takes part in costs once a token; a token at past p sees p + 1 keys of
its own stack and every key of the source. The source is encoded, and projected to keys and values by every layer that
attends to it, once a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

from tietrain.plan.flops import asked_unit, count_flops, pair_unit
from tietrain.plan.slots import ModelShape


@dataclass(frozen=True)
class DecodingLedger:
    """Forward FLOPs by what they are proportional to.

    per_token: of a generated token, whatever it sees. per_key: for every position it sees, its own included.
    per_source_key: for every source token it sees. per_source_token, per_source_pair: once a sentence, for every
    source token and every pair of them; 0 without a source. Several sources have as many tokens each, and are summed.
    """

    per_token: int
    per_key: int
    per_source_key: int
    per_source_token: int
    per_source_pair: int

    def token(self, n_past: int, n_source: int = 0) -> int:
        """FLOPs of the token that follows n_past others, with its logits; the source is read already."""
        return self.per_token + self.per_key * (n_past + 1) + self.per_source_key * n_source

    def source(self, n_source: int) -> int:
        """FLOPs of reading the source."""
        return self.per_source_token * n_source + self.per_source_pair * n_source**2

    def sentence(self, n_tokens: int, n_source: int = 0) -> int:
        """FLOPs of reading the source and generating n_tokens."""
        keys_seen = n_tokens * (n_tokens + 1) // 2
        seen = self.per_key * keys_seen + self.per_source_key * n_source * n_tokens
        return self.source(n_source) + self.per_token * n_tokens + seen


def count_decoding(shape: ModelShape) -> DecodingLedger:
    """The decoding ledger of a model, by its first route; tying changes nothing in it."""
    coefficients = count_flops(shape).coefficients
    target, route = shape.stack(shape.routes[0][-1]), shape.routes[0]
    sources = route[:-1] if target.memories else ()
    read = [unit for unit in coefficients if unit in sources or unit in {f"{s}->{target.name}" for s in sources}]
    return DecodingLedger(
        per_token=coefficients[target.name] + (0 if target.causal else coefficients[asked_unit(target)]),
        per_key=coefficients[pair_unit(target.name, target.name)],
        per_source_key=sum(coefficients[pair_unit(target.name, source)] for source in sources),
        per_source_token=sum(coefficients[unit] for unit in read),
        per_source_pair=sum(coefficients[pair_unit(source, source)] for source in sources),
    )
