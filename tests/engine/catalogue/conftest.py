"""A small catalogue of invented products, with near-duplicates, repeated titles and other traps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_index
from engine.core.types import Product

TITLES = {
    "0000000001": "Marmalade's Seven Kittens",
    "0000000002": "The Ledger of Lost Lighthouses",
    "0000000003": "The Ledger of Lost Lighthouses: Second Edition (Harbour Classics)",
    "0000000004": "Dance Skirt, Neon Green, Girls Large",
    "0000000005": "Dance Skirt, Neon Pink, Girls Large",
    "0000000006": "Dance Skirt, Neon Pink, Girls Small",
    "0000000007": "Copper Kettle",
    "0000000008": "Copper Kettle",
    "000000009X": "Copper Kettle",
    "0000000010": "Voyage to Ombrosa: A Cartographer's Diary, Vol. 1",
    "0000000011": "Voyage to Ombrosa: A Cartographer's Diary, Vol. 2",
    "0000000012": "Sabão de Coco Ação Verde",
    "0000000013": "O Relógio que Não Dormia",
    "0000000014": "What Is the Description of Rain?",
    "0000000015": "It",
    "0000000016": "Quillfeather",
    "0000000017": "Trail Lantern XR-450 with Solar Charger & Hook",
    "0000000018": "1001 Knots",
    "0000000019": "C++",
    "0000000020": "C#",
    "0000000021": "!!!",
    "0000000022": "Bread, Salt and Smoke: Baking on Open Fires",
    "0000000023": "bread salt smoke",
    "0000000024": "Best-Selling Gardens of the North",
    "0000000025": "",
    "0000000026": "東京の夜",
    "B00ZQX1234": "Thermal Mug 12-Inch",
    "0000000028": "The Weight of Feathers and Other Small Matters",
    "0000000029": "A Day on the Isle of Brevik",
    "0000000031": "C",
    "0000000030": "A Day on the Isle of Corran",
}
BODIES = {
    "0000000002": "An archivist tallies beacons swallowed by fog, erosion and careless rulers.",
    "0000000016": "A blind glazier inherits an observatory whose lenses remember every eclipse.",
    "0000000025": "Untitled pamphlet about beekeeping on rooftops in crowded cities.",
}


def products() -> list[Product]:
    """Make the products of the test catalogue."""
    return [
        Product(uid, title, text, text)
        for uid, title in TITLES.items()
        for text in [BODIES.get(uid, f"The description that belongs to number {uid} alone.")]
    ]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the index of the test catalogue."""
    out = tmp_path_factory.mktemp("catalogue") / "index"
    build_index(products(), out)
    return out


@pytest.fixture(scope="session")
def catalogue(folder: Path) -> Iterator[Catalogue]:
    """Open the test catalogue; tests must not close it."""
    opened = Catalogue.open(folder)
    yield opened
    opened.close()
