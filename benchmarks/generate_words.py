"""Generate an invented vocabulary with a natural distribution: a few frequent words, many rare."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

_ONSETS = "b br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sc sh sl sp st str t th tr v w z".split()  # noqa: E501, SIM905 - a table
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ee", "ie", "io", "oa", "oo", "ou"]
_VOWEL_WEIGHTS = [20, 24, 16, 16, 9, 1, 2, 2, 1, 1, 1, 2, 2]
_CODAS = "b ck ct d ff g l ll m mp n nd ng nt p r rd rk rn s ss st t th x".split()  # noqa: SIM905
_ENDINGS = ["", "", "", "", "", "s", "s", "ed", "er", "ing", "ly", "ness", "al", "ic"]
_ACCENTED = {"a": "áàâã", "e": "éèê", "i": "í", "o": "óôõ", "u": "úü", "c": "ç", "n": "ñ"}

FUNCTION_WORDS = (  # noqa: SIM905 - a table
    "the of and a to in is for with on that by this as from his at it her an are be was or their"
    " your one its who but not you all has into have they more new about when which how what out up"
    " will can other most no first only we he she my our through between so than then over after"
).split()
QUOTERS = [
    "Publishers Weekly", "Booklist", "The Times", "Library Journal", "Daily Mail", "Kirkus",
]  # fmt: skip
COLOURS = "Red Blue Green Black White Pink Yellow Purple Grey Brown Silver Gold Orange Navy".split()  # noqa: SIM905
SIZES = ["Small", "Medium", "Large", "X-Large", "6-Inch", "12-Inch", "18-Inch", "Pack of 3", "2T"]
EDITIONS = ["2nd Edition", "3rd Edition", "Revised Edition", "Large Print", "Hardcover", "[VHS]"]


def vocabulary(size: int, seed: int) -> list[str]:
    """Make `size` different words, the most frequent first; 2 % of the rarer have accents."""
    draw = random.Random(seed)
    words: dict[str, None] = {}
    while len(words) < size:
        words[_word(draw)] = None
    # Frequent words are mostly short and rarely borrowed from another language.
    ranked = sorted(words, key=lambda word: len(word) + draw.gauss(0, 2))
    for place in range(size // 100, size, 50):
        ranked[place] = _accented(ranked[place], draw)
    return ranked


def _word(draw: random.Random) -> str:
    syllables = draw.choices((1, 2, 3, 4), (20, 52, 24, 4))[0]
    parts = []
    for _ in range(syllables):
        parts.append(draw.choice(_ONSETS) if draw.random() < 0.9 else "")
        parts.append(draw.choices(_VOWELS, _VOWEL_WEIGHTS)[0])
    if draw.random() < 0.7:
        parts.append(draw.choice(_CODAS))
    return "".join(parts) + (draw.choice(_ENDINGS) if syllables > 1 else "")


def _accented(word: str, draw: random.Random) -> str:
    places = [place for place, letter in enumerate(word) if letter in _ACCENTED]
    if not places:
        return word
    place = draw.choice(places)
    return word[:place] + draw.choice(_ACCENTED[word[place]]) + word[place + 1 :]


class ZipfStream:
    """Draw numbers below `size`, n in proportion to 1 / (n + shift) ** exponent."""

    def __init__(self, size: int, exponent: float, shift: float, seed: int) -> None:
        import numpy as np

        weights = 1.0 / (np.arange(size) + shift) ** exponent
        self._edges = np.cumsum(weights / weights.sum())
        self._random = np.random.default_rng(seed)
        self._last = size - 1
        self._pool: Iterator[int] = iter(())

    def take(self, count: int) -> list[int]:
        """Draw `count` numbers."""
        taken: list[int] = []
        while len(taken) < count:
            taken.extend(islice(self._pool, count - len(taken)))
            if len(taken) < count:
                self._refill()
        return taken

    def _refill(self) -> None:
        import numpy as np

        drawn = np.searchsorted(self._edges, self._random.random(1 << 18))
        self._pool = iter(np.minimum(drawn, self._last).tolist())
