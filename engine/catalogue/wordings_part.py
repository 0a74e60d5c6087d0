"""Training rows as bytes: what `engine.prompts.training_messages` gives, encoded once per wording.

Building and encoding the messages anew for each of 1.4 million rows would take three times as long.
"""

from __future__ import annotations

import zlib

import msgspec

from engine.core.types import Product
from engine.prompts import QUESTION_FORMS, training_messages

MOST_FORMS = 2 * len(QUESTION_FORMS)
"""Each wording once with the title as it is, and once in lower case, as people type."""

encode = msgspec.json.Encoder().encode
_TITLE = "\x00title\x00"
_DESCRIPTION = "\x00description\x00"


class Wordings:
    """Writes `forms` rows for a product, each with another of the wordings."""

    def __init__(self, forms: int) -> None:
        self._forms = forms
        self._templates = [_template(form) for form in QUESTION_FORMS]
        self._grounded = [_grounded_template(form) for form in QUESTION_FORMS]

    def rows(self, uid: str, title: bytes, description: bytes) -> bytes:
        """The product's rows, one a line; `title` and `description` are given as JSON strings.

        The wordings follow from the number, so that over many products each is as frequent. When
        each has had its turn they come again, with the title in lower case.
        """
        first = zlib.crc32(uid.encode(errors="replace"))
        named, told = title[1:-1], description[1:-1]
        if self._forms == 1:
            start, middle, end = self._templates[first % len(self._templates)]
            return b"%b%b%b%b%b" % (start, named, middle, told, end)
        rows = []
        for turn in range(self._forms):
            if turn == len(self._templates):
                named = named.decode().lower().encode()
            start, middle, end = self._templates[(first + turn) % len(self._templates)]
            rows.append(start + named + middle + told + end)
        return b"".join(rows)

    def grounded_row(self, uid: str, title: bytes, description: bytes) -> bytes:
        """The product's row with its record before the question, in the number's first wording."""
        first = zlib.crc32(uid.encode(errors="replace"))
        start, record, question, middle, end = self._grounded[first % len(self._grounded)]
        named, told = title[1:-1], description[1:-1]
        return b"".join((start, named, record, told, question, named, middle, told, end))


def _template(form: str) -> tuple[bytes, bytes, bytes]:
    """The row's JSON before the title, between title and description, and after."""
    messages = training_messages(_TITLE, _DESCRIPTION, form)
    row = encode({"messages": messages})
    start, rest = row.split(encode(_TITLE)[1:-1])
    middle, end = rest.split(encode(_DESCRIPTION)[1:-1])
    return start, middle, end + b"\n"


def _grounded_template(form: str) -> tuple[bytes, ...]:
    """The row's JSON around title, description, title and description."""
    product = Product("", _TITLE, _DESCRIPTION)
    row = encode({"messages": training_messages(_TITLE, _DESCRIPTION, form, product)}) + b"\n"
    title, description = encode(_TITLE)[1:-1], encode(_DESCRIPTION)[1:-1]
    parts = [part for piece in row.split(title) for part in piece.split(description)]
    start, record, question, middle, end = parts
    return start, record, question, middle, end
