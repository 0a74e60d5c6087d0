"""The embedded catalogue: opens an index folder and says which product a question means."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from engine.catalogue import records as layout
from engine.catalogue.complete import Completer
from engine.catalogue.decide import DEFAULT, Decider, Thresholds
from engine.catalogue.records import Records
from engine.catalogue.related import Related
from engine.catalogue.search import Vocabulary, Words
from engine.core.errors import CatalogueError
from engine.core.i18n import tr
from engine.core.types import Completion, Decision, Product


class Retriever(Protocol):
    """Finds the product that a question means. Safe to call from several threads."""

    def find(self, question: str) -> Decision:
        """What the catalogue makes of `question`. Raises CatalogueError if it cannot be asked."""
        ...

    def get(self, uid: str) -> Product | None:
        """The product with this number, if there is one."""
        ...

    def related(self, uid: str, limit: int = 10) -> tuple[tuple[str, str], ...]:
        """(uid, title) of at most `limit` products that go with this one, where that is known."""
        ...

    def complete(self, typed: str, limit: int = 20) -> tuple[Completion, ...]:
        """Titles that `typed` may become; none where they cannot be had at every key."""
        ...

    def __len__(self) -> int:
        """How many products there are."""
        ...

    def close(self) -> None:
        """Give back files and memory. Safe to call again."""
        ...


class Catalogue:
    """An open index. Safe to use from several threads; any number of processes may read one."""

    def __init__(self, folder: Path, thresholds: Thresholds = DEFAULT) -> None:
        """Use `Catalogue.open`."""
        self.folder = folder
        self._records = Records(folder)
        self._related = Related(folder)
        titles, vocabulary = Words(folder / layout.TITLES), Vocabulary(folder / layout.WORDS)
        self._completer = Completer(titles, vocabulary, self._records)
        self._decider = Decider(
            self._records, titles, Words(folder / layout.BODIES), vocabulary, thresholds
        )

    @classmethod
    def open(cls, folder: Path, thresholds: Thresholds = DEFAULT) -> Catalogue:
        """The catalogue in `folder`. Raises CatalogueError with the command that mends it."""
        layout.readable(folder)
        try:
            return cls(folder, thresholds)
        except CatalogueError as error:
            raise CatalogueError(
                tr("The catalogue in {folder} is damaged: {why}", folder=folder, why=error.message),
                layout.remedy(folder),
            ) from error

    def find(self, question: str) -> Decision:
        """What the catalogue makes of `question`. Raises CatalogueError if it cannot be read."""
        return self._decider.decide(question)

    def get(self, uid: str) -> Product | None:
        """The product with this number, if there is one."""
        found = self._records.by_uid([uid])
        return found[0] if found else None

    def related(self, uid: str, limit: int = 10) -> tuple[tuple[str, str], ...]:
        """(uid, title) of products that go with this one; none where the data set has no names.

        They need not be in the catalogue themselves.
        """
        return self._related.of(uid, limit)

    def complete(self, typed: str, limit: int = 20) -> tuple[Completion, ...]:
        """Titles that `typed` may become, the likeliest first; quick enough for every key."""
        return self._completer.complete(typed, limit)

    def __len__(self) -> int:
        return self._records.count()

    def close(self) -> None:
        """Close the files. Safe to call again."""
        self._records.close()
        self._related.close()
