"""What an index folder holds, and how its text is cut into words; shared by build and search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.catalogue.folding import FOLD_VERSION
from engine.core import manifest_part as manifest
from engine.core.errors import CatalogueError, DataError
from engine.core.i18n import tr
from engine.core.manifest_part import Manifest

KIND = "catalogue"
INDEX_VERSION = 2
"""Raise it with any change that makes an index of before unreadable."""
TITLES = "titles"
BODIES = "bodies"
WORDS = "words"
TOKENISER = f"engine.retrieval.folding version {FOLD_VERSION}, cut at blanks"
_BLANKS = "whitespace"


def readable(folder: Path) -> Manifest:
    """The manifest of the catalogue in `folder`.

    Raises CatalogueError, with the command that mends it, where there is no catalogue or none that
    this program can read.
    """
    try:
        made = manifest.read(folder)
    except DataError as error:
        raise CatalogueError(
            tr("There is no catalogue in {folder}.").format(folder=folder), remedy(folder)
        ) from error
    if made.kind != KIND:
        raise CatalogueError(
            tr("{folder} holds a {kind}, no catalogue.").format(folder=folder, kind=made.kind),
            remedy(folder),
        )
    if made.version != INDEX_VERSION or made.settings.get("fold_version") != FOLD_VERSION:
        raise CatalogueError(
            tr("The catalogue in {folder} was built by another version of Balcão.").format(
                folder=folder
            ),
            remedy(folder),
        )
    return made


def remedy(folder: Path) -> str:
    """The command that builds the catalogue in `folder` anew."""
    return tr("Build it: balcao index trn.json.gz --out {folder}").format(folder=folder)


def title_schema() -> Any:  # noqa: ANN401 - tantivy is imported late
    """Titles by word: `row` is the number of the product in the records."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("row", fast=True, indexed=True)
    builder.add_text_field("words", tokenizer_name=_BLANKS, index_option="freq")
    return builder.build()


def body_schema() -> Any:  # noqa: ANN401 - tantivy is imported late
    """Descriptions by word, without counts or places: what matters is which words there are."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("row", fast=True, indexed=True)
    builder.add_text_field("words", tokenizer_name=_BLANKS, index_option="basic")
    return builder.build()


def word_schema() -> Any:  # noqa: ANN401 - tantivy is imported late
    """Every word of a title once, to find the neighbours of a mistyped one."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("word", tokenizer_name="raw", index_option="basic", stored=True)
    return builder.build()


def with_tokeniser(index: Any) -> Any:  # noqa: ANN401 - tantivy is imported late
    """`index` with the tokeniser that the schemas name."""
    import tantivy

    analyzer = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
    index.register_tokenizer(_BLANKS, analyzer)
    return index
