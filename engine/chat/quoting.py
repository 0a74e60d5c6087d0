"""Answer a follow-up question with sentences of the record: the model chooses, the program prints.

The search for sentences decides where it is sure, because it chooses better than a small model
(docs/measurements/followups.md). Where it is not, the model is asked for the number of a sentence,
or for scores to add to the search's: a model that rates chooses the second sentence only.
Nothing that it writes is printed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from math import inf, isfinite

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from engine.backends.base import Engine
from engine.backends.catalogue import answer_about
from engine.catalogue.language import passages, phrases
from engine.core.files import UNDECODABLE
from engine.core.types import Chunk, Hit, Product, Request, StopReason
from engine.prompts import choice_messages

_WEIGHT = 0.1
"""What the logarithm of a question's probability counts beside the search's scores."""
_CLOSE = 0.4
"""How far below the search's only sentence, by both together, a second one may be."""
_MORE = 200
"""Characters of a reply that are read beyond the length of the longest sentence."""
_THINK, _THOUGHT = "<think>", "</think>"
_NUMBER = re.compile(r'"sentence"\s*:\s*(-?\d{1,3})\b|^[^\w-]*(-?\d{1,3})\W*$')


def with_choices(request: Request, engine: Engine) -> Request:
    """Return a request for the choice of a sentence; the same one if the search decides."""
    product, question = request.decision.product, request.question
    if product is None or not product.description or passages.asks_for_all(question):
        return request
    found = passages.choose(question, product, passages.likeness)
    is_doubtful = engine.rates_choices and len(found.sentences) == 1 < len(found.candidates)
    decides = _is_sure(found, engine) and not is_doubtful
    if found.never or found.in_title or decides or not found.candidates:
        return request
    choices = tuple(sentence for sentence, _ in found.candidates)
    messages = choice_messages(question, product.title, choices)
    return replace(request, messages=messages, choices=choices, temperature=0.0)


def _is_sure(found: passages.Passages, engine: Engine) -> bool:
    return found.sure and found.score >= engine.search_is_sure


async def chosen(engine: Engine, request: Request, product: Product) -> AsyncGenerator[Chunk]:
    """Yield what the model chooses; without a valid choice, what the search found."""
    reply, last, most = "", Chunk(), max(map(len, request.choices)) + _MORE
    async with aclosing(engine.stream(request)) as chunks:
        async for chunk in chunks:
            reply, last = reply + chunk.text, chunk
            if len(_said(reply)) > most:
                break
    answer = _answer(_said(reply), request, product, engine)
    notice = f"{answer.notice} {last.notice}".strip()
    yield replace(answer, tokens=last.tokens, notice=notice)


def _answer(reply: str, request: Request, product: Product, engine: Engine) -> Chunk:
    scores, number = read_scores(reply, request.choices), read_choice(reply, request.choices)
    if scores:
        return _best(scores, request, product, engine)
    if number is None:
        return answer_about(request, product)
    if number:
        return Chunk(request.choices[number - 1], StopReason.COMPLETE)
    return _guess((), request, product)


def _best(scores: Sequence[float], request: Request, product: Product, engine: Engine) -> Chunk:
    """Answer with the search's best sentence and the best other one by search and model."""
    found = passages.choose(request.question, product, passages.likeness)
    own = [score for _, score in found.candidates]
    rated = [alone + _WEIGHT * score for alone, score in zip(own, scores, strict=True)]
    first = own.index(max(own))
    least = rated[first] - _CLOSE if _is_sure(found, engine) else -inf
    others = [at for at, score in enumerate(rated) if at != first and score >= least]
    shown = {first, *sorted(others, key=rated.__getitem__)[-1:]}
    sentences = [found.candidates[at][0] for at in sorted(shown)]
    if found.sure:
        return Chunk(" ".join(sentences), StopReason.COMPLETE)
    return _guess(sentences, request, product)


def _guess(sentences: Sequence[str], request: Request, product: Product) -> Chunk:
    text = phrases.guess(product, sentences, request.language)
    return Chunk(text, StopReason.COMPLETE, by_counter=True)


def read_scores(reply: str, choices: Sequence[str]) -> list[float]:
    """Return the scores of all choices in a reply; empty if it has none."""
    try:
        scores = msgspec.json.decode(reply, type=list[float])
    except UNDECODABLE:
        return []
    return scores if len(scores) == len(choices) and all(map(isfinite, scores)) else []


def read_choice(reply: str, choices: Sequence[str]) -> int | None:
    """Return the number that a model has chosen, or of the one sentence that it has written.

    None if it is neither: a server may ignore what it is asked to reply with.
    """
    if found := _NUMBER.search(reply):
        number = int(found[1] or found[2])
        return number if 0 <= number <= len(choices) else None
    words = " ".join(reply.split())
    written = [at for at, one in enumerate(choices, 1) if " ".join(one.split()) in words]
    return written[0] if len(written) == 1 else None


def _said(reply: str) -> str:
    """Return a reply without the thinking that some models write as text."""
    said = reply.rpartition(_THOUGHT)[2].strip()
    return "" if said.startswith(_THINK) else said


def quoted_spans(text: str, description: str) -> tuple[tuple[int, int], ...]:
    """Return where a description has the sentences that make up a text; empty if any other does."""
    spans, rest = [], text
    for start, end in passages.sentence_spans(description):
        if rest and rest.startswith(description[start:end]):
            spans.append((start, end))
            rest = rest[end - start :].lstrip()
    return () if rest else tuple(spans)


def with_quotes(hits: tuple[Hit, ...], text: str) -> tuple[Hit, ...]:
    """Note in the first hit which of its sentences a text quotes, if it is an excerpt."""
    spans = quoted_spans(text, hits[0].product.description)
    return (replace(hits[0], quoted=spans or UNSET), *hits[1:])
