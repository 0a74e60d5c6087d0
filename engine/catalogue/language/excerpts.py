"""Note in the hits of a list why they are in it: words near those of the question, or a sentence.

A product that was found by meaning has none of the question's words to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from engine.catalogue.folding import tokenise
from engine.catalogue.language.ages import Ages, asked_ages, fits
from engine.catalogue.language.passages import sentence_spans
from engine.catalogue.language.snippets import content_words
from engine.catalogue.rank import MeaningIndex, content_of
from engine.catalogue.records import BODY_LIMIT
from engine.core.types import Hit

_MOST_LIT = 8
_MOST_SENTENCES = 12


def with_excerpts(
    hits: Sequence[Hit], question: str, meaning: MeaningIndex | None
) -> tuple[Hit, ...]:
    """Note in each hit the words or the passage that a list should show of its description."""
    ages, own = asked_ages(question), content_words(question)
    near = _neighbours(question, meaning)
    noted = [_with_ages(hit, ages[0]) if ages else hit for hit in hits]
    noted = [hit if _is_noted(hit, own) else _with_near_words(hit, near) for hit in noted]
    unknown = [hit for hit in noted if not _is_noted(hit, own)]
    if not meaning or not unknown:
        return tuple(noted)
    found = dict(
        zip((hit.product.uid for hit in unknown), _by_sentence(unknown, question), strict=True)
    )
    return tuple(found.get(hit.product.uid, hit) for hit in noted)


def _is_noted(hit: Hit, own: frozenset[str]) -> bool:
    """Whether a hit needs no other passage; other editions are shown by their titles alone."""
    if hit.edition or hit.lit or hit.passage or not hit.product.description:
        return True
    return not own.isdisjoint(tokenise(hit.product.description))


def _neighbours(question: str, meaning: MeaningIndex | None) -> dict[str, float]:
    words = content_of(tokenise(question)) if meaning else []
    if meaning:
        meaning.prepare(words)
    return {other: near for word in words if meaning for other, near in meaning.neighbours(word)}


def _with_ages(hit: Hit, asked: Ages) -> Hit:
    """Note the sentence that states a fitting age."""
    starts = (start for start, text in _sentences(hit) if fits(asked, text))
    start = next(starts, 0)
    return replace(hit, passage=start) if start else hit


def _with_near_words(hit: Hit, near: dict[str, float]) -> Hit:
    known = near.keys() & tokenise(hit.product.description[:BODY_LIMIT])
    lit = sorted(known, key=lambda word: near[word], reverse=True)[:_MOST_LIT]
    return replace(hit, lit=tuple(lit)) if lit else hit


def _by_sentence(hits: Sequence[Hit], question: str) -> Iterator[Hit]:
    """Note in each hit the sentence that is nearest to the question."""
    from engine.catalogue.vectors.encoder import shared_encoder

    encoder = shared_encoder()
    asked = encoder.encode([question])[0]
    for hit in hits:
        sentences = list(_sentences(hit))
        alike = encoder.bags([text for _, text in sentences]) @ asked
        yield replace(hit, passage=sentences[int(alike.argmax())][0])


def _sentences(hit: Hit) -> Iterator[tuple[int, str]]:
    """Yield the first sentences of a description and where they begin."""
    text = hit.product.description[:BODY_LIMIT]
    for start, end in sentence_spans(text)[:_MOST_SENTENCES]:
        yield start, text[start:end]
