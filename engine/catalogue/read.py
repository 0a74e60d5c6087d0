"""Opens a data set wherever it lies: plain, gzip, the original zip, or standard input."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
from isal import igzip, isal_zlib

from engine.core.errors import DataError, why
from engine.core.files import Input, describe_file
from engine.core.i18n import tr


@dataclass(slots=True)
class Counts:
    """A running tally.

    `rejected` counts rows by reason, `changed` titles and descriptions by the cleaning rule that
    changed them. `bytes_read` and `bytes_total` are of the source as it lies on disk; the total is
    0 where it cannot be known (standard input). `sha256` is of the source, once all of it was read
    in order. `began` is on the clock of `time.monotonic`.
    """

    read: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    bytes_total: int = 0
    sha256: str = ""
    began: float = field(default_factory=time.monotonic)

    @property
    def fraction(self) -> float | None:
        """How far the reading has come, 0..1."""
        return min(1.0, self.bytes_read / self.bytes_total) if self.bytes_total else None

    @property
    def rate(self) -> float:
        """Rows read a second."""
        return self.read / max(time.monotonic() - self.began, 1e-3)

    def as_dict(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "read": self.read,
            "kept": self.kept,
            "rejected": dict(sorted(self.rejected.items())),
            "changed": dict(sorted(self.changed.items())),
        }


_DEPTH = 4
"""Blocks waiting at most: the memory is bounded."""
_INTERVAL = 0.0005
"""Seconds until a thread that computes lets go. Unpacking asks for the interpreter several times a
block, and would wait longer each time than it works."""
_PATIENCE = 0.5
"""Seconds."""


class _End:
    """The last thing in the queue, with what broke the reading, if anything did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def read_ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same blocks in the same order; an error of theirs is raised here in its place."""
    waiting: queue.Queue[bytes | _End] = queue.Queue(_DEPTH)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(min(interval, _INTERVAL))
    stopped = threading.Event()
    thread = threading.Thread(
        target=_fill, args=(blocks, waiting, stopped), name="read-ahead", daemon=True
    )
    thread.start()
    try:
        while not isinstance(block := waiting.get(), _End):
            yield block
        if block.error:
            raise block.error
    finally:
        stopped.set()
        sys.setswitchinterval(interval)
        # Not for ever: it may be waiting for a pipe into which nobody writes.
        thread.join(_PATIENCE)


def _fill(
    blocks: Iterator[bytes], waiting: queue.Queue[bytes | _End], stopped: threading.Event
) -> None:
    end = _End()
    try:
        for block in blocks:
            if not _put(block, waiting, stopped):
                return
    except BaseException as error:  # noqa: BLE001 - raised again by the reader
        end = _End(error)
    _put(end, waiting, stopped)


def _put(item: bytes | _End, waiting: queue.Queue[bytes | _End], stopped: threading.Event) -> bool:
    while not stopped.is_set():
        try:
            waiting.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False


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
            tr("{source} cannot be read: {why}.", source=source, why=why(error)),
            tr("Give the path of trn.json."),
        ) from error


def input_of(source: Path, counts: Counts) -> Input:
    """What a manifest says of a source that was read."""
    if source == STDIN:
        return Input("standard input", counts.sha256, counts.bytes_read)
    if counts.sha256 and counts.bytes_read == source.stat().st_size:
        return Input(source.name, counts.sha256, counts.bytes_read)
    return describe_file(source)


def _unpacked(raw: BinaryIO, source: Path, counts: Counts) -> Iterator[bytes]:
    stream = _Counted(raw, counts)
    head = stream.peek(4)
    if head == _ZIP:
        raise DataError(tr("A zip cannot be read from a pipe."), tr("Give its path instead."))
    if not head:
        raise DataError(
            tr("{source} is empty.", source=source),
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
                tr("{source} holds no {member} and no {member}.gz.", source=source, member=member)
            )
        counts.bytes_total = names[0].file_size
        with archive.open(names[0]) as inner:
            yield from _unpacked(cast("BinaryIO", inner), source, counts)
    except _BROKEN as error:
        if not counts.bytes_read:
            raise DataError(
                tr("{source} is a broken zip: {error}.", source=source, error=error),
                tr("Download it again."),
            ) from error
        counts.rejected["archive cut or broken"] += 1


_LONGEST_LINE = 16 << 20
"""Bytes. The longest content known is 200 kB; a longer line is no row."""
_MAX_ROWS_WITHOUT_PRODUCT = 10_000
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
        if not seen and counts.read >= _MAX_ROWS_WITHOUT_PRODUCT:
            break
    if not seen:
        raise DataError(
            tr("{source} holds no product.", source=source),
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
