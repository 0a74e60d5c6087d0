"""The text of a record as people should read it: entities, tags, blanks and edition sentences go.

Nothing else does: punctuation, digits, case and accents are what makes an answer word for word.
The shapes of the dirt are those counted in AmazonTitles-1.3MM (`docs/measurements/catalogue.md`).
"""

from __future__ import annotations

import functools
import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from engine.catalogue.read import Counts, RawRow
from engine.core.types import Product

ENTITIES = "entities"
TAGS = "tags"
EDITION = "edition sentences"
BLANKS = "blanks"
CONTROLS = "control characters"
_ROUNDS = 8
"""Text escaped twice occurs; deeper nesting is nobody's writing, and unescaping it has an end."""

# "&amp;amp;amp;…" in one go, so that no text can make the rounds expensive.
_AMPERSANDS = re.compile(
    r"&(?:(?:amp|AMP);?|#0*38(?![0-9]);?|#[xX]0*26(?![0-9a-fA-F]);?)+",
)
# As HTML5 has it, and Python's html module: a name may lack its semicolon.
_REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[^\t\n\f <&#;]{1,32});?")
_SENTENCE = "This text refers to "
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
# All that `engine.core.text.printable` removes, so that a terminal shows the record itself.
_CONTROL = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\u2028\u2029\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f"
    "\ud800-\udfff"
    "]"
)


def clean(text: str, changed: Counter[str] | None = None) -> str:
    """`text` without entities (HTML5 rules), tags, edition sentences, and needless blanks.

    Cleaning what is clean changes nothing, and costs next to nothing. `changed` counts texts by the
    rule that changed them.
    """
    # Looking costs far less than the work that it saves: most texts need none of it.
    marked = "&" in text or "<" in text or "  " in text or _SENTENCE in text
    if not marked and text.isprintable() and text[:1] != " " and text[-1:] != " ":
        return text
    rules: set[str] = set()
    plain = _thorough(text, rules)
    if changed is not None:
        changed.update(rules)
    return plain


def _thorough(text: str, rules: set[str]) -> str:
    text = _without_blanks(text, rules)
    for _ in range(_ROUNDS):
        plain = _without_markup(text, rules)
        if plain == text:
            break
        # The blanks that a tag or a sentence leaves behind are none of the text's own.
        text = _without_blanks(plain, set())
    return text


def _without_markup(text: str, rules: set[str]) -> str:
    if "&" in text:
        plain = _REFERENCE.sub(_unescaped, _AMPERSANDS.sub("&", text))
        text = _noted(text, plain, ENTITIES, rules)
    if "<" in text:
        plain = _INLINE_TAG.sub("", _BLOCK_TAG.sub(" ", text))
        text = _noted(text, plain, TAGS, rules)
    if _SENTENCE in text:
        text = _noted(text, _EDITION.sub(" ", text), EDITION, rules)
    return text


def _without_blanks(text: str, rules: set[str]) -> str:
    plain = text.strip(" ")
    if not plain.isprintable():
        plain = " ".join(plain.split())
        if not plain.isprintable():
            shown = _noted(plain, _CONTROL.sub(" ", plain), CONTROLS, rules)
            plain = " ".join(shown.split())
    elif "  " in plain:
        plain = " ".join(plain.split())
    return _noted(text, plain, BLANKS, rules)


def _noted(before: str, after: str, rule: str, rules: set[str]) -> str:
    if after != before:
        rules.add(rule)
    return after


def _unescaped(found: re.Match[str]) -> str:
    return _character(found[0])


# A few dozen entities make up nearly all of a data set's.
_character = functools.lru_cache(maxsize=4096)(html.unescape)


def products(rows: Iterable[RawRow], counts: Counts) -> Iterator[Product]:
    """A product for each row that has a title or a description left after cleaning."""
    for row in rows:
        product = to_product(row, counts.changed)
        if not row.uid:
            counts.rejected["no uid"] += 1
        elif not product.title and not product.description:
            counts.rejected["no title and no description"] += 1
        else:
            counts.kept += 1
            yield product


def to_product(row: RawRow, changed: Counter[str]) -> Product:
    """The row with title and content cleaned; the content as it was stays beside."""
    content = row.content or ""
    title = clean(row.title or "", changed)
    return Product(row.uid, title, clean(content, changed), content)
