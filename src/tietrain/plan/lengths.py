"""FLOPs against sequence length: the cost of a token by kind, and the lengths at which attention exceeds the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tietrain.errors import SettingsError
from tietrain.plan.flops import CONVENTION, KINDS, count_flops, equal_lengths, shape_of
from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import ModelShape

LONGEST = 10**9
DEFAULT_LENGTHS = "64,...,65536"
# What is equal at each crossing; neither side includes the logits.
CROSSINGS = ("scores + projections = FFN", "scores = FFN", "scores = projections + FFN")


@dataclass(frozen=True)
class LengthLedger:
    """Forward FLOPs per target token.

    route: the stacks that a sentence runs through; the last one predicts. Sources are as long as the target, S = T, and
        their FLOPs are counted with the target's.
    by_kind: kind -> FLOPs at length 1; scores grow in proportion to the length.
    """

    convention: str
    route: tuple[str, ...]
    by_kind: Mapping[str, int]

    def at(self, length: int) -> dict[str, int]:
        """Kind -> forward FLOPs per target token in sequences of this length."""
        return {kind: flops * (length if kind == "scores" else 1) for kind, flops in self.by_kind.items()}

    @property
    def crossings(self) -> dict[str, float | None]:
        """Each of CROSSINGS -> length, without logits; None if it holds at every length."""
        ffn, projections, scores = (self.by_kind[kind] for kind in ("ffn", "projections", "scores"))
        sides = (ffn - projections, ffn, ffn + projections)
        return {name: side / scores if side > 0 else None for name, side in zip(CROSSINGS, sides, strict=True)}

    def to_json(self, lengths: list[int]) -> dict[str, Any]:
        """Rows of FLOPs and shares, and crossings."""
        rows = []
        for length in lengths:
            flops = self.at(length)
            total = sum(flops.values())
            shares = {kind: value / total for kind, value in flops.items()}
            rows.append({"length": length, "flops_per_token": total, **flops, "shares": shares})
        return {
            "convention": self.convention,
            "route": list(self.route),
            "unit": "forward FLOPs per target token",
            "rows": rows,
            "crossings": self.crossings,
        }


def count_by_length(model: ModelShape | TyingPlan, convention: str = CONVENTION) -> LengthLedger:
    """The length ledger of a model's first route; lengths may exceed the position table."""
    flops = count_flops(model, convention)
    return LengthLedger(convention, flops.route, flops.by_kind(equal_lengths(shape_of(model), 1)))


def parse_lengths(text: str) -> list[int]:
    """The lengths of a list such as `64,128,256`; in `64,...,65536` the dots stand for doubling.

    Raises:
        SettingsError: it is not a list of rising positive numbers, or doubling does not reach the number after the dots.

    >>> parse_lengths("64,...,512"), parse_lengths("10,100")
    ([64, 128, 256, 512], [10, 100])
    """
    requested = f"--lengths {text}"
    remedy = "write for example 64,...,65536 or 100,1000,10000"
    lengths: list[int] = []
    doubling = False
    for word in map(str.strip, text.split(",")):
        if word == "...":
            if not lengths or doubling:
                raise SettingsError(requested, "there is no number before the dots", remedy)
            doubling = True
            continue
        # Digits are cut before int() refuses thousands of them.
        length = int(word[:11]) if word.isascii() and word.isdigit() else 0
        if not 1 <= length <= LONGEST:
            problem = f"{word or 'an empty entry'} is not a length from 1 to {LONGEST}"
            raise SettingsError(requested, problem, remedy)
        if lengths and length <= lengths[-1]:
            raise SettingsError(requested, f"{length} comes after {lengths[-1]}", "give rising lengths")
        while doubling and 2 * lengths[-1] < length:
            lengths.append(2 * lengths[-1])
        if doubling and 2 * lengths[-1] != length:
            raise SettingsError(requested, f"doubling does not reach {length}", remedy)
        lengths.append(length)
        doubling = False
    if doubling:
        raise SettingsError(requested, "there is no number after the dots", remedy)
    return lengths


def describe_lengths(ledger: LengthLedger, lengths: list[int]) -> list[str]:
    """The table in columns, then the crossings."""
    with_source = f"target token, S = T, source included ({' + '.join(ledger.route)})"
    unit = with_source if len(ledger.route) > 1 else "token"
    lines = [f"forward FLOPs per {unit}, by sequence length ({ledger.convention})"]
    lines.append(f"{'length':>9}{'FLOPs':>18}" + "".join(f"{kind:>13}" for kind in KINDS))
    for row in ledger.to_json(lengths)["rows"]:
        shares = "".join(f"{100 * row['shares'][kind]:>11.1f} %" for kind in KINDS)
        lines.append(f"{row['length']:>9,}{row['flops_per_token']:>18,}{shares}")
    lines += [f"{name} at {crossing_words(at)}" for name, at in ledger.crossings.items()]
    return [*lines, "crossings compare layers only, without logits"]


def crossing_words(at: float | None) -> str:
    """A length in words: `T = 1,024`.

    >>> crossing_words(1024.0), crossing_words(341.33), crossing_words(None)
    ('T = 1,024', 'T = 341.3', 'every length')
    """
    if at is None:
        return "every length"
    return f"T = {at:,.0f}" if at == int(at) else f"T = {at:,.1f}"
