"""Write questions as people type them: lower case, no punctuation, a typo, a short title."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b

_SUBTITLE = re.compile(r":\s|[(\[]")
_WORD = re.compile(r"\w+")
_MIN_SHORT = 4
"""Letters and digits of a short title: less names nothing."""
_MIN_TYPO = 4
"""Letters of a word that may have a typo."""
# A point or comma between digits stays: "1.5 oz" and "15 oz" are two products.
_PUNCTUATION = re.compile(r"(?<!\d)[.,]|[.,](?!\d)|[;:!?\"“”‘’'()\[\]{}…]")
_DRAWS = 1 << 20
_LONG_WORD = re.compile(rf"[^\W\d_]{{{_MIN_TYPO},}}")


def title_key(title: str) -> str:
    """Return a key that titles of the same words share, in any order and case."""
    return " ".join(sorted(set(_WORD.findall(title.casefold()))))


def short_title(title: str) -> str:
    """Return the title before its subtitle or bracket; empty if it has neither."""
    cut = _SUBTITLE.search(title)
    short = title[: cut.start()].rstrip() if cut else ""
    return short if sum(map(str.isalnum, short)) >= _MIN_SHORT else ""


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


def make_salt(name: str) -> bytes:
    """Return the salt of the draws for one purpose."""
    return blake2b(name.encode(), digest_size=16).digest()


def draw(text: str, salt: bytes) -> int:
    """Hash a text to a number, 0 to 2^64 - 1."""
    data = text.encode(errors="replace")
    return int.from_bytes(blake2b(data, digest_size=8, salt=salt).digest(), "big")


class Typist:
    """Vary a `share` (0 to 1) of the questions, chosen by a hash."""

    def __init__(self, share: float, seed: int) -> None:
        self._bound = int(share * _DRAWS)
        self._salt = make_salt(f"typing {seed}")

    def question(self, form: str, title: str, key: str, short: str = "") -> str:
        """Return the question as typed, perhaps with the `short` title; empty if not varied.

        `key` is what the choice depends on, besides the seed.
        """
        bits, chance = divmod(draw(key, self._salt), _DRAWS)
        if chance >= self._bound:
            return ""
        bits, lower = divmod(bits, 4)
        bits, points = divmod(bits, 8)
        bits, typo = divmod(bits, 4)
        bits, shorter = divmod(bits, 2)
        asked = form.format(title=short if short and shorter else title)
        if points < 3:  # noqa: PLR2004 - of eight
            asked = " ".join(_PUNCTUATION.sub("", asked).split()) or asked
        if not typo:
            asked = mistyped(asked, bits)
        return asked.lower() if lower else asked


def mistyped(text: str, bits: int) -> str:
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
