"""The catalogue as an engine: answers with the record's own words, or says that it has none."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from engine.backends.excerpts_part import bearing_on
from engine.catalogue import phrases
from engine.core.i18n import tr
from engine.core.types import (
    Availability,
    Chunk,
    EngineFacts,
    EngineInfo,
    Progress,
    Request,
    StopReason,
)


class CatalogueEngine:
    """Needs no model, key or download. What it answers from is in the request's decision."""

    def __init__(self, engine_id: str, title: str) -> None:
        self._info = EngineInfo(engine_id, title, "catalogue")

    @property
    def info(self) -> EngineInfo:
        """Who this is."""
        return self._info

    @property
    def loaded(self) -> bool:
        """Always: the assistant has the catalogue open."""
        return True

    def availability(self) -> Availability:
        """Always ready."""
        return Availability(ready=True)

    def facts(self) -> EngineFacts:
        """It is made of nothing but the catalogue."""
        return EngineFacts()

    async def load(self) -> AsyncGenerator[Progress]:
        """Nothing to load."""
        yield Progress(tr("ready"), 1.0)

    async def unload(self) -> None:
        """Nothing to give back."""

    def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """The answer, in one piece: it is there at once."""
        return counter_stream(request)


async def counter_stream(request: Request, *, for_model: bool = False) -> AsyncGenerator[Chunk]:
    """What the counter answers from the request's decision: a record's words, or its own.

    `for_model`: in place of a model, whose name stands under the answer, so that it is told.
    """
    quote = _quote(request)
    if quote:
        yield Chunk(quote, StopReason.COMPLETE)
    else:
        told = tr("Said by the counter: the model has no record to answer from, and was not asked.")
        yield Chunk(
            _own_words(request),
            StopReason.COMPLETE,
            notice=told if for_model else "",
            by_counter=True,
        )


def _quote(request: Request) -> str:
    """The record's words that answer, or nothing where there are none."""
    product = request.decision.product
    if product is None:
        return ""
    if request.followup:
        return bearing_on(request.question, product.description)
    return product.description


def _own_words(request: Request) -> str:
    product, language = request.decision.product, request.language
    if product is None:
        courtesy = phrases.courtesy(request.question, language)
        return courtesy or phrases.undecided(request.decision, language)
    if not product.description:
        return phrases.no_description(product, language)
    return phrases.not_said(product, language)
