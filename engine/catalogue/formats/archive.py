"""Read the bytes of a file, plain or gzipped, in a zip, or from standard input."""

from __future__ import annotations

import gzip
import hashlib
import io
import queue
import sys
import threading
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from isal import igzip, isal_zlib

from engine.catalogue.formats.counts import Counts
from engine.core.errors import BalcaoError, DataError
from engine.core.files import open_file, reading
from engine.core.i18n import tr

STDIN = Path("-")
BLOCK = 1 << 20
_ZIP = b"PK\x03\x04"
_GZIP = b"\x1f\x8b"
_GZIP_WBITS = 31
"""zlib's code for a gzip stream with the largest window."""
_SALVAGE_BLOCK = 1 << 15
_QUEUED_BLOCKS = 4
_SWITCH_INTERVAL = 0.0005
"""Seconds until a computing thread releases the interpreter. Decompressing needs the interpreter
several times per block, and at Python's default would wait longer each time than it works."""
_JOIN_TIMEOUT = 0.5
# isal's type stubs declare its error class as an instance.
_ISAL_ERROR = cast("type[Exception]", isal_zlib.error)
_BROKEN = (EOFError, zlib.error, _ISAL_ERROR, gzip.BadGzipFile, zipfile.BadZipFile)

_Item = bytes | BaseException | None
"""A block, the error that ended the reading, or its end."""


def read_ahead(blocks: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Iterate over `blocks` in a background thread, and raise its error here."""
    queued: queue.Queue[_Item] = queue.Queue(_QUEUED_BLOCKS)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(min(interval, _SWITCH_INTERVAL))
    stopped = threading.Event()
    thread = threading.Thread(
        target=_fill, args=(blocks, queued, stopped), name="read-ahead", daemon=True
    )
    thread.start()
    try:
        while (item := queued.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        with suppress(queue.Empty):
            while True:  # the thread may wait for a free place
                queued.get_nowait()
        sys.setswitchinterval(interval)
        # With a timeout, since the thread may wait for a pipe that never delivers.
        thread.join(_JOIN_TIMEOUT)


def _fill(blocks: Iterator[bytes], queued: queue.Queue[_Item], stopped: threading.Event) -> None:
    last: _Item = None
    try:
        for block in blocks:
            queued.put(block)
            if stopped.is_set():
                break
    except BaseException as error:  # noqa: BLE001 - raised again by the reader
        last = error
    queued.put(last)


def read_blocks(source: Path, counts: Counts, member: str) -> Iterator[bytes]:
    """Yield the decompressed bytes of `source`, or of `member` in a zip; count what is read.

    Raise DataError if nothing can be read. Damage ends the blocks early and is counted.
    """
    if source == STDIN:
        # Without Python's buffer: a thread that waits for input holds its lock and blocks the exit.
        buffer = sys.stdin.buffer
        yield from _decompress(cast("BinaryIO", getattr(buffer, "raw", buffer)), source, counts)
        return
    with _open_file(source) as raw:
        counts.bytes_total = source.stat().st_size
        if raw.read(4) == _ZIP:
            yield from _unzip(raw, source, counts, member)
        else:
            raw.seek(0)
            yield from _decompress(raw, source, counts)


@contextmanager
def _open_file(source: Path) -> Iterator[BinaryIO]:
    """Open a file. Refuse a pipe or device, which may never begin or never end."""
    remedy = tr("Pass the path of a data set; - is standard input.")
    with reading(source, remedy=remedy), open_file(source) as raw:
        yield raw


def zip_members(source: Path) -> set[str]:
    """Return the file names in a zip without their folders; none if it is damaged or no zip."""
    with _open_file(source) as raw:
        if raw.read(4) != _ZIP:
            return set()
        try:
            return {_base_name(info) for info in zipfile.ZipFile(raw).infolist()}
        except Exception:  # noqa: BLE001 - as in _unzip, which words it
            return set()


def _base_name(info: zipfile.ZipInfo) -> str:
    return info.filename.rpartition("/")[2]


def _unzip(raw: BinaryIO, source: Path, counts: Counts, member: str) -> Iterator[bytes]:
    try:
        archive = zipfile.ZipFile(raw)
        found = _find_member(archive, source, member)
        counts.bytes_total, checksum = found.file_size, found.CRC
        del found.CRC  # zipfile would check it, and drop the last block where it is wrong
        with archive.open(found) as inner:
            yield from _decompress(cast("BinaryIO", inner), source, counts, checksum)
    except BalcaoError:
        raise
    except Exception as error:
        # Encrypted, of an unknown method, cut, flipped: zipfile raises what it meets.
        if not counts.bytes_read:
            raise DataError(
                tr("Cannot unzip {source}: {error}.", source=source, error=error),
                tr("Download it again, or unpack it and pass trn.json."),
            ) from error
        counts.rejected["archive cut or broken"] += 1


def _find_member(archive: zipfile.ZipFile, source: Path, member: str) -> zipfile.ZipInfo:
    for info in archive.infolist():
        if _base_name(info) in (member, f"{member}.gz"):
            return info
    raise DataError(
        tr("{source} does not contain {member} or {member}.gz.", source=source, member=member),
        tr("Unpack it, or save a spreadsheet as CSV in UTF-8."),
    )


class _CountingStream(io.RawIOBase):
    """A byte stream that updates `bytes_read`, `sha256` and its own `checksum`."""

    def __init__(self, raw: BinaryIO, counts: Counts) -> None:
        super().__init__()
        self._raw = raw
        self._counts = counts
        self._head = b""
        self._digest = hashlib.sha256()
        self.checksum = 0
        counts.bytes_read = 0

    def peek(self, size: int) -> bytes:
        self._head = self._raw.read(size)
        return self._head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - as in io.RawIOBase
        view = memoryview(buffer)
        block = self._head[: len(view)] or self._raw.read(len(view))
        self._head = self._head[len(block) :]
        view[: len(block)] = block
        self._digest.update(block)
        self.checksum = isal_zlib.crc32(block, self.checksum)
        self._counts.bytes_read += len(block)
        if not block:
            self._counts.sha256 = self._digest.hexdigest()
        return len(block)


def _decompress(
    raw: BinaryIO, source: Path, counts: Counts, checksum: int | None = None
) -> Iterator[bytes]:
    stream = _CountingStream(raw, counts)
    head = stream.peek(4)
    if head == _ZIP:
        raise DataError(tr("Cannot read a zip from standard input."), tr("Pass its path instead."))
    if not head:
        raise DataError(
            tr("{source} is empty.", source=source),
            tr("Pass a data set: JSON lines, a JSON array, CSV or TSV."),
        )
    try:
        if not head.startswith(_GZIP):
            yield from iter(lambda: stream.read(BLOCK), b"")
        elif raw.seekable():
            yield from _gunzip(stream, raw, counts)
        else:
            yield from _salvage(stream, 0)
        if counts.sha256 and checksum not in (None, stream.checksum):
            raise zlib.error
    except _BROKEN:
        counts.rejected["archive cut or broken"] += 1


def _gunzip(stream: _CountingStream, raw: BinaryIO, counts: Counts) -> Iterator[bytes]:
    """Decompress with isal's file object, which releases the interpreter lock."""
    done = 0
    file = igzip.IGzipFile(fileobj=cast("BinaryIO", stream), mode="rb")
    try:
        while block := file.read(BLOCK):
            done += len(block)
            yield block
    except _BROKEN:
        # isal's file object drops the whole block in which it finds the damage.
        raw.seek(0)
        yield from _salvage(_CountingStream(raw, counts), done)


def _salvage(stream: _CountingStream, skip: int) -> Iterator[bytes]:
    """Decompress in small blocks up to the damage, and leave out the first `skip` bytes."""
    for block in _gunzip_small_blocks(stream):
        if skip < len(block):
            yield block[skip:]
        skip = max(0, skip - len(block))


def _gunzip_small_blocks(stream: _CountingStream) -> Iterator[bytes]:
    gunzip = zlib.decompressobj(wbits=_GZIP_WBITS)
    while packed := stream.read(_SALVAGE_BLOCK):
        while packed:
            if gunzip.eof:
                if not packed.startswith(_GZIP):
                    return  # Padding after the last gzip member.
                gunzip = zlib.decompressobj(wbits=_GZIP_WBITS)
            before = gunzip.copy()
            try:
                block = gunzip.decompress(packed, _SALVAGE_BLOCK)
            except zlib.error:
                yield _up_to_damage(before, packed)
                raise
            yield block
            packed = gunzip.unused_data if gunzip.eof else gunzip.unconsumed_tail
    if not gunzip.eof:
        raise EOFError


def _up_to_damage(gunzip: Any, packed: bytes) -> bytes:  # noqa: ANN401 - zlib does not export it
    """Decompress byte by byte: an error drops all that the same call has decompressed."""
    done = bytearray()
    with suppress(zlib.error):
        for byte in packed:
            done += gunzip.decompress(bytes((byte,)))
    return bytes(done)
