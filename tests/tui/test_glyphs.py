"""What a terminal without Unicode gets to see, and that every glyph of ours has a stand-in."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.cells import cell_len

from tui.terminal import GLYPHS, fold, set_charset, terminal_charset

ROOT = Path(__file__).resolve().parents[2]
FACES = sorted([*ROOT.glob("tui/**/*.py"), *ROOT.glob("engine/*.py"), *ROOT.glob("scripts/*.py")])


def test_every_stand_in_takes_the_room_of_its_glyph() -> None:
    for glyph, stand_in in GLYPHS.items():
        assert cell_len(glyph) == 1, glyph
        assert len(stand_in) == 1
        assert stand_in.isascii()
        assert stand_in.isprintable()


@pytest.mark.parametrize("file", FACES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_glyph_that_we_draw_has_a_stand_in(file: Path) -> None:
    if file.name == "text.py":
        pytest.skip("the characters that are never drawn")
    drawn = {
        char
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for char in node.value
        if not char.isascii() and unicodedata.category(char)[0] not in "LMC"
    }
    assert drawn <= GLYPHS.keys()


@pytest.mark.parametrize(
    ("text", "charset", "shown"),
    [
        ("❯ “Só” …", "utf-8", "❯ “Só” …"),
        ("❯ “Só” …", "ascii", '> "S?" .'),
        ("❯ “Só” …", "iso8859-1", '> "Só" .'),
        ("╭─╮ 漢字", "ascii", "+-+ ????"),
        ("e\u0301 \U0001f468\u200d\U0001f469\u200d\U0001f467|", "ascii", "e ??|"),
    ],
)
def test_what_is_missing_is_replaced_cell_for_cell(text: str, charset: str, shown: str) -> None:
    assert fold(text, charset) == shown
    assert cell_len(shown) == cell_len(text)


@pytest.mark.parametrize(
    ("environ", "charset"),
    [
        ({}, "utf-8"),
        ({"LANG": "C.UTF-8"}, "utf-8"),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, "utf-8"),
        ({"LANG": "C"}, "ascii"),
        ({"LC_ALL": "C", "LANG": "C.UTF-8"}, "ascii"),
        ({"LC_ALL": "POSIX"}, "ascii"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, "ascii"),
        ({"LANG": "C", "PYTHONUTF8": "0"}, "ascii"),
        ({"LANG": "C", "PYTHONCOERCECLOCALE": "0"}, "ascii"),
        ({"LANG": "C", "PYTHONUTF8": "1"}, "utf-8"),
        ({"LANG": "en_US.ISO-8859-1"}, "iso8859-1"),
        ({"LANG": "pt_BR.ISO-8859-15@euro"}, "iso8859-15"),
        ({"LANG": "xx_YY.UTF-8"}, "utf-8"),
        ({"LANG": "xx.nonsense"}, "ascii"),
    ],
)
def test_the_locale_is_read_as_the_person_has_set_it(environ: dict[str, str], charset: str) -> None:
    # In a fresh Python, which rewrites LC_CTYPE and its own encodings as it starts.
    ours = ("LANG", "LC_", "PYTHONUTF8", "PYTHONCOERCE")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    code = "from tui.terminal import terminal_charset; print(terminal_charset())"
    found = subprocess.run(
        [sys.executable, "-c", code], env=clean | environ, cwd=ROOT, capture_output=True, check=True
    )
    assert found.stdout.decode().strip() == charset


def test_the_setting_goes_before_the_locale() -> None:
    assert terminal_charset("never", {"LANG": "C.UTF-8"}, utf8_mode=False) == "ascii"
    assert terminal_charset("always", {"LANG": "C"}, utf8_mode=True) == "utf-8"
    assert terminal_charset(
        "auto", {"LANG": "fr_FR"}, utf8_mode=False, python_charset="latin-1"
    ) == ("iso8859-1")


def test_a_stream_is_folded_as_it_is_written() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    set_charset(stream, "ascii")
    stream.write("❯ Olá")
    assert raw.getvalue() == b"> Ol?"
