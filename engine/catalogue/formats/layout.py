"""Recognise JSON lines, a JSON array, CSV and TSV by their beginning, and split the last three."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import msgspec

from engine.catalogue.formats.columns import has_obvious_columns
from engine.core.errors import DataError
from engine.core.files import UNDECODABLE
from engine.core.i18n import tr

BOM = codecs.BOM_UTF8
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_TABLES = frozenset((".csv", ".tsv", ".tab"))
_DELIMITERS = ",;\t|"
_MAX_VALUE = 16 << 20
"""Characters. The longest known description has 200,000; a longer value is a damaged file."""
_SAMPLED_LINES = 50
_NAMES_DELIMITER = re.compile(r"sep=.?\s*$")
"""The line with which Excel says how a file is separated."""
_BLANKS = re.compile(r"\s*")


class Layout(Enum):
    """How the rows of a file are written."""

    LINES = "lines"
    ARRAY = "array"
    TABLE = "table"


def find_layout(head: bytes, source: Path, *, named: bool = False) -> Layout:
    """Recognise the layout by the beginning of a file; `named` says that its columns are named."""
    head = head.removeprefix(BOM)
    start = head.lstrip()[:2]
    if start[:1] == b"[" and _is_array(head):
        return Layout.ARRAY
    if start[:1] == b"{" or sample_objects(head):
        return Layout.LINES
    if b"\0" in head:
        raise _not_text(head, source)
    is_table = PurePath(source.name.removesuffix(".gz")).suffix.lower() in _TABLES
    header = split_header(head, source)
    if is_table or has_obvious_columns(header) or (named and len(header) > 1):
        return Layout.TABLE
    return Layout.LINES


def _not_text(head: bytes, source: Path) -> DataError:
    if head.startswith(_UTF_16):
        return not_utf8(source, 1, "UTF-16")
    return DataError(
        tr("{source} is not a text file.", source=source),
        tr("Save a spreadsheet as CSV in UTF-8."),
    )


def _is_array(head: bytes) -> bool:
    """Report whether `[` begins an array of objects, and not a line that is a list."""
    if head.lstrip()[1:].lstrip()[:1] not in (b"{", b"]", b""):
        return False
    first, _, rest = head.lstrip().partition(b"\n")
    try:
        msgspec.json.decode(first)
    except UNDECODABLE:
        return True
    return not rest.strip()


def sample_objects(head: bytes) -> list[dict[str, Any]]:
    """Return the first lines of a file that are JSON objects."""
    found = []
    for line in head.split(b"\n", _SAMPLED_LINES)[:_SAMPLED_LINES]:
        try:
            found.append(msgspec.json.decode(line, type=dict[str, Any]))
        except UNDECODABLE:
            continue
    return found


def split_header(head: bytes, source: Path) -> list[str]:
    """Return the names in the first line of a table. Raise DataError if it is not UTF-8."""
    line = _first_line(head)
    if "\ufffd" in line and "\ufffd".encode() not in head:
        raise not_utf8(source, 1)
    return [name.strip() for name in next(csv.reader([line], delimiter=find_delimiter(head)), [])]


def find_delimiter(head: bytes) -> str:
    """Return the character that separates most names in the first line."""
    line = _first_line(head)
    return max(
        _DELIMITERS,
        key=lambda sign: len(next(csv.reader([line], delimiter=sign), [])) if line else 0,
    )


def _first_line(head: bytes) -> str:
    lines = head.removeprefix(BOM).decode(errors="replace").splitlines()
    return next((line for line in lines if line.strip() and not _NAMES_DELIMITER.match(line)), "")


def not_utf8(source: Path, line: int, encoding: str = "WINDOWS-1252") -> DataError:
    """Return the error for a file in another encoding, with the command that converts it."""
    return DataError(
        tr("{source} is not UTF-8: see line {line}.", source=source, line=line),
        tr(
            "Convert it, for example: iconv -f {encoding} -t UTF-8 {source} > utf8.csv",
            encoding=encoding,
            source=source,
        ),
    )


def read_table(
    lines: Iterable[bytes], delimiter: str, source: Path
) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Yield the line at which each record of a table begins, and its cells or what is wrong."""
    csv.field_size_limit(_MAX_VALUE)
    reader = csv.reader(_decoded(lines, source), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if any(word in str(error) for word in ("unexpected", "limit")):
                raise DataError(
                    tr(
                        "{source}: the quotes of line {line} are not closed.",
                        source=source,
                        line=number,
                    ),
                    tr("Close them, or write each quotation mark inside a text twice."),
                ) from error
            yield number, error
        else:
            if cells and not (number == 1 and _NAMES_DELIMITER.match(delimiter.join(cells))):
                yield number, cells


def _decoded(lines: Iterable[bytes], source: Path) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode() + "\n"
        except UnicodeDecodeError as error:
            raise not_utf8(source, number) from error
        if "\r" in text[:-2]:  # line ends of old systems
            yield from io.StringIO(text, newline="")
        else:
            yield text


def read_array(blocks: Iterable[bytes], source: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the line at which each element of a JSON array begins, and its JSON."""
    return iter(_ArrayReader(blocks, source))


class _ArrayReader:
    """Walk through an array of which only one piece and one element are in memory."""

    def __init__(self, blocks: Iterable[bytes], source: Path) -> None:
        self._source = source
        self._pieces = self._decode(blocks)
        self._text = ""
        self._at = 0
        self._line = 1
        self._scan = json.JSONDecoder().raw_decode

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        self._sign()
        self._move(self._at + 1)  # [
        if self._sign() == "]":
            return
        while True:
            self._sign()
            end = self._end()
            yield self._line, self._text[self._at : end].encode()
            self._move(end)
            sign = self._sign()
            self._move(self._at + 1)
            if sign == "]" and not self._sign():
                return
            if sign != ",":
                raise self._broken(self._line)

    def _decode(self, blocks: Iterable[bytes]) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        line = 1
        for block in blocks:
            try:
                text = decoder.decode(block)
            except UnicodeDecodeError as error:
                line += block[: error.start].count(b"\n")
                raise not_utf8(self._source, line) from error
            line += text.count("\n")
            yield text

    def _more(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._text = self._text[self._at :] + piece
        self._at = 0
        return True

    def _move(self, place: int) -> None:
        self._line += self._text.count("\n", self._at, place)
        self._at = place

    def _sign(self) -> str:
        """Go to the next character that is not blank, and return it; "" at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self._move(blanks.end() if blanks else self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _end(self) -> int:
        """Return the end of the element here."""
        while True:
            wrong = self._at
            try:
                _, end = self._scan(self._text, self._at)
                if end < len(self._text):
                    return end
            except json.JSONDecodeError as error:
                wrong = error.pos
            except (StopIteration, RecursionError):
                pass
            if len(self._text) - self._at > _MAX_VALUE or not self._more():
                raise self._broken(self._line + self._text.count("\n", self._at, wrong))

    def _broken(self, line: int) -> DataError:
        return DataError(
            tr("{source} is not valid JSON at line {line}.", source=self._source, line=line),
            tr("Fix or remove what is there, or write one JSON object per line."),
        )
