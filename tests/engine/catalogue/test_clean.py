"""Clean texts: markup and spaces are removed, nothing else, and only once."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogue.clean import clean
from engine.core.text import printable

# Invented texts with the patterns of the data set (docs/measurements/catalogue.md).
PATTERNS = {
    "decimal entity": ("Nell Gray&#8217;s best&#8211;loved tale", "Nell Gray’s best–loved tale"),
    "named entity": ("HMS &quot;Heron&quot; &amp; crew", 'HMS "Heron" & crew'),
    "hexadecimal entity": ("caf&#xE9;", "café"),
    "cp1252 references": ("&#151;Herald. It&#x92;s &#147;so&#148;", "—Herald. It’s “so”"),
    "escaped twice": ("Tom &amp;amp; Ann &amp;quot;live&amp;quot;", 'Tom & Ann "live"'),
    "entity without semicolon": ("Rock &amp Roll", "Rock & Roll"),
    "edition, glued": (
        "Charted in 1889.--This text refers to thePaperbackedition.",
        "Charted in 1889.",
    ),
    "edition, out of print": (
        "Fine.--This text refers to an out of print or unavailable edition of this title.",
        "Fine.",
    ),
    "edition, alternate": (
        "Fine. --This text refers to an alternateHardcoveredition.",
        "Fine.",
    ),
    "edition, two words": ("A --This text refers to theLibrary Bindingedition.", "A"),
    "edition, with blanks": ("A --This text refers to the Kindle Edition edition.", "A"),
    "edition, in the middle": ("One.--This text refers to theAudio CDedition.Two.", "One. Two."),
    "edition and nothing else": ("--This text refers to thePaperbackedition.", ""),
    "double blanks": ("Two  blanks   here", "Two blanks here"),
    "nbsp": ("one&nbsp;two\xa0three", "one two three"),
    "line breaks": ("one\r\ntwo\n\nthree\tfour", "one two three four"),
    "block tags": ("<p>One.<br />Two.</p><ul><li>Three</li></ul>", "One. Two. Three"),
    "inline tags": ("Word<b>Play</b> and <i class='x'>more</i>", "WordPlay and more"),
    "escaped tags": ("&lt;p&gt;One&lt;/p&gt;", "One"),
    "comment": ("One<!-- hidden -->Two", "One Two"),
    "control characters": ("bell\x07 and\x1b[2J \x9b31m", "bell and [2J 31m"),
    "bidirectional marks": ("left\u202eright", "left right"),
    "lone surrogate": ("half \ud83d smile", "half smile"),
}
KEPT = (
    "needed.Copyright 1989 Some Business Information, Inc.",
    "films.This lavish",
    "from hisCity Gazettecolumn",
    "Book by",
    "“Quoted” – Ages 6 months–2 years; 50% off! (see p. 9) #1 @home *",
    "a < b and c > d, x<y, <3, <Smith@home>",
    "AT&T, R&D, Q & A",
    "This text refers to the Hardcover edition.",
    "--This text refers to the scholarly tradition of the edition.",
    "Ação, naïve, Straße, Łódź, 日本語, Привет",
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_markup_is_removed(pattern: str) -> None:
    dirty, wanted = PATTERNS[pattern]
    assert clean(dirty) == wanted


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("plain", []),
        ("a&amp;b", ["entities"]),
        ("a&nbsp;b", ["entities"]),
        ("a<br>b", ["tags"]),
        ("a.--This text refers to thePaperbackedition.", ["edition sentences"]),
        (" a", ["blanks"]),
        ("a  b\nc", ["blanks"]),
        ("a\x1bb", ["blanks", "control characters"]),
        ("<p>a &lt;b&gt;</p>  b", ["blanks", "entities", "tags"]),
    ],
)
def test_changes_are_counted_by_rule(text: str, rules: list[str]) -> None:
    changed: Counter[str] = Counter()
    clean(text, changed)
    clean(text, changed)
    assert changed == dict.fromkeys(rules, 2)


@pytest.mark.parametrize("text", KEPT)
def test_other_text_is_not_changed(text: str) -> None:
    assert clean(text) == text


PIECES = st.sampled_from(
    [
        "&", "&amp;", "&lt;", "&gt;", "&#60;", "&quot;", "#38;", "amp;", "<", ">", "<b>", "</p>",
        "<br", "--", "This text refers to ", "the", "an alternate", "Paperback", "edition", ".",
        "an out of print or unavailable edition of this title", " ", "  ", "\n", "\xa0", "\x07",
        "\u2028", "word", "é", "’", "9", "<!--", "-->",
    ]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean(text)
    assert clean(once) == once


@given(st.text(alphabet=st.characters(exclude_characters="&<")))
def test_only_spaces_and_control_characters_are_removed(text: str) -> None:
    if "This text refers to" in text:
        return
    seen = [char for char in printable(text) if not char.isspace() and _shown(char)]
    assert [char for char in clean(text) if char != " "] == seen


def _shown(char: str) -> bool:
    return unicodedata.category(char) != "Cc"


@given(st.text())
def test_clean_text_is_printable(text: str) -> None:
    assert printable(clean(text)) == clean(text)


@pytest.mark.parametrize(
    "hostile",
    ["&amp;" * 40_000, "&" + "amp" * 60_000, "<!--" * 50_000, "<b " * 60_000, "--" * 100_000,
     "--This text refers to the" * 8_000, "&#38;" * 40_000],
)  # fmt: skip
def test_hostile_text_is_cleaned_in_time(hostile: str) -> None:
    assert len(clean(hostile)) <= len(hostile)
