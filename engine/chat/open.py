"""From settings to an open counter: the catalogue, the conversations, the assistant over both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.backends.registry import Registry
from engine.catalogue import index as indexing
from engine.catalogue.catalogue import Catalogue, Retriever
from engine.catalogue.postgres import PostgresCatalogue, is_address
from engine.chat.answer import Assistant
from engine.config import paths
from engine.config.settings import Settings
from engine.core.errors import StoreError
from engine.core.types import Conversation, Problem
from engine.store.conversations import ConversationStore
from engine.store.search import last_questions


@dataclass(frozen=True, slots=True)
class Counter:
    """An open counter; `not_saving` says why conversations are not kept, if they are not."""

    assistant: Assistant
    catalogue: Retriever
    not_saving: Problem | None = None

    def last_conversation(self) -> Conversation | None:
        """The conversation that was spoken in last. Raises StoreError."""
        store = self.assistant.store
        listed = store.latest(limit=1) if store else []
        return store.open(listed[0].id) if store and listed else None

    def last_questions(self) -> list[str]:
        """What was asked last in any conversation, the latest last."""
        return last_questions(paths.conversations_file()) if self.assistant.store else []

    async def close(self) -> None:
        """Unload the engines and close the files."""
        await self.assistant.registry.close()
        self.catalogue.close()
        if self.assistant.store:
            self.assistant.store.close()


def open_catalogue(settings: Settings) -> Retriever:
    """The catalogue that the settings name; the sample is built first if it is not there.

    Raises CatalogueError, DataError.
    """
    if settings.catalogue is None:
        return Catalogue.open(indexing.ensure_sample())
    if is_address(settings.catalogue):
        return PostgresCatalogue(settings.catalogue)
    return Catalogue.open(Path(settings.catalogue).expanduser())


def open_counter(settings: Settings) -> Counter:
    """Everything that a chat needs. Conversations that cannot be kept do not stop it.

    Raises CatalogueError, DataError.
    """
    catalogue = open_catalogue(settings)
    registry = Registry(settings)
    try:
        store = ConversationStore(paths.conversations_file())
    except StoreError as error:
        return Counter(Assistant(registry, catalogue), catalogue, error.problem)
    return Counter(Assistant(registry, catalogue, store), catalogue, store.read_only)
