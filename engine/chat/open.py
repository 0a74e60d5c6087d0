"""Open the catalogue, the engines and the conversation store from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from engine.backends.registry import Registry
from engine.catalogue import index as indexing
from engine.catalogue.catalogue import Catalogue, Retriever
from engine.catalogue.postgres import PostgresCatalogue, is_address
from engine.chat.answer import PendingAnswer
from engine.chat.recorder import Recorder
from engine.config import paths
from engine.config.settings import Settings
from engine.core.errors import StoreError
from engine.core.types import Availability, Conversation, Mode, Problem, Turn
from engine.store.conversations import ConversationStore
from engine.store.search import last_questions


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
        return PendingAnswer(self.registry, self.catalogue, question, engine_id, mode, earlier)

    def recorder(
        self, conversation: Conversation, turn: Turn, *, regenerated: bool = False
    ) -> Recorder:
        """Prepare to save a turn."""
        return Recorder(self.store, conversation, turn, regenerated=regenerated)

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


def open_resources(settings: Settings) -> Resources:
    """Open everything a chat needs; an unusable store does not prevent it."""
    catalogue = open_catalogue(settings)
    registry = Registry(settings)
    try:
        store = ConversationStore(paths.conversations_file())
    except StoreError as error:
        return Resources(registry, catalogue, not_saving=error.problem)
    return Resources(registry, catalogue, store, store.read_only)
