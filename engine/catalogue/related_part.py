"""Which products go with which: `target_ind` has line numbers of `lbl.json`, which has names."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.catalogue.ahead_part import read_ahead
from engine.catalogue.clean import clean
from engine.catalogue.counts_part import Counts
from engine.catalogue.read import STDIN, blocks

LABELS = "lbl.json"
_MOST = 25
"""Related products kept for each: the list is one of "also bought", the first are enough."""


class Label(msgspec.Struct, frozen=True, gc=False):
    """A line of `lbl.json`."""

    uid: str = ""
    title: str = ""


class _Row(msgspec.Struct, frozen=True, gc=False):
    uid: str
    target_ind: list[int] = []


def labels_of(source: Path) -> Path | None:
    """The file that holds the labels of `source`: beside it, or the zip itself."""
    if source == STDIN:
        return None
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = {name.rsplit("/", 1)[-1] for name in archive.namelist()}
        return source if {LABELS, f"{LABELS}.gz"} & names else None
    found = (source.parent / name for name in (f"{LABELS}.gz", LABELS))
    return next((path for path in found if path.is_file() and path != source), None)


def read_labels(path: Path) -> Iterator[tuple[int, str, str]]:
    """(number, uid, title) of each label that can be read; a bad line keeps its number."""
    decode = msgspec.json.Decoder(Label).decode
    for number, line in enumerate(_lines(path, LABELS)):
        try:
            label = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if label.title:
            yield number, label.uid, clean(label.title)


def read_targets(source: Path) -> Iterator[tuple[str, list[int]]]:
    """(uid, numbers of labels) of each row that has any."""
    decode = msgspec.json.Decoder(_Row).decode
    for line in _lines(source):
        try:
            row = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if row.target_ind:
            yield row.uid, [number for number in row.target_ind[:_MOST] if number >= 0]


def _lines(path: Path, member: str = "trn.json") -> Iterator[bytes]:
    rest = b""
    for block in read_ahead(blocks(path, Counts(), member)):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from lines
    if rest:
        yield rest
