"""Foreign text does nothing to a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.text import json_line, mend, one_line, printable

NASTY = [
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\x9b31m",
    "\x9d0;x\x9c",
    "a\u202eb\u2066c",
    "\u200f\u061c",
    "\x00\x08\x7f",
    "\ud800",
    "\U000e0041",
]


@pytest.mark.parametrize("text", NASTY)
def test_no_control_or_bidi_character_is_left(text: str) -> None:
    for made in (printable(text), one_line(text), json_line({"text": text})):
        kinds = {unicodedata.category(letter) for letter in made}
        bidirectional = {unicodedata.bidirectional(letter) for letter in made}
        assert not kinds & {"Cc", "Cs"}
        assert not bidirectional & {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI"}


@given(st.text())
def test_printable_is_the_same_in_pieces(text: str) -> None:
    assert printable(text) == "".join(map(printable, text))
    assert printable(printable(text)) == printable(text)


@given(st.text(st.characters(codec="utf-8")))
def test_json_line_is_lossless_and_one_line(text: str) -> None:
    line = json_line({"text": text})
    assert json.loads(line) == {"text": text}
    assert "\n" not in line


def test_words_markup_and_accents_stay() -> None:
    text = "Olá — [/b] *dois*\n<b>três</b> 日本"
    assert printable(text) == text
    assert one_line(" a\n\n b\tc ") == "a b c"
    assert one_line("abcdefgh", 5) == "abcd…"


def test_surrogates_are_joined_or_replaced() -> None:
    assert mend("caf\u00e9 \U0001f600") == "caf\u00e9 \U0001f600"
    assert mend("\ud83d\ude00 and \ud83d alone \ude00") == "\U0001f600 and \ufffd alone \ufffd"


def test_a_long_text_is_cut_before_it_is_read() -> None:
    class Counting(str):
        __slots__ = ()

        def __getitem__(self, key: object) -> str:
            assert isinstance(key, slice)
            assert key.stop <= 2000
            return str.__getitem__(self, key)

    assert one_line(Counting("a b\n" * 500_000), 10) == "a b a b a…"
