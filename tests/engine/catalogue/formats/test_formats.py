"""Read what people have: CSV, TSV, JSON arrays and JSON lines with columns of other names."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.catalogue.formats.columns import parse_columns
from engine.catalogue.formats.counts import Counts
from engine.catalogue.formats.layout import read_array
from engine.catalogue.read import RawRow, read_rows
from engine.core.errors import BalcaoError, DataError, UsageError

ROWS = [
    RawRow("1", "Copper Kettle", 'It says "boil",\nand boils.'),
    RawRow("2", "Chá de São João; fresco", "Uma bebida\tquente, não fria."),
    RawRow("3", "Oak Shelf", ""),
]
NAMES = {"sku": "uid", "Name": "title", "Description": "content"}


def table(delimiter: str, end: str = "\r\n") -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow(["sku", "price", "Name", "Description"])
    writer.writerows([row.uid, "9.90", row.title, row.content] for row in ROWS)
    return out.getvalue()


def objects() -> list[dict[str, object]]:
    return [
        {"price": 9.9, **{name: getattr(row, field) for name, field in NAMES.items()}}
        for row in ROWS
    ]


FILES: dict[str, Callable[[], str]] = {
    "comma.csv": lambda: table(","),
    "semicolon.csv": lambda: table(";", "\n"),
    "tab.tsv": lambda: table("\t"),
    "excel.csv": lambda: "sep=;\r\n" + table(";"),
    "no-suffix": lambda: table(","),
    "one-line.json": lambda: json.dumps(objects()),
    "indented.json": lambda: json.dumps(objects(), indent=2, ensure_ascii=False) + "\n",
    "lines.jsonl": lambda: "\n".join(map(json.dumps, objects())),
}


def write(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def read(path: Path, columns: str = "") -> tuple[list[RawRow], Counts]:
    counts = Counts()
    given = parse_columns(columns) if columns else None
    return list(read_rows(path, counts, columns=given)), counts


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_products(tmp_path: Path, name: str, encoding: str) -> None:
    path = write(tmp_path, name, FILES[name](), encoding)
    rows, counts = read(path)
    assert rows == ROWS
    assert counts.columns == {field: name for name, field in NAMES.items()}
    assert counts.rejected == {}
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read(packed)[0] == ROWS


def test_the_fields_of_the_data_set_need_no_columns(tmp_path: Path) -> None:
    lines = "".join(
        json.dumps({"uid": row.uid, "title": row.title, "content": row.content}) + "\n"
        for row in ROWS
    )
    rows, counts = read(write(tmp_path, "trn.json", lines))
    assert rows == ROWS
    assert counts.columns == {}


def test_columns_are_named_where_they_are_not_obvious(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", "nummer,naam,tekst\n1,Ketel,Kookt water.\n")
    with pytest.raises(DataError, match=r"nummer, naam, tekst.*--columns title="):
        read(path)
    assert read(path, "title=naam,content=tekst,uid=nummer")[0] == [
        RawRow("1", "Ketel", "Kookt water.")
    ]
    with pytest.raises(DataError, match="Did you mean “naam”"):
        read(path, "title=nam,content=tekst")


@pytest.mark.parametrize("text", ["titel=naam", "title", "title=", ""])
def test_a_wrong_mapping_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--columns"):
        parse_columns(text)


def test_products_without_a_number_get_the_same_one_in_a_longer_file(tmp_path: Path) -> None:
    short = "name,description\nKettle,Boils.\nKettle,Whistles.\n"
    before, _ = read(write(tmp_path, "a.csv", short))
    longer = short.replace("\n", "\nLamp,Shines.\n", 1)
    after, counts = read(write(tmp_path, "b.csv", longer + "Kettle,Boils.\nKettle,Whistles.\n"))
    assert len({row.uid for row in before}) == 2
    assert before == [row for row in after if row.title == "Kettle"]
    assert counts.bad_lines == [(5, "repeated uid"), (6, "repeated uid")]


def test_bad_rows_are_counted_with_their_lines(tmp_path: Path) -> None:
    text = (
        'sku,name,description\n1,Kettle,"Two\nlines."\n2,"Lamp "x,Shines.\n3,Chair\n'
        "4,Table,Stands.,x,y\n\n1,Again,Twice.\n5,Bed,\n"
    )
    rows, counts = read(write(tmp_path, "x.csv", text))
    assert [row.uid for row in rows] == ["1", "5"]
    assert counts.bad_lines == [
        (4, "broken quotes"), (5, "too few columns"), (6, "too many columns"), (8, "repeated uid"),
    ]  # fmt: skip
    assert counts.read == len(rows) + sum(counts.rejected.values())


def test_bad_lines_of_json_have_their_numbers(tmp_path: Path) -> None:
    good = '{"id": 1, "name": "A", "description": "x"}\n'
    path = write(tmp_path, "x.jsonl", good + "\nnot json\n" + good + '{"id": 2, "name": [1]}\n')
    rows, counts = read(path)
    assert rows == [RawRow("1", "A", "x")]
    assert counts.bad_lines == [(3, "not JSON"), (4, "repeated uid"), (5, "wrong type")]


def test_the_lines_of_an_array_are_those_of_its_elements(tmp_path: Path) -> None:
    elements = [{"id": 1, "name": "A", "description": "x"}, {"id": 2, "name": {}}, 3]
    rows, counts = read(write(tmp_path, "x.json", json.dumps(elements, indent=1)))
    assert [row.uid for row in rows] == ["1"]
    assert counts.bad_lines == [(7, "wrong type"), (11, "wrong type")]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("x.csv", "sku,name,description\n1,Chá,Água\n".encode("latin-1"), "not UTF-8: see line 2"),
        ("x.csv", "nome;descrição\nA;B\n".encode("cp1252"), "not UTF-8: see line 1"),
        ("x.json", '[{"name": "A"},\n{"name": "Chá"}]'.encode("latin-1"), "not UTF-8: see line 2"),
        ("x.csv", "name,description\nA,B\n".encode("utf-16"), "not UTF-8"),
        ("x.csv", bytes(range(256)) * 20, "is not a text file"),
        ("x.csv", b'name,description\nA,B\nC,"D\nE,F\n', "quotes of line 3 are not closed"),
        ("x.json", b'[{"name": "A", "text": "B"},\n{"name" "C"}]', "not valid JSON at line 2"),
        ("x.json", b'[{"name": "A", "text": "B"},\n{"name": "C"', "not valid JSON at line 2"),
        ("x.json", b"[]", "does not contain any products"),
        ("x.csv", b"name,description\n", "does not contain any products"),
        ("x.csv", b"name\nA\n", "no column is obviously the description"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(
    tmp_path: Path, name: str, data: bytes, sentence: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BalcaoError) as caught:
        read(path)
    assert sentence in caught.value.message
    assert str(path) in str(caught.value)
    assert caught.value.remedy


def test_a_survey_counts_what_is_missing_repeated_and_spoken(tmp_path: Path) -> None:
    text = (
        "id,name,description\n1,Kettle,It boils the water for you.\n2,Kettle,It boils the water for"
        " you.\n3,Chá,Uma bebida que não é fria.\n4,Lamp,\n"
    )
    _, counts = read(write(tmp_path, "x.csv", text))
    assert counts.survey.as_dict() == {
        "products": 4, "no_description": 1, "duplicates": 1, "languages": {"en": 2, "pt": 1},
    }  # fmt: skip


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=50)
@given(st.lists(_VALUES, max_size=4), st.integers(1, 40), st.sampled_from([None, 1]))
def test_an_array_is_split_as_it_is_parsed(
    values: list[object], size: int, indent: int | None
) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=False).encode(errors="replace")
    blocks = (data[at : at + size] for at in range(0, len(data), size))
    found = [json.loads(element) for _, element in read_array(blocks, Path("x.json"))]
    assert found == json.loads(data)


def test_memory_does_not_grow_with_an_array(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    row = {"name": "T", "description": "much the same " * 2_000}
    with path.open("w", encoding="utf-8") as stream:
        stream.write("[" + ",\n".join(json.dumps({"id": n, **row}) for n in range(1_100)) + "]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(path, Counts())) == 1_100
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20  # of 31 MB
