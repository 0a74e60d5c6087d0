"""Make text from data, models and servers safe to show, and format sizes and durations."""

from __future__ import annotations

import re

from engine.core.i18n import numeral, tr

_UNSAFE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1 (8-bit CSI and OSC)
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional marks reorder their surroundings
    "\u2028\u2029\ufeff\ufff9-\ufffb"  # line separators, BOM, interlinear marks
    "\U000e0000-\U000e007f"  # tag characters: invisible text
    "\ud800-\udfff"  # lone surrogates cannot be encoded
    "]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_DENSITY = 20
"""Characters that are read for each one that a line shows: the others are blanks or unsafe."""
_BLANKS = re.compile(r"\s+")
_STEPS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def printable(text: str) -> str:
    """Remove every character that a terminal would obey; a sequence loses only its escape."""
    return _UNSAFE.sub("", text)


def mend(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates, which cannot be encoded as UTF-8."""
    if text.isascii() or not _SURROGATES.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def clip(text: str, limit: int) -> str:
    """Cut `text` to `limit` characters, the last one an ellipsis if anything is missing."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def one_line(text: str, width: int = 0) -> str:
    """Put `text` on one line, made printable; cut to `width` characters unless that is 0."""
    if width:  # what is dropped should cost nothing, and may be a server's 300 MB
        text = text[: width * _DENSITY]
    line = _BLANKS.sub(" ", printable(text)).strip()
    return clip(line, width) if width else line


def json_line(value: object) -> str:
    """Write `value` as a line of JSON with all unsafe characters escaped."""
    import json

    text = json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
    return json_safe(text)


def json_safe(text: str) -> str:
    """Escape every character in JSON that a terminal would obey."""
    import json

    return _UNSAFE.sub(lambda found: json.dumps(found[0])[1:-1], text)


def last_part(path: str) -> str:
    """Return the last part of a folder's path or a hub id."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def byte_count(count: float) -> str:
    """Return a size in short form, in powers of ten: `4.1 GB`."""
    for step, unit in _STEPS:
        if count >= step:
            return f"{numeral(count / step, '.1f')} {unit}"
    return f"{count:.0f} bytes"


_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """Return a duration in short form: `40 s`, `12 min`, `3 h 5 min`, `2 d`."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return tr("{seconds:.0f} min", seconds=seconds // _MINUTE)
    if seconds < _DAY:
        return tr(
            "{seconds:.0f} h {seconds2:.0f} min",
            seconds=seconds // _HOUR,
            seconds2=seconds % _HOUR // _MINUTE,
        )
    return f"{seconds // _DAY:.0f} d"
