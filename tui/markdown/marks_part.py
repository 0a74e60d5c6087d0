"""Marks in a text which of its words stand in the record, and which do not."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text


def mark(texts: Sequence[Text], record: str, styles: tuple[Style, Style]) -> None:
    """Style the words of `texts`, taken as one text: the record's, and those that are not.

    `engine.fidelity.marks_part` decides which are the record's, by the words as drawn: Markdown's
    own characters, which fidelity counts, are not on the screen.
    """
    from engine.fidelity.marks_part import spans

    ends, place = iter(_ends(texts)), 0
    end, text = next(ends, (0, Text()))
    start = 0
    for span in spans("\n".join(text.plain for text in texts), record):
        last = place + len(span.text)
        style = styles[0] if span.quoted else styles[1]
        while True:
            text.stylize(style, max(place, start) - start, min(last, end) - start)
            if end >= last:
                break
            start = end + 1
            end, text = next(ends, (last, Text()))
        place = last


def unmark(texts: Sequence[Text], styles: tuple[Style, Style]) -> None:
    """Take those marks away."""
    for text in texts:
        text.spans = [span for span in text.spans if span.style not in styles]


def _ends(texts: Sequence[Text]) -> list[tuple[int, Text]]:
    ends, place = [], 0
    for text in texts:
        ends.append((place + len(text.plain), text))
        place += len(text.plain) + 1
    return ends
