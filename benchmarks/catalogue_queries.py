"""Make questions with known answers: titles as people type them, and titles that are missing.

The wordings differ from those of engine.prompts.
"""

from __future__ import annotations

import heapq
import random
import re
import string
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.catalogue.clean import clean_rows
from engine.catalogue.folding import title_key, tokenise
from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import read_rows
from engine.core.types import Product

ENGLISH = (
    "Hi, do you sell {}?",
    "Can you describe {} please?",
    "what's {} about?",
    "Is {} in stock?",
    "I want to know more about {}",
    'What does the catalogue say about "{}"?',
    "Please show me the description of {}.",
    "I am looking for a book called {}",
    "have you got {}",
    "What is {}?",
)
PORTUGUESE = (
    "Quero saber sobre {}",
    "Você tem {}?",
    "Qual a descrição do livro '{}'?",
    "Pode me descrever o produto {}?",
    "vocês vendem {}?",
    "Estou procurando {}, vocês têm?",
    "O que é {}?",
    "Olá, gostaria de saber mais sobre o {}",
    "me mostre a descricao de {}",
    "Tem {} na loja?",
)
_LONG_WORD = re.compile(r"[^\W\d_]{5,}")


@dataclass(frozen=True, slots=True)
class Query:
    """A question; `uid` is its product, or empty if the catalogue does not have one."""

    kind: str
    text: str
    uid: str
    title: str


def queries(source: Path, held_out: Path, per_kind: int, seed: int) -> list[Query]:
    """Make `per_kind` queries of each kind, about products from the whole of `source`."""
    draw = random.Random(seed)
    sample, keys = _sample(source, per_kind * 8, seed)
    found: list[Query] = []
    for kind, make in KINDS.items():
        draw.shuffle(sample)
        found.extend(_of_kind(kind, make, sample, per_kind, draw))
    lacking = [product for product in _products(held_out) if _key(product) not in keys]
    for kind, make in LACKING.items():
        draw.shuffle(lacking)
        made = _of_kind(kind, make, lacking, per_kind, draw)
        found.extend(Query(kind, query.text, "", query.title) for query in made)
    return found


def _of_kind(
    kind: str,
    make: Callable[[Product, random.Random], str | None],
    sample: list[Product],
    count: int,
    draw: random.Random,
) -> Iterator[Query]:
    for product in sample:
        if count and (text := make(product, draw)):
            count -= 1
            yield Query(kind, text, product.uid, product.title)


def _products(source: Path) -> Iterator[Product]:
    counts = Counts()
    return (one for one in clean_rows(read_rows(source, counts), counts) if tokenise(one.title))


def _key(product: Product) -> int:
    return title_key(tokenise(product.title))


def _sample(source: Path, count: int, seed: int) -> tuple[list[Product], set[int]]:
    draw = random.Random(seed)
    keys: set[int] = set()
    chosen: list[tuple[float, str, Product]] = []
    for product in _products(source):
        keys.add(_key(product))
        entry = (draw.random(), product.uid, product)
        if len(chosen) < count:
            heapq.heappush(chosen, entry)
        elif entry[0] > chosen[0][0]:
            heapq.heapreplace(chosen, entry)
    return [product for _, _, product in chosen], keys


def _bare(title: str) -> str:
    """Remove case, accents and punctuation, as people type in a hurry."""
    plain = unicodedata.normalize("NFKD", title)
    plain = "".join(char for char in plain if not unicodedata.combining(char)).lower()
    plain = re.sub(r"['’]", "", plain)
    return " ".join(re.sub(r"[^\w\s]|_", " ", plain).split())


def _typo(title: str, draw: random.Random, count: int) -> str | None:
    """Make `count` typos: change, omit, insert or swap a letter."""
    for _ in range(count):
        places = [
            found.start() + place
            for found in re.finditer(r"[^\W\d_]{4,}", title)
            for place in range(1, len(found[0]) - 1)
        ]
        if not places:
            return None
        at = draw.choice(places)
        letter = draw.choice(string.ascii_lowercase)
        title = draw.choice(
            (
                title[:at] + letter + title[at + 1 :],
                title[:at] + title[at + 1 :],
                title[:at] + letter + title[at:],
                title[:at] + title[at + 1] + title[at] + title[at + 2 :],
            )
        )
    return title


def _mistyped(product: Product, draw: random.Random) -> str | None:
    mistyped = _typo(product.title, draw, draw.choice((1, 2)))
    return mistyped if mistyped and tokenise(mistyped) != tokenise(product.title) else None


def _question(product: Product, draw: random.Random, forms: tuple[str, ...]) -> str:
    title = product.title if draw.random() < 0.5 else _bare(product.title)
    return draw.choice(forms).format(title)


def _mistyped_question(product: Product, draw: random.Random) -> str | None:
    mistyped = _mistyped(product, draw)
    return draw.choice(ENGLISH + PORTUGUESE).format(mistyped) if mistyped else None


def _partial(product: Product, draw: random.Random) -> str | None:
    parts = product.title.split()
    if len(tokenise(product.title)) < 3 or len(parts) < 3:
        return None
    for _ in range(round(len(parts) / 3)):
        del parts[draw.randrange(len(parts))]
    return " ".join(parts)


def _shuffled(product: Product, draw: random.Random) -> str | None:
    parts = tokenise(product.title)
    if len(set(parts)) < 2:
        return None
    mixed = list(parts)
    while mixed == parts:
        draw.shuffle(mixed)
    return " ".join(mixed)


def _described(product: Product, draw: random.Random) -> str | None:
    """Ask with consecutive or random words of the description that are not in the title."""
    title = set(tokenise(product.title))
    found = [
        word for word in _LONG_WORD.findall(product.description) if not title & set(tokenise(word))
    ]
    found = list(dict.fromkeys(word for word in found if word.lower() not in _PLAIN))
    count = draw.randint(5, 9)
    if len(found) < 12:
        return None
    start = draw.randrange(len(found) - count)
    part = found[start : start + count] if draw.random() < 0.5 else draw.sample(found, count)
    return draw.choice(("{}", "the one about {}", "tem algum sobre {}?")).format(" ".join(part))


_PLAIN = set("which their about other first these those there where would could through".split())  # noqa: SIM905

KINDS: dict[str, Callable[[Product, random.Random], str | None]] = {
    "exact": lambda product, _: product.title,
    "bare": lambda product, _: _bare(product.title),
    "capitals": lambda product, _: product.title.upper(),
    "english": lambda product, draw: _question(product, draw, ENGLISH),
    "portuguese": lambda product, draw: _question(product, draw, PORTUGUESE),
    "typos": _mistyped,
    "typos asked": _mistyped_question,
    "partial": _partial,
    "shuffled": _shuffled,
    "described": _described,
}
LACKING: dict[str, Callable[[Product, random.Random], str | None]] = {
    "lacking": lambda product, _: product.title,
    "lacking asked": lambda product, draw: _question(product, draw, ENGLISH + PORTUGUESE),
    "lacking typos": _mistyped_question,
}
