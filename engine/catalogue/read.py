"""Read the rows of a data set, plain or gzipped, in a zip, or from standard input.

JSON lines with uid, title and content are the fast road; `formats` reads what else people have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, islice
from operator import length_hint
from pathlib import Path
from typing import Any

import msgspec

from engine.catalogue.formats import layout
from engine.catalogue.formats.archive import BLOCK, STDIN, read_ahead, read_blocks
from engine.catalogue.formats.columns import FIELDS, UidMaker, choose_columns, has_obvious_columns
from engine.catalogue.formats.counts import SURVEYED, Counts
from engine.catalogue.formats.layout import Layout
from engine.core.errors import DataError
from engine.core.files import UNDECODABLE, Input, describe_file
from engine.core.i18n import tr
from engine.core.types import Progress

_ROWS = "trn.json"
_MAX_LINE = 16 << 20
"""Bytes. The longest known description has 200 kB; a longer line is not a row."""
_BATCH = 64
_MAX_LINES_WITHOUT_ROW = 10_000
"""Lines after which a file without one valid row is not a data set."""


class RawRow(msgspec.Struct, frozen=True, gc=False):
    """A row of the data set, not yet cleaned."""

    uid: str
    title: str | None = ""
    content: str | None = ""


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
    with closing(read_ahead(read_blocks(source, counts, _ROWS))) as blocks:
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
        if b"\n" in head.lstrip() or len(head) >= BLOCK:
            break
    return head


def _open_rows(
    head: bytes, blocks: Iterator[bytes], source: Path, counts: Counts, given: Mapping[str, str]
) -> tuple[Iterator[_Batch], _Decode]:
    """Return the rows of a file in batches, and what decodes one."""
    found = layout.find_layout(head, source, named=bool(given))
    if found is Layout.TABLE:
        names = layout.split_header(head, source)
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
    yield from _split_lines(read_ahead(read_blocks(source, counts, member)), counts)


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
