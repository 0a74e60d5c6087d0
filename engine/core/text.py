"""Make text from data, models and servers safe to show, and format sizes and durations."""

from __future__ import annotations

import re
from collections.abc import Iterable

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


def number_up_to(most: int, text: str) -> int | None:
    """Read a whole number from 1 to `most`; Python's int() refuses 5,000 digits with ValueError."""
    text = text.lstrip("0")
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(most)) or int(text) > most:
        return None
    return int(text)


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question about the known word that is most like `word`, or nothing."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), 1)
    return " " + tr("Did you mean “{word}”?", word=found[0]) if found else ""


def overlap(text: str, mark: str) -> int:
    """Count the characters at the end of `text` with which `mark` may begin there."""
    sizes = range(min(len(text), len(mark) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(mark[:size])), 0)


_ESCAPE = (  # %73, %2573, \x73, \u0073 and \n, written out; a terminal's colours
    r"(?:%(?:25)*|\\x|\\u00)([\da-f]{2})|\\(?:u.{4}|[nrtbf0])|\x1b\[[\d;?]*[@-~]"
)
_PLAIN, _DECODED = re.compile(r".", re.DOTALL), re.compile(rf"(?is:{_ESCAPE}|.)")
_UNFINISHED = re.compile(r"(?is)(?:%(?:25)*[\da-f]?|\\(?:x[\da-f]?|u.{0,3})?|\x1b(?:\[[\d;?]*)?)\Z")
_SHORTEST_SECRET = 6
"""Characters. A shorter key is a placeholder ("x", "none"), and may be a word of the answer."""
_MOST_HELD = 1000
"""Characters of a text that wait for its next piece, besides two for each of a secret's."""


class Redactor:
    """Replace secrets in a text, which may arrive in pieces.

    Finds them in any case, percent-encoded or escaped, and with blanks, control and invisible
    characters between their letters, which `printable` would remove.
    """

    def __init__(self, *secrets: str) -> None:
        forms = {_letters(secret, form)[0] for secret in secrets for form in (_PLAIN, _DECODED)}
        self._secrets = sorted((s for s in forms if len(s) >= _SHORTEST_SECRET), key=len)
        self._any = re.compile("|".join(map(re.escape, self._secrets[::-1])))
        firsts = re.escape("".join({secret[0] for secret in self._secrets}))
        self._first = re.compile(rf"[%\\\x1b{firsts}]", re.IGNORECASE)
        self._most_held = _MOST_HELD + 2 * max(map(len, self._secrets), default=0)
        self._held = ""

    def add(self, text: str, *, last: bool = False) -> str:
        """Return the text without secrets; unless `last`, hold back what may be half of one."""
        text, self._held = self._held + text, ""
        if not self._secrets or not self._first.search(text):
            return text
        for form in (_PLAIN, _DECODED):
            if self._any.search(_visible(text, form)):
                text = self._replace(*_letters(text, form), text)
        if not last:
            begin = min(self._begin(text, form) for form in (_PLAIN, _DECODED))
            text, self._held = text[:begin], text[begin:]
        return text

    def _replace(self, letters: str, places: list[tuple[int, int]], text: str) -> str:
        parts, done = [], 0
        for found in self._any.finditer(letters):
            parts += [text[done : places[found.start()][0]], "…"]
            done = places[found.end() - 1][1]
        return "".join([*parts, text[done:]])

    def _begin(self, text: str, form: re.Pattern[str]) -> int:
        """Return where the end of the text may be the beginning of a secret."""
        first = max(len(text) - self._most_held, 0)
        unfinished = _UNFINISHED.search(text, first) if form is _DECODED else None
        begin = end = unfinished.start() if unfinished else len(text)
        letters, places = _letters(text[first:end], form)
        for secret in self._secrets:
            size = overlap(letters, secret)
            begin = min(begin, first + places[-size][0]) if size else begin
        return begin


def redact(text: str, *secrets: str) -> str:
    """Replace each secret in `text`, however it is written (see `Redactor`)."""
    return Redactor(*secrets).add(text, last=True)


def _visible(text: str, form: re.Pattern[str]) -> str:
    """Return the letters of `_letters`, in a tenth of its time."""
    if form is _DECODED and re.search(r"[%\\\x1b]", text):
        text = re.sub(rf"(?is:{_ESCAPE})", _decoded, text)
    return re.sub(r"[^!-~]+", "", text.casefold())


def _letters(text: str, form: re.Pattern[str]) -> tuple[str, list[tuple[int, int]]]:
    """Return the visible ASCII of a text in lower case, and the place of each of its letters."""
    found = [
        (letter, atom.span())
        for atom in form.finditer(text)
        for letter in _decoded(atom).casefold()
        if "!" <= letter <= "~"
    ]
    return "".join(letter for letter, _ in found), [place for _, place in found]


def _decoded(atom: re.Match[str]) -> str:
    if atom.lastindex:
        return chr(int(atom[1], 16))
    return atom[0] if len(atom[0]) == 1 else ""


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


def counted(count: float, name: str) -> str:
    """Return a number and an English noun, in the plural unless it is 1."""
    return f"{count:,.12g} {name}{'s' * (count != 1)}"


def byte_count(count: float) -> str:
    """Return a size in short form, in powers of ten: `4.1 GB`."""
    for step, unit in _STEPS:
        if count >= step:
            return f"{numeral(count / step, '.1f')} {unit}"
    return f"{count:.0f} bytes"


_MINUTE, _HOURS = 60, 24
_IN_SECONDS = 120
"""A shorter duration is shown in seconds."""


def duration(seconds: float) -> str:
    """Return a duration in short form, rounded: `98 s`, `12 min`, `3 h 5 min`, `2 d`."""
    if round(seconds) < _IN_SECONDS:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / _MINUTE), _MINUTE)
    if not hours:
        return tr("{minutes} min", minutes=minutes)
    if hours < _HOURS:
        return tr("{hours} h {minutes} min", hours=hours, minutes=minutes)
    return f"{hours / _HOURS:.0f} d"
