"""Terminals without Unicode: every drawn glyph has an ASCII replacement."""

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

from tui.terminal import GLYPHS, replace_glyphs, set_charset, terminal_charset

ROOT = Path(__file__).resolve().parents[2]
NOT_DRAWN = {
    "engine/backends/llama/text.py",
    "engine/catalogue/clean.py",
    "engine/catalogue/language/facts.py",
    "engine/catalogue/folding.py",
    "engine/core/text.py",
    "engine/fidelity/tokens.py",
}
"""Modules with characters that they look for in text."""
SOURCES = sorted(
    str(file.relative_to(ROOT))
    for package in ("engine", "tui", "scripts")
    for file in ROOT.glob(f"{package}/**/*.py")
)


def test_every_replacement_is_as_wide_as_its_glyph() -> None:
    for glyph, replacement in GLYPHS.items():
        assert cell_len(glyph) == 1, glyph
        assert len(replacement) == 1
        assert replacement.isascii()
        assert replacement.isprintable()


@pytest.mark.parametrize("file", [file for file in SOURCES if file not in NOT_DRAWN])
def test_every_drawn_glyph_has_an_ascii_replacement(file: str) -> None:
    drawn = {
        char
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
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
def test_missing_characters_are_replaced_cell_for_cell(text: str, charset: str, shown: str) -> None:
    assert replace_glyphs(text, charset) == shown
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
def test_the_locale_is_read_as_the_user_set_it(environ: dict[str, str], charset: str) -> None:
    # In a new process: Python changes LC_CTYPE and its encodings when it starts.
    locale_variables = ("LANG", "LC_", "PYTHONUTF8", "PYTHONCOERCE")
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(locale_variables)
    }
    code = "from tui.terminal import terminal_charset; print(terminal_charset())"
    found = subprocess.run(
        [sys.executable, "-c", code], env=clean | environ, cwd=ROOT, capture_output=True, check=True
    )
    assert found.stdout.decode().strip() == charset


def test_the_setting_overrides_the_locale() -> None:
    assert terminal_charset("never", {"LANG": "C.UTF-8"}, utf8_mode=False) == "ascii"
    assert terminal_charset("always", {"LANG": "C"}, utf8_mode=True) == "utf-8"
    assert terminal_charset(
        "auto", {"LANG": "fr_FR"}, utf8_mode=False, python_charset="latin-1"
    ) == ("iso8859-1")


def test_a_stream_replaces_glyphs_as_it_is_written() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    set_charset(stream, "ascii")
    stream.write("❯ Olá")
    assert raw.getvalue() == b"> Ol?"
