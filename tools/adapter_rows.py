"""Write the rows of the adapter in data/smollm2_adapter: `balcao train` learns it from them.

python -m tools.adapter_rows --out models/smollm2-rows
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from benchmarks.generate_catalogue import RowGenerator
from benchmarks.generate_words import QUOTERS
from engine.catalogue.clean import clean
from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import RawRow, read_rows, source_input
from engine.catalogue.rows.prepare import (
    KIND,
    PRODUCTS,
    VERSION,
    PreparedProduct,
    RowTemplates,
    Sampler,
    encode,
)
from engine.catalogue.rows.refusals import (
    REFUSALS,
    RefusalFormatter,
    UnknownTitles,
    refusal_lines,
)
from engine.catalogue.rows.splits import TRAIN, VALID
from engine.catalogue.rows.typist import Typist, clear_short_titles, short_title
from engine.config import paths
from engine.core.files import Manifest, atomic_folder, write_manifest
from engine.core.types import Product
from engine.prompts import PROMPT_VERSION, QUESTION_FORMS
from scripts.common import DONE, guarded, say

LEARNED = 100
"""Products that the adapter answers from memory."""
_WORDS = range(12, 61)
"""Of their descriptions: worth reading, and cheap to learn."""
_SHOWN = 150
"""Records to copy."""
_SHOWN_UP_TO = 850
"""The most characters of such a record; about 200 tokens."""
_MIXED = 450
_MIXED_UP_TO = 620
"""More records, of sentences and quotations of several products; their most characters."""
_INVENTED = 140
_INVENTED_UP_TO = 420
"""More records, of invented words; their most characters. Only reading helps to say them."""
_HELD_OUT = 24
"""Records that are not trained on: the run's score asks for them."""
_AS_WRITTEN = range(9)
_LOWER = range(9, 16)
"""The wordings with a product's title as it is written, and in lower case, as users type."""
_TYPED = 0.4
"""The share of the former that is written as people type: a typo, no punctuation, a short title."""
_REFUSALS = 120
"""Questions about products that it is not to know."""
_FIRST_NAMES = (  # noqa: SIM905 - a table
    "Ada Alan Beatrice Boris Clara Colin Dagmar Dexter Edith Elmore Fiona Gideon Harriet Hugo"
    " Ines Ivor Jasper Joan Kirsten Leonora Lucas Magnus Miriam Nadia Niall Olga Otis Phoebe"
    " Quentin Rosalind Rupert Sigrid Stella Thaddeus Una Vera Wanda Winston Yolanda Zachary"
).split()
_LAST_NAMES = (  # noqa: SIM905 - a table
    "Abernathy Ashworth Bellweather Brannigan Calloway Castellano Dunmore Drexler Eastbrook"
    " Fairclough Garrick Glendinning Halloran Hofstadter Ingleby Jankowski Kilbride Lindqvist"
    " MacAllister Montefiore Nakagawa O'Shaughnessy Okonkwo Pemberton Quillfeather Radcliffe"
    " Rosenthal Sandoval Silverstone Tanguy Thornbury Uddin Vandermeer Villalobos Westergaard"
    " Whitlock Yarrow Zielinski"
).split()
_NAMED = (
    "{name} is the author of {title} and {number} other books. ",
    "{name} was born in {year} and lives in {place}. ",
    "{name} lives in {place} with {last}'s family, two cats and a dog. ",
    "{name}, brought up in {place}, has been a teacher, a cook and a postman. ",
    "{name} and {other} founded {title} in {year}. ",
    "{name}'s {number} stories about {other} have been translated into {number} languages. ",
    "Praise for {name}: ",
    "Praise for {name}'s {title}",
    "From the makers of {title}: ",
    "{last} is back in {title}, with a foreword by {other}. ",
    "'{title} ({year})' ",
    "{name} ({year}-2009) was the master of the {number}-volume {title}. ",
)
"""How mixed records begin, as those of books often do."""
_OPENED = 0.6
"""The share that does."""
_PAPERS = (
    *QUOTERS,
    *(
        "Sunday Times",
        "EVENING STANDARD",
        "Observer",
        "The New York Times",
        "Guardian",
        "LJ 4/1/98",
    ),
)


def make_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = argparse.ArgumentParser(
        prog="adapter_rows", description="Write the rows of the adapter that comes with Balcão."
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 when written, 1 when it failed, 2 for wrong usage, 130 on Ctrl-C."""
    options = make_parser().parse_args(argv)
    return guarded(lambda: _run(options.out))


def _run(out: Path) -> int:
    counts, source = Counts(), paths.sample_source()
    products = read_products(read_rows(source, counts, None))
    learned, shown = choose(products)
    typist = Typist(_TYPED, seed=0)
    short = clear_short_titles(one.title for one in products)
    with atomic_folder(out, KIND) as draft:
        held_out = shown[:_HELD_OUT]
        practice = [*shown[_HELD_OUT:], *_mixed(products), *_invented()]
        rows = [memory_rows(one, typist, short) for one in learned]
        rows += [_grounded_row(one) for one in practice]
        (draft / f"{TRAIN}.jsonl").write_bytes(b"".join(rows))
        (draft / f"{VALID}.jsonl").write_bytes(b"".join(map(_grounded_row, held_out)))
        refusals = _write_refusals(draft / REFUSALS, typist, products, learned)
        lines = [
            *(_listed(one, TRAIN, len(_AS_WRITTEN) + len(_LOWER)) for one in learned),
            *(_listed(one, TRAIN) for one in practice),
            *(_listed(one, VALID) for one in held_out),
        ]
        (draft / PRODUCTS).write_bytes(b"".join(encode(line) + b"\n" for line in lines))
        manifest = Manifest(
            kind=KIND,
            version=VERSION,
            inputs=[source_input(source, counts)],
            counts=counts.as_dict()
            | {"learned": len(learned), "grounded": len(practice), "refusals": refusals},
            prompt_version=PROMPT_VERSION,
        )
        write_manifest(draft, manifest)
    say(f"{out}: {len(learned)} products to learn, {len(practice)} records to copy")
    return DONE


def read_products(rows: Iterator[RawRow]) -> list[Product]:
    """Clean the rows as `balcao prepare` does; leave out repeated descriptions."""
    found: dict[str, Product] = {}
    for row in rows:
        title, description = clean(row.title or ""), clean(row.content or "")
        if title and description:
            found.setdefault(description, Product(row.uid, title, description))
    return list(found.values())


def choose(products: Sequence[Product]) -> tuple[list[Product], list[Product]]:
    """Return the products to learn, with titles unlike any other, and those to practise reading."""
    starts = Counter(_start(one) for one in products)
    ranked = sorted(products, key=_rank)
    learned = [
        one for one in ranked if starts[_start(one)] == 1 and len(one.description.split()) in _WORDS
    ][:LEARNED]
    shown = [one for one in ranked if one not in learned and len(one.description) <= _SHOWN_UP_TO]
    return learned, shown[: _SHOWN + _HELD_OUT]


def _start(product: Product) -> str:
    return " ".join(product.title.casefold().split()[:2])


def _rank(product: Product) -> int:
    return Sampler(0, 0).rank(product.uid, product.title, product.description)


def _mixed(products: Sequence[Product]) -> list[Product]:
    """Join sentences as the rows of shops do: names, quotations, praise, no blank between two."""
    draw = random.Random(0)  # noqa: S311 - rows, not secrets
    sentences = [text for one in products for text in re.split(r"(?<=[.!?]) ", one.description)]
    found: list[Product] = []
    while len(found) < _MIXED:
        title = draw.choice(products).title
        parts = [_quoted(draw.choice(sentences), draw) for _ in range(draw.randint(1, 6))]
        opening = _opening(title, draw) if draw.random() < _OPENED else ""
        text = opening + draw.choice(("", " ", " ")).join(parts)
        if len(text) <= _MIXED_UP_TO:
            found.append(Product(f"MIXED{len(found)}", title, text))
    return found


def _opening(title: str, draw: random.Random) -> str:
    name = _name(draw)
    return draw.choice(_NAMED).format(
        name=name,
        last=name.split()[-1],
        other=_name(draw),
        title=title,
        place=draw.choice(_LAST_NAMES) + draw.choice(("ton", "ville", " Bay", ", Ohio", "shire")),
        year=draw.randint(1900, 2020),
        number=draw.randint(2, 40),
    )


def _name(draw: random.Random) -> str:
    return f"{draw.choice(_FIRST_NAMES)} {draw.choice(_LAST_NAMES)}"


def _quoted(sentence: str, draw: random.Random) -> str:
    form = draw.choice(
        (
            "{}",
            "{}",
            "{}",
            '"{}" --{}',
            '"{}"{}',
            "'{}' {}",
            "“{}”--{}",
            "'{}', {}",
            "'{}' {who}, {}",
        )
    )
    return form.format(sentence, draw.choice(_PAPERS), who=_name(draw))


def _invented() -> list[Product]:
    generator = RowGenerator(0)
    rows = (generator.row(number) for number in range(9 * _INVENTED))
    raw = (RawRow(row["uid"], row["title"], row["content"]) for row in rows)
    short = [one for one in read_products(raw) if len(one.description) <= _INVENTED_UP_TO]
    return short[:_INVENTED]


def memory_rows(product: Product, typist: Typist, short_titles: Collection[str]) -> bytes:
    """Format a row for each wording; short titles that name another product too are not used."""
    forms = RowTemplates(2 * len(QUESTION_FORMS))
    short = short_title(product.title)
    short = short if short in short_titles else ""

    def typed(number: int, form: str) -> str:
        return typist.question(form, product.title, f"{product.uid}\0{number}", short)

    rows = forms.rows(product.uid, encode(product.title), encode(product.description), typed)
    lines = rows.splitlines(keepends=True)
    lower = (lines[len(QUESTION_FORMS) + number] for number in _LOWER)
    return b"".join([*(lines[number] for number in _AS_WRITTEN), *lower])


def _write_refusals(
    file: Path, typist: Typist, products: Sequence[Product], learned: Sequence[Product]
) -> dict[str, int]:
    """Write the pool of questions about the other products and invented ones; return its counts."""
    unknown = UnknownTitles(seed=0)
    counts: dict[str, int] = {}
    for _ in unknown.watch(RawRow(one.uid, one.title, one.description) for one in products):
        pass
    for one in learned:
        unknown.use(one.title)
    formatter = RefusalFormatter(2 * len(QUESTION_FORMS), typist, unknown, shorten=True)
    with file.open("wb") as stream:
        stream.writelines(refusal_lines(unknown, formatter, _REFUSALS, counts))
    return counts


def _grounded_row(product: Product) -> bytes:
    forms = RowTemplates(1)
    return forms.grounded_row(product.uid, encode(product.title), encode(product.description))


def _listed(product: Product, split: str, rows: int = 0) -> PreparedProduct:
    return PreparedProduct(product.uid, product.title, split, rows or 1, grounded=not rows)


if __name__ == "__main__":
    sys.exit(main())
