"""Write the pool of refusal rows: questions about unknown products, answered with a plain no.

`balcao train` draws rows from it for each epoch. Unknown are titles of the catalogue that are in no
other row, and invented ones, of words of the catalogue's titles.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from engine.catalogue.clean import clean
from engine.catalogue.folding import STOP_WORDS
from engine.catalogue.read import RawRow
from engine.catalogue.rows.typist import Typist, draw, make_salt, short_title, title_key, title_keys
from engine.core.types import Message
from engine.prompts import FORM_LANGUAGES, QUESTION_FORMS, UNKNOWN_PRODUCT, training_messages

REFUSALS = "refusals.jsonl"
Kind = Literal["catalogue", "invented"]
EPOCHS = 60
"""Epochs for which the pool has titles: as many as the default recipe has."""
_MAX_TITLES = 20_000
_MAX_WORDINGS = 8
"""Rows for a title of the catalogue: such titles are few, and look real."""
_SCORED = 100
_SCORED_SHARE = 5
"""Of the titles of a kind, at most a fifth is kept for the score."""
_MAX_WORDS = 12
"""Words of an invented title before its bracket."""
_MIN_REPLACED = 2
_MIN_LETTERS = 3
_SEEN_BITS = 27
"""Of the hash of a title: two of two million titles rarely share it."""
_SEEN_MASK = (1 << _SEEN_BITS) - 1
_BRACKET = re.compile(r"\s[(\[][^()\[\]]*[)\]]$")
_POINTS = ",:;.!?"

encode = msgspec.json.Encoder().encode


class RefusalRow(msgspec.Struct, frozen=True):
    """A line of the pool; those with the split `test` are for the score."""

    kind: Kind
    split: Literal["train", "test"]
    messages: tuple[Message, ...]


class UnknownTitles:
    """Find titles that no row is about, while all titles pass by. Memory is bounded.

    With `all_used`, all products get rows, and only invented titles are unknown.
    """

    def __init__(self, seed: int, *, all_used: bool = False) -> None:
        self._seed = seed
        self._all_used = all_used
        self._watching = True
        self._sample: list[tuple[int, str]] = []
        self._bound = 1 << 32
        self._seen = bytearray(1 << (_SEEN_BITS - 3))
        self._used = _KeyFilter()
        self._keys: set[str] = set()

    def watch(self, rows: Iterable[RawRow]) -> Iterator[RawRow]:
        """Pass the rows of a catalogue on, and note their titles."""
        for row in rows:
            if self._watching and row.title and (title := clean(row.title)):
                rank = self._rank(title)
                place = rank & _SEEN_MASK
                self._seen[place >> 3] |= 1 << (place & 7)
                if rank < self._bound:
                    self._sample.append((rank, title))
                    if len(self._sample) >= 2 * _MAX_TITLES:
                        self._shrink()
            yield row

    def stop(self) -> None:
        """Pass the next rows on without a look."""
        self._watching = False

    def use(self, title: str) -> None:
        """Note the title of a product that has rows."""
        if not self._all_used:
            self._used.add(*title_keys(title))

    def is_used(self, title: str) -> bool:
        """Report whether a title, perhaps short, may be one with rows."""
        used = self._keys if self._all_used else self._used
        return any(key in used for key in title_keys(title))

    def of_catalogue(self) -> list[str]:
        """Return a sample of the catalogue's titles that no row is about, nor another edition's."""
        self._finish()
        found = {title_key(title): title for _, title in self._sample if not self.is_used(title)}
        return [title for key, title in found.items() if key]

    def invent(self, count: int) -> list[str]:
        """Make up to `count` titles that are none of the catalogue, of words of its titles."""
        self._finish()
        shapes = [_shape(title) for _, title in self._sample]
        shapes = [shape for shape in shapes if len(shape.places) >= _MIN_REPLACED]
        random_state = random.Random(f"titles {self._seed}")  # noqa: S311 - rows, not secrets
        found: dict[str, str] = {}
        for _ in range(4 * count + 1000 if shapes else 0):
            title = _mix(shapes, random_state)
            if not self._may_be_real(title):
                found.setdefault(title_key(title), title)
                if len(found) >= count:
                    break
        return list(found.values())

    def _may_be_real(self, title: str) -> bool:
        """Report whether a title is one of the catalogue, or has the words of one of the sample."""
        place = self._rank(title) & _SEEN_MASK
        seen = self._seen[place >> 3] >> (place & 7) & 1
        return bool(seen) or any(key in self._keys for key in title_keys(title))

    def _rank(self, title: str) -> int:
        # A fast hash: a catalogue may have millions of titles.
        return zlib.crc32(title.lower().encode(errors="replace"), self._seed & 0xFFFFFFFF)

    def _finish(self) -> None:
        if not self._keys:
            self._shrink()
            self._keys = {key for _, title in self._sample for key in title_keys(title)}

    def _shrink(self) -> None:
        self._sample = sorted(set(self._sample))[:_MAX_TITLES]
        if len(self._sample) == _MAX_TITLES:
            self._bound = self._sample[-1][0]


class _KeyFilter:
    """A Bloom filter: a key that was added is always found, another one rarely."""

    _BITS = 27

    def __init__(self) -> None:
        self._bytes = bytearray(1 << (self._BITS - 3))
        self._salt = make_salt("keys")

    def add(self, *keys: str) -> None:
        for key in keys:
            for place in self._places(key):
                self._bytes[place >> 3] |= 1 << (place & 7)

    def __contains__(self, key: str) -> bool:
        return all(self._bytes[place >> 3] >> (place & 7) & 1 for place in self._places(key))

    def _places(self, key: str) -> tuple[int, int]:
        bits = draw(key, self._salt)
        mask = (1 << self._BITS) - 1
        return bits & mask, bits >> self._BITS & mask


class _Shape(NamedTuple):
    """A title as a pattern: its words, and the places of those that others can stand for."""

    words: list[str]
    places: list[int]
    bracket: str


def _shape(title: str) -> _Shape:
    bracket = _BRACKET.search(title)
    head = title[: bracket.start()] if bracket else title
    words = head.split()[:_MAX_WORDS]
    places = [place for place, word in enumerate(words) if _is_content(word)]
    return _Shape(words, places, bracket[0] if bracket else "")


def _is_content(word: str) -> bool:
    bare = word.strip(_POINTS)
    return bare.isalpha() and len(bare) >= _MIN_LETTERS and bare.lower() not in STOP_WORDS


def _mix(shapes: Sequence[_Shape], random_state: random.Random) -> str:
    """Put words of other titles, from about the same place, into a title."""
    shape = random_state.choice(shapes)
    words = shape.words.copy()
    for turn, place in enumerate(shape.places):
        other = random_state.choice(shapes)
        word = other.words[other.places[turn * len(other.places) // len(shape.places)]]
        points = words[place][len(words[place].rstrip(_POINTS)) :]
        words[place] = word.rstrip(_POINTS) + points
    return " ".join(words) + shape.bracket


class RefusalFormatter:
    """Format refusal rows in the wordings of the others, as often in lower case or with a typo."""

    def __init__(
        self, forms: int, typist: Typist | None, unknown: UnknownTitles, *, shorten: bool
    ) -> None:
        self._forms = forms
        self._typist = typist
        self._unknown = unknown
        self._shorten = shorten
        self._salt = make_salt("refusals")

    def row(self, kind: Kind, split: Literal["train", "test"], title: str, wording: int) -> bytes:
        """Format a title's row in the `wording`, counted from 0."""
        bits = draw(title, self._salt)
        form = QUESTION_FORMS[(bits + wording) % len(QUESTION_FORMS)]
        number = ((bits >> 8) + wording) % self._forms
        asked = ""
        if number >= len(QUESTION_FORMS):
            asked = form.format(title=title.lower())
        elif self._typist:
            asked = self._typist.question(form, title, f"{title}\0{wording}", self._short(title))
        asked = asked or form.format(title=title)
        answer = UNKNOWN_PRODUCT[FORM_LANGUAGES[form]]
        messages = training_messages(asked, answer, "{title}")
        return encode(RefusalRow(kind, split, messages)) + b"\n"

    def _short(self, title: str) -> str:
        short = short_title(title) if self._shorten else ""
        return short if short and not self._unknown.is_used(short) else ""


def refusal_lines(
    unknown: UnknownTitles, formatter: RefusalFormatter, per_epoch: int, counts: dict[str, int]
) -> Iterator[bytes]:
    """Yield the pool for runs that draw `per_epoch` rows; count its rows and titles."""
    wanted = min(per_epoch * EPOCHS, _MAX_TITLES)
    of_catalogue = unknown.of_catalogue()[: wanted // 2 + _SCORED]
    invented = unknown.invent(max(wanted - len(of_catalogue), wanted // 2) + 2 * _SCORED)
    wordings = min(_MAX_WORDINGS, -(-wanted // 2 // max(len(of_catalogue), 1)))
    counts["per_epoch"] = per_epoch
    counts["rows"] = 0
    kinds: dict[Kind, tuple[list[str], int]] = {
        "catalogue": (of_catalogue, max(wordings, 1)),
        "invented": (invented, 1),
    }
    for kind, (titles, rows) in kinds.items():
        counts[kind] = len(titles)
        scored = min(_SCORED, len(titles) // _SCORED_SHARE)
        for title in titles[:scored]:
            yield formatter.row(kind, "test", title, 0)
        for title in titles[scored:]:
            for wording in range(rows):
                counts["rows"] += 1
                yield formatter.row(kind, "train", title, wording)
