"""Find records by what they mean, in an index with vectors, also after an update."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from engine.catalogue import records
from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_index, update_index
from engine.catalogue.vectors import build, files, worker
from engine.catalogue.vectors.encoder import DIMENSION, Vectors, shared_encoder
from engine.catalogue.vectors.files import VectorFiles, VectorWriter, quantise
from engine.catalogue.vectors.meaning import Meaning
from engine.core.errors import CatalogueError
from engine.core.files import read_manifest, write_manifest
from engine.core.types import Product

TEXTS = {
    "1": ("Puppy Training in Ten Days", "Teach a young dog to sit, stay and walk on a lead."),
    "2": ("The Copper Kettle", "A kettle of two litres that whistles when the water boils."),
    "3": ("Girls Ballet Tutu Neon Pink", "High quality ballet tutu with three layers of tulle."),
    "4": ("Bread on Open Fires", "Recipes for baking bread, flat cakes and pies outdoors."),
    "5": ("Murder at the Vicarage", "A detective with a white beard finds out who killed him."),
}


def products(**changed: tuple[str, str]) -> list[Product]:
    return [Product(uid, *text, text[1]) for uid, text in (TEXTS | changed).items()]


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with vectors, which tests must not change."""
    folder = tmp_path_factory.mktemp("meaning") / "index"
    build_index(products(), folder, meaning=True)
    return folder


@pytest.fixture
def folder(shared_folder: Path, tmp_path: Path) -> Path:
    """A copy of the index with vectors."""
    return Path(shutil.copytree(shared_folder, tmp_path / "index"))


def opened(folder: Path) -> Meaning:
    meaning = Meaning.open(folder)
    assert meaning is not None
    return meaning


def vector(question: str) -> Vectors:
    encoded: Vectors = shared_encoder().encode([question])[0]
    return encoded


@pytest.mark.parametrize(
    ("question", "row"),
    [
        ("how do I educate my dog", 0),
        ("como adestrar meu cachorro", 0),
        ("uma chaleira para ferver água", 1),
        ("saia de bailarina para menina", 2),
        ("livro de receitas de pão", 3),
        ("a crime story", 4),
    ],
)
def test_a_description_finds_the_record_that_it_means(
    shared_folder: Path, question: str, row: int
) -> None:
    found = opened(shared_folder).candidates(vector(question), 3)
    assert found[0][0] == row
    assert len(found) == 3
    assert [cosine for _, cosine in found] == sorted((c for _, c in found), reverse=True)


def test_cosines_are_those_of_the_candidates(shared_folder: Path) -> None:
    meaning, asked = opened(shared_folder), vector("a story with a detective")
    found = dict(meaning.candidates(asked, 5))
    assert meaning.cosines(asked, [4, 0, 99]) == pytest.approx({4: found[4], 0: found[0]})


def test_words_near_a_word_of_another_language_are_found(shared_folder: Path) -> None:
    near = dict(opened(shared_folder).neighbours("cachorro"))
    assert {"dog", "puppy"} <= near.keys()
    assert all(0.25 <= weight <= 1 for weight in near.values())


def test_words_prepared_together_have_the_neighbours_of_each_alone(shared_folder: Path) -> None:
    prepared, alone = opened(shared_folder), opened(shared_folder)
    words = ["cachorro", "chaleira", "kettle"]
    prepared.prepare(words)
    for word in words:
        expected = dict(alone.neighbours(word))
        assert dict(prepared.neighbours(word)) == pytest.approx(expected, abs=1e-3)


def test_a_word_is_not_its_own_neighbour(shared_folder: Path) -> None:
    assert "dog" not in dict(opened(shared_folder).neighbours("dog"))


def test_words_that_the_encoder_knows_come_before_frequent_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_MEANT_WORDS", 2)
    texts = {str(number): ("Zvrkolax", "Zvrkolax Hwuliq") for number in range(9)}
    made = [Product(uid, *text, text[1]) for uid, text in texts.items()]
    build_index([*made, Product("x", "Water", "", "")], tmp_path / "index", meaning=True)
    words = (tmp_path / "index" / records.MEANING / records.WORD_LIST).read_text(encoding="utf-8")
    assert words.split() == ["water", "zvrkolax"]


def test_the_manifest_records_the_encoder(shared_folder: Path) -> None:
    assert read_manifest(shared_folder).settings[records.MEANING] == records.ENCODER


def test_an_update_replaces_the_vectors_of_changed_records(folder: Path) -> None:
    changed = Product("2", "Garden Hose", "A green hose to water flowers.", "")
    new = Product("6", "Toy Piano", "Eight keys for a small child who loves music.", "")
    update_index([changed, new], folder)
    meaning = opened(folder)
    asked = vector("uma chaleira para ferver água")
    rows = [row for row, _ in meaning.candidates(asked, 9)]
    assert sorted(rows) == [0, 2, 3, 4, 5, 6]
    assert meaning.candidates(vector("musical instrument for kids"), 1)[0][0] == 6
    assert Catalogue.open(folder).get("6") == new


def test_an_update_gives_the_vectors_of_a_build(folder: Path, tmp_path: Path) -> None:
    grown = tmp_path / "grown"
    build_index(products()[:3], grown, meaning=True)
    update_index(products()[3:], grown)
    asked = vector("a crime story")
    expected = opened(folder).candidates(asked, 1)
    assert opened(grown).candidates(asked, 1)[0][0] == expected[0][0]


def test_an_index_without_vectors_opens_by_words(tmp_path: Path) -> None:
    build_index(products(), tmp_path / "index")
    update_index(products(), tmp_path / "index")
    assert Meaning.open(tmp_path / "index") is None
    assert len(Catalogue.open(tmp_path / "index")) == len(TEXTS)
    assert not (tmp_path / "index" / records.MEANING).exists()


def test_an_update_without_meaning_deletes_the_vectors(folder: Path) -> None:
    update_index(products(), folder, meaning=False)
    assert Meaning.open(folder) is None
    assert not (folder / records.MEANING).exists()


@pytest.mark.parametrize("name", ["records.bits", "records.mean", "words.vectors", "words.txt"])
def test_an_index_whose_vectors_are_lost_opens_by_words(folder: Path, name: str) -> None:
    (folder / records.MEANING / name).unlink()
    assert Meaning.open(folder) is None


def test_an_index_whose_vectors_are_cut_opens_by_words_and_says_so(folder: Path) -> None:
    file = folder / records.MEANING / "records.vectors"
    file.write_bytes(file.read_bytes()[:-1])
    assert Meaning.open(folder) is None
    assert "missing" in records.meaning_problem(folder, read_manifest(folder))
    assert Catalogue.open(folder).find("copper kettle").product


def test_an_index_whose_words_are_cut_opens_by_words(folder: Path) -> None:
    (folder / records.MEANING / records.WORD_LIST).write_text("dog", encoding="utf-8")
    assert Meaning.open(folder) is None


def test_vectors_of_another_encoder_are_not_used(folder: Path) -> None:
    made = read_manifest(folder)
    other = made.settings | {records.MEANING: records.ENCODER | {"version": "9.9"}}
    made = write_manifest(folder, msgspec.structs.replace(made, settings=other))
    assert Meaning.open(folder) is None
    assert "another encoder" in records.meaning_problem(folder, made)
    update_index(products(), folder)
    assert len(VectorFiles(folder / records.MEANING, records.RECORD_VECTORS)) == len(TEXTS)


def test_processes_encode_many_records_as_this_one_does(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_MANY", 0)
    monkeypatch.setattr(build, "_AT_ONCE", 2)
    monkeypatch.setattr(build, "_available_cores", lambda: 2)
    build_index(products(), tmp_path / "many", meaning=True)
    stored = [
        np.fromfile(place / records.MEANING / "records.vectors", np.int8).astype(int)
        for place in (folder, tmp_path / "many")
    ]
    assert np.abs(stored[0] - stored[1]).max() <= 1


def test_a_process_whose_build_was_stopped_ends_in_silence() -> None:
    command = [sys.executable, "-m", worker.__name__]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.write(worker.frame(["a kettle"]))
        process.stdin.close()
        assert process.stderr.read() == b""


def test_a_process_that_dies_stops_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_MANY", 0)
    monkeypatch.setattr(build, "_MODULE", "antigravity.nothing")
    monkeypatch.setattr(build, "_available_cores", lambda: 2)
    with pytest.raises(CatalogueError, match="process that encodes records stopped") as caught:
        build_index(products(), tmp_path / "index", meaning=True)
    assert "--no-meaning" in caught.value.remedy
    assert not (tmp_path / "index").exists()


def unit_vectors(count: int) -> Vectors:
    made = np.random.default_rng(3).normal(0.3, 1, (count, DIMENSION)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[VectorFiles, Vectors]:
    """Vectors of more than one block, and the files that hold them."""
    vectors, folder = unit_vectors(20_000), tmp_path_factory.mktemp("vectors")
    with VectorWriter(folder, "some") as writer:
        writer.write(0, quantise(vectors))
        writer.finish()
    return VectorFiles(folder, "some"), vectors


def test_the_nearest_vectors_are_found_among_many(written: Any) -> None:
    stored, vectors = written
    for place in (0, 16_383, 16_384, 19_999):
        asked = 0.8 * vectors[place] + 0.2 * vectors[(place + 7) % 20_000]
        found = stored.nearest(asked, 2)
        assert [found[0][0], found[1][0]] == [place, (place + 7) % 20_000]
        assert found[0][1] > 0.7


def test_the_scan_returns_as_many_as_wanted(written: Any) -> None:
    stored, vectors = written
    assert len(stored.nearest(vectors[1], 500)) == 500
    assert len(stored._scan(vectors[1], 3_000)) == 3_000


def test_equal_distances_are_no_more_than_wanted() -> None:
    assert len(files._smallest(np.full(100_000, 7, np.uint16), 10)) == 10


def test_vectors_added_later_are_found(tmp_path: Path) -> None:
    vectors = unit_vectors(17_000)
    with VectorWriter(tmp_path, "some") as writer:
        writer.write(0, quantise(vectors[:16_000]))
        writer.finish()
    with VectorWriter(tmp_path, "some") as writer:
        writer.write(16_100, quantise(vectors[16_100:]))
        writer.delete([5, 99_999])
    stored = VectorFiles(tmp_path, "some")
    assert stored.nearest(vectors[16_390], 1)[0][0] == 16_390
    assert stored.nearest(vectors[15_999], 1)[0][0] == 15_999
    assert stored.cosines(vectors[5], [5, 16_050]) == {}


def test_cut_files_are_refused(tmp_path: Path) -> None:
    with VectorWriter(tmp_path, "some") as writer:
        writer.write(0, quantise(unit_vectors(3)))
        writer.finish()
    (tmp_path / "some.bits").write_bytes(b"")
    with pytest.raises(ValueError, match=r"some\.bits"):
        VectorFiles(tmp_path, "some")


def test_files_without_vectors_find_nothing(tmp_path: Path) -> None:
    with VectorWriter(tmp_path, "some") as writer:
        writer.finish()
    assert VectorFiles(tmp_path, "some").nearest(unit_vectors(1)[0], 3) == []


def test_large_files_are_read_as_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = unit_vectors(6_000)
    with VectorWriter(tmp_path, "some") as writer:
        writer.write(0, quantise(vectors))
        writer.finish()
    small = VectorFiles(tmp_path, "some")
    monkeypatch.setattr(files, "_LARGE", 0)
    large = VectorFiles(tmp_path, "some")
    for asked in (vectors[5], vectors[5_999]):
        assert large.nearest(asked, 9) == small.nearest(asked, 9)
    assert large.cosines(vectors[0], []) == {}
