"""The other alphabet of B: every letter and digit for one of another script, and back."""

import string

# By code point, so that no look-alike letter hides in this file.
_CYRILLIC_SMALL, _CYRILLIC_CAPITAL, _DEVANAGARI_ZERO = 0x430, 0x410, 0x966


def _make_swap() -> dict[int, int]:
    pairs = {}
    for letters, first in (
        (string.ascii_lowercase, _CYRILLIC_SMALL),
        (string.ascii_uppercase, _CYRILLIC_CAPITAL),
        (string.digits, _DEVANAGARI_ZERO),
    ):
        pairs.update({ord(letter): first + place for place, letter in enumerate(letters)})
    return pairs | {other: latin for latin, other in pairs.items()}


_SWAP = _make_swap()


def swap_script(text: str) -> str:
    """A text with Latin letters and digits swapped for Cyrillic and Devanagari ones, and back.

    Both ways at once, so that Latin letters where the other alphabet is due do not pass for it.

    >>> swap_script(swap_script("ab 12.")), swap_script("ab 12.") == "ab 12."
    ('ab 12.', False)
    """
    return text.translate(_SWAP)
