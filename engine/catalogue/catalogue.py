"""The embedded catalogue: open an index folder and find the product that a question means."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Protocol

from engine.catalogue import records
from engine.catalogue.browse import Browser, Listing
from engine.catalogue.complete import Completer
from engine.catalogue.confidence import DEFAULT, Thresholds
from engine.catalogue.decide import MAX_HITS, Decider
from engine.catalogue.rank import MeaningIndex, Ranker
from engine.catalogue.records import SqliteProducts
from engine.catalogue.related import RelatedProducts
from engine.catalogue.search import TantivyIndex, TantivyVocabulary, open_index
from engine.core.types import Completion, Decision, Hit, Product

_EXAMPLE_ROWS = 20
_SHORT = 50
"""Characters of a title that is an example."""


class Retriever(Protocol):
    """An open catalogue, embedded or on a server. Safe to use from several threads."""

    def find(self, question: str) -> Decision:
        """Decide which products `question` means. Raise CatalogueError if reading fails."""

    def named(self, question: str) -> Decision:
        """Decide by a uid or a whole title in `question` alone, faster than `find` where it can."""
        return self.find(question)

    def get(self, uid: str) -> Product | None:
        """Return the product with this uid, if there is one."""

    def related(self, uid: str, limit: int = 10) -> tuple[tuple[str, str], ...]:
        """Return uid and title of related products, if known; the catalogue may not have them."""
        del uid, limit
        return ()

    def similar(self, product: Product, limit: int = MAX_HITS) -> tuple[Hit, ...]:
        """Return the products that are most like `product`, best first."""
        del product, limit
        return ()

    def described(self, text: str, limit: int = MAX_HITS) -> Sequence[Product]:
        """Return the products whose descriptions share the rarest words of `text`, best first."""
        del text, limit
        return ()

    def complete(self, text: str, limit: int = MAX_HITS) -> tuple[Completion, ...]:
        """Return titles that `text` may become, the likeliest first. Called for every key."""
        del text, limit
        return ()

    def browse(self, text: str = "", start: int = 0, limit: int = 100) -> Listing:
        """List the products from `start`, or those that match `text`, as far as it can."""
        del text, start, limit
        return Listing()

    def examples(self, limit: int = 2) -> tuple[Product, ...]:
        """Return a few products to ask for, if they are at hand."""
        del limit
        return ()

    def __len__(self) -> int:
        """Count the products."""

    def close(self) -> None:
        """Release files and memory. Safe to call more than once."""


class Catalogue:
    """A Retriever over an index folder. Any number of processes may open the same one."""

    def __init__(self, folder: Path, thresholds: Thresholds = DEFAULT) -> None:
        self.folder = folder
        self._products = SqliteProducts(folder)
        self._count = self._products.count()
        self._related = RelatedProducts(folder)
        titles = TantivyIndex(*open_index(folder / records.TITLES))
        bodies = TantivyIndex(*open_index(folder / records.BODIES))
        vocabulary = TantivyVocabulary(*open_index(folder / records.VOCABULARY))
        self._completer = completer = Completer(titles, vocabulary, self._products.titles, bodies)
        self._browser = Browser(self._products, completer, bodies)
        ranker = Ranker(
            self._products,
            titles,
            bodies,
            vocabulary.similar,
            completer.starting_with,
            cache(partial(_open_meaning, folder)),
        )
        self._decider = Decider(ranker, completer.rows, thresholds)

    @classmethod
    def open(cls, folder: Path, thresholds: Thresholds = DEFAULT) -> Catalogue:
        """Open the catalogue in `folder`. A CatalogueError names the command that builds it."""
        with records.reading(folder):
            records.read_manifest(folder)
            return cls(folder, thresholds)

    def find(self, question: str) -> Decision:
        with records.reading(self.folder):
            return self._decider.decide(question)

    def named(self, question: str) -> Decision:
        with records.reading(self.folder):
            return self._decider.named(question)

    def get(self, uid: str) -> Product | None:
        with records.reading(self.folder):
            found = self._products.by_uid([uid])
        return found[0] if found else None

    def related(self, uid: str, limit: int = 10) -> tuple[tuple[str, str], ...]:
        with records.reading(self.folder):
            return self._related.find(uid, limit)

    def similar(self, product: Product, limit: int = MAX_HITS) -> tuple[Hit, ...]:
        with records.reading(self.folder):
            return self._decider.alike(product, limit)

    def described(self, text: str, limit: int = MAX_HITS) -> Sequence[Product]:
        with records.reading(self.folder):
            return self._decider.ranker.described(text, limit)

    def complete(self, text: str, limit: int = MAX_HITS) -> tuple[Completion, ...]:
        with records.reading(self.folder):
            return self._completer.complete(text, limit)

    def browse(self, text: str = "", start: int = 0, limit: int = 100) -> Listing:
        with records.reading(self.folder):
            return self._browser.page(text, start, limit)

    def examples(self, limit: int = 2) -> tuple[Product, ...]:
        """Return products from all over the catalogue whose titles fit on a line."""
        rows = [place * self._count // _EXAMPLE_ROWS for place in range(_EXAMPLE_ROWS)]
        with records.reading(self.folder):
            found = self._products.by_row(rows)
        named = [one for one in found.values() if one.description and 0 < len(one.title) <= _SHORT]
        return tuple(named[:limit])

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        self._products.close()
        self._related.close()


def _open_meaning(folder: Path) -> MeaningIndex | None:
    from engine.catalogue.vectors.meaning import Meaning  # imports numpy

    return Meaning.open(folder)
