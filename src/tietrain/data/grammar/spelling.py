"""Spellings of a meaning: drawing one, the probability of one, the most probable.

A language turns a meaning into one `ClausePlan` a clause. A plan holds every choice the language
leaves open, each in an explicit table: the order of the constituents, and among synonyms in each
slot. Nothing else is open, so a plan is the whole distribution over spellings.
"""

import math
from typing import NamedTuple, Protocol

from tietrain.data.grammar.draw import Table, Uniform
from tietrain.data.grammar.meaning import Meaning

Slot = str | Table[str]
"""One word: fixed, or a choice among synonyms in the same inflected form."""

COMMA = ","


class ClausePlan(NamedTuple):
    """All spellings of one clause.

    Attributes:
        lead: the word that links the clause to the one before, or None in the first.
        orders: orders of constituents, one letter each, e.g. "SVO".
        constituents: the slots of each letter.
    """

    lead: str | None
    orders: Table[str]
    constituents: dict[str, list[Slot]]


class Speller(Protocol):
    """A language: it knows every way to spell a meaning."""

    def plan(self, meaning: Meaning) -> list[ClausePlan]:
        """One plan a clause, in the order of the clauses."""
        ...


def draw_spelling(speller: Speller, meaning: Meaning, uniform: Uniform) -> str:
    """One spelling of a meaning, drawn from the language's tables."""
    tokens: list[str] = []
    for clause in speller.plan(meaning):
        if clause.lead is not None:
            _add_comma(tokens)
            tokens.append(clause.lead)
        orders = clause.orders
        order = orders.items[0] if len(orders.items) == 1 else orders.draw(uniform)
        for letter in order:
            for slot in clause.constituents[letter]:
                tokens.append(slot if isinstance(slot, str) else slot.draw(uniform))
    return join_tokens(tokens)


def best_spelling(speller: Speller, meaning: Meaning) -> str:
    """The most probable spelling of a meaning, the first of equals.

    Orders are merged and distinct orders give distinct strings, so the best of each choice gives
    the best string.
    """
    tokens: list[str] = []
    for clause in speller.plan(meaning):
        if clause.lead is not None:
            _add_comma(tokens)
            tokens.append(clause.lead)
        for slot in _slots(clause, clause.orders.best()):
            tokens.append(slot if isinstance(slot, str) else slot.best())
    return join_tokens(tokens)


def spelling_nats(speller: Speller, meaning: Meaning, text: str) -> float:
    """-log probability that a meaning is spelled as `text`; infinite when it never is.

    Sums over every way to the same string.
    """
    tokens = split_tokens(text)
    if tokens is None:
        return math.inf
    plans = speller.plan(meaning)
    # Probability of having spelled all tokens before a position; a clause may end at more than
    # one, because a closing comma melts into the comma before the next clause.
    reached = {0: 1.0}
    for clause in plans:
        ahead: dict[int, float] = {}
        for start, so_far in reached.items():
            begin = start
            if clause.lead is not None:
                if tokens[start : start + 2] != [COMMA, clause.lead]:
                    continue
                begin = start + 2
            for order in clause.orders.items:
                slots = _trim(_slots(clause, order))
                share = _match(slots, tokens, begin)
                if share:
                    end = begin + len(slots)
                    mass = so_far * share * clause.orders.share(order)
                    ahead[end] = ahead.get(end, 0.0) + mass
        reached = ahead
    probability = reached.get(len(tokens), 0.0)
    # max: a sum that rounds above one, and the minus of -log 1.
    return max(0.0, -math.log(probability)) if probability else math.inf


def _slots(clause: ClausePlan, order: str) -> list[Slot]:
    return [slot for letter in order for slot in clause.constituents[letter]]


def _trim(slots: list[Slot]) -> list[Slot]:
    return slots[:-1] if slots[-1] == COMMA else slots


def _match(slots: list[Slot], tokens: list[str], begin: int) -> float:
    if begin + len(slots) > len(tokens):
        return 0.0
    share = 1.0
    for slot, token in zip(slots, tokens[begin:], strict=False):
        if isinstance(slot, str):
            if slot != token:
                return 0.0
        else:
            share *= slot.share(token)
            if not share:
                return 0.0
    return share


def _add_comma(tokens: list[str]) -> None:
    # Two commas that meet are one.
    if tokens[-1] != COMMA:
        tokens.append(COMMA)


def join_tokens(tokens: list[str]) -> str:
    """A sentence of words and commas."""
    if tokens[-1] == COMMA:
        tokens = tokens[:-1]
    return " ".join(tokens).replace(" ,", ",") + "."


def split_tokens(text: str) -> list[str] | None:
    """Words and commas of a spelled sentence, or None when it does not end like one."""
    if not text.endswith("."):
        return None
    return text[:-1].replace(",", " ,").split(" ")
