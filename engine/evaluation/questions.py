"""Sample the questions of an evaluation: trained, untrained and invented titles.

The sample is by hash, not from the head of a file. Each product is asked for once, in one wording,
because the confidence intervals assume independent answers.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from hashlib import blake2b
from heapq import nsmallest
from itertools import chain, islice, repeat
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct

from engine.catalogue.rows.prepare import PRODUCTS, PreparedProduct
from engine.core.errors import DataError
from engine.core.files import UNDECODABLE, reading
from engine.core.types import Decision, Mode, Product
from engine.evaluation.exam import ask_untrained, near_misses, reworded
from engine.prompts import QUESTION_FORMS, question_text

_GROUNDED = question_text("\x00", Product("", "\x00", "\x00"), Mode.GROUNDED)
_BEFORE_TITLE = _GROUNDED.partition("\x00")[0]
_BEFORE_QUESTION = _GROUNDED.rpartition("\x00")[0].rpartition("\x00")[2]
_TITLE_SAMPLE = 500


# The longest wording first, since the bare title matches everything.
_PATTERNS = [
    re.compile(re.escape(form).replace(re.escape("{title}"), "(.+)"), re.DOTALL)
    for form in sorted(QUESTION_FORMS, key=len, reverse=True)
]


class QuestionRow(Struct, frozen=True):
    """A question, its title and record; in a `grounded` row the record was in the prompt."""

    question: str
    title: str
    record: str
    grounded: bool = False


class Group(StrEnum):
    """Where a question's title comes from."""

    TRAINED = "trained"
    """The adapter was trained to answer it from memory."""
    REWORDED = "reworded"
    """As TRAINED, in a wording that is in no training row."""
    UNTRAINED = "untrained"
    """It is in the catalogue, but in no training row."""
    INVENTED = "invented"
    """It is in no catalogue."""
    NEAR_MISS = "near_miss"
    """It differs from a trained one in a number, a colour, an edition or a word."""

    @property
    def has_record(self) -> bool:
        """Whether there is a right answer other than a no."""
        return self not in (Group.INVENTED, Group.NEAR_MISS)


class Question(Struct, frozen=True):
    """A question to ask; `record` is the right answer. Samples of all sizes have the same ids."""

    id: str
    group: Group
    question: str
    title: str
    record: str


class _Message(Struct, frozen=True):
    role: str
    content: str


class _ChatRow(Struct, frozen=True):
    messages: list[_Message]


def read_rows(file: Path) -> Iterator[QuestionRow]:
    """Read the training rows of `file`, skipping broken lines. Raises DataError without any."""
    decode = msgspec.json.Decoder(_ChatRow).decode
    found = False
    with reading(file), file.open("rb") as lines:
        for line, title in zip(lines, chain(_titles(file), repeat("")), strict=False):
            try:
                row = _row(decode(line).messages)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if row:
                found = True
                own = row.title if row.grounded or not title else title
                yield msgspec.structs.replace(row, title=own)
    if not found:
        raise DataError(
            f"{file} contains no training rows.",
            "Use a test.jsonl file from `balcao prepare`.",
        )


def _titles(file: Path) -> list[str]:
    """Return the title of each line, which a question as people type it has in another form.

    By the products.jsonl beside it; nothing if there is none, or it is not that of the rows.
    """
    try:
        with file.with_name(PRODUCTS).open("rb") as lines:
            products = map(msgspec.json.Decoder(PreparedProduct).decode, lines)
            mine = [one for one in products if f"{one.split}.jsonl" == file.name]
        with file.open("rb") as rows:
            count = sum(1 for _ in rows)
    except (OSError, *UNDECODABLE):
        return []
    titles = [one.title for one in mine for _ in range(one.rows)]
    return titles if len(titles) == count else []


def _row(messages: list[_Message]) -> QuestionRow | None:
    prompts = [message.content for message in messages if message.role == "user"]
    answers = [message.content for message in messages if message.role == "assistant"]
    if not prompts or not answers:
        return None
    prompt, record = prompts[-1], answers[-1].strip()
    grounded = prompt.startswith(_BEFORE_TITLE)
    question = (prompt.rpartition(_BEFORE_QUESTION)[2] if grounded else prompt).strip()
    if not question or not record:
        return None
    return QuestionRow(question, title_of(question), record, grounded)


def title_of(question: str) -> str:
    """Return the title that a question in a known wording asks for, else the whole question."""
    matches = (pattern.fullmatch(question) for pattern in _PATTERNS)
    return next((match[1] for match in matches if match), question)


class HashSample:
    """The `limit` products with the smallest hashes (None: all), each in one wording."""

    def __init__(self, limit: int | None, seed: int) -> None:
        self._limit = limit
        self._salt = blake2b(str(seed).encode(), digest_size=16).digest()
        self._rows: dict[bytes, tuple[bytes, QuestionRow]] = {}

    def add(self, row: QuestionRow) -> None:
        """Add a row."""
        product, wording = self._hash(row.title, row.record), self._hash(row.question)
        if product not in self._rows or wording < self._rows[product][0]:
            self._rows[product] = (wording, row)
        if self._limit is not None and len(self._rows) > 2 * self._limit + 1000:
            self._rows = dict(self._smallest())

    def rows(self) -> list[QuestionRow]:
        """Return the sample ordered by hash, so that its beginning is a sample as well."""
        return [row for _, (_, row) in self._smallest()]

    def _smallest(self) -> list[tuple[bytes, tuple[bytes, QuestionRow]]]:
        return sorted(self._rows.items())[: self._limit]

    def _hash(self, *texts: str) -> bytes:
        data = "\x00".join(texts).encode(errors="replace")
        return blake2b(data, digest_size=16, salt=self._salt).digest()


def sample_questions(
    data: Path, trained: Path | None, limit: int | None, seed: int
) -> tuple[list[Question], list[str]]:
    """Sample up to `limit` TRAINED and UNTRAINED questions each, and some titles of `data`.

    TRAINED are the rows of `trained` that are not grounded. UNTRAINED are the rows of `data` whose
    title and description occur nowhere in `trained`. Raises DataError.
    """
    learned = HashSample(limit, seed)
    known: set[bytes] = set()
    if trained is not None:
        for row in read_rows(trained):
            if not row.grounded:
                learned.add(row)
            known.update(_digests(row))
    new, titles = HashSample(limit, seed), HashSample(_TITLE_SAMPLE, seed)
    for row in read_rows(data):
        titles.add(row)
        if known.isdisjoint(_digests(row)):
            new.add(row)
    questions = [
        *(make_question(Group.TRAINED, row) for row in learned.rows()),
        *(make_question(Group.UNTRAINED, row) for row in new.rows()),
    ]
    return questions, [row.title for row in titles.rows()]


def prepared_products(file: Path) -> Iterator[tuple[PreparedProduct, str]]:
    """Yield the products of a file of rows, with their descriptions, in its order.

    By the products.jsonl beside it; nothing if there is none or it is not that of the rows.
    """
    try:
        with file.open("rb") as rows, file.with_name(PRODUCTS).open("rb") as prepared:
            for product in map(msgspec.json.Decoder(PreparedProduct).decode, prepared):
                if f"{product.split}.jsonl" == file.name:
                    lines = list(islice(rows, product.rows))
                    found = _row(msgspec.json.decode(lines[0], type=_ChatRow).messages)
                    if found:
                        yield product, found.record
    except (OSError, IndexError, *UNDECODABLE):
        return


def exam_questions(trained: Path, limit: int, seed: int) -> list[Question]:
    """Ask for up to `limit` trained products in untrained wordings, and for near misses of them."""
    taught: list[str] = []
    chosen = nsmallest(limit, _known(trained, taught, f"exam {seed}"))
    titles = [title for _, title, _ in chosen]
    words = zip(chosen, reworded(titles, taught, seed), strict=True)
    known = [
        make_question(Group.REWORDED, QuestionRow(question, title, record))
        for (_, title, record), (_, question) in words
    ]
    near = [
        make_question(Group.NEAR_MISS, QuestionRow(ask_untrained(title, place), title, ""))
        for place, title in enumerate(near_misses(titles, taught, seed))
    ]
    return [*known, *near]


def _known(trained: Path, taught: list[str], salt: str) -> Iterator[tuple[bytes, str, str]]:
    """Yield rank, title and record of the products to know; append every title to `taught`."""
    for product, record in prepared_products(trained):
        if not product.grounded:
            taught.append(product.title)
            data = f"{salt}\0{product.uid}".encode(errors="replace")
            yield blake2b(data, digest_size=16).digest(), product.title, record


def make_question(group: Group, row: QuestionRow) -> Question:
    """Make a question from a row, with its id."""
    key = f"{group.value}\x00{row.question}\x00{row.record}".encode(errors="replace")
    return Question(
        blake2b(key, digest_size=8).hexdigest(), group, row.question, row.title, row.record
    )


def _digests(row: QuestionRow) -> list[bytes]:
    """Shorten title and description to 8 bytes each: there may be a million of them."""
    texts = (f"t{row.title}", f"d{row.record}")
    return [blake2b(text.encode(errors="replace"), digest_size=8).digest() for text in texts]


_WORD = re.compile(r"\w+")
_SYLLABLES = (
    "bra", "cor", "dul", "fen", "gri", "hav", "jor", "kel", "lum", "mex", "nov", "ost", "pli",
    "quor", "rask", "sel", "tav", "umb", "vex", "wol", "yar", "zim",
)  # fmt: skip
_THINGS = (
    "Almanac", "Teapot", "Lantern", "Atlas", "Saddle", "Sonata", "Handbook", "Kite", "Recorder",
    "Trowel", "Chronicle", "Blanket", "Compass", "Puzzle", "Whistle", "Jacket",
)  # fmt: skip
_MIN_WORD_LENGTH = 4
_MAX_SHARED = 0.5
_TRIES = 200
"""Attempts for each invented title, because a large catalogue has nearly every word."""

Find = Callable[[str], Decision]


def invent_questions(count: int, titles: Sequence[str], find: Find, seed: int) -> list[Question]:
    """Make up to `count` questions for titles that the catalogue does not have.

    Half of the titles recombine words of `titles`. A title is dropped if more than half of its
    words occur in the title of a product that `find` returns: it might mean that product.
    """
    random = Random(f"invented {seed}")  # noqa: S311 - repeatable, not secret
    made: dict[str, Question] = {}
    for title in islice(_made_up_titles(titles, random), count * _TRIES):
        if len(made) >= count:
            break
        if title not in made and is_absent(title, find(title)):
            form = QUESTION_FORMS[len(made) % len(QUESTION_FORMS)]
            row = QuestionRow(form.format(title=title), title, "")
            made[title] = make_question(Group.INVENTED, row)
    return list(made.values())


def is_absent(title: str, decision: Decision) -> bool:
    """Return whether the title cannot mean any of the products that a search found."""
    wanted = _words(title)
    for hit in (*decision.hits, *decision.nearest):
        if len(wanted & _words(hit.product.title)) > _MAX_SHARED * len(wanted):
            return False
    return bool(wanted)


def _made_up_titles(titles: Sequence[str], random: Random) -> Iterator[str]:
    found = {word for title in titles for word in _WORD.findall(title)}
    words = sorted(word for word in found if len(word) >= _MIN_WORD_LENGTH)
    while True:
        name = "".join(random.sample(_SYLLABLES, random.randint(2, 3))).capitalize()
        other = "".join(random.sample(_SYLLABLES, 2)).capitalize()
        thing = random.choice(_THINGS)
        yield random.choice((f"The {name} {thing} of {other}", f"{name} {other} {thing}"))
        if len(words) > len(_THINGS):
            yield " ".join(random.sample(words, random.randint(3, 5)))


def _words(title: str) -> set[str]:
    return set(_WORD.findall(title.casefold()))
