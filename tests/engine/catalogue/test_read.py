"""Read data sets: every valid row is read from any file, and the others are counted."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import sys
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.catalogue import read as reader
from engine.catalogue.clean import clean_rows
from engine.catalogue.formats import archive
from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import read_rows
from engine.core.errors import DataError
from tools.attack.index import DAMAGES


def line(uid: str = "0000000001", title: object = "A Title", content: object = "Text.") -> bytes:
    row = {"uid": uid, "title": title, "content": content, "target_ind": [1], "target_rel": [1.0]}
    return json.dumps(row).encode() + b"\n"


MANY = b"".join(line(f"{number:010d}", f"Title {number}") for number in range(5_000))


def read(path: Path) -> tuple[list[str], Counts]:
    counts = Counts()
    return [row.uid for row in read_rows(path, counts)], counts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trn.json"


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    plain = tmp_path / "trn.jsonl"
    plain.write_bytes(MANY)
    packed = tmp_path / "trn.json.gz"
    packed.write_bytes(gzip.compress(MANY))
    # The original is a zip of gzipped files in a folder.
    outer = tmp_path / "LF-Amazon-1.3M.zip"
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("LF-Amazon-1.3M/lbl.json.gz", gzip.compress(line()))
        archive.writestr("LF-Amazon-1.3M/trn.json.gz", gzip.compress(MANY))
    inner = tmp_path / "plain.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("trn.json", MANY)
    wanted = [f"{number:010d}" for number in range(5_000)]
    for path in (plain, packed, outer, inner):
        assert read(path)[0] == wanted


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (MANY, gzip.compress(MANY)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert len(read(Path("-"))[0]) == 5_000


def test_invalid_lines_are_counted_by_reason(file: Path) -> None:
    bad = (
        b"{not json}\n",
        b'["a", "list"]\n',
        line(content=7),
        line(title=["x"]),
        b'{"title": "no number"}\n',
        b'{"uid": "2", "title": "\xff\xfe"}\n',
        line("0000000001", "again"),
        line("0000000009", "cut")[:40],
    )
    file.write_bytes(line() + b"\n\n" + b"".join(bad[:-1]) + line("000000000X") + bad[-1])
    uids, counts = read(file)
    assert uids == ["0000000001", "000000000X"]
    assert counts.read == 10
    assert counts.rejected == {
        "not JSON": 3,
        "wrong type": 3,
        "field missing": 1,
        "repeated uid": 1,
    }


def test_nulls_a_byte_order_mark_and_no_last_newline_are_accepted(file: Path) -> None:
    rows = line(content=None) + line("0000000002", title=None) + line("0000000003").strip()
    file.write_bytes(b"\xef\xbb\xbf" + rows)
    assert len(read(file)[0]) == 3


def test_a_long_content_is_read_completely(file: Path) -> None:
    huge = "long words " * 20_000
    file.write_bytes(line(content=huge) + line("0000000002"))
    rows = list(read_rows(file, Counts()))
    assert [len(row.content or "") for row in rows] == [len(huge), 5]


def test_a_line_over_the_limit_is_skipped(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_MAX_LINE", 1 << 21)
    file.write_bytes(line() + b"x" * (5 << 20) + b"\n" + line("0000000002") + b"y" * (4 << 20))
    uids, counts = read(file)
    assert uids == ["0000000001", "0000000002"]
    assert counts.rejected == {"line too long": 2}


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_archive_gives_the_rows_before_the_cut(tmp_path: Path, share: float) -> None:
    packed = gzip.compress(MANY)
    path = tmp_path / "trn.json.gz"
    path.write_bytes(packed[: int(len(packed) * share)])
    uids, counts = read(path)
    assert 0 < len(uids) < 5_000
    assert uids == [f"{number:010d}" for number in range(len(uids))]
    assert counts.rejected["archive cut or broken"] == 1


def test_a_wrong_checksum_loses_few_rows(tmp_path: Path) -> None:
    rows = b"".join(line(f"{number:010d}", content="Text. " * 40) for number in range(5_000))
    packed = bytearray(gzip.compress(rows))
    packed[-6] ^= 0xFF
    path = tmp_path / "trn.json.gz"
    path.write_bytes(packed)
    uids, counts = read(path)
    assert len(uids) > 4_000
    assert counts.rejected["archive cut or broken"] == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"\n\n", b"root:x:0:0\nbin:x:1:1\n", b'{"other": 1}\n', b"\x00\x01" * 5_000,
     b"\x1f\x8b rubbish", gzip.compress(b""), b"PK\x03\x04 rubbish"],
)  # fmt: skip
def test_a_file_that_is_not_a_data_set_is_refused(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read(file)
    assert str(file) in caught.value.message


def deep(uid: str = "0000000005") -> bytes:
    nested = b"[" * 100_000 + b"]" * 100_000
    return line(uid)[:-2] + b', "more": ' + nested + b"}\n"


def test_a_row_that_is_nested_deeply_is_skipped(file: Path) -> None:
    file.write_bytes(line() + deep() + line("0000000002"))
    uids, counts = read(file)
    assert uids == ["0000000001", "0000000002"]
    assert counts.rejected == {"not JSON": 1}


@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize("packed_in", ["gz", "zip"])
def test_a_wrong_checksum_at_the_end_loses_no_row(
    tmp_path: Path, count: int, packed_in: str
) -> None:
    path = tmp_path / f"trn.json.{packed_in}"
    rows = b"".join(line(f"{number:010d}") for number in range(count))
    if packed_in == "gz":
        packed = bytearray(gzip.compress(rows))
        packed[-6] ^= 0xFF
        path.write_bytes(packed)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("trn.json", rows)
            checksum = archive.infolist()[0].CRC
        good = checksum.to_bytes(4, "little")
        path.write_bytes(path.read_bytes().replace(good, bytes(reversed(good))))
    uids, counts = read(path)
    assert len(uids) == count
    assert counts.rejected == {"archive cut or broken": 1}


def test_the_rows_before_the_damage_of_a_small_archive_are_read(tmp_path: Path) -> None:
    draw = random.Random(5)  # noqa: S311 - not for security
    rows = [line(f"{number:010d}", content=draw.randbytes(300).hex()) for number in range(20)]
    packed = bytearray(gzip.compress(b"".join(rows)))
    packed[len(packed) // 2 :] = bytes(len(packed) // 2)
    path = tmp_path / "trn.json.gz"
    path.write_bytes(packed)
    uids, _ = read(path)
    assert len(uids) > 5
    assert uids == [f"{number:010d}" for number in range(len(uids))]


def zipped(path: Path, how: str) -> Path:
    """Write a zip that Python's reader refuses in one of several ways."""
    method = zipfile.ZIP_LZMA if how == "lzma" else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("trn.json", MANY)
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    if how == "encrypted":
        data[6] |= 1
        data[directory + 8] |= 1
    elif how == "method":
        data[8] = data[directory + 10] = 99
    elif how == "lzma":
        data[40:400] = bytes(360)
    elif how == "directory":
        data[directory : directory + 30] = bytes(30)
    else:  # a file name that is not the UTF-8 that it says it is
        data[directory + 9] |= 8
        data[directory + 46] = 0xFF
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("how", ["encrypted", "method", "lzma", "directory", "name"])
def test_a_zip_that_cannot_be_read_is_refused(tmp_path: Path, how: str) -> None:
    path = zipped(tmp_path / "all.zip", how)
    with pytest.raises(DataError, match="Cannot unzip") as caught:
        read(path)
    assert "unpack it" in caught.value.remedy
    assert archive.zip_members(path) in (set(), {"trn.json"})


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(DataError, match="not a file") as caught:
            read(path)
        assert "standard input" in caught.value.remedy
        with pytest.raises(DataError):
            archive.zip_members(path)


def _packed(how: str) -> bytes:
    if how == "plain":
        return MANY[:4_000]
    if how == "gzip":
        return gzip.compress(MANY[:40_000])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", getattr(zipfile, how)) as archive:
        archive.writestr("x/trn.json", MANY[:4_000])
    return stream.getvalue()


PACKED = {
    how: _packed(how)
    for how in ("plain", "gzip", "ZIP_STORED", "ZIP_DEFLATED", "ZIP_BZIP2", "ZIP_LZMA")
}


@given(
    how=st.sampled_from(sorted(PACKED)),
    damage=st.sampled_from(sorted(set(DAMAGES) - {"delete"})),
    draw=st.randoms(use_true_random=False),
)
def test_a_damaged_data_set_gives_rows_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, how: str, damage: str, draw: random.Random
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(DAMAGES[damage](PACKED[how], draw) or b"")
    try:
        uids, counts = read(path)
    except DataError:
        return
    assert 0 < len(uids) <= counts.read


@settings(max_examples=settings().max_examples // 4)
@given(
    rows=st.lists(
        st.one_of(
            st.binary(max_size=60), st.just(line()), st.just(deep()), st.just(b"\xef\xbb\xbf")
        ),
        max_size=12,
    )
)
def test_no_line_can_stop_the_others(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(b"\n".join([*rows, line("000000000X")]))
    uids, counts = read(path)
    assert uids[-1] == "000000000X"
    assert counts.read == len(uids) + sum(counts.rejected.values())


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.json", tmp_path):
        with pytest.raises(DataError, match="Cannot read"):
            read(path)


def test_a_zip_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match=r"not contain trn"):
        read(path)


def test_reading_can_be_stopped(file: Path) -> None:
    file.write_bytes(MANY * 20)
    rows = read_rows(file, Counts())
    assert next(rows).uid == "0000000000"
    rows.close()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name == "read-ahead"]


def test_memory_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "trn.json.gz"
    text = "much the same " * 200
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for number in range(20_000):
            stream.write(line(f"{number:010d}", "T", text))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(path, Counts())) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 25 << 20  # of 56 MB unpacked


def test_rows_without_title_and_description_are_rejected(file: Path) -> None:
    rows = (
        line("0000000001", "", "--This text refers to thePaperbackedition."),
        line("0000000002", "&nbsp;", " "),
        line("", "No number"),
        line("0000000003", "Title &amp; more", ""),
        line("0000000004", "", "Text only."),
    )
    file.write_bytes(b"".join(rows))
    counts = Counts()
    kept = list(clean_rows(read_rows(file, counts), counts))
    assert [(one.uid, one.title, one.description) for one in kept] == [
        ("0000000003", "Title & more", ""),
        ("0000000004", "", "Text only."),
    ]
    assert counts.rejected == {"no title and no description": 2, "no uid": 1}
    assert counts.kept == 2
