"""Clean a title or a description: remove entities, tags, edition sentences and extra spaces.

Nothing else changes: an answer that is quoted word for word depends on punctuation, digits, case
and accents. The patterns are those counted in AmazonTitles-1.3MM
(`docs/measurements/catalogue.md`).
"""

from __future__ import annotations

import functools
import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import RawRow
from engine.core.text import printable
from engine.core.types import Product

_MAX_ROUNDS = 8
"""Some text is escaped twice; the limit bounds the work on hostile input."""

# "&amp;amp;amp;…" in one match, so that hostile text cannot make a round expensive.
_AMPERSANDS = re.compile(r"&(?:(?:amp|AMP);?|#0*38(?![0-9]);?|#[xX]0*26(?![0-9a-fA-F]);?)+")
# As in HTML5 and in Python's html module, a name may lack its semicolon.
_REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[^\t\n\f <&#;]{1,32});?")
_EDITION_MARK = "This text refers to "
_EDITION = re.compile(
    r"--\s?This text refers to (?:"
    r"an out of print or unavailable edition of this title"
    r"|(?:the|an alternate)\s?[A-Z0-9][A-Za-z0-9 &,/()-]{0,38}?\s?edition"
    r")\b\.?"
)
_INLINE = "a|abbr|b|big|cite|code|em|font|i|s|small|span|strike|strong|sub|sup|tt|u|wbr"
_BLOCK = (
    "blockquote|body|br|center|dd|div|dl|dt|h[1-6]|head|hr|html|img|li|ol|p|pre|script|style"
    "|table|tbody|td|th|thead|tr|ul"
)
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCK})(?:\s[^<>]*)?/?>|<!--[^>]{{0,2000}}-->", re.IGNORECASE)


def clean_rows(rows: Iterable[RawRow], counts: Counts) -> Iterator[Product]:
    """Yield and count a product for each row with a title or a description after cleaning."""
    for row in rows:
        content = row.content or ""
        title = clean(row.title or "", counts.changed)
        description = clean(content, counts.changed)
        if not row.uid:
            counts.rejected["no uid"] += 1
        elif not title and not description:
            counts.rejected["no title and no description"] += 1
        else:
            counts.kept += 1
            yield Product(row.uid, title, description, content)


def clean(text: str, changed: Counter[str] | None = None) -> str:
    """Remove entities (by HTML5 rules), tags, edition sentences and extra spaces.

    `changed` counts texts by the rule that changed them. Cleaning twice is safe.
    """
    # These tests are far cheaper than the rules, and most texts pass them.
    dirty = "&" in text or "<" in text or "  " in text or _EDITION_MARK in text
    if not dirty and text.isprintable() and text[:1] != " " and text[-1:] != " ":
        return text
    rules: set[str] = set()
    text = _strip_blanks(text, rules)
    for _ in range(_MAX_ROUNDS):
        cleaned = _strip_markup(text, rules)
        if cleaned == text:
            break
        # Spaces that a removed tag or sentence leaves are not counted as another change.
        text = _strip_blanks(cleaned, set())
    if changed is not None:
        changed.update(rules)
    return text


def _strip_markup(text: str, rules: set[str]) -> str:
    if "&" in text:
        cleaned = _REFERENCE.sub(lambda found: _unescape(found[0]), _AMPERSANDS.sub("&", text))
        text = _note_change(text, cleaned, "entities", rules)
    if "<" in text:
        cleaned = _INLINE_TAG.sub("", _BLOCK_TAG.sub(" ", text))
        text = _note_change(text, cleaned, "tags", rules)
    if _EDITION_MARK in text:
        text = _note_change(text, _EDITION.sub(" ", text), "edition sentences", rules)
    return text


def _strip_blanks(text: str, rules: set[str]) -> str:
    cleaned = text.strip(" ")
    if not cleaned.isprintable():
        cleaned = " ".join(cleaned.split())
        if printable(cleaned) != cleaned:  # a terminal would obey some of it
            shown = "".join(char if printable(char) else " " for char in cleaned)
            shown = _note_change(cleaned, shown, "control characters", rules)
            cleaned = " ".join(shown.split())
    elif "  " in cleaned:
        cleaned = " ".join(cleaned.split())
    return _note_change(text, cleaned, "blanks", rules)


def _note_change(before: str, after: str, rule: str, rules: set[str]) -> str:
    if after != before:
        rules.add(rule)
    return after


# A few dozen entities are nearly all of those in a data set.
_unescape = functools.lru_cache(maxsize=4096)(html.unescape)
