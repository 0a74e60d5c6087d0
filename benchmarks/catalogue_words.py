"""Ask for words of titles alone: is a product with them found, and do the suggestions agree?

    python -m benchmarks.catalogue_words --catalogue DIR [--words 200] [--seed 1]

Half of the questions are two words of a title, half one rare word, all folded. found: a product
with all of the words in its title is the answer or in its list; first: it is the first. apart: a
title that is suggested while the words are typed is neither in the answer nor among the closest.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from engine.catalogue import records
from engine.catalogue.catalogue import Catalogue
from engine.catalogue.folding import STOP_WORDS, tokenise
from engine.core.types import Decision, Status

_RARE = 3
"""Titles that have a rare word, at most."""
_LETTERS = 4


def titles_of(folder: Path) -> list[str]:
    """Return the titles of an index."""
    with closing(records.connect(folder / records.PRODUCTS)) as database:
        return [title for (title,) in database.execute("SELECT title FROM product ORDER BY id")]


def draw_words(titles: Sequence[str], count: int, seed: int) -> Iterator[str]:
    """Yield questions of one or two words of titles."""
    draw = random.Random(seed)
    tokens = [[word for word in tokenise(title) if _says_something(word)] for title in titles]
    counts = Counter(word for words in tokens for word in set(words))
    rare = sorted(word for word, number in counts.items() if number <= _RARE)
    several = [words for words in tokens if len(set(words)) > 1]
    yield from draw.sample(rare, count // 2)
    for words in draw.sample(several, count - count // 2):
        yield " ".join(draw.sample(sorted(set(words)), 2))


def _says_something(word: str) -> bool:
    return word.isalpha() and len(word) >= _LETTERS and word not in STOP_WORDS


def is_apart(catalogue: Catalogue, question: str, decision: Decision) -> bool:
    """Whether a suggested title is not among the products of the answer; a whole title is."""
    if decision.status is Status.EXACT:
        return False
    offered = {hit.product.title for hit in (*decision.hits, *decision.nearest)}
    return any(one.title not in offered for one in catalogue.complete(question))


def judge(catalogue: Catalogue, question: str) -> Counter[str]:
    """Return what is right with the answer to a question."""
    decision, words = catalogue.find(question), set(question.split())
    has_all = [words.issubset(tokenise(hit.product.title)) for hit in decision.hits]
    apart = is_apart(catalogue, question, decision)
    return Counter(asked=1, found=any(has_all), first=has_all[:1] == [True], apart=apart)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--words", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Ask, print what was not found, and the counts."""
    options = make_parser().parse_args(argv)
    catalogue = Catalogue.open(options.catalogue)
    total: Counter[str] = Counter()
    for question in draw_words(titles_of(options.catalogue), options.words, options.seed):
        judged = judge(catalogue, question)
        total.update(judged)
        if judged["apart"] or not judged["found"]:
            print("apart:" if judged["apart"] else "not found:", question)
    print(", ".join(f"{name} {total[name]}" for name in ("asked", "found", "first", "apart")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
