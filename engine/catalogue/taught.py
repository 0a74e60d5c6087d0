"""Say whether an adapter was taught what a question asks for, by three witnesses.

They are the list of its titles, the probabilities of its answer's first tokens, and its own no.
Titles are matched as the catalogue matches them, but strictly: another number, colour, edition or
word is another product, which the adapter would answer with the words of its neighbour.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from rapidfuzz.distance import OSA

from engine.catalogue.complete import completer_of
from engine.catalogue.decide import MAX_SPANS, main_title
from engine.catalogue.folding import (
    STOP_WORDS,
    inner_spans,
    is_capitalised,
    quoted_spans,
    title_key,
    tokenise,
)
from engine.catalogue.language.wishes import signs_of_format
from engine.catalogue.rank import word_forms
from engine.catalogue.search import compare_tokens
from engine.core.trained_products import Calibration
from engine.core.types import Decision, Status, Taught, mean_logprob
from engine.prompts import begins_refusal

_MAX_QUESTION = 4_000
_MAX_CANDIDATES = 60
_RARE = 3
_MAX_TYPOS = 2
"""Letters that may differ; a short word that may be another one counts as three."""
_PART = 0.5
"""The share of a title's content words from which a question may mean it."""
_ASIDES = frozenset(
    """
    today tonight now again soon later yesterday tomorrow maybe perhaps too already ever really
    someone somebody anyone anybody alguem
    order ordered buying bought recommend asked asks asking price cost costs
    hoje agora logo depois ontem amanha talvez novamente ja realmente
    pedir pediu pediram perguntou perguntaram recomenda preco custa comprei
    """.split()  # noqa: SIM905 - as STOP_WORDS
)
"""Words next to a title that are not a part of it."""
_MIN_TYPO = 4
_LONGER_STOP_WORDS = tuple(word for word in STOP_WORDS if len(word) >= _MIN_TYPO)


@dataclass(frozen=True, slots=True)
class Witnesses:
    """What is known of a question before the answer; an adapter may have a list or be calibrated.

    The list is the surest: it alone says no to near misses, which get their neighbour's words.
    """

    listed: Taught | None = None
    calibration: Calibration | None = None

    def weigh(self, text: str, logprobs: Sequence[float]) -> Taught | None:
        """Weigh them with an answer, or its beginning; None if nothing can be said."""
        by_model = self._by_model(text, logprobs)
        if self.listed is None:
            return by_model if self.calibration else None
        if by_model is not Taught.NOT_TAUGHT:
            return self.listed
        return Taught.UNSURE if self.listed is Taught.LEARNED else Taught.NOT_TAUGHT

    def _by_model(self, text: str, logprobs: Sequence[float]) -> Taught | None:
        """Return what the model's own no and its probabilities say."""
        if begins_refusal(text):
            return Taught.NOT_TAUGHT
        found = self.calibration
        likely = mean_logprob(logprobs, found.tokens) if found else None
        if found is None or likely is None:
            return None
        if likely < found.not_taught:
            return Taught.NOT_TAUGHT
        return Taught.UNSURE if found.learned is None or likely < found.learned else Taught.LEARNED


class TaughtTitles:
    """The titles that an adapter was taught. Safe to use from several threads."""

    def __init__(self, titles: tuple[str, ...]) -> None:
        # The chat completes titles with the same index.
        self._completer = completer_of(titles)
        self._keys = {title_key(tokenise(title), title) for title in titles}
        self._names = [tuple(_names(title)) for title in titles]

    def judge(self, question: str, decision: Decision) -> Taught:
        """Judge a question, for which the catalogue decided `decision`."""
        question = html.unescape(question[:_MAX_QUESTION]).strip()
        tokens = tokenise(question)
        if self._is_named(question, tokens):
            return Taught.LEARNED
        if decision.status is Status.EXACT and not self._has(decision):
            return Taught.NOT_TAUGHT
        found = [_judge(tokens, name) for row in self._rows(tokens) for name in self._names[row]]
        return min(found, key=list(Taught).index, default=Taught.NOT_TAUGHT)

    def _is_named(self, question: str, tokens: list[str]) -> bool:
        """Report whether the question is a whole title, quotes it, or adds stop words alone."""
        inner = (
            span
            for span in islice(inner_spans(tokens), MAX_SPANS)
            if not STOP_WORDS.issuperset(span) or is_capitalised(span, question)
        )
        keys = (title_key(span) for span in (tokens, *quoted_spans(question), *inner) if span)
        return (not tokens and title_key([], question) in self._keys) or any(
            key in self._keys for key in keys
        )

    def _has(self, decision: Decision) -> bool:
        titles = (hit.product.title for hit in decision.hits)
        return any(title_key(tokenise(title), title) in self._keys for title in titles)

    def _rows(self, tokens: list[str]) -> list[int]:
        """Return the rows of titles with words of the question, or of which it has typos."""
        index, similar = self._completer.titles, self._completer.vocabulary.similar
        wanted = _content(tokens) or tokens
        rare = [token for token in wanted if index.frequency(token) < _RARE]
        wanted = [*wanted, *(known for token in rare for known in similar(token))]
        return index.rows(index.weights(wanted), _MAX_CANDIDATES) if wanted else []


@lru_cache(maxsize=1)
def taught_titles(titles: tuple[str, ...]) -> TaughtTitles:
    """Return these titles, ready to be matched."""
    return TaughtTitles(titles)


def _names(title: str) -> Iterator[tuple[str, ...]]:
    """Yield the words that name a title: all of it, or those before a subtitle."""
    tokens = tokenise(title)
    yield tuple(tokens)
    if main := main_title(title):
        yield main


def _judge(tokens: Sequence[str], name: Sequence[str]) -> Taught:
    """Judge the tokens of a question by those of one title."""
    extra, missing, edits = compare_tokens(tokens, name, lambda _token: 1)
    words = _content(name) or name
    found = len(words) - sum(word in words for word in missing)
    others = [word for word in extra if not _is_chatter(word)]
    if found < len(words):
        is_part = not others and (found >= _PART * len(words) or _begins(tokens, words))
        return Taught.UNSURE if is_part else Taught.NOT_TAUGHT
    first, last = _span(tokens, extra)
    if len(others) >= found or not set(others).isdisjoint(tokens[max(first - 1, 0) : last + 2]):
        return Taught.NOT_TAUGHT
    # "The stool in red" is another one, "my aunt asks for the stool" is not.
    is_doubtful = signs_of_format(others) or not set(others).isdisjoint(tokens[last:])
    return Taught.UNSURE if is_doubtful or edits > _MAX_TYPOS else Taught.LEARNED


@lru_cache(maxsize=1000)
def _is_chatter(word: str) -> bool:
    """Report whether a word is no part of a title, perhaps in another form or with a typo."""
    if word in STOP_WORDS or word in _ASIDES:
        return True
    if not STOP_WORDS.isdisjoint(word_forms(word)):
        return True
    return len(word) >= _MIN_TYPO and any(_is_slip(word, meant) for meant in _LONGER_STOP_WORDS)


def _is_slip(typed: str, meant: str) -> bool:
    """Report whether a letter is missing, doubled or swapped; another letter makes other words."""
    is_same_letters = len(typed) != len(meant) or sorted(typed) == sorted(meant)
    return is_same_letters and OSA.distance(typed, meant, score_cutoff=1) == 1


def _begins(tokens: Iterable[str], name: Sequence[str]) -> bool:
    asked = tuple(_content(tokens))
    return len(asked) > 1 and tuple(name[: len(asked)]) == asked


def _span(tokens: Sequence[str], extra: Sequence[str]) -> tuple[int, int]:
    """Return where the words that are not `extra` begin and end."""
    left = list(extra)
    places = []
    for place, token in enumerate(tokens):
        if token in left:
            left.remove(token)
        else:
            places.append(place)
    return places[0], places[-1]


def _content(tokens: Iterable[str]) -> list[str]:
    return [token for token in tokens if token not in STOP_WORDS]
