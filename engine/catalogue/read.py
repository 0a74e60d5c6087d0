"""Read the rows of a data set, plain or gzipped, in a zip, or from standard input.

JSON lines with uid, title and content are the fast road; `formats` reads what else people have.
"""

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
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import length_hint
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
from isal import igzip, isal_zlib

from engine.catalogue.formats import layout
from engine.catalogue.formats.columns import FIELDS, UidMaker, choose_columns, has_obvious_columns
from engine.catalogue.formats.layout import Layout
from engine.catalogue.formats.survey import SURVEYED, Survey
from engine.core.errors import BalcaoError, DataError
from engine.core.files import UNDECODABLE, Input, describe_file, open_file, reading
from engine.core.i18n import tr
from engine.core.types import Progress

STDIN = Path("-")
_ROWS = "trn.json"
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
_BAD_LINES = 5
"""Rejected rows whose lines are named."""
_BATCH = 64
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
    `sha256` is set when the whole source was read. `columns` are the names of the fields where a
    file has others, `bad_lines` the first rejected ones with the reason, and `survey` counts among
    the first products.
    """

    read: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    bytes_total: int = 0
    sha256: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    bad_lines: list[tuple[int, str]] = field(default_factory=list)
    survey: Survey = field(default_factory=Survey)
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
            **({"columns": self.columns} if self.columns else {}),
            **({"bad_lines": self.bad_lines} if self.bad_lines else {}),
            "survey": self.survey.as_dict(),
        }

    def reject(self, line: int, reason: str) -> None:
        """Count the row at `line` as rejected."""
        self.rejected[reason] += 1
        if len(self.bad_lines) < _BAD_LINES:
            self.bad_lines.append((line, reason))


def source_input(source: Path, counts: Counts) -> Input:
    """Describe `source` for a manifest, with the checksum from reading where there is one."""
    if source == STDIN:
        return Input("standard input", counts.sha256, counts.bytes_read)
    if counts.sha256 and counts.bytes_read == source.stat().st_size:
        return Input(source.name, counts.sha256, counts.bytes_read)
    return describe_file(source)


def read_rows(
    source: Path,
    counts: Counts,
    on_progress: Callable[[Progress], None] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[RawRow]:
    """Yield the valid rows of `source` in order, each uid once; `-` is standard input.

    `columns` names the column of a field where the name is not obvious. Count rows and rejections
    in `counts`, and call `on_progress` after each block. Memory is bounded, apart from one hash per
    uid. Raise DataError if the source cannot be read, is empty or does not contain a row.
    """
    with closing(_read_ahead(_read_blocks(source, counts, _ROWS))) as blocks:
        head = _read_head(blocks)
        batches, decode = _open_rows(head, chain([head], blocks), source, counts, columns or {})
        rows = _decode_rows(batches, decode, source, counts, on_progress)
        for row in islice(rows, SURVEYED):
            counts.survey.add(row.title, row.content)
            yield row
        yield from rows


_Batch = tuple[Sequence[int], list[Any]]
"""Line numbers, and the rows there: JSON, cells or an error."""
_Decode = Callable[[Any], RawRow]


def _decode_rows(
    batches: Iterator[_Batch],
    decode: _Decode,
    source: Path,
    counts: Counts,
    on_progress: Callable[[Progress], None] | None,
) -> Iterator[RawRow]:
    seen: set[int] = set()
    for numbers, lines in batches:
        counts.read += len(lines)
        if on_progress and lines:
            on_progress(counts.progress())
        left = iter(lines)
        for line in left:
            try:
                row = decode(line)
            except (*UNDECODABLE, _BadRow) as error:
                _reject(line, error, numbers[-1 - length_hint(left)], counts)
                continue
            uid = hash(row.uid)
            if uid in seen:
                counts.reject(numbers[-1 - length_hint(left)], "repeated uid")
                continue
            seen.add(uid)
            yield row
        if not seen and counts.read >= _MAX_LINES_WITHOUT_ROW:
            break
    if not seen:
        raise DataError(
            tr("{source} does not contain any products.", source=source),
            tr("A data set is JSON lines, a JSON array, CSV or TSV, with titles and descriptions."),
        )


class _BadRow(Exception):
    """The row cannot be used; the message is the reason to count."""


def _reject(line: Any, error: Exception, number: int, counts: Counts) -> None:  # noqa: ANN401 - as in _Batch
    if isinstance(line, bytes) and (not line or line.isspace()):
        counts.read -= 1
    elif isinstance(error, _BadRow):
        counts.reject(number, str(error))
    elif not isinstance(error, msgspec.ValidationError):
        counts.reject(number, "not JSON")
    else:
        counts.reject(number, "wrong type" if "Expected" in str(error) else "field missing")


def _read_head(blocks: Iterator[bytes]) -> bytes:
    """Read the first block, and from a slow pipe more until its first line is complete."""
    head = b""
    for block in blocks:
        head += block
        if b"\n" in head.lstrip() or len(head) >= _BLOCK:
            break
    return head


def _open_rows(
    head: bytes, blocks: Iterator[bytes], source: Path, counts: Counts, given: Mapping[str, str]
) -> tuple[Iterator[_Batch], _Decode]:
    """Return the rows of a file in batches, and what decodes one."""
    found = layout.find_layout(head, source, named=bool(given))
    if found is Layout.TABLE:
        names = layout.split_header(head)
        counts.columns = choose_columns(names, given, source)
        lines = chain.from_iterable(_split_lines(blocks, counts))
        rows = layout.read_table(lines, layout.find_delimiter(head), source)
        next(rows, None)  # the header
        return _in_batches(rows), _table_decoder(names, counts.columns)
    if found is Layout.ARRAY:
        batches = _in_batches(layout.read_array(blocks, source))
        first = next(batches, ((), []))
        samples = layout.sample_objects(b"\n".join(_flat(one) for one in first[1][:50]))
        return chain([first], batches), _json_decoder(samples, source, counts, given)
    samples = layout.sample_objects(head)
    decode = _json_decoder(samples, source, counts, given)
    return _numbered(_split_lines(blocks, counts)), decode


def _flat(element: bytes) -> bytes:
    """Put JSON on one line: its strings do not contain line ends."""
    return element.replace(b"\n", b" ").replace(b"\r", b" ")


def _numbered(blocks: Iterator[list[bytes]]) -> Iterator[_Batch]:
    first = 1
    for lines in blocks:
        yield range(first, first + len(lines)), lines
        first += len(lines)


def _in_batches(rows: Iterator[tuple[int, Any]]) -> Iterator[_Batch]:
    while batch := list(islice(rows, _BATCH)):
        yield [number for number, _ in batch], [row for _, row in batch]


def _json_decoder(
    samples: list[dict[str, Any]], source: Path, counts: Counts, given: Mapping[str, str]
) -> _Decode:
    """Return the decoder of rows like `samples`; msgspec's own for the fields of the data set."""
    names = list(dict.fromkeys(name for sample in samples for name in sample))
    plain = msgspec.json.Decoder(RawRow).decode
    if not samples or (not given and _is_plain(samples, names)):
        return plain
    columns = choose_columns(names, given, source)
    decode_object = msgspec.json.Decoder(dict[str, Any]).decode
    if columns != {name: name for name in FIELDS}:
        counts.columns = columns
    uids = UidMaker()

    def decode(line: bytes) -> RawRow:
        values = decode_object(line)
        if not any(name in values for name in columns.values()):
            raise _BadRow("field missing")
        return _make_row({name: values.get(column) for name, column in columns.items()}, uids)

    return decode


def _is_plain(samples: list[dict[str, Any]], names: list[str]) -> bool:
    """Report whether rows have the names and types of the data set."""
    if "uid" not in names or not {"title", "content"} & set(names):
        return False
    if not {"title", "content"} <= set(names) and has_obvious_columns(names):
        return False
    return any(isinstance(sample.get("uid"), str) for sample in samples)


def _table_decoder(names: list[str], columns: Mapping[str, str]) -> _Decode:
    places = {name: names.index(column) for name, column in columns.items()}
    uids = UidMaker()

    def decode(cells: list[str] | Exception) -> RawRow:
        if isinstance(cells, Exception):
            raise _BadRow("broken quotes")
        if len(cells) > len(names):
            raise _BadRow("too many columns")
        if len(cells) <= max(places.values()):
            raise _BadRow("too few columns")
        return _make_row({name: cells[place] for name, place in places.items()}, uids)

    return decode


def _make_row(values: dict[str, Any], uids: UidMaker) -> RawRow:
    """Make a row of values; a number becomes text, a list of texts one text."""
    texts = {name: _text(value) for name, value in values.items()}
    title, content = texts["title"], texts["content"]
    uid = texts.get("uid", "") or uids.make(title, content)
    return RawRow(uid, title, content)


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            raise _BadRow("wrong type")
        case int() | float():
            return str(value)
        case list() if all(isinstance(part, str) for part in value):
            return " ".join(value)
    raise _BadRow("wrong type")


def read_lines(source: Path, counts: Counts, member: str = _ROWS) -> Iterator[list[bytes]]:
    """Yield the lines of `source`, or of `member` in a zip, without line ends, a list per block.

    A damaged archive ends early and is counted.
    """
    yield from _split_lines(_read_ahead(_read_blocks(source, counts, member)), counts)


def _split_lines(blocks: Iterator[bytes], counts: Counts) -> Iterator[list[bytes]]:
    """Split blocks to lines. One over the limit is counted and replaced by an empty one."""
    # The pieces of the line that the last block has begun; joined once, however many they are.
    pieces: list[bytes] = []
    size = 0
    marked = layout.BOM
    for block in blocks:
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


def _read_ahead(blocks: Iterator[bytes]) -> Generator[bytes, None, None]:
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
