"""FLOPs against sequence length: what a token costs by kind, and the lengths at which attention overtakes the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tietrain.errors import SettingsError
from tietrain.plan.flops import CONVENTION, KINDS, count_flops, equal_lengths
from tietrain.plan.slots import ModelShape

LONGEST = 10**9
DEFAULT_LENGTHS = "64,...,65536"
# What meets at each crossing; logits are on neither side.
CROSSINGS = ("scores + projections = FFN", "scores = FFN", "scores = projections + FFN")


@dataclass(frozen=True)
class LengthLedger:
    """Forward FLOPs a target token, by kind; scores are those for each token of length.

    route: the stacks a sentence runs through, the one that predicts last. Sources are as long as the target, S = T, and their
    tokens are counted with the target's.
    """

    convention: str
    route: tuple[str, ...]
    projections: int
    scores: int
    ffn: int
    logits: int

    def at(self, length: int) -> dict[str, int]:
        """Kind -> forward FLOPs a target token in sequences of that length."""
        return {kind: getattr(self, kind) * (length if kind == "scores" else 1) for kind in KINDS}

    @property
    def crossings(self) -> dict[str, float | None]:
        """Of CROSSINGS, the lengths, by the stack alone; None where it is so at every length."""
        sides = (self.ffn - self.projections, self.ffn, self.ffn + self.projections)
        return {name: max(side, 0) / self.scores or None for name, side in zip(CROSSINGS, sides, strict=True)}

    def to_json(self, lengths: list[int]) -> dict[str, Any]:
        """Rows of FLOPs and shares, and crossings."""
        rows = []
        for length in lengths:
            flops = self.at(length)
            total = sum(flops.values())
            shares = {kind: round(value / total, 4) for kind, value in flops.items()}
            rows.append({"length": length, "flops_per_token": total, **flops, "shares": shares})
        return {
            "convention": self.convention,
            "route": list(self.route),
            "unit": "forward FLOPs per target token",
            "rows": rows,
            "crossings": self.crossings,
        }


def count_by_length(shape: ModelShape, convention: str = CONVENTION) -> LengthLedger:
    """The length ledger of the first route of a model; lengths beyond the position table are fine here."""
    flops = count_flops(shape, convention)
    return LengthLedger(convention, flops.route, **flops.by_kind(equal_lengths(shape, 1)))


def parse_lengths(text: str) -> list[int]:
    """The lengths a list names: `64,128,256`, or `64,...,65536` for doubling from the one before the dots.

    Raises:
        SettingsError: it is no list of rising positive numbers, or doubling does not reach the number after the dots.

    >>> parse_lengths("64,...,512"), parse_lengths("10,100")
    ([64, 128, 256, 512], [10, 100])
    """
    requested, remedy = f"--lengths {text}", "write for example 64,...,65536 or 100,1000,10000"
    lengths: list[int] = []
    doubling = False
    for word in text.split(","):
        if word.strip() == "...":
            if not lengths or doubling:
                raise SettingsError(requested, "there is no number before its dots", remedy)
            doubling = True
            continue
        if not word.strip().isascii() or not word.strip().isdigit() or not 1 <= int(word) <= LONGEST:
            raise SettingsError(requested, f"{word.strip() or 'nothing'} is no length from 1 to {LONGEST}", remedy)
        if lengths and int(word) <= lengths[-1]:
            raise SettingsError(requested, f"{word.strip()} comes after {lengths[-1]}", "give rising lengths")
        while doubling and 2 * lengths[-1] < int(word):
            lengths.append(2 * lengths[-1])
        if doubling and 2 * lengths[-1] != int(word):
            raise SettingsError(requested, f"doubling does not reach {int(word)}", remedy)
        lengths.append(int(word))
        doubling = False
    if doubling:
        raise SettingsError(requested, "there is no number after its dots", remedy)
    return lengths


def describe_lengths(ledger: LengthLedger, lengths: list[int]) -> list[str]:
    """The table in columns, then the crossings."""
    pairs = f"target token, S = T, source included ({' + '.join(ledger.route)})"
    of = pairs if len(ledger.route) > 1 else "token"
    lines = [f"forward FLOPs a {of}, by sequence length ({ledger.convention})"]
    lines.append(f"{'length':>9}{'FLOPs':>18}" + "".join(f"{kind:>13}" for kind in KINDS))
    for row in ledger.to_json(lengths)["rows"]:
        shares = "".join(f"{100 * row['shares'][kind]:>11.1f} %" for kind in KINDS)
        lines.append(f"{row['length']:>9,}{row['flops_per_token']:>18,}{shares}")
    lines += [f"{name} at {crossing_words(at)}" for name, at in ledger.crossings.items()]
    return [*lines, "crossings are of the stack alone: logits are on neither side"]


def crossing_words(at: float | None) -> str:
    """A length in words: `T = 1,024`.

    >>> crossing_words(1024.0), crossing_words(341.33), crossing_words(None)
    ('T = 1,024', 'T = 341.3', 'every length')
    """
    if at is None:
        return "every length"
    return f"T = {at:,.0f}" if at == int(at) else f"T = {at:,.1f}"
