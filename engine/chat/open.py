"""Open the catalogue, the engines and the conversation store from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from engine.backends.base import Engine
from engine.backends.registry import Registry
from engine.catalogue import index as indexing
from engine.catalogue.catalogue import Catalogue, Retriever
from engine.catalogue.complete import completer_of
from engine.catalogue.postgres import PostgresCatalogue, is_address
from engine.chat.answer import PendingAnswer
from engine.chat.recorder import Recorder
from engine.config import paths
from engine.config.settings import Settings
from engine.core.errors import StoreError
from engine.core.i18n import tr
from engine.core.process import runnable
from engine.core.types import Availability, Completion, Conversation, Mode, Problem, Status, Turn
from engine.store.conversations import ConversationStore
from engine.store.search import last_questions

_SUGGESTED = 20
_EXAMPLES, _SHORT = 100, 45
"""Titles that are tried as an example, and the letters that an example may have."""


@dataclass(frozen=True, slots=True)
class Resources:
    """The engines, catalogue and store of a chat. `not_saving` says why nothing is saved."""

    registry: Registry
    catalogue: Retriever
    store: ConversationStore | None = None
    not_saving: Problem | None = None

    def pending_answer(
        self, question: str, engine_id: str, mode: Mode, earlier: Sequence[Turn]
    ) -> PendingAnswer:
        """Prepare an answer. Raises UsageError for an unknown engine."""
        notice = self.elsewhere(engine_id)
        return PendingAnswer(
            self.registry, self.catalogue, question, engine_id, mode, earlier, notice=notice
        )

    def elsewhere(self, engine_id: str) -> str:
        """Return a sentence if an engine was trained on another catalogue, with how to open it."""
        engine = self.registry.get(engine_id)
        own = engine.own_catalogue()
        here = self.catalogue.folder if isinstance(self.catalogue, Catalogue) else None
        if not own or not (folder := paths.expand(own)).is_dir():
            return ""
        if here and folder.resolve() == here.resolve():
            return ""
        values = {"title": engine.info.title, "engine_id": engine_id}
        return runnable(
            tr("{title} knows another catalogue: balcao --engine {engine_id} --memory", **values)
        )

    def recorder(
        self, conversation: Conversation, turn: Turn, *, regenerated: bool = False
    ) -> Recorder:
        """Prepare to save a turn."""
        return Recorder(self.store, conversation, turn, regenerated=regenerated)

    def complete(self, text: str, from_memory: Engine | None = None) -> tuple[Completion, ...]:
        """Return titles that `text` may become, of those that the engine knows if it has a list.

        May take a second. Raises CatalogueError.
        """
        trained = from_memory.trained_on() if from_memory else None
        if trained is None:
            return self.catalogue.complete(text)
        return completer_of(trained.titles).complete(text, _SUGGESTED)

    def trained_titles(self, count: int, engine_id: str) -> list[str]:
        """Return short titles of the catalogue that that engine, or else another, was trained on.

        Fewer than `count` are none.
        """
        ids = sorted(self.registry.ids, key=lambda one: one != engine_id)
        engines = (self.registry.get(one) for one in ids)
        for trained in filter(None, (engine.trained_on() for engine in engines)):
            short = (title for title in trained.titles[:_EXAMPLES] if len(title) <= _SHORT)
            found = (one for one in short if self.catalogue.named(one).status is Status.EXACT)
            if len(titles := list(islice(found, count))) == count:
                return titles
        return []

    async def availability(self) -> dict[str, Availability]:
        """Look up which engines are ready, by id."""
        return {
            engine_id: await asyncio.to_thread(self.registry.get(engine_id).availability)
            for engine_id in self.registry.ids
        }

    def last_conversation(self) -> Conversation | None:
        """Return the conversation of the latest question. Raises StoreError."""
        latest = self.store.latest(limit=1) if self.store else []
        return self.store.open(latest[0].id) if self.store and latest else None

    def last_questions(self) -> list[str]:
        """Return the latest questions of all conversations, the latest last."""
        return last_questions(paths.conversations_file()) if self.store else []

    async def close(self) -> None:
        """Unload the engines and close the files."""
        await self.registry.close()
        self.catalogue.close()
        if self.store:
            self.store.close()


def open_catalogue(settings: Settings) -> Retriever:
    """Open the catalogue named in the settings, building the sample first if necessary."""
    if settings.catalogue is None:
        return Catalogue.open(indexing.ensure_sample())
    if is_address(settings.catalogue):
        return PostgresCatalogue(settings.catalogue)
    return Catalogue.open(paths.expand(settings.catalogue))


def open_resources(settings: Settings, registry: Registry | None = None) -> Resources:
    """Open everything a chat needs; an unusable store does not prevent it."""
    catalogue = open_catalogue(settings)
    registry = registry or Registry(settings)
    try:
        store = ConversationStore(paths.conversations_file())
    except StoreError as error:
        return Resources(registry, catalogue, not_saving=error.problem)
    return Resources(registry, catalogue, store, store.read_only)
