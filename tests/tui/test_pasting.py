"""Pastes are extracted whole from terminal input."""

from __future__ import annotations

import pytest
from textual.events import Paste

from tui.textual_patches.driver import PasteParser

SENT = "ab\x1b[200~one\rtwo\x1b[A\x1b[201~c\x1b[B\x1b[200~\x1b[201~\x1b[200~three\0\x1b[201~"
START_MARKERS = {
    at + part
    for at in range(len(SENT))
    if SENT[at:].startswith("\x1b[200~")
    for part in range(1, 6)
}


def taken(pieces: list[str]) -> list[str | tuple[str]]:
    pastes = PasteParser()
    parts = [part for piece in pieces for part in pastes.feed(piece)]
    return [(part.text,) if isinstance(part, Paste) else part for part in parts]


def test_pastes_are_whole_and_other_input_is_unchanged() -> None:
    assert taken([SENT]) == ["ab", ("one\rtwo\x1b[A",), "c\x1b[B", ("",), ("three",)]


@pytest.mark.parametrize("at", [at for at in range(1, len(SENT)) if at not in START_MARKERS])
def test_an_end_marker_may_be_split_anywhere(at: int) -> None:
    found = taken([SENT[:at], SENT[at:]])
    assert [part for part in found if isinstance(part, tuple)] == [
        ("one\rtwo\x1b[A",),
        ("",),
        ("three",),
    ]
    assert "".join(part for part in found if isinstance(part, str)) == "abc\x1b[B"


def test_an_end_marker_may_come_letter_by_letter() -> None:
    assert taken(["\x1b[200~", *"long text\x1b[201~"]) == [("long text",)]


def test_a_split_start_marker_is_left_to_the_parser() -> None:
    assert taken(["a\x1b[20", "0~b\x1b[201~c"]) == ["a\x1b[20", "0~b\x1b[201~c"]
