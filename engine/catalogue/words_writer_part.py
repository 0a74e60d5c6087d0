"""Writes the indexes of words with tantivy: titles, descriptions, and the vocabulary."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from engine.catalogue import layout_part as layout
from engine.core.errors import CatalogueError, why
from engine.core.i18n import tr

_HEAP = 200_000_000
"""Bytes for each writer: few, large segments, which need little merging."""
_SMALL_HEAP = 20_000_000


class WordsWriter:
    """One index of folded words by row, new or to be added to."""

    def __init__(self, folder: Path, schema: Any = None) -> None:  # noqa: ANN401 - imported late
        """With a schema the index is made new in `folder`, without one it is opened."""
        import tantivy

        self._document = tantivy.Document
        with _told():
            if schema is None:
                index = tantivy.Index.open(str(folder))
            else:
                folder.mkdir()
                index = tantivy.Index(schema, path=str(folder))
            self._index = layout.with_tokeniser(index)
            self._writer = self._index.writer(_HEAP if schema else _SMALL_HEAP, 1)

    def add(self, row: int, folded: str) -> None:
        """Add the folded words of one product."""
        with _told():
            self._writer.add_document(self._document(row=row, words=folded))

    def remove(self, rows: Iterable[int]) -> None:
        """Forget these rows."""
        with _told():
            for row in rows:
                self._writer.delete_documents_by_term("row", row)

    def commit(self) -> None:
        """Make what was done last: after a crash it is there, before it none of it."""
        with _told():
            self._writer.commit()

    def close(self) -> None:
        """Commit, and wait until the index is in its final shape."""
        with _told():
            self._writer.commit()
            self._writer.wait_merging_threads()

    def known(self, words: Iterable[str]) -> list[str]:
        """Those of `words` that were in the index when it was opened."""
        searcher = self._index.searcher()
        return [word for word in words if searcher.doc_freq("words", word)]

    def vocabulary(self) -> list[str]:
        """Every word there is."""
        with _told():
            self._index.reload()
            return [word for word, _ in self._index.searcher().terms_with_prefix("words", "")]


def write_vocabulary(folder: Path, words: Iterable[str]) -> None:
    """Make the vocabulary in `folder`, or add to it."""
    import tantivy

    with _told():
        if folder.exists():
            index = tantivy.Index.open(str(folder))
        else:
            folder.mkdir()
            index = tantivy.Index(layout.word_schema(), path=str(folder))
        writer = index.writer(_HEAP, 1)
        for word in words:
            writer.add_document(tantivy.Document(word=word))
        writer.commit()
        writer.wait_merging_threads()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise CatalogueError(
            tr("The index cannot be written: {error}.").format(error=why(error))
        ) from error
