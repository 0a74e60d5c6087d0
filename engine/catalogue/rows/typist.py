"""Write questions as people type them: lower case, no punctuation, a typo, a short title."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b

_SUBTITLE = re.compile(r"\s*(?::\s|[(\[{]).*", re.DOTALL)
_WORD = re.compile(r"\w+")
_MIN_SHORT = 4
"""Letters and digits of a short title: less names nothing."""
_MIN_TYPO = 4
"""Letters of a word that may have a typo."""
# A point or comma between digits stays: "1.5 oz" and "15 oz" are two products.
_PUNCTUATION = re.compile(r"(?<!\d)[.,]|[.,](?!\d)|[;:!?\"“”‘’'()\[\]{}…]")
_LONG_WORD = re.compile(rf"[^\W\d_]{{{_MIN_TYPO},}}")


def title_key(title: str) -> str:
    """Return a key that titles of the same words share, in any order and case."""
    return " ".join(sorted(set(_WORD.findall(title.casefold()))))


def short_title(title: str) -> str:
    """Return the title before its subtitle or bracket; empty if it has neither."""
    short = _SUBTITLE.sub("", title)
    return short if short != title and sum(map(str.isalnum, short)) >= _MIN_SHORT else ""


def title_keys(title: str) -> tuple[str, ...]:
    """Return the keys of a title and of its short form."""
    short = short_title(title)
    return (title_key(title), title_key(short)) if short else (title_key(title),)


def clear_short_titles(titles: Iterable[str]) -> frozenset[str]:
    """Return the short titles that name one of the `titles` alone."""
    titles = list(titles)
    named = Counter(key for title in titles for key in set(title_keys(title)))
    shorts = filter(None, map(short_title, titles))
    return frozenset(short for short in shorts if named[title_key(short)] == 1)


class Typist:
    """Vary a `share` (0 to 1) of the questions, chosen by a hash."""

    def __init__(self, share: float, seed: int) -> None:
        self._bound = int(share * (1 << 24))
        self._salt = blake2b(f"typing {seed}".encode(), digest_size=16).digest()

    def question(self, form: str, title: str, key: str, short: str = "") -> str:
        """Return the question as typed, perhaps with the `short` title; empty if not varied.

        `key` is what the choice depends on, besides the seed.
        """
        digest = blake2b(key.encode(errors="replace"), digest_size=16, salt=self._salt).digest()
        bits = int.from_bytes(digest, "big")
        bits, draw = divmod(bits, 1 << 24)
        if draw >= self._bound:
            return ""
        bits, lower = divmod(bits, 4)
        bits, points = divmod(bits, 8)
        bits, typo = divmod(bits, 4)
        bits, shorter = divmod(bits, 2)
        asked = form.format(title=short if short and shorter else title)
        if points < 3:  # noqa: PLR2004 - of eight
            asked = " ".join(_PUNCTUATION.sub("", asked).split()) or asked
        if not typo:
            asked = _mistyped(asked, bits)
        return asked.lower() if lower else asked


def _mistyped(text: str, bits: int) -> str:
    """Swap two letters inside a longer word, or drop or double one."""
    words = list(_LONG_WORD.finditer(text))
    if not words:
        return text
    bits, chosen = divmod(bits, len(words))
    start, end = words[chosen].span()
    bits, place = divmod(bits, end - start - 2)
    place += start + 1  # the first letter stays, and one follows
    letter, following = text[place], text[place + 1]
    changed = (following + letter, following, letter + letter + following)[bits % 3]
    return text[:place] + changed + text[place + 2 :]
