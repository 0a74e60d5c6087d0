"""The rows of a data set, streamed: one JSON object a line, bad ones counted and left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.dataset.counts import Counts
from engine.dataset.sources import blocks
from engine.errors import DataError

_LONGEST_LINE = 16 << 20
"""Bytes. The longest content known is 200 kB; a longer line is no row."""
_PATIENCE = 10_000
"""Lines without one good row after which a file is taken for something else."""
_BOM = b"\xef\xbb\xbf"


class RawRow(msgspec.Struct, frozen=True, gc=False):
    """A row as the data set has it. `target_ind` numbers the lines of `lbl.json` related to it."""

    uid: str
    title: str | None = ""
    content: str | None = ""
    target_ind: list[int] = []


def read_rows(source: Path, counts: Counts) -> Iterator[RawRow]:
    """The good rows of `source` in order, each uid once; `-` is standard input.

    Memory is bounded but for eight bytes or so a uid, kept to notice repeated ones. Raises
    DataError if the source cannot be read, is empty, or holds no row at all.
    """
    decode = msgspec.json.Decoder(RawRow).decode
    seen: set[int] = set()
    good = 0
    for line in _lines(source, counts):
        if not line or line.isspace():
            continue
        counts.read += 1
        try:
            row = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            counts.rejected[_reason(error)] += 1
            _check_patience(source, counts, good)
            continue
        mark = hash(row.uid)
        if mark in seen:
            counts.rejected["repeated uid"] += 1
            continue
        seen.add(mark)
        good += 1
        yield row
    if not good:
        raise _foreign(source)


def _reason(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return "wrong type" if "Expected" in str(error) else "field missing"
    return "not JSON"


def _check_patience(source: Path, counts: Counts, good: int) -> None:
    if not good and counts.read >= _PATIENCE:
        raise _foreign(source)


def _foreign(source: Path) -> DataError:
    return DataError(
        f"{source} holds no product.",
        "A data set has one JSON object a line, with uid, title and content.",
    )


def _lines(source: Path, counts: Counts) -> Iterator[bytes]:
    """Lines without their ends; one longer than the limit is counted and left out."""
    rest = b""
    skipping = False
    first = True
    for block in blocks(source, counts):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if lines and skipping:
            del lines[0]
            skipping = False
        if first and lines:
            lines[0] = lines[0].removeprefix(_BOM)
            first = False
        yield from lines
        if skipping or len(rest) > _LONGEST_LINE:
            if not skipping:
                counts.read += 1
                counts.rejected["line too long"] += 1
            rest = b""
            skipping = True
    if rest and not skipping:
        yield rest.removeprefix(_BOM) if first else rest
