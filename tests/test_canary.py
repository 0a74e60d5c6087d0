"""A key is found only where its user put it (short: `python -m tools.attack.canary` does all)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tools.attack import canary

KEY = canary.CANARY
FORMS = {
    "whole": KEY,
    "in capitals": KEY.upper(),
    "with marks": "\u200e".join(KEY),
    "with NUL": "\0".join(KEY),
    "encoded": "".join(f"%{ord(letter):02X}" for letter in KEY),
    "encoded twice": quote("".join(f"%{ord(letter):02X}" for letter in KEY)),
    "escaped": "".join(f"\\u{ord(letter):04x}" for letter in KEY),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_the_search_finds_every_form(form: str) -> None:
    assert canary.traces(f"a {form} b")
    assert not canary.traces(f"a {form.replace('7', '8')[:-4]} b")


@pytest.fixture
def place(tmp_path: Path, catalogue_dir: Path) -> Path:
    (tmp_path / "catalogue").symlink_to(catalogue_dir)
    (tmp_path / "rows").mkdir()
    return tmp_path / "place"


def test_the_search_finds_a_key_that_the_program_does_not_know(place: Path) -> None:
    found = canary.attack(canary.CONTROL, place, ["plain", "export"])
    assert {"stdout", "home/data/conversations.db", "home/export.json"} <= set(found)


@pytest.mark.parametrize("name", ["answer in pieces", "settings: api_key_env"])
def test_a_key_is_found_nowhere_else(place: Path, name: str) -> None:
    assert canary.attack(name, place, ["plain", "export"]) == {}
