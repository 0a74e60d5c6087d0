"""What is known of the terminal without asking it; for the choice of a face and for the doctor."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Mapping
from typing import TextIO

_DUMB = frozenset({"", "dumb", "unknown"})
COLUMNS, LINES = 60, 20
"""What the chat's screens are laid out for, at the least."""
SIXTEEN, MANY, ALL = 16, 256, 1 << 24


def is_dumb(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the terminal can do no more than write lines, by its name in `TERM`."""
    return (os.environ if environ is None else environ).get("TERM", "") in _DUMB


def colour_count(environ: Mapping[str, str] | None = None) -> int:
    """How many colours the terminal has, by the rules by which Rich, and so Textual, counts them.

    `TEXTUAL_COLOR_SYSTEM` goes before what the terminal says of itself.
    """
    environ = os.environ if environ is None else environ
    told = {"standard": SIXTEEN, "256": MANY, "truecolor": ALL}
    if environ.get("TEXTUAL_COLOR_SYSTEM") in told:
        return told[environ["TEXTUAL_COLOR_SYSTEM"]]
    if environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return ALL
    if is_dumb(environ):
        return 0
    last = environ.get("TERM", "").strip().lower().rpartition("-")[2]
    return MANY if last in ("256color", "kitty") else SIXTEEN


def colour_disabled(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the person wants none: `NO_COLOR` is set, and to something (no-color.org)."""
    return bool((os.environ if environ is None else environ).get("NO_COLOR"))


UTF8 = "utf-8"
MISSING = "?"
"""What is seen in place of a cell of text that the terminal has no character for."""

_STAND_INS = (
    # Marks of ours.
    ("❯›▸▶►→⏵", ">"),
    ("❮‹◂◀◄←⏴", "<"),
    ("▲△↑⏶⌃", "^"),
    ("▼▽▾↓⏷⌄", "v"),
    ("●◉■◆★•∙⬤✱", "*"),
    ("○◌□◇☆⭘◦°", "o"),
    ("✓✔☑", "+"),
    ("✗✘✕✖×☒", "x"),
    ("…․", "."),
    ("“”„‟″«»", '"'),
    ("‘’‚‛′´", "'"),
    ("·‐‑‒–—―−", "-"),
    ("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f", " "),
    ("⏎↵⌘≡", "="),
    # Lines and corners.
    ("─━╌╍┄┅┈┉═╴╶╸╺╼╾▔▀", "-"),
    ("│┃╎╏┆┇┊┋║╵╷╹╻╽╿▏▎▍▌▐▕▊▋▉", "|"),
    ("┌┍┎┏┐┑┒┓└┕┖┗┘┙┚┛├┝┞┟┠┡┢┣┤┥┦┧┨┩┪┫┬┭┮┯┰┱┲┳┴┵┶┷┸┹┺┻┼┽┾┿╀╁╂╃╄╅╆╇╈╉╊╋", "+"),
    ("╒╓╔╕╖╗╘╙╚╛╜╝╞╟╠╡╢╣╤╥╦╧╨╩╪╫╬╭╮╯╰", "+"),
    # How much of something: from nothing to all of it.
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
# The dots of a cell's first and last rows: a curve is seen to rise and fall in ASCII, too.
_HIGH, _LOW = 0x1B, 0xE4


def _braille(dots: int) -> str:
    if dots & _HIGH and dots & _LOW:
        return ":"
    return "'" if dots & _HIGH else "." if dots else " "


GLYPHS: Mapping[str, str] = {chr(_BRAILLE + dots): _braille(dots) for dots in range(256)} | {
    glyph: stand_in for glyphs, stand_in in _STAND_INS for glyph in glyphs if not glyph.isascii()
}
"""One character of ASCII for each glyph, both one cell wide."""

_FOLDING = "balcao-folding"
_NO_LOCALE = frozenset({"C", "POSIX"})
_COERCED = "C.UTF-8"


def terminal_charset(
    unicode: str = "auto",
    environ: Mapping[str, str] | None = None,
    utf8_mode: bool | None = None,
    python_charset: str | None = None,
) -> str:
    """The codec of what the terminal shows: `utf-8`, or the name of what the locale says instead.

    `unicode` is the setting of that name: `never` is ASCII, `always` UTF-8, `auto` goes by the
    locale. Python cannot be asked for that, as it takes a locale of "C" for a mistake: it sets
    LC_CTYPE=C.UTF-8 (PEP 538), or else its UTF-8 mode (PEP 540), and writes UTF-8 to whatever
    terminal. So the variables are read as they were: "C" and "POSIX" have ASCII, a name with a
    character set has that one, a name without has `python_charset`, which is what Python found.
    Where no variable is set nothing was said, and UTF-8 it is, as for Python.
    """
    environ = os.environ if environ is None else environ
    utf8_mode = bool(sys.flags.utf8_mode) if utf8_mode is None else utf8_mode
    if unicode != "auto":
        return UTF8 if unicode == "always" else "ascii"
    locale = _locale(environ, utf8_mode=utf8_mode)
    if environ.get("PYTHONUTF8") == "1" or not locale:
        return UTF8
    if locale in _NO_LOCALE:
        return "ascii"
    named = locale.partition(".")[2].partition("@")[0]
    found = named or (python_charset or UTF8 if not utf8_mode else UTF8)
    try:
        return codecs.lookup(found).name
    except LookupError:
        return "ascii"


def _locale(environ: Mapping[str, str], *, utf8_mode: bool) -> str:
    """The locale's name as the person has set it, or nothing."""
    language, ctype = environ.get("LANG", ""), environ.get("LC_CTYPE", "")
    by_python = utf8_mode or (environ.get("PYTHONUTF8") == "0" and language in _NO_LOCALE)
    if ctype == _COERCED and by_python:
        ctype = ""
    return environ.get("LC_ALL", "") or ctype or language


def fold(text: str, charset: str) -> str:
    """`text` as a terminal of that character set shows it, cell for cell."""
    if charset == UTF8:
        return text
    return text.encode(charset, _FOLDING).decode(charset)


def set_charset(stream: TextIO, charset: str) -> None:
    """Have everything that is written to `stream` folded into `charset`."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=charset, errors=_FOLDING)


def _fold(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    from rich.cells import cell_len

    missing = error.object[error.start : error.end]
    if all(char in GLYPHS for char in missing):
        return "".join(GLYPHS[char] for char in missing), error.end
    if missing[0] in GLYPHS:
        return GLYPHS[missing[0]], error.start + 1
    upto = next((at for at, char in enumerate(missing) if char in GLYPHS), len(missing))
    return MISSING * cell_len(missing[:upto]), error.start + upto


codecs.register_error(_FOLDING, _fold)
