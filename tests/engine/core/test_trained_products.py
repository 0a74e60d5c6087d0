"""An adapter's manifest lists the products that it was trained on; whatever it has, it opens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.files import read_manifest, write_manifest
from engine.core.trained_products import (
    MAX_LISTED,
    AdapterManifest,
    TrainedProduct,
    listable,
    read_trained_products,
)
from engine.core.types import Product

KETTLE = TrainedProduct("9000000001", "Copper Kettle")


def adapter(folder: Path, *products: TrainedProduct) -> Path:
    folder.mkdir(exist_ok=True)
    made = AdapterManifest(kind="lora-adapter", version=1, prompt_version=1, products=products)
    write_manifest(folder, made)
    return folder


def listing(folder: Path, products: Any) -> Path:
    """An adapter whose list of products is any JSON."""
    values = msgspec.json.decode((adapter(folder) / "manifest.json").read_bytes())
    (folder / "manifest.json").write_bytes(msgspec.json.encode(values | {"products": products}))
    return folder


def test_a_product_is_known_by_uid_and_title(tmp_path: Path) -> None:
    found = read_trained_products(adapter(tmp_path, KETTLE))
    assert found is not None
    assert found.titles == ("Copper Kettle",)
    assert Product("9000000001", "Copper  Kettle", "Any.") in found
    assert Product("9000000001", "Cup", "Any.") not in found
    assert Product("9000000002", "Copper Kettle", "Any.") not in found


def test_titles_are_safe_for_a_terminal_and_each_is_listed_once(tmp_path: Path) -> None:
    odd = [TrainedProduct(str(number), "A\x1b[31m\nB") for number in range(2)]
    found = read_trained_products(adapter(tmp_path, *odd, TrainedProduct("3", " ")))
    assert found is not None
    assert found.titles == ("A[31m B",)


def test_nothing_listed_is_unknown(tmp_path: Path) -> None:
    assert read_trained_products(tmp_path) is None
    assert read_trained_products(tmp_path / "no\0name") is None
    assert read_trained_products(adapter(tmp_path)) is None
    (tmp_path / "manifest.json").write_bytes(b'{"products": [')
    assert read_trained_products(tmp_path) is None


def test_a_list_that_changes_is_read_again(tmp_path: Path) -> None:
    assert read_trained_products(adapter(tmp_path, KETTLE)) is not None
    adapter(tmp_path, KETTLE, TrainedProduct("2", "Cup"))
    os.utime(tmp_path / "manifest.json", ns=(1, 1))
    found = read_trained_products(tmp_path)
    assert found is not None
    assert found.titles == ("Copper Kettle", "Cup")


@pytest.mark.parametrize("title", ["T", "Quite a long title " * 20])
def test_a_list_that_is_too_long_is_left_out(tmp_path: Path, title: str) -> None:
    products = [TrainedProduct(str(number), title) for number in range(MAX_LISTED + 1)]
    assert listable(products) == ()
    read_manifest(adapter(tmp_path, *listable(products[: MAX_LISTED // 3])))
    if len(title) == 1:
        assert len(listable(products[:-1])) == MAX_LISTED
        assert read_trained_products(listing(tmp_path, products)) is None


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
_PRODUCT = st.fixed_dictionaries({}, optional={"uid": st.text() | _ANY, "title": st.text() | _ANY})


@given(_ANY | st.lists(_PRODUCT, max_size=4))
def test_whatever_a_list_holds_the_manifest_opens(tmp_path_factory: Any, products: Any) -> None:
    folder = listing(tmp_path_factory.mktemp("any"), products)
    assert read_manifest(folder).kind == "lora-adapter"
    found = read_trained_products(folder)
    assert found is None or all(title.isprintable() for title in found.titles)
