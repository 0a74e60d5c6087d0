"""Detect from environment variables which colours and characters a terminal can show."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from engine.core.text import one_line

_DUMB = frozenset({"", "dumb", "unknown"})
COLUMNS, LINES = 60, 20
"""The smallest size that the chat's screens are designed for."""
SIXTEEN = 16
_COLOURS_256, _TRUE_COLOUR = 256, 1 << 24
UTF8 = "utf-8"
_MAX_NOTIFICATION = 200


def is_dumb(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal, by its name in TERM, can only write lines."""
    return environ.get("TERM", "") in _DUMB


def colour_count(environ: Mapping[str, str] = os.environ) -> int:
    """Return the number of colours by the rules of Rich, and so of Textual.

    TEXTUAL_COLOR_SYSTEM overrides what the terminal says.
    """
    chosen = {"standard": SIXTEEN, "256": _COLOURS_256, "truecolor": _TRUE_COLOUR}
    if environ.get("TEXTUAL_COLOR_SYSTEM") in chosen:
        return chosen[environ["TEXTUAL_COLOR_SYSTEM"]]
    if environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return _TRUE_COLOUR
    if is_dumb(environ):
        return 0
    last = environ.get("TERM", "").strip().lower().rpartition("-")[2]
    return _COLOURS_256 if last in ("256color", "kitty") else SIXTEEN


def colour_disabled(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether NO_COLOR is set and not empty (no-color.org)."""
    return bool(environ.get("NO_COLOR"))


def notification(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return what rings the terminal and shows `text` as a notification (OSC 9 and 777).

    It is empty for terminals that would print it.
    """
    if is_dumb(environ) or environ["TERM"] == "linux":
        return ""
    clean = one_line(text, _MAX_NOTIFICATION).replace(";", ",")
    return f"\a\x1b]9;balcao: {clean}\a\x1b]777;notify;balcao;{clean}\a"


_UNKNOWN = "?"
"""Drawn for each cell of a character without an ASCII replacement."""
_REPLACEMENTS = (
    # Marks of the chat.
    ("❯›▶►→⏵", ">"),
    ("▸", "+"),
    ("❮‹◂◀◄←⏴", "<"),
    ("▲△↑⏶⌃", "^"),
    ("▼▽↓⏷⌄", "v"),
    ("●◉■◆★•∙⬤✱", "*"),
    ("○◌□◇☆⭘◦°", "o"),
    ("✓✔☑", "+"),
    ("✗✘✕✖×☒", "x"),
    ("≈", "~"),
    ("…․", "."),
    ("“”„‟″«»", '"'),
    ("‘’‚‛′´", "'"),
    ("·‐‑‒–—―−▾", "-"),
    ("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f", " "),
    ("⏎↵⌘≡", "="),
    ("\ufffd", "?"),
    # Lines and corners.
    ("─━╌╍┄┅┈┉═╴╶╸╺╼╾▔▀", "-"),
    ("│┃╎╏┆┇┊┋║╵╷╹╻╽╿▏▎▍▌▐▕▊▋▉", "|"),
    ("┌┍┎┏┐┑┒┓└┕┖┗┘┙┚┛├┝┞┟┠┡┢┣┤┥┦┧┨┩┪┫┬┭┮┯┰┱┲┳┴┵┶┷┸┹┺┻┼┽┾┿╀╁╂╃╄╅╆╇╈╉╊╋", "+"),
    ("╒╓╔╕╖╗╘╙╚╛╜╝╞╟╠╡╢╣╤╥╦╧╨╩╪╫╬╭╮╯╰", "+"),
    # Shares, from nothing to all.
    ("▁", "_"),
    ("▂░", "."),
    ("▃", ":"),
    ("▄▒", "-"),
    ("▅", "="),
    ("▆▓▰", "+"),
    ("▇", "*"),
    ("█▮", "#"),
    ("▱▯", "."),
    ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "*"),
)
_BRAILLE = 0x2800
# Dots of a cell's upper and lower rows: a curve rises and falls in ASCII too.
_HIGH, _LOW = 0x1B, 0xE4


def _braille(dots: int) -> str:
    if dots & _HIGH and dots & _LOW:
        return ":"
    return "'" if dots & _HIGH else "." if dots else " "


GLYPHS: Mapping[str, str] = {chr(_BRAILLE + dots): _braille(dots) for dots in range(256)} | {
    glyph: ascii_char for glyphs, ascii_char in _REPLACEMENTS for glyph in glyphs
}
"""An ASCII character for each glyph, both one cell wide."""

_ERROR_HANDLER = "balcao-glyphs"
_NO_LOCALE = frozenset({"C", "POSIX"})
_COERCED = "C.UTF-8"


def terminal_charset(
    unicode: str = "auto",
    environ: Mapping[str, str] = os.environ,
    utf8_mode: bool = bool(sys.flags.utf8_mode),
    python_charset: str = UTF8,
) -> str:
    """Return the codec of the terminal's character set.

    `unicode` is the setting of that name: `never` is ASCII, `always` is UTF-8, `auto` follows the
    locale. Python's own answer is of no use: in the locale "C" it sets LC_CTYPE=C.UTF-8 (PEP 538)
    or its UTF-8 mode (PEP 540), and writes UTF-8 to any terminal. So this reads the original
    variables: "C" and "POSIX" mean ASCII, a locale may name its character set, and the default is
    `python_charset`, which Python found. Without any variable it is UTF-8.
    """
    if unicode != "auto":
        return UTF8 if unicode == "always" else "ascii"
    locale = _locale(environ, utf8_mode=utf8_mode)
    if environ.get("PYTHONUTF8") == "1" or not locale:
        return UTF8
    if locale in _NO_LOCALE:
        return "ascii"
    named = locale.partition(".")[2].partition("@")[0]
    found = named or (UTF8 if utf8_mode else python_charset)
    try:
        return codecs.lookup(found).name
    except LookupError:
        return "ascii"


def _locale(environ: Mapping[str, str], *, utf8_mode: bool) -> str:
    """Return the locale that the user set, before Python changed it, or an empty string."""
    language, ctype = environ.get("LANG", ""), environ.get("LC_CTYPE", "")
    by_python = utf8_mode or (environ.get("PYTHONUTF8") == "0" and language in _NO_LOCALE)
    if ctype == _COERCED and by_python:
        ctype = ""
    return environ.get("LC_ALL", "") or ctype or language


def replace_glyphs(text: str, charset: str) -> str:
    """Replace characters that a character set lacks, cell for cell."""
    if charset == UTF8:
        return text
    return text.encode(charset, _ERROR_HANDLER).decode(charset)


def set_charset(stream: TextIO, charset: str) -> None:
    """Encode a stream in a character set, with replacements for what it lacks."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=charset, errors=_ERROR_HANDLER)


def _encode_error(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    from rich.cells import cell_len

    missing = error.object[error.start : error.end]
    if all(char in GLYPHS for char in missing):
        return "".join(GLYPHS[char] for char in missing), error.end
    if missing[0] in GLYPHS:
        return GLYPHS[missing[0]], error.start + 1
    end = next((at for at, char in enumerate(missing) if char in GLYPHS), len(missing))
    return _UNKNOWN * cell_len(missing[:end]), error.start + end


codecs.register_error(_ERROR_HANDLER, _encode_error)
