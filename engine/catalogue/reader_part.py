"""The rows of a data set, streamed: one JSON object a line, bad ones counted and left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from engine.catalogue.ahead_part import read_ahead
from engine.catalogue.counts_part import Counts
from engine.catalogue.read import blocks
from engine.core.errors import DataError
from engine.core.i18n import tr

_LONGEST_LINE = 16 << 20
"""Bytes. The longest content known is 200 kB; a longer line is no row."""
_PATIENCE = 10_000
"""Lines without one good row after which a file is taken for something else."""
_BOM = b"\xef\xbb\xbf"


class RawRow(msgspec.Struct, frozen=True, gc=False):
    """A row as the data set has it; an absent title or content is empty."""

    uid: str
    title: str | None = ""
    content: str | None = ""


def read_rows(
    source: Path, counts: Counts, tell: Callable[[], None] | None = None
) -> Iterator[RawRow]:
    """The good rows of `source` in order, each uid once; `-` is standard input.

    `tell` is called every thousand rows or so. Memory is bounded but for the mark of each uid, kept
    to notice repeated ones. Raises DataError if the source cannot be read, is empty, or holds no
    row at all.
    """
    decode = msgspec.json.Decoder(RawRow).decode
    seen: set[int] = set()
    for lines in _lines(source, counts):
        counts.read += len(lines)
        if tell and lines:
            tell()
        for line in lines:
            try:
                row = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                _reject(line, error, counts)
                continue
            mark = hash(row.uid)
            if mark in seen:
                counts.rejected["repeated uid"] += 1
                continue
            seen.add(mark)
            yield row
        if not seen and counts.read >= _PATIENCE:
            break
    if not seen:
        raise DataError(
            tr("{source} holds no product.").format(source=source),
            tr("A data set has one JSON object a line, with uid, title and content."),
        )


def _reject(line: bytes, error: Exception, counts: Counts) -> None:
    if line and not line.isspace():
        counts.rejected[_reason(error)] += 1
    else:
        counts.read -= 1


def _reason(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return "wrong type" if "Expected" in str(error) else "field missing"
    return "not JSON"


def _lines(source: Path, counts: Counts) -> Iterator[list[bytes]]:
    """Lines without their ends, a block's at a time; one beyond the limit is counted, left out."""
    rest = b""
    skipping = False
    first = True
    for block in read_ahead(blocks(source, counts)):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if lines and skipping:
            del lines[0]
            skipping = False
        if first and lines:
            lines[0] = lines[0].removeprefix(_BOM)
            first = False
        yield lines
        if skipping or len(rest) > _LONGEST_LINE:
            if not skipping:
                counts.read += 1
                counts.rejected["line too long"] += 1
            rest = b""
            skipping = True
    if rest and not skipping:
        yield [rest.removeprefix(_BOM) if first else rest]
