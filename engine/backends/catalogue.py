"""The catalogue as an engine: it quotes the record, or reports that nothing was found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from engine.backends.base import Engine, EngineConfig
from engine.core.i18n import tr
from engine.core.types import Chunk, Product, Request, Status, StopReason


class CatalogueConfig(EngineConfig, frozen=True, forbid_unknown_fields=True):
    """The values of the catalogue's own engine."""

    title: str = "Catalogue"


class CatalogueEngine(Engine):
    """Answer with the record in the request; no model, key or download is needed."""

    kind = "catalogue"
    config_type = CatalogueConfig
    verbatim = True

    def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Answer in one piece."""
        return counter_stream(request)

    def summary(self) -> str:
        """Return that it quotes the description."""
        return tr("the description itself; needs no model")

    def details(self) -> list[tuple[str, str]]:
        """Return that the engine works without a model."""
        model = tr("none: the record's own words")
        return [(tr("model"), model), (tr("address"), tr("this machine"))]


async def counter_stream(request: Request, *, for_model: bool = False) -> AsyncGenerator[Chunk]:
    """Quote the record, or reply that there is none; `for_model` adds that no model was asked."""
    if request.followup and request.decision.product:
        # The first follow-up loads the encoder, which takes tenths of a second.
        yield await asyncio.to_thread(answer_about, request, request.decision.product)
        return
    if request.decision.product and (quote := request.decision.product.description):
        yield Chunk(quote, StopReason.COMPLETE)
        return
    yield _said(_own_words(request), _why_not_asked(request) if for_model else "")


def _why_not_asked(request: Request) -> str:
    from engine.catalogue.language.small_talk import is_small_talk

    if is_small_talk(request.question):
        return tr("The model was not asked.")
    if request.decision.status is Status.SEVERAL:
        return tr("No single product matches, so the model was not asked.")
    return tr("Not in the catalogue, so the model was not asked.")


def _said(text: str, notice: str = "") -> Chunk:
    return Chunk(text, StopReason.COMPLETE, notice=notice, by_counter=True)


def _own_words(request: Request) -> str:
    from engine.catalogue.language import phrases  # the first frame waits for these modules
    from engine.catalogue.language.facts import NEVER, asked_for

    decision, question, language = request.decision, request.question, request.language
    if decision.product:
        return phrases.missing("no_description", decision.product, language)
    never = asked_for(question) & NEVER if request.followup else None
    if never:
        return phrases.never_known(never, language)
    courtesy = phrases.courtesy(question, language, decision.nearest)
    return courtesy or phrases.undecided(question, decision, language, asked=request.followup)


def answer_about(request: Request, product: Product) -> Chunk:
    """Answer a follow-up with sentences of the record, or say what the catalogue does not have."""
    from engine.catalogue.language import passages, phrases

    question, language = request.question, request.language
    if not product.description:
        return _said(phrases.missing("no_description", product, language))
    if passages.asks_for_all(question):
        return Chunk(product.description, StopReason.COMPLETE)
    found = passages.choose(question, product, passages.likeness)
    quote = " ".join(found.sentences)
    if found.sure:
        looked = phrases.looked_for(found.facts, language) if found.facts else ""
        return Chunk(quote, StopReason.COMPLETE, notice=looked)
    if found.never:
        return _said(phrases.never_known(found.never, language))
    if found.in_title:
        return _said(phrases.missing("in_title", product, language))
    return _said(phrases.guess(product, found.sentences, language))
