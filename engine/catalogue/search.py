"""Find candidates by their tokens, and score a title against a question."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rapidfuzz.distance import OSA

from engine.catalogue import records
from engine.catalogue.folding import STOP_WORDS, tokenise

MAX_SIMILAR = 12
_MAX_QUERY_TOKENS = 24
_TWO_EDITS_FROM = 5
"""Letters from which a token may have two edits."""
_SHORT = 5
"""Letters up to which another word is so often one edit away that only a rare word is a typo."""
_TYPO_RARITY = 4
"""A typo of a short word is at least this many times rarer than the word."""
_DOUBTFUL_EDITS = 2
"""Edits added for a short word that may be a word in its own right."""
_EDIT_PENALTY = 0.98
_MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of our own is made there
_HEAP = 20_000_000
"""Bytes for the writer of an index in memory."""
_REMOVALS = 10
"""A thread of tantivy may create its lock again while the folder is deleted."""


def query_tokens(weights: Mapping[str, float]) -> list[str]:
    """Return the tokens to search for, the rarest first."""
    return sorted(weights, key=lambda token: weights[token], reverse=True)[:_MAX_QUERY_TOKENS]


def max_edits(token: str) -> int:
    """Return how many letters of `token` may differ before it is another word."""
    if not token.isalpha() or len(token) <= 2:  # noqa: PLR2004 - "in", "on", "de"
        return 0
    return 2 if len(token) >= _TWO_EDITS_FROM else 1


class TokenIndex(Protocol):
    """Rows by the tokens that they contain."""

    count: int
    """The number of products."""

    def weights(self, tokens: Iterable[str]) -> dict[str, float]:
        """Weight each token by its inverse document frequency: a rare one weighs more."""
        count, frequency = self.count, self.frequency
        return {token: math.log(1 + count / (1 + frequency(token))) for token in set(tokens)}

    def frequency(self, token: str) -> int:
        """Count the products that contain `token`."""

    def rows(self, weights: Mapping[str, float], limit: int) -> list[int]:
        """Return the rows that match these tokens best."""

    def search(self, groups: Sequence[Mapping[str, float]], limit: int) -> list[int]:
        """Return the rows that match most groups best; a group is tokens with factors to weigh."""
        factors = {token: factor for group in groups for token, factor in group.items()}
        weights = self.weights(factors)
        return self.rows({token: weights[token] * factors[token] for token in factors}, limit)


class TantivyIndex(TokenIndex):
    """Search one tantivy index of tokens by row. Safe to use from several threads."""

    def __init__(self, schema: Any, searcher: Any) -> None:  # noqa: ANN401 - tantivy is imported late
        import tantivy

        self._tantivy = tantivy
        self._schema, self._searcher = schema, searcher
        self.count = int(self._searcher.num_docs)

    def frequency(self, token: str) -> int:
        return int(self._searcher.doc_freq("words", token))

    def rows(self, weights: Mapping[str, float], limit: int) -> list[int]:
        return self._rows([self._term(token) for token in query_tokens(weights)], limit)

    def search(self, groups: Sequence[Mapping[str, float]], limit: int) -> list[int]:
        query = self._tantivy.Query
        terms = [
            query.disjunction_max_query(
                [query.boost_query(self._term(token), factor) for token, factor in group.items()]
            )
            for group in groups[:_MAX_QUERY_TOKENS]
        ]
        return self._rows(terms, limit)

    def starting_with(self, prefix: str, limit: int) -> list[str]:
        """Return the most frequent tokens that start with `prefix`."""
        found = self._searcher.terms_with_prefix("words", prefix, limit=limit)
        return [str(token) for token, _ in found]

    def rows_with(
        self, groups: Sequence[Sequence[str]], optional: Iterable[str], limit: int
    ) -> list[int]:
        """Return rows with a token of every group; `optional` raises the rank."""
        occur, any_of = self._tantivy.Occur, self._tantivy.Query.disjunction_max_query
        required = [any_of([self._term(token) for token in group]) for group in groups]
        terms = [(occur.Must, term) for term in required]
        terms += [(occur.Should, self._term(token)) for token in optional]
        return self._search(self._tantivy.Query.boolean_query(terms), limit)

    def _term(self, token: str) -> Any:  # noqa: ANN401 - tantivy is imported late
        return self._tantivy.Query.term_query(self._schema, "words", token, index_option="freq")

    def _rows(self, terms: list[Any], limit: int) -> list[int]:
        if not terms:
            return []
        should = self._tantivy.Occur.Should
        query = self._tantivy.Query.boolean_query([(should, term) for term in terms])
        return self._search(query, limit)

    def _search(self, query: Any, limit: int) -> list[int]:  # noqa: ANN401 - tantivy is imported late
        hits = self._searcher.search(query, limit, count=False).hits
        found = self._searcher.fast_field_values("row", [address for _, address in hits])
        return [int(row) for row in found]


class TantivyVocabulary:
    """Look up the tokens of all titles by edit distance."""

    def __init__(self, schema: Any, searcher: Any) -> None:  # noqa: ANN401 - tantivy is imported late
        import tantivy

        self._query = tantivy.Query
        self._schema, self._searcher = schema, searcher

    def similar(self, token: str) -> list[str]:
        """Return the known tokens at the smallest edit distance within the limit."""
        for distance in range(1, max_edits(token) + 1):
            query = self._query.fuzzy_term_query(self._schema, "word", token, distance=distance)
            if found := self._tokens(query):
                return found
        return []

    def starting_similar(self, prefix: str) -> list[str]:
        """Return known tokens whose start is one edit away from `prefix`."""
        fuzzy = self._query.fuzzy_term_query
        return self._tokens(fuzzy(self._schema, "word", prefix, distance=1, prefix=True))

    def _tokens(self, query: Any) -> list[str]:  # noqa: ANN401 - tantivy is imported late
        hits = self._searcher.search(query, MAX_SIMILAR, count=False).hits
        return [str(self._searcher.doc(address)["word"][0]) for _, address in hits]


def open_index(folder: Path) -> tuple[Any, Any]:
    """Open an index, also on a read-only disk; return its schema and a searcher."""
    import tantivy

    with _lockable(folder) as path:
        index = records.register_tokeniser(tantivy.Index.open(str(path)))
        return index.schema, index.searcher()


def index_titles(titles: Sequence[str]) -> tuple[TantivyIndex, TantivyVocabulary]:
    """Index titles in memory, by their places in the list."""
    words = _in_memory(
        records.token_schema(frequencies=True),
        ({"row": row, "words": " ".join(tokenise(title))} for row, title in enumerate(titles)),
    )
    known = words[1].terms_with_prefix("words", "")
    vocabulary = _in_memory(records.vocabulary_schema(), ({"word": token} for token, _ in known))
    return TantivyIndex(*words), TantivyVocabulary(*vocabulary)


def _in_memory(schema: Any, documents: Iterable[dict[str, object]]) -> tuple[Any, Any]:  # noqa: ANN401 - tantivy is imported late
    import tantivy

    index = records.register_tokeniser(tantivy.Index(schema))
    writer = index.writer(_HEAP, 1)
    for document in documents:
        writer.add_document(tantivy.Document(**document))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index.schema, index.searcher()


@contextmanager
def _lockable(folder: Path) -> Iterator[Path]:
    """Yield `folder`, or a temporary one with links to its files if its lock cannot be written.

    tantivy opens the lock for writing. The searcher holds all files open, so that the links can go.
    """
    if os.access(folder / records.INDEX_LOCK, os.W_OK):
        yield folder
        return
    from tempfile import mkdtemp

    # In memory if possible: on a read-only system it may be the only place.
    links = Path(mkdtemp(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
    try:
        for file in folder.iterdir():
            if file.name != records.INDEX_LOCK:
                (links / file.name).symlink_to(file.absolute())
        yield links
    finally:
        for _ in range(_REMOVALS):
            shutil.rmtree(links, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class TitleMatch:
    """How a title and a question match.

    `question_share` and `title_share` are the shares of their weight that is matched, 0 to 1; stop
    words of the question that are not matched do not count. `token_share` is the share of the
    title's tokens. `extra` counts the question's content words that the title lacks, `missing` the
    title's tokens that the question lacks, `matched` the question's content words that are matched,
    `edits` the letters changed.
    """

    question_share: float
    title_share: float
    token_share: float
    extra: int
    missing: int
    matched: int
    edits: int

    @property
    def score(self) -> float:
        """The harmonic mean of both shares with a small penalty per edit, 0 to 1."""
        if not self.question_share or not self.title_share:
            return 0.0
        product = self.question_share * self.title_share
        mean = 2 * product / (self.question_share + self.title_share)
        return float(mean * _EDIT_PENALTY**self.edits)


def match_title(
    question: Sequence[str],
    title: Sequence[str],
    weights: Mapping[str, float],
    frequency: Callable[[str], int],
) -> TitleMatch:
    """Match the tokens of a title to those of a question: equal ones, similar ones, compounds."""

    def weigh(tokens: Iterable[str]) -> float:
        return sum(weights[token] for token in tokens)

    unmatched, missing, edits = compare_tokens(question, title, frequency)
    extra = [token for token in unmatched if token not in STOP_WORDS]
    asked = weigh(question) - weigh(token for token in unmatched if token in STOP_WORDS)
    named = weigh(title)
    return TitleMatch(
        question_share=(asked - weigh(extra)) / asked if asked else 0.0,
        title_share=(named - weigh(missing)) / named if named else 0.0,
        token_share=1 - len(missing) / len(title) if title else 0.0,
        extra=len(extra),
        missing=len(missing),
        matched=len([token for token in question if token not in STOP_WORDS]) - len(extra),
        edits=edits,
    )


def compare_tokens(
    question: Sequence[str], title: Sequence[str], frequency: Callable[[str], int]
) -> tuple[list[str], list[str], int]:
    """Return the tokens of each that the other lacks, and how many letters of others differ."""
    extra, missing = list(question), []
    for token in title:
        if token in extra:
            extra.remove(token)
        else:
            missing.append(token)
    edits = 0
    if missing and extra:
        edits = _match_similar(extra, missing, frequency) + _match_compounds(extra, missing)
    return extra, missing, edits


def _match_similar(extra: list[str], missing: list[str], frequency: Callable[[str], int]) -> int:
    """Remove similar pairs from both lists, and return the number of edits."""
    edits = 0
    for token in list(missing):
        found, distance = _most_similar(token, extra, frequency)
        if found:
            extra.remove(found)
            missing.remove(token)
            edits += distance
    return edits


def _most_similar(
    token: str, candidates: list[str], frequency: Callable[[str], int]
) -> tuple[str, int]:
    best = ""
    distance = max_edits(token) + 1
    for candidate in candidates:
        if abs(len(candidate) - len(token)) >= distance or not candidate.isalpha():
            continue
        found = OSA.distance(token, candidate, score_cutoff=distance - 1)
        if found < distance and (found == 1 or _is_typo(candidate, token, frequency)):
            best, distance = candidate, found
    doubt = 0 if not best or _is_typo(best, token, frequency) else _DOUBTFUL_EDITS
    return best, distance + doubt


def _is_typo(typed: str, meant: str, frequency: Callable[[str], int]) -> bool:
    if min(len(typed), len(meant)) > _SHORT:
        return True
    return frequency(typed) * _TYPO_RARITY <= frequency(meant)


def _match_compounds(extra: list[str], missing: list[str]) -> int:
    """Remove tokens that are one word in one list and two in the other, as "best selling"."""
    edits = 0
    for joined, split in ((extra, missing), (missing, extra)):
        for first, second in zip(list(split), list(split)[1:], strict=False):
            if first + second in joined and first in split and second in split:
                joined.remove(first + second)
                split.remove(first)
                split.remove(second)
                edits += 1
    return edits
