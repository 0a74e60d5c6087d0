"""Fold text: without case, accents and punctuation, and nothing else lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogue.folding import fold, title_key, tokenise


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Marmalade's Kittens", ["marmalades", "kittens"]),
        ("Marmalade’s Kittens", ["marmalades", "kittens"]),
        ("HMS “Heron”—a tale", ["hms", "heron", "a", "tale"]),
        ("Ação & Reação", ["acao", "reacao"]),
        ("e\u0301te\u0301", ["ete"]),
        ("STRASSE Straße ØRSTED Łódź", ["strasse", "strasse", "orsted", "lodz"]),
        ("XR-450/B 18-Inch", ["xr", "450", "b", "18", "inch"]),
        ("東京 Nights", ["東", "京", "nights"]),
        ("Привет, МИР", ["привет", "мир"]),
        ("Café™ Noir®", ["cafe", "noir"]),
        ("!!!", []),
        ("a\xa0b\u2003c", ["a", "b", "c"]),
    ],
)
def test_tokenise(text: str, folded: list[str]) -> None:
    assert tokenise(text) == folded


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    once = tokenise(text)
    assert tokenise(" ".join(once)) == once
    assert fold(text).split() == once


@given(st.text(alphabet=st.characters(max_codepoint=0x24F)))
def test_case_does_not_matter_in_western_text(text: str) -> None:
    assert tokenise(text.casefold()) == tokenise(text.casefold().upper().casefold())


@given(st.text())
def test_a_title_key_fits_sqlite(text: str) -> None:
    assert -(2**63) <= title_key(tokenise(text), text) < 2**63


def test_title_keys_ignore_spaces_and_and() -> None:
    assert title_key(tokenise("Best-Selling Cats & Dogs")) == title_key(
        tokenise("bestselling cats and dogs")
    )
    assert title_key(tokenise("Cats Dogs")) != title_key(tokenise("Dogs Cats"))
    assert title_key(tokenise("and")) != title_key(tokenise(""))
    assert title_key([], "!!!") != title_key([], "???")
