"""Candidates by their words: the index's titles and descriptions, and the neighbours of a typo."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.catalogue import layout_part as layout
from engine.catalogue.matching_part import slips_allowed
from engine.core.errors import CatalogueError
from engine.core.i18n import tr

_NEIGHBOURS = 12
_MOST_WORDS = 24
"""Words of a question that are searched by, the rarest first."""


class Words:
    """One tantivy index, opened to read."""

    def __init__(self, folder: Path) -> None:
        import tantivy

        self._tantivy = tantivy
        try:
            self._index = layout.with_tokeniser(tantivy.Index.open(str(folder)))
        except (ValueError, OSError) as error:
            raise CatalogueError(
                tr("{folder} cannot be opened: {error}.").format(folder=folder, error=error)
            ) from error
        self._schema = self._index.schema
        self._searcher = self._index.searcher()
        self.count = int(self._searcher.num_docs)

    def weights(self, asked: Iterable[str]) -> dict[str, float]:
        """How much each word tells: the logarithm of how rare it is; a word unknown tells most."""
        return {word: math.log(1 + self.count / (1 + self.frequency(word))) for word in set(asked)}

    def frequency(self, word: str) -> int:
        """In how many products the word is."""
        return int(self._searcher.doc_freq("words", word))

    def rows(self, weights: Mapping[str, float], limit: int) -> list[int]:
        """The rows that fit these words best, by BM25."""
        rarest = sorted(weights, key=lambda word: weights[word], reverse=True)[:_MOST_WORDS]
        term = self._tantivy.Query.term_query
        return self._rows(
            [term(self._schema, "words", word, index_option="freq") for word in rarest], limit
        )

    def beginning_with(self, letters: str, limit: int) -> list[str]:
        """The commonest words that begin so."""
        found = self._searcher.terms_with_prefix("words", letters, limit=limit)
        return [str(word) for word, _ in found]

    def rows_with(
        self, groups: Sequence[Sequence[str]], wished: Iterable[str], limit: int
    ) -> list[int]:
        """The rows with a word of every group, or else of some; better with the `wished` ones."""
        term, occur = self._tantivy.Query.term_query, self._tantivy.Occur
        any_of = self._tantivy.Query.disjunction_max_query
        asked = [
            any_of([term(self._schema, "words", word, index_option="freq") for word in group])
            for group in groups
        ]
        liked = [term(self._schema, "words", word, index_option="freq") for word in wished]
        query = self._tantivy.Query.boolean_query(
            [*((occur.Must, one) for one in asked), *((occur.Should, one) for one in liked)]
        )
        return self._found(query, limit) or self._rows(asked, limit)

    def _rows(self, terms: list[Any], limit: int) -> list[int]:
        if not terms:
            return []
        should = self._tantivy.Occur.Should
        query = self._tantivy.Query.boolean_query([(should, term) for term in terms])
        return self._found(query, limit)

    def _found(self, query: Any, limit: int) -> list[int]:  # noqa: ANN401 - tantivy is imported late
        hits = self._searcher.search(query, limit, count=False).hits
        return [
            int(row)
            for row in self._searcher.fast_field_values("row", [place for _, place in hits])
        ]


class Vocabulary:
    """Every word of the titles, to find what a mistyped one may have been."""

    def __init__(self, folder: Path) -> None:
        import tantivy

        self._query = tantivy.Query
        try:
            index = tantivy.Index.open(str(folder))
        except (ValueError, OSError) as error:
            raise CatalogueError(
                tr("{folder} cannot be opened: {error}.").format(folder=folder, error=error)
            ) from error
        self._schema = index.schema
        self._searcher = index.searcher()

    def near(self, word: str) -> list[str]:
        """Known words that differ from `word` by a slip or two, the nearest first."""
        for distance in range(1, slips_allowed(word) + 1):
            query = self._query.fuzzy_term_query(self._schema, "word", word, distance=distance)
            hits = self._searcher.search(query, _NEIGHBOURS, count=False).hits
            if hits:
                return self._words(hits)
        return []

    def beginning_near(self, letters: str) -> list[str]:
        """Known words that begin almost so: one letter differs."""
        query = self._query.fuzzy_term_query(self._schema, "word", letters, distance=1, prefix=True)
        return self._words(self._searcher.search(query, _NEIGHBOURS, count=False).hits)

    def _words(self, hits: Iterable[tuple[object, Any]]) -> list[str]:
        return [str(self._searcher.doc(place)["word"][0]) for _, place in hits]
