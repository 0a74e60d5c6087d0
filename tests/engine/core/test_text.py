"""Foreign text does nothing to a terminal."""

from __future__ import annotations

import json
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.text import Redactor, json_line, mend, one_line, printable, redact

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


CANARY = "sk-Canary/77aa01c2=e9"
WRITTEN = {
    "as it is": CANARY,
    "in capitals": CANARY.upper(),
    "with a long s": CANARY.replace("s", "\u017f"),
    "percent-encoded": quote(CANARY, safe=""),
    "percent-encoded twice": "".join(f"%25{ord(letter):02X}" for letter in CANARY),
    "escaped": "".join(f"\\u{ord(letter):04x}" for letter in CANARY),
    "with NUL": "\0".join(CANARY),
    "with marks of direction": "\u200e".join(CANARY),
    "with colours": "\x1b[31m".join(CANARY),
    "with blanks": " ".join(CANARY),
    "with escaped NUL": repr("\0".join(CANARY)),
    "after what looks encoded": "%c3" + CANARY,
    "after its own beginning": CANARY[:9] + CANARY,
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_secret_is_replaced_however_it_is_written(written: str) -> None:
    text = f"The key {written} is the shop's."
    whole = redact(text, CANARY)
    assert whole.startswith("The key ")
    assert "…" in whole
    assert "77" not in whole.casefold()
    assert whole.endswith(" is the shop's.")
    for size in range(1, 8):
        redactor = Redactor(CANARY)
        pieces = [redactor.add(text[at : at + size]) for at in range(0, len(text), size)]
        assert "".join([*pieces, redactor.add("", last=True)]) == whole


def test_a_hexadecimal_secret_after_a_percent_sign_is_replaced() -> None:
    assert redact("%ab12cd34ef", "ab12cd34ef") == "%…"


@given(st.text(), st.text())
def test_text_without_a_secret_stays(before: str, after: str) -> None:
    redactor = Redactor("sk-0123456789")
    assert redactor.add(before) + redactor.add(after, last=True) == before + after


def test_a_short_key_is_no_secret() -> None:
    assert redact("10 x 20 cm, none left", "x", "none", "") == "10 x 20 cm, none left"


def test_little_of_a_text_is_held_back() -> None:
    redactor = Redactor(CANARY)
    given_out = [redactor.add("s" + " " * 999) for _ in range(9)]
    assert sum(map(len, given_out)) > 7000


def test_a_long_text_is_cut_before_it_is_read() -> None:
    class Counting(str):
        __slots__ = ()

        def __getitem__(self, key: object) -> str:
            assert isinstance(key, slice)
            assert key.stop <= 2000
            return str.__getitem__(self, key)

    assert one_line(Counting("a b\n" * 500_000), 10) == "a b a b a…"
