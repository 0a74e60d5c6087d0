"""Text as search sees it: no case, no accents, no punctuation; the same for titles and questions.

`FOLD_VERSION` is written into every index; raise it with any change to what is produced here.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from hashlib import blake2b

FOLD_VERSION = 1

_APOSTROPHES = "'`´‘’ʼ′"
_LETTERS = str.maketrans(
    {
        **dict.fromkeys(_APOSTROPHES + "™®©", ""),
        "ø": "o", "Ø": "o", "æ": "ae", "Æ": "ae", "œ": "oe", "Œ": "oe", "ł": "l", "Ł": "l",
        "đ": "d", "Đ": "d", "ð": "d", "Ð": "d", "þ": "th", "Þ": "th", "ı": "i",
    }
)  # fmt: skip
_DROPPED = b"'`"
_PLAIN = bytes(
    ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else ord(" ")  # noqa: PLR2004
    for code in range(256)
)
_BESIDE = {code: _PLAIN[code] for code in range(128) if code not in _DROPPED} | dict.fromkeys(
    _DROPPED
)
# What makes most Western text more than ASCII; replaced first because that is quick.
_MARKS = (("’", ""), ("‘", ""), ("“", " "), ("”", " "), ("–", " "), ("—", " "), ("…", " "))
_FOREIGN = re.compile(r"[^\x00-\x7f]+")
# Scripts written without blanks: each character is a word.
_UNSPACED = re.compile(r"([\u2e80-\u2fdf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
_SHORT_RUN = 4
_JOINING = frozenset({"and"})
"""Words that "&" stands for: left out of a title's key, so that either way of writing fits."""


def fold(text: str) -> str:
    """`text` with only its folded words, parted by one or more blanks."""
    # Bytes are translated many times faster than a str.
    if not text.isascii():
        for mark, plain in _MARKS:
            text = text.replace(mark, plain)
        text = _FOREIGN.sub(_fold_match, text)
        if not text.isascii():
            return text.translate(_BESIDE)
    return text.encode("ascii").translate(_PLAIN, _DROPPED).decode("ascii")


def words(text: str) -> list[str]:
    """The folded words of `text`, in order."""
    return fold(text).split()


def key(folded: Sequence[str], text: str = "") -> int:
    """A number that stands for a whole title, whatever its blanks, punctuation, accents and case.

    `text` is the title itself, taken where no word is left of it ("!!!"). Fits SQLite's integers.
    """
    joined = "".join(word for word in folded if word not in _JOINING) or "".join(folded)
    plain = joined or "".join(text.split())
    digest = blake2b(plain.encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _fold_match(found: re.Match[str]) -> str:
    run = found[0]
    return _fold_known(run) if len(run) <= _SHORT_RUN else _fold_foreign(run)


def _fold_foreign(text: str) -> str:
    """What characters beyond ASCII fold to."""
    plain = unicodedata.normalize("NFKD", text.translate(_LETTERS)).casefold()
    kept = "".join(
        char if char.isalnum() else "" if unicodedata.combining(char) else " " for char in plain
    )
    return _UNSPACED.sub(r" \1 ", kept)


# In Western text such runs are short and recur: quotation marks, dashes, accented letters.
_fold_known = functools.lru_cache(maxsize=4096)(_fold_foreign)
