"""Name the columns of a file that hold the uid, the title and the content of a product."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from hashlib import blake2b
from pathlib import Path

from engine.core.errors import DataError, UsageError
from engine.core.i18n import tr
from engine.core.text import clip, did_you_mean, one_line

_SHOWN = 200
"""Characters of a list of columns."""
FIELDS = ("uid", "title", "content")

_ALIASES = {
    "uid": "uid|id|sku|asin|parentasin|productid|itemid|articleid|ean|gtin|isbn|isbn13|code|handle"
    "|codigo|idproduto|ref|reference",
    "title": "title|producttitle|name|productname|product|itemname|titulo|nome|nomedoproduto"
    "|produto",
    "content": "content|description|productdescription|longdescription|desc|descricao|text|body"
    "|bodyhtml|texto|conteudo|details|summary|about",
}
"""Folded names of a column for each field, the likeliest first."""


def parse_columns(text: str) -> dict[str, str]:
    """Parse "title=name,content=description": the column of each field that is named."""
    chosen: dict[str, str] = {}
    for part in text.split(","):
        field, sign, column = (piece.strip() for piece in part.partition("="))
        if field not in FIELDS:
            raise UsageError(
                tr("--columns has no field “{field}”.", field=field) + did_you_mean(field, FIELDS),
                tr("The fields are {fields}: --columns title=name", fields=", ".join(FIELDS)),
            )
        if not sign or not column:
            raise UsageError(
                tr("--columns names no column for {field}.", field=field),
                tr("For example: --columns title=name,content=description"),
            )
        chosen[field] = column
    return chosen


def choose_columns(
    names: Collection[str], given: Mapping[str, str], source: Path
) -> dict[str, str]:
    """Return the column of each field: the `given` one, or one whose name is obvious.

    Without a column for the uid, it is left out. Raise DataError if another field has none.
    """
    chosen = {}
    for field in FIELDS:
        wanted = given.get(field)
        column = _obvious(field, names) if wanted is None else _named(wanted, names, source)
        if column is None and field != "uid":
            raise _no_column(field, names, source)
        if column is not None:
            chosen[field] = column
    return chosen


def has_obvious_columns(names: Collection[str]) -> bool:
    """Report whether `names`, perhaps of a header, name a title and a content."""
    return all(_obvious(field, names) is not None for field in ("title", "content"))


def _obvious(field: str, names: Collection[str]) -> str | None:
    if field in names:
        return field
    folded = {fold_name(name): name for name in reversed(list(names))}
    return next((folded[alias] for alias in _ALIASES[field].split("|") if alias in folded), None)


def _named(wanted: str, names: Collection[str], source: Path) -> str:
    if wanted in names:
        return wanted
    same = [name for name in names if fold_name(name) == fold_name(wanted)]
    if len(same) == 1:
        return same[0]
    raise DataError(
        tr("{source} has no column “{column}”.", source=source, column=wanted)
        + did_you_mean(wanted, names),
        tr("Its columns are {names}.", names=_listed(names)),
    )


def _no_column(field: str, names: Collection[str], source: Path) -> DataError:
    what = tr("title") if field == "title" else tr("description")
    return DataError(
        tr("{source}: no column is obviously the {what}.", source=source, what=what),
        tr(
            "Its columns are {names}. Name it: --columns {field}=COLUMN",
            names=_listed(names),
            field=field,
        ),
    )


def _listed(names: Collection[str]) -> str:
    return clip(", ".join(map(one_line, names)), _SHOWN)


def fold_name(name: str) -> str:
    """Return the letters and digits of a column's name, by which it is recognised."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in letters if letter.isalnum())


class UidMaker:
    """Make uids for products without one: by the title, or where it is repeated by both texts."""

    def __init__(self) -> None:
        self._first: dict[bytes, bytes] = {}
        """For each title, both texts of its first product."""

    def make(self, title: str, content: str) -> str:
        """Return the same uid for the same product, also in a file with more of them."""
        title_digest, both = _digest(title), _digest(f"{title}\0{content}")
        is_first = self._first.setdefault(title_digest, both) == both
        return (title_digest if is_first else both).hex()


def _digest(text: str) -> bytes:
    return blake2b(text.encode(errors="replace"), digest_size=8).digest()
