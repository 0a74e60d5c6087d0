"""Read the rows of a data set: JSON lines, plain or gzipped, in a zip, or from standard input."""

from __future__ import annotations

import gzip
import hashlib
import io
import queue
import sys
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
from isal import igzip, isal_zlib

from engine.core.errors import BalcaoError, DataError
from engine.core.files import UNDECODABLE, Input, describe_file, open_file, reading
from engine.core.i18n import tr
from engine.core.types import Progress

STDIN = Path("-")
_ROWS = "trn.json"
_BOM = b"\xef\xbb\xbf"
_ZIP = b"PK\x03\x04"
_GZIP = b"\x1f\x8b"
_GZIP_WBITS = 31
"""zlib's code for a gzip stream with the largest window."""
_BLOCK = 1 << 20
_SALVAGE_BLOCK = 1 << 15
_QUEUED_BLOCKS = 4
_SWITCH_INTERVAL = 0.0005
"""Seconds until a computing thread releases the interpreter. Decompressing needs the interpreter
several times per block, and at Python's default would wait longer each time than it works."""
_JOIN_TIMEOUT = 0.5
_MAX_LINE = 16 << 20
"""Bytes. The longest known description has 200 kB; a longer line is not a row."""
_MAX_LINES_WITHOUT_ROW = 10_000
"""Lines after which a file without one valid row is not a data set."""
# isal's type stubs declare its error class as an instance.
_ISAL_ERROR = cast("type[Exception]", isal_zlib.error)
_BROKEN = (EOFError, zlib.error, _ISAL_ERROR, gzip.BadGzipFile, zipfile.BadZipFile)


class RawRow(msgspec.Struct, frozen=True, gc=False):
    """A row of the data set, not yet cleaned."""

    uid: str
    title: str | None = ""
    content: str | None = ""


@dataclass(slots=True)
class Counts:
    """Counters that are updated during reading and cleaning.

    `rejected` counts rows by reason, `changed` texts by the cleaning rule that changed them.
    `bytes_read` and `bytes_total` count the file on disk; the total is 0 for standard input.
    `sha256` is set when the whole source was read.
    """

    read: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    bytes_total: int = 0
    sha256: str = ""
    started: float = field(default_factory=time.monotonic)

    def progress(self) -> Progress:
        """Report rows read, rows per second and the share of the source."""
        rate = self.read / max(time.monotonic() - self.started, 1e-3)
        label = tr("{count:,} rows, {rate:,.0f} a second", count=self.read, rate=rate)
        share = min(1.0, self.bytes_read / self.bytes_total) if self.bytes_total else None
        return Progress(label, share)

    def as_dict(self) -> dict[str, Any]:
        """Return the counters that a manifest records."""
        return {
            "read": self.read,
            "kept": self.kept,
            "rejected": dict(sorted(self.rejected.items())),
            "changed": dict(sorted(self.changed.items())),
        }


def source_input(source: Path, counts: Counts) -> Input:
    """Describe `source` for a manifest, with the checksum from reading where there is one."""
    if source == STDIN:
        return Input("standard input", counts.sha256, counts.bytes_read)
    if counts.sha256 and counts.bytes_read == source.stat().st_size:
        return Input(source.name, counts.sha256, counts.bytes_read)
    return describe_file(source)


def read_rows(
    source: Path, counts: Counts, on_progress: Callable[[Progress], None] | None = None
) -> Iterator[RawRow]:
    """Yield the valid rows of `source` in order, each uid once; `-` is standard input.

    Count rows and rejections in `counts`, and call `on_progress` after each block of a megabyte.
    Memory is bounded, apart from one hash per uid. Raise DataError if the source cannot be read, is
    empty or does not contain a row.
    """
    decode = msgspec.json.Decoder(RawRow).decode
    seen: set[int] = set()
    for lines in read_lines(source, counts):
        counts.read += len(lines)
        if on_progress and lines:
            on_progress(counts.progress())
        for line in lines:
            try:
                row = decode(line)
            except UNDECODABLE as error:
                _reject(line, error, counts)
                continue
            uid = hash(row.uid)
            if uid in seen:
                counts.rejected["repeated uid"] += 1
                continue
            seen.add(uid)
            yield row
        if not seen and counts.read >= _MAX_LINES_WITHOUT_ROW:
            break
    if not seen:
        raise DataError(
            tr("{source} does not contain any products.", source=source),
            tr("A data set has one JSON object per line, with uid, title and content."),
        )


def _reject(line: bytes, error: Exception, counts: Counts) -> None:
    if not line or line.isspace():
        counts.read -= 1
    elif not isinstance(error, msgspec.ValidationError):
        counts.rejected["not JSON"] += 1
    else:
        reason = "wrong type" if "Expected" in str(error) else "field missing"
        counts.rejected[reason] += 1


def read_lines(source: Path, counts: Counts, member: str = _ROWS) -> Iterator[list[bytes]]:
    """Yield the lines of `source`, or of `member` in a zip, without line ends, a list per block.

    A line over the limit is counted as rejected and replaced by an empty one. A damaged archive
    ends early and is counted.
    """
    # The pieces of the line that the last block has begun; joined once, however many they are.
    pieces: list[bytes] = []
    size = 0
    marked = _BOM
    for block in _read_ahead(_read_blocks(source, counts, member)):
        *lines, rest = block.split(b"\n")
        if lines:
            whole = b"".join((*pieces, lines[0])).removeprefix(marked)
            lines[0] = whole if size <= _MAX_LINE else b""
            pieces, size, marked = [], 0, b""
            yield lines
        if size <= _MAX_LINE < size + len(rest):
            counts.read += 1
            counts.rejected["line too long"] += 1
        size += len(rest)
        pieces = [*pieces, rest] if size <= _MAX_LINE else []
    if any(pieces):
        yield [b"".join(pieces).removeprefix(marked)]


_Item = bytes | BaseException | None
"""A block, the error that ended the reading, or its end."""


def _read_ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
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


def _read_blocks(source: Path, counts: Counts, member: str) -> Iterator[bytes]:
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
    remedy = tr("Pass the path of trn.json, trn.json.gz or the zip; - is standard input.")
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
        tr("{source} does not contain {member} or {member}.gz.", source=source, member=member)
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
            tr("Pass a data set with one JSON object per line."),
        )
    try:
        if not head.startswith(_GZIP):
            yield from iter(lambda: stream.read(_BLOCK), b"")
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
        while block := file.read(_BLOCK):
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
