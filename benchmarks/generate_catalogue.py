"""Generate a file like `trn.json`: invented words in the patterns of the real data set.

    python -m benchmarks.generate_catalogue --rows 200000 --seed 1 --out /tmp/made/trn.json.gz

It also writes `held_out.jsonl`: rows of the same kind that are not in the file. The shares and
lengths are those of AmazonTitles-1.3MM (docs/measurements/catalogue.md).
"""

from __future__ import annotations

import argparse
import bisect
import html
import json
import random
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from benchmarks.generate_words import (
    COLOURS,
    EDITIONS,
    FUNCTION_WORDS,
    QUOTERS,
    SIZES,
    ZipfStream,
    vocabulary,
)

_VOCABULARY = 300_000
_HELD_OUT = 1 / 200
_LENGTHS = ((0.0, 5), (0.05, 47), (0.25, 194), (0.5, 398), (0.75, 805), (0.95, 1728), (0.999, 6000),
            (0.99999, 40_000), (1.0, 197_000))  # fmt: skip
"""Characters of a content by quantile."""
_EDITION = (
    "--This text refers to an out of print or unavailable edition of this title.",
    "--This text refers to theHardcoveredition.",
    "--This text refers to thePaperbackedition.",
    "--This text refers to an alternateHardcoveredition.",
)
_ENTITIES = {"'": ("&#8217;", "&rsquo;", "&#x92;"), "-": ("&#8211;", "&mdash;", "&#151;"),
             '"': ("&quot;", "&#8220;")}  # fmt: skip


class RowGenerator:
    """Generate rows in order; the same seed generates the same rows."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        # One vocabulary for all seeds: catalogues of one language differ in titles, not in words.
        self._words = vocabulary(_VOCABULARY, 7)
        self._in_titles = ZipfStream(_VOCABULARY, 0.85, 20, seed + 1)
        self._in_texts = ZipfStream(_VOCABULARY, 0.95, 10, seed + 2)
        self._family: deque[str] = deque()
        self._recent: deque[str] = deque(maxlen=2_000)

    def row(self, number: int) -> dict[str, Any]:
        """Generate the row with this number."""
        draw = self._draw
        lot = draw.random()
        title = "" if lot < 0.056 else self._title()
        content = "" if lot < 0.007 or 0.056 <= lot < 0.382 else self._content(title)
        related = sorted(draw.sample(range(1_300_000), draw.choice((0, 1, 3, 8, 20, 25, 45, 75))))
        return {
            "uid": _uid(number),
            "title": title,
            "content": content,
            "target_ind": related,
            "target_rel": [1.0] * len(related),
        }

    def _title(self) -> str:
        draw = self._draw
        if self._family:
            return self._family.popleft()
        lot = draw.random()
        if lot < 0.029 and self._recent:
            return draw.choice(self._recent)
        title = self._goods() if lot < 0.4 else self._work()
        if draw.random() < 0.025:
            self._have_family(title)
        if draw.random() < 0.022:
            title = html.escape(title.replace("'", "&#8217;"), quote=True)
        self._recent.append(title)
        return title

    def _have_family(self, title: str) -> None:
        draw = self._draw
        kind = draw.choice((COLOURS, SIZES, EDITIONS, [f"Vol. {n}" for n in range(1, 13)]))
        joint = draw.choice((", ", " - ", " "))
        members = draw.sample(kind, draw.randint(2, min(8, len(kind))))
        self._family.extend(f"{title}{joint}{member}" for member in members)

    def _some(self, count: int) -> list[str]:
        return [self._words[n].capitalize() for n in self._in_titles.take(count)]

    def _work(self) -> str:
        """Make the title of a book, a record or a film."""
        draw = self._draw
        count = draw.choices((1, 2, 3, 4), (6, 34, 36, 24))[0]
        head = self._some(count)
        if count > 1 and draw.random() < 0.45:
            head.insert(draw.randint(1, count - 1), draw.choice(("of", "and", "in", "of the", "&")))
        title = ("The " if draw.random() < 0.4 else "") + " ".join(head)
        if draw.random() < 0.15:
            title = f"{title}'s" if count == 1 else title.replace(f"{head[0]} ", f"{head[0]}'s ", 1)
        if draw.random() < 0.55:
            tail = self._some(draw.randint(3, 9))
            tail.insert(draw.randint(0, len(tail) - 1), draw.choice(("A", "and", "for", "to the")))
            title += draw.choice((": ", ": ", " - ", "; ")) + " ".join(tail)
        if draw.random() < 0.25:
            title += f" ({' '.join(self._some(draw.randint(1, 4)))})"
        if draw.random() < 0.08:
            title += draw.choice((", Vol. {}", " Book {}", " {}")).format(draw.randint(1, 30))
        return title + (draw.choice((" [VHS]", " [Import]")) if draw.random() < 0.06 else "")

    def _goods(self) -> str:
        draw = self._draw
        parts = self._some(draw.choices((2, 4, 6, 9, 14, 40), (10, 30, 30, 22, 7, 1))[0])
        if draw.random() < 0.4:
            parts.insert(1, f"{draw.choice('ABCDFGKLMPRSTVX')}{draw.choice('ABCDEX')}"
                            f"{draw.choice(('-', ''))}{draw.randint(1, 9999)}")  # fmt: skip
        if draw.random() < 0.3:
            parts.append(draw.choice(("with", "for")) + " " + " ".join(self._some(2)))
        if draw.random() < 0.3:
            parts.append(f"- {draw.choice(COLOURS)}")
        if draw.random() < 0.2:
            parts.append(f"({draw.choice(SIZES)})")
        return " ".join(parts)

    def _content(self, title: str) -> str:
        draw = self._draw
        if draw.random() < 0.026:
            return draw.choice(("Book by", "VHS Tape", "Text: English", title or "Book by"))
        text = self._prose(int(0.86 * _length(draw.random())), title)
        if draw.random() < 0.4:
            text = f'"{text[:80].strip()}" {draw.choice(QUOTERS)} {text[80:]}'
        return self._add_markup(text)

    def _prose(self, length: int, title: str) -> str:
        draw = self._draw
        title_words = title.split() if draw.random() < 0.61 else []
        sentences: list[str] = []
        size = 0
        while size < length:
            count = draw.randint(5, 18)
            found = [
                FUNCTION_WORDS[n % len(FUNCTION_WORDS)] if n % 5 < 2 else self._words[n]
                for n in self._in_texts.take(count)
            ]
            if title_words and draw.random() < 0.5:
                found[draw.randrange(count)] = draw.choice(title_words)
            if draw.random() < 0.15:
                found[0] += "'s"
            sentence = " ".join(found)
            sentences.append(sentence[0].upper() + sentence[1:] + ".")
            size += len(sentence) + 2
        return " ".join(sentences)

    def _add_markup(self, text: str) -> str:
        draw = self._draw
        if draw.random() < 0.17:
            for plain, entities in _ENTITIES.items():
                text = text.replace(plain, draw.choice(entities))
        if draw.random() < 0.18:
            text = text.replace(". ", draw.choice((".  ", ".", ".\n", ". &nbsp;")), 3)
        if draw.random() < 0.02:
            text = "<p>" + text.replace(". ", ".<br />", 2) + "</p>"
        if draw.random() < 0.16:
            text += "Copyright 1989 Reed Business Information, Inc."
        if draw.random() < 0.24:
            text += draw.choice(_EDITION)
        return text


def _length(lot: float) -> int:
    place = bisect.bisect_right([edge for edge, _ in _LENGTHS], lot)
    (low, short), (high, long) = _LENGTHS[place - 1], _LENGTHS[min(place, len(_LENGTHS) - 1)]
    share = (lot - low) / (high - low) if high > low else 0.0
    return int(short + (long - short) * share)


def _uid(number: int) -> str:
    """Make ten characters in rising order: book numbers first, then those that start with B."""
    if number < 800_000:
        digits = f"{number * 1237 + 31_909:09d}"
        return digits + "0123456789X"[sum(map(int, digits)) % 11]
    rest, letters = number - 800_000, ""
    for _ in range(7):
        rest, digit = divmod(rest * 17 if not letters else rest, 36)
        letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[digit] + letters
    return f"B00{letters}"


def rows(count: int, seed: int) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Yield `count` rows (False) and the held-out ones between them (True)."""
    generator = RowGenerator(seed)
    apart = random.Random(seed + 3)
    number = kept = 0
    while kept < count:
        row = generator.row(number)
        number += 1
        held_out = bool(row["title"]) and apart.random() < _HELD_OUT
        kept += not held_out
        yield held_out, row


def write(count: int, seed: int, out: Path, *, cut: bool = True) -> None:
    """Write `out` and held_out.jsonl; `cut` adds invalid lines and truncates the last one."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with _open(out) as stream, (out.parent / "held_out.jsonl").open("wb") as held_out_stream:
        for place, (held_out, row) in enumerate(rows(count, seed)):
            line = json.dumps(row).encode() + b"\n"
            (held_out_stream if held_out else stream).write(line)
            if cut and place % 100_000 == 99_999:
                stream.write(line[: len(line) // 2] + b"\n")
        if cut:
            stream.write(b'{"uid": "B00ZZZZZZZ", "title": "Cut off in the mid')


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        from isal import igzip

        return cast("BinaryIO", igzip.open(path, "wb", compresslevel=2))
    return path.open("wb")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="a .json or .json.gz file")
    parser.add_argument(
        "--whole", action="store_true", help="without invalid lines and a truncated end"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files."""
    options = make_parser().parse_args(argv)
    write(options.rows, options.seed, options.out, cut=not options.whole)
    return 0


if __name__ == "__main__":
    sys.exit(main())
