"""Opens a data set wherever it lies: plain, gzip, the original zip, or standard input."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from isal import igzip, isal_zlib

from engine.catalogue.counts_part import Counts
from engine.core import manifest_part as manifest
from engine.core.errors import DataError, why
from engine.core.i18n import tr
from engine.core.manifest_part import Input

STDIN = Path("-")
_BLOCK = 1 << 20
_PIECE = 1 << 15
_GZIP_BITS = 31
"""zlib's number for a gzip stream with the largest window."""
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_ROWS = "trn.json"
# isal's stubs call its error class an instance.
_ISAL = cast("type[Exception]", isal_zlib.error)
_BROKEN = (EOFError, zlib.error, _ISAL, gzip.BadGzipFile, zipfile.BadZipFile)


class _Counted(io.RawIOBase):
    """A byte stream that keeps count and a checksum, with a head that can be looked at."""

    def __init__(self, raw: BinaryIO, counts: Counts) -> None:
        super().__init__()
        self._raw = raw
        self._counts = counts
        self._head = b""
        self._digest = hashlib.sha256()
        counts.bytes_read = 0

    def peek(self, size: int) -> bytes:
        """The first `size` bytes, which will be read again."""
        self._head = self._raw.read(size)
        return self._head

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - as io.RawIOBase has it
        """Fill `buffer`, and return how far."""
        view = memoryview(buffer)
        block = self._head[: len(view)] or self._raw.read(len(view))
        self._head = self._head[len(block) :]
        view[: len(block)] = block
        self._digest.update(block)
        self._counts.bytes_read += len(block)
        if not block:
            self._counts.sha256 = self._digest.hexdigest()
        return len(block)


def blocks(source: Path, counts: Counts, member: str = _ROWS) -> Iterator[bytes]:
    """The bytes of `source`, unpacked, in pieces of about a megabyte.

    `member` is the file looked for inside a zip (itself plain or gzipped). A compressed file that
    is cut or broken ends early and is counted. Raises DataError where nothing can be read.
    """
    if source == STDIN:
        # Past Python's buffer: its lock, held by a reader that waits, would break the exit.
        buffer = sys.stdin.buffer
        yield from _unpacked(cast("BinaryIO", getattr(buffer, "raw", buffer)), source, counts)
        return
    try:
        with source.open("rb") as raw:
            counts.bytes_total = source.stat().st_size
            if raw.read(4) == _ZIP:
                yield from _zipped(raw, source, counts, member)
            else:
                raw.seek(0)
                yield from _unpacked(raw, source, counts)
    except OSError as error:
        raise DataError(
            tr("{source} cannot be read: {why}.").format(source=source, why=why(error)),
            tr("Give the path of trn.json."),
        ) from error


def input_of(source: Path, counts: Counts) -> Input:
    """What a manifest says of a source that was read."""
    if source == STDIN:
        return Input("standard input", counts.sha256, counts.bytes_read)
    if counts.sha256 and counts.bytes_read == source.stat().st_size:
        return Input(source.name, counts.sha256, counts.bytes_read)
    return manifest.input_of(source)


def _unpacked(raw: BinaryIO, source: Path, counts: Counts) -> Iterator[bytes]:
    stream = _Counted(raw, counts)
    head = stream.peek(4)
    if head == _ZIP:
        raise DataError(tr("A zip cannot be read from a pipe."), tr("Give its path instead."))
    if not head:
        raise DataError(
            tr("{source} is empty.").format(source=source),
            tr("Give a data set with one JSON object a line."),
        )
    if not head.startswith(_GZIP):
        while block := stream.read(_BLOCK):
            yield block
        return
    try:
        if raw.seekable():
            yield from _gunzipped(stream, raw, counts)
        else:
            yield from _salvaged(stream, 0)
    except _BROKEN:
        counts.rejected["archive cut or broken"] += 1


def _gunzipped(stream: _Counted, raw: BinaryIO, counts: Counts) -> Iterator[bytes]:
    """The unpacked bytes, without holding up other threads."""
    done = 0
    gunzip = igzip.IGzipFile(fileobj=cast("BinaryIO", stream), mode="rb")
    try:
        while block := gunzip.read(_BLOCK):
            done += len(block)
            yield block
    except _BROKEN:
        # isal's file object gives nothing of the block in which it finds the break.
        raw.seek(0)
        yield from _salvaged(_Counted(raw, counts), done)


def _salvaged(stream: _Counted, skip: int) -> Iterator[bytes]:
    """The unpacked bytes behind the first `skip`, up to a break, and then the error."""
    for piece in _pieces(stream):
        if skip < len(piece):
            yield piece[skip:]
        skip = max(0, skip - len(piece))


def _pieces(stream: _Counted) -> Iterator[bytes]:
    """Unpacked bytes in small pieces, since the piece in which a break lies is lost."""
    unpack = isal_zlib.decompressobj(wbits=_GZIP_BITS)
    while packed := stream.read(_PIECE):
        while packed:
            if unpack.eof:
                if not packed.startswith(_GZIP):
                    return  # Padding behind the last member.
                unpack = isal_zlib.decompressobj(wbits=_GZIP_BITS)
            yield unpack.decompress(packed, _PIECE)
            packed = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
    if not unpack.eof:
        raise EOFError


def _zipped(raw: BinaryIO, source: Path, counts: Counts, member: str) -> Iterator[bytes]:
    try:
        archive = zipfile.ZipFile(raw)
        names = [
            info
            for info in archive.infolist()
            if info.filename.rsplit("/", 1)[-1] in (member, f"{member}.gz")
        ]
        if not names:
            raise DataError(
                tr("{source} holds no {member} and no {member}.gz.").format(
                    source=source, member=member
                )
            )
        counts.bytes_total = names[0].file_size
        with archive.open(names[0]) as inner:
            yield from _unpacked(cast("BinaryIO", inner), source, counts)
    except _BROKEN as error:
        if not counts.bytes_read:
            raise DataError(
                tr("{source} is a broken zip: {error}.").format(source=source, error=error),
                tr("Download it again."),
            ) from error
        counts.rejected["archive cut or broken"] += 1
