"""Recognise families: editions of one thing, by nearly the same text or by the title.

Six hashes of each product propose pairs in linear time: five are the same for most products whose
descriptions share most pairs of words (MinHash with banding), one for those of the same main title.
The texts of the proposed pairs decide. Heavy: imports numpy.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.catalogue import records
from engine.catalogue.folding import fold
from engine.catalogue.records import BODY_LIMIT
from engine.core.types import Product

Key = TypeVar("Key", int, str)
Texts = tuple[str, str]
"""Title and description."""
Bands = NDArray[np.uint32]
"""A row of hashes for each product; 0 proposes nothing."""
_Hashes = NDArray[np.uint64]

BANDS = 6
_TEXT_BANDS = BANDS - 1
_HASHES_PER_BAND = 3
_MIN_PAIRS = 8
"""Shorter descriptions ("VHS Tape") say nothing about a product."""
_MOST = 5_000
"""More products than these with one hash have a standard text, or no title of their own."""
_COMPARED = 8
"""Neighbours in order of their titles with which each product of a hash is compared."""
_READ_AT_ONCE = 2_000
_HASHED_AT_ONCE = 256
_NEAR_TEXT = 0.7
_RELATED_TEXT = 0.5
_CONTAINED = 0.8
"""The share of the shorter description's pairs that the longer one has too."""
_SHARED_TITLE = 0.8
_MIN_TITLE = 2
"""Words by which a title alone names a product."""

_ARTICLES = frozenset("the a an of and in on for to with o os as um uma de da do e em para".split())  # noqa: SIM905
_BOOK = (
    "hardcover|hardback|paperback|softcover|kindle|ebook|ebooks|large print|board book"
    "|library binding|capa dura|capa mole|capa comum|brochura"
)
_VIDEO = "dvd|dvds|vhs|blu ray|bluray|laserdisc|widescreen|fullscreen|full screen"
_AUDIO = "audio|audiobook|audio book|audio cd|cd|cds|vinyl|lp|cassette|cassettes|mp3"
_COLOURS = (
    "red|blue|green|black|white|pink|yellow|purple|grey|gray|brown|silver|gold|orange|navy|beige"
    "|cream|ivory|turquoise|teal|violet|burgundy|tan|khaki|multicolor|multicolour|vermelho|vermelha"
    "|azul|verde|preto|preta|branco|branca|rosa|amarelo|amarela|roxo|roxa|cinza|marrom|prata"
    "|dourado|dourada|laranja|bege"
)
_SIZES = (
    "small|medium|large|x small|x large|xx large|xxx large|xs|xl|xxl|mini|pequeno|pequena|medio"
    "|media|grande"
)
_EDITIONS = "edition|ed|edicao|import|imported|importado|unabridged|abridged"
_PLAIN = f"{_BOOK}|{_VIDEO}|{_AUDIO}|{_COLOURS}|{_SIZES}"
_UNITS = (
    "inch|inches|in|cm|mm|m|ft|feet|foot|oz|ounce|ounces|lb|lbs|pound|pounds|ml|l|g|kg|gb|tb|mb"
    "|watt|watts|w|quart|quarts|qt|cup|cups|piece|pieces|pcs|pack|packs|pk|ct|polegadas|litros"
    "|pecas"
)
_VARIANTS = (
    rf"(?:{_PLAIN}|(?:(?:\d+(?:st|nd|rd|th)|first|second|third|fourth|fifth|sixth|new|revised"
    r"|updated|expanded|special|deluxe|limited|collectors|anniversary|international|illustrated"
    rf"|gift|and) )*(?:{_EDITIONS})|(?:19|20)\d\d|size \w{{1,3}}|tamanho \w{{1,3}}|\d+t"
    rf"|(?:pack|set|box|lot|pacote|conjunto) (?:of|de|com) \d+|\d+ ?(?:{_UNITS}))\b"
)
"""What titles of one family may differ in, in a folded title."""
_VARIANT = re.compile(rf"\b{_VARIANTS}")
_LAST_VARIANTS = re.compile(rf"(?: {_VARIANTS})+$")
_SIGNS = frozenset(re.findall(r"\w+", f"{_PLAIN}|{_EDITIONS}|size|tamanho"))
"""A title has variants only with one of these words or a digit."""
_MEDIA = tuple(re.compile(rf"\b(?:{media})\b") for media in (_BOOK, _VIDEO, _AUDIO))
_FRACTION = re.compile(r"(?<=\d)[./](?=\d)")
_DIGIT = re.compile(r"\d")
_NUMBERED = re.compile(
    r"\b(?:vol|volumes?|books?|parts?|season|episodes?|dis[ck]s?|number|no|issue|level|grade|lesson"
    r"|livro|parte|temporada|episodio|disco|numero|nivel) (\d+|[ivx]+|one|two|three|four|five|six"
    r"|um|dois|tres)\b"
)
_SUBTITLE = re.compile(r":\s|;\s|\s[-–—]\s|,\s|\s?[(\[]")


def find_families(rows: Iterable[tuple[Key, str, str]]) -> dict[Key, Key]:
    """Map the key of each of `rows` (key, title, description) that has editions to the first key.

    The order of the rows does not matter. All texts are held in memory.
    """
    texts = {key: (title, description) for key, title, description in rows}
    keys = sorted(texts)
    ordered = [texts[key] for key in keys]
    found = link_families(bands_of(ordered), lambda places: {at: ordered[at] for at in places})
    return {keys[place]: keys[first] for place, first in found.items()}


def bands_of(texts: Sequence[Texts]) -> Bands:
    """Return the hashes of each product."""
    bands = np.zeros((len(texts), BANDS), np.uint32)
    descriptions = [fold(description[:BODY_LIMIT]) for _, description in texts]
    _fill_text_bands(descriptions, bands)
    for place, (title, _) in enumerate(texts):
        main = _main_words(title)
        bands[place, -1] = zlib.crc32(" ".join(main).encode(errors="replace")) if main else 0
    return bands


def link_families(
    bands: Bands,
    read: Callable[[Sequence[int]], Mapping[int, Texts]],
    within: NDArray[np.intp] | None = None,
) -> dict[int, int]:
    """Map each place that has editions to the first place of its family.

    `read` returns the texts of places, without those that are deleted; `within` are the places to
    compare, by default all.
    """
    places = np.arange(len(bands)) if within is None else np.unique(within)
    joined = _Joined()
    for band in range(BANDS):
        groups = _groups(bands[places, band], places)
        for batch in _batches(group for group in groups if not joined.is_one(group)):
            texts = read(sorted({place for group in batch for place in group}))
            records = {place: _Record(*text) for place, text in texts.items()}
            for group in batch:
                _link([(at, records[at]) for at in group if at in records], joined)
    return joined.families()


class FamilyWriter:
    """Write the hashes of an index to a file, and the families that they find to its database."""

    def __init__(self, folder: Path) -> None:
        """Open the hashes in the folder of an index, or begin them."""
        self._file = folder / records.FAMILIES
        self._file.touch()
        self._stream = self._file.open("r+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def add(self, first: int, products: Sequence[Product]) -> None:
        """Hash products whose rows start at `first`."""
        bands = bands_of([(product.title, product.description) for product in products])
        self._stream.seek(first * bands.itemsize * BANDS)
        self._stream.write(bands.tobytes())

    @records.writing_sqlite()
    def finish(self, database: sqlite3.Connection) -> None:
        """Find the families of a new index."""
        found = link_families(self._bands(), partial(_read, database))
        database.executemany("INSERT INTO family VALUES (?, ?)", found.items())

    @records.writing_sqlite()
    def update(
        self, database: sqlite3.Connection, added: Sequence[int], deleted: Sequence[int]
    ) -> None:
        """Find the families of rows that were added, and again those that they or others change."""
        bands = self._bands()
        near = [*_with_same_hash(bands, np.array(added, np.intp)).tolist(), *deleted]
        with database:
            database.execute("BEGIN IMMEDIATE")
            changed = [row for (row,) in database.execute(_DELETE_FAMILIES, [json.dumps(near)])]
            within = np.array([*near, *changed], np.intp)
            found = link_families(bands, partial(_read, database), within)
            database.executemany("INSERT OR REPLACE INTO family VALUES (?, ?)", found.items())

    def _bands(self) -> Bands:
        self._stream.flush()
        hashes = np.fromfile(self._file, np.uint32)
        return hashes[: len(hashes) // BANDS * BANDS].reshape(-1, BANDS)


_DELETE_FAMILIES = """
DELETE FROM family WHERE family IN
(SELECT family FROM family WHERE id IN (SELECT value FROM json_each(?))) RETURNING id
"""
_READ = """
SELECT p.id, p.title, t.description FROM product p JOIN text t USING (id)
WHERE p.id IN (SELECT value FROM json_each(?))
"""


def _read(database: sqlite3.Connection, rows: Sequence[int]) -> dict[int, Texts]:
    found = database.execute(_READ, [json.dumps(list(rows))])
    return {row: (title, description) for row, title, description in found}


def _with_same_hash(bands: Bands, places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return `places`, and those that share a hash with one of them."""
    found = [places]
    for band in range(BANDS):
        wanted = np.unique(bands[places, band])
        wanted = wanted[wanted != 0]
        if len(wanted):
            nearest = np.minimum(np.searchsorted(wanted, bands[:, band]), len(wanted) - 1)
            found.append(np.flatnonzero(wanted[nearest] == bands[:, band]))
    return np.unique(np.concatenate(found))


def _link(group: list[tuple[int, _Record]], joined: _Joined) -> None:
    """Join the editions among products with one hash, each compared with the next by title."""
    if len(group) > _COMPARED:
        group.sort(key=lambda one: (one[1].folded, one[1].description))
    for place, (first, record) in enumerate(group):
        for other, compared in group[place + 1 : place + 1 + _COMPARED]:
            if not joined.is_one((first, other)) and _are_editions(record, compared):
                joined.join(first, other)


def _are_editions(one: _Record, other: _Record) -> bool:
    if one.numbers != other.numbers or not _have_like_digits(one.digits, other.digits):
        return False
    is_named = one.stem == other.stem and len(one.content) >= _MIN_TITLE
    if is_named or (one.core == other.core and len(one.content) > _MIN_TITLE):
        is_other = one.variants != other.variants and _can_be_one(one.media, other.media)
        if is_other or one.texts == other.texts:
            return True
    is_same = one.main == other.main
    if not is_same and one.shared_title(other) < _SHARED_TITLE:
        return False
    shared, shorter = len(one.pairs & other.pairs), min(len(one.pairs), len(other.pairs))
    if shorter < _MIN_PAIRS:
        return False
    likeness = shared / (len(one.pairs) + len(other.pairs) - shared)
    least = _RELATED_TEXT if is_same else _NEAR_TEXT
    return likeness >= least or (is_same and shared >= _CONTAINED * shorter)


def _have_like_digits(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether the numbers of two titles, as of models, do not contradict each other."""
    return one <= other or other <= one


def _can_be_one(one: frozenset[int], other: frozenset[int]) -> bool:
    """Whether titles of these media can be of one thing: a film and its book are not."""
    books = frozenset({0})
    return one == other or one | other == books


@dataclass(frozen=True)
class _Record:
    """A product, with what decides whether another one is an edition of it."""

    title: str
    description: str

    @property
    def texts(self) -> Texts:
        return self.title, self.description

    @cached_property
    def folded(self) -> str:
        return " ".join(_fold(self.title).split())

    @cached_property
    def stem(self) -> str:
        """The title without what names an edition at its end."""
        return _LAST_VARIANTS.sub("", self.folded)

    @cached_property
    def core(self) -> list[str]:
        return _without_variants(self.folded)

    @cached_property
    def main(self) -> list[str]:
        return _main_words(self.title)

    @cached_property
    def content(self) -> frozenset[str]:
        return frozenset(self.core) - _ARTICLES or frozenset(self.core)

    @cached_property
    def variants(self) -> Counter[str]:
        return Counter(_VARIANT.findall(self.folded))

    @cached_property
    def media(self) -> frozenset[int]:
        return frozenset(place for place, one in enumerate(_MEDIA) if one.search(self.folded))

    @cached_property
    def numbers(self) -> list[str]:
        return _NUMBERED.findall(self.folded)

    @cached_property
    def digits(self) -> frozenset[str]:
        return frozenset(word for word in self.core if not word.isalpha())

    @cached_property
    def pairs(self) -> frozenset[tuple[str, str]]:
        words = fold(self.description[:BODY_LIMIT]).split()
        return frozenset(itertools.pairwise(words))

    def shared_title(self, other: _Record) -> float:
        """Return the share of the words of the shorter title that the other has too."""
        shorter = min(len(self.content), len(other.content))
        return len(self.content & other.content) / shorter if shorter else 0.0


def _main_words(title: str) -> list[str]:
    """Return the words of the main title that do not name an edition, or else of all of it."""
    main = _SUBTITLE.split(title, maxsplit=1)[0]
    return _without_variants(_fold(main)) or _without_variants(_fold(title))


def _fold(title: str) -> str:
    """Fold a title; "7.5" and "1/2" stay one number."""
    return fold(_FRACTION.sub("", title) if "." in title or "/" in title else title)


def _without_variants(folded: str) -> list[str]:
    words = folded.split()
    if not _SIGNS.isdisjoint(words) or _DIGIT.search(folded):
        words = _VARIANT.sub(" ", " ".join(words)).split()
    return sorted(words)


class _Joined:
    """Sets of places that are joined in pairs."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def _first(self, place: int) -> int:
        parents = self._parents
        while (parent := parents.get(place, place)) != place:
            parents[place] = parents.get(parent, parent)
            place = parent
        return place

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self._first(one), self._first(other)))
        self._parents.setdefault(low, low)
        self._parents[high] = low

    def is_one(self, places: Iterable[int]) -> bool:
        return len({self._first(place) for place in places}) == 1

    def families(self) -> dict[int, int]:
        return {place: self._first(place) for place in sorted(self._parents)}


def _groups(values: NDArray[np.uint32], places: NDArray[np.intp]) -> Iterator[list[int]]:
    """Yield the places with equal values, where there are several."""
    order = np.argsort(values, kind="stable")
    values, places = values[order], places[order]
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]][: len(values)])
    sizes = np.diff(np.r_[starts, len(values)])
    wanted = (sizes > 1) & (sizes <= _MOST) & (values[starts] != 0)
    for start, size in zip(starts[wanted], sizes[wanted], strict=True):
        yield places[start : start + size].tolist()


def _batches(groups: Iterable[list[int]]) -> Iterator[list[list[int]]]:
    """Collect groups until there are enough to read their texts together."""
    batch: list[list[int]] = []
    size = 0
    for group in groups:
        batch.append(group)
        size += len(group)
        if size >= _READ_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


_DRAW = random.Random(18)  # noqa: S311 - the same hashes in each build, not secret ones


def _draw(*shape: int) -> _Hashes:
    drawn = [_DRAW.getrandbits(64) for _ in range(math.prod(shape))]
    return np.array(drawn, np.uint64).reshape(shape)


_WORD_LENGTH = 16
"""Letters of a word that have hashes of their own; those of later ones repeat."""
_LETTER_HASHES = _draw(_WORD_LENGTH, 256)
_MASKS = _draw(_TEXT_BANDS * _HASHES_PER_BAND)
_FACTORS = _draw(_TEXT_BANDS * _HASHES_PER_BAND) | np.uint64(1)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


def _fill_text_bands(folded: list[str], bands: Bands) -> None:
    """Hash the pairs of words of each description, and combine the smallest hashes to bands."""
    for start in range(0, len(folded), _HASHED_AT_ONCE):
        words, rows = _hash_words(folded[start : start + _HASHED_AT_ONCE])
        is_pair = rows[1:] == rows[:-1]
        pairs = _mixed(_mixed(words[:-1]) + words[1:])[is_pair]
        counts = np.bincount(rows[1:][is_pair], minlength=1)
        long = np.flatnonzero(counts >= _MIN_PAIRS)
        if not len(long):
            continue
        # Pairs of short descriptions are left out, so that each range below is of one product.
        pairs = pairs[(counts >= _MIN_PAIRS)[rows[1:][is_pair]]]
        firsts = np.r_[0, np.cumsum(counts[long])[:-1]]
        for band in range(_TEXT_BANDS):
            bands[start + long, band] = _band(pairs, firsts, band)


def _hash_words(texts: list[str]) -> tuple[_Hashes, NDArray[np.intp]]:
    """Return the hash of each word of folded texts, and the place of its text."""
    encoded = [text.encode(errors="replace") + b" " for text in texts]
    ends = np.cumsum([len(text) for text in encoded])
    letters = np.frombuffer(b"".join(encoded), np.uint8)
    edges = np.flatnonzero(np.diff(letters != ord(" "), prepend=False))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    if not len(starts):
        return np.empty(0, np.uint64), np.empty(0, np.intp)
    firsts = np.r_[0, np.cumsum(lengths)[:-1]]
    letters = letters[letters != ord(" ")]
    within = np.arange(len(letters)) - np.repeat(firsts, lengths)
    words = np.add.reduceat(_LETTER_HASHES[within % _WORD_LENGTH, letters], firsts)
    return words, np.searchsorted(ends, starts, side="right")


def _band(pairs: _Hashes, firsts: NDArray[np.intp], band: int) -> _Hashes:
    combined = np.zeros(len(firsts), np.uint64)
    for number in range(band * _HASHES_PER_BAND, (band + 1) * _HASHES_PER_BAND):
        hashes = (pairs ^ _MASKS[number]) * _FACTORS[number]
        combined = _mixed(combined + np.minimum.reduceat(hashes, firsts))
    found: _Hashes = np.maximum(combined >> _HALF, np.uint64(1))
    return found


def _mixed(hashes: _Hashes) -> _Hashes:
    mixed: _Hashes = (hashes ^ (hashes >> _HALF)) * _MIX
    return mixed
