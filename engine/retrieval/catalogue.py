"""The embedded catalogue: opens an index folder and says which product a question means."""

from __future__ import annotations

from pathlib import Path

from engine import manifest
from engine.errors import CatalogueError, DataError
from engine.retrieval import layout
from engine.retrieval.decide import Decider
from engine.retrieval.folding import FOLD_VERSION
from engine.retrieval.records import Records
from engine.retrieval.search import Vocabulary, Words
from engine.types import Decision, Product


class Catalogue:
    """An open index. Safe to use from several threads; any number of processes may read one."""

    def __init__(self, folder: Path) -> None:
        """Use `Catalogue.open`."""
        self.folder = folder
        self._records = Records(folder)
        self._decider = Decider(
            self._records,
            Words(folder / layout.TITLES),
            Words(folder / layout.BODIES),
            Vocabulary(folder / layout.WORDS),
        )

    @classmethod
    def open(cls, folder: Path) -> Catalogue:
        """The catalogue in `folder`. Raises CatalogueError with the command that mends it."""
        _check(folder)
        try:
            return cls(folder)
        except CatalogueError as error:
            raise CatalogueError(
                f"The catalogue in {folder} is damaged: {error.message}", _remedy(folder)
            ) from error

    def find(self, question: str) -> Decision:
        """What the catalogue makes of `question`. Raises CatalogueError if it cannot be read."""
        return self._decider.decide(question)

    def get(self, uid: str) -> Product | None:
        """The product with this number, if there is one."""
        found = self._records.by_uid([uid])
        return found[0] if found else None

    def __len__(self) -> int:
        return self._records.count

    def close(self) -> None:
        """Close the files. Safe to call again."""
        self._records.close()


def _check(folder: Path) -> None:
    try:
        made = manifest.read(folder)
    except DataError as error:
        raise CatalogueError(f"There is no catalogue in {folder}.", _remedy(folder)) from error
    if made.kind != layout.KIND:
        raise CatalogueError(f"{folder} holds a {made.kind}, no catalogue.", _remedy(folder))
    if made.version != layout.INDEX_VERSION or made.settings.get("fold_version") != FOLD_VERSION:
        raise CatalogueError(
            f"The catalogue in {folder} was built by another version of Balcão.", _remedy(folder)
        )


def _remedy(folder: Path) -> str:
    return f"Build it: balcao index trn.json.gz --out {folder}"
