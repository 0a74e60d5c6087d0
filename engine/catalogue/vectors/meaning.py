"""Search an index by meaning: records near a question, and words near a word of any language.

Heavy: imports numpy.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.catalogue import records
from engine.catalogue.vectors.encoder import Vectors, shared_encoder
from engine.catalogue.vectors.files import VectorFiles
from engine.core.errors import CatalogueError

_MIN_COSINE = 0.5
_MAX_NEIGHBOURS = 24
_WORDS_COMPARED = 600
"""Words whose vectors are compared exactly; the 24 nearest are among these."""
_CACHED = 4_096


class Meaning:
    """The vectors of an open index. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the vectors in the folder of an index."""
        folder /= records.MEANING
        self._records = VectorFiles(folder, records.RECORD_VECTORS)
        self._word_vectors = VectorFiles(folder, records.WORD_VECTORS, _WORDS_COMPARED)
        self._words = (folder / records.WORD_LIST).read_text(encoding="utf-8").split()
        if len(self._words) != len(self._word_vectors):
            raise ValueError(folder / records.WORD_LIST)
        self._places = dict(zip(self._words, itertools.count()))
        self._encoded: dict[str, Vectors] = {}
        self._neighbours = functools.lru_cache(_CACHED)(self._find_neighbours)

    @classmethod
    def open(cls, folder: Path) -> Meaning | None:
        """Open the vectors of an index; return None if it has none that this version can use."""
        if records.meaning_problem(folder, records.read_manifest(folder)):
            return None
        try:
            shared_encoder()
            return cls(folder)
        except (CatalogueError, OSError, ValueError):
            return None

    def candidates(self, vector: Vectors, limit: int) -> list[tuple[int, float]]:
        """Return the rows nearest to a question's vector with their cosines, best first."""
        return self._records.nearest(vector, limit)

    def cosines(self, vector: Vectors, rows: Sequence[int]) -> dict[int, float]:
        """Return the cosines of a question's vector and the records in `rows`."""
        return self._records.cosines(vector, rows)

    def prepare(self, words: Iterable[str]) -> None:
        """Encode the words of a question together, which is faster than each on its own."""
        if len(self._encoded) > _CACHED:
            self._encoded.clear()
        unknown = (word for word in dict.fromkeys(words) if word not in self._places)
        new = [word for word in unknown if word not in self._encoded]
        self._encoded.update(zip(new, shared_encoder().encode(new), strict=True))

    def neighbours(self, word: str) -> list[tuple[str, float]]:
        """Return words of the records near `word` of any language, weighted by likeness."""
        return self._neighbours(word)

    def _find_neighbours(self, word: str) -> list[tuple[str, float]]:
        found = self._word_vectors.nearest(self._vector(word), _MAX_NEIGHBOURS + 1)
        near = [(self._words[place], cosine**2) for place, cosine in found if cosine >= _MIN_COSINE]
        return [(other, weight) for other, weight in near if other != word][:_MAX_NEIGHBOURS]

    def _vector(self, word: str) -> Vectors:
        place = self._places.get(word)
        if place is not None:
            return self._word_vectors.vector(place)
        self.prepare([word])
        return self._encoded[word]
