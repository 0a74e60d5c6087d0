"""From a data set to training rows: cleaned, sampled, split, worded by `engine.prompts`."""

from __future__ import annotations

import contextlib
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

import msgspec

from engine.catalogue.clean import clean
from engine.catalogue.read import Counts, RawRow, input_of, read_rows
from engine.core.errors import DataError, UsageError
from engine.core.files import Manifest, atomic_folder, write_manifest
from engine.core.types import Product, Progress
from engine.prompts import PROMPT_VERSION, QUESTION_FORMS, training_messages

TRAIN, VALID, TEST = "train", "valid", "test"
SPLITS = (TRAIN, VALID, TEST)
_WHOLE = 1 << 64


class Splitter:
    """Puts descriptions into splits; `valid` and `test` are the shares that those get, 0..1."""

    def __init__(self, valid: float, test: float, seed: int) -> None:
        self._valid = int(valid * _WHOLE)
        self._test = int((valid + test) * _WHOLE)
        self._salt = _salt_of(seed)

    def split(self, description: bytes) -> str:
        """The split that this description (its JSON) belongs to."""
        mark = _mark(description, self._salt)
        return VALID if mark < self._valid else TEST if mark < self._test else TRAIN


class Sampler:
    """Keeps the `limit` rows with the smallest marks; the memory is 16 bytes for each."""

    def __init__(self, limit: int | None, seed: int) -> None:
        self._limit = limit
        self._salt = _salt_of(seed)
        self._marks = array("Q")
        self._edge = _WHOLE

    def mark(self, *record: str) -> int:
        """The number that decides for this record, 0 to 2^64 - 1."""
        return _mark("\x00".join(record).encode(errors="replace"), self._salt)

    def may_take(self, mark: int) -> bool:
        """Whether a row of this mark can still be among those kept."""
        return mark < self._edge

    def take(self, mark: int) -> None:
        """Keep this row for now."""
        if self._limit is None:
            return
        self._marks.append(mark)
        if len(self._marks) >= 2 * self._limit + 1000:
            self._narrow(self._limit)

    def finish(self) -> int:
        """The edge: the rows kept whose mark lies below it are the sample."""
        if self._limit is not None and len(self._marks) > self._limit:
            self._narrow(self._limit)
        return self._edge

    def _narrow(self, limit: int) -> None:
        lowest = sorted(self._marks)[: limit + 1]
        self._edge = lowest.pop()
        self._marks = array("Q", lowest)


def _salt_of(seed: int) -> bytes:
    return blake2b(str(seed).encode(), digest_size=16).digest()


def _mark(data: bytes, salt: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8, salt=salt).digest(), "big")


MOST_FORMS = 2 * len(QUESTION_FORMS)
"""Each wording once with the title as it is, and once in lower case, as people type."""

encode = msgspec.json.Encoder().encode
_TITLE = "\x00title\x00"
_DESCRIPTION = "\x00description\x00"


class Wordings:
    """Writes `forms` rows for a product, each with another of the wordings."""

    def __init__(self, forms: int) -> None:
        self._forms = forms
        self._templates = [_template(form) for form in QUESTION_FORMS]
        self._grounded = [_grounded_template(form) for form in QUESTION_FORMS]

    def rows(self, uid: str, title: bytes, description: bytes) -> bytes:
        """The product's rows, one a line; `title` and `description` are given as JSON strings.

        The wordings follow from the number, so that over many products each is as frequent. When
        each has had its turn they come again, with the title in lower case.
        """
        first = zlib.crc32(uid.encode(errors="replace"))
        named, told = title[1:-1], description[1:-1]
        if self._forms == 1:
            start, middle, end = self._templates[first % len(self._templates)]
            return b"%b%b%b%b%b" % (start, named, middle, told, end)
        rows = []
        for turn in range(self._forms):
            if turn == len(self._templates):
                named = named.decode().lower().encode()
            start, middle, end = self._templates[(first + turn) % len(self._templates)]
            rows.append(start + named + middle + told + end)
        return b"".join(rows)

    def grounded_row(self, uid: str, title: bytes, description: bytes) -> bytes:
        """The product's row with its record before the question, in the number's first wording."""
        first = zlib.crc32(uid.encode(errors="replace"))
        start, record, question, middle, end = self._grounded[first % len(self._grounded)]
        named, told = title[1:-1], description[1:-1]
        return b"".join((start, named, record, told, question, named, middle, told, end))


def _template(form: str) -> tuple[bytes, bytes, bytes]:
    """The row's JSON before the title, between title and description, and after."""
    messages = training_messages(_TITLE, _DESCRIPTION, form)
    row = encode({"messages": messages})
    start, rest = row.split(encode(_TITLE)[1:-1])
    middle, end = rest.split(encode(_DESCRIPTION)[1:-1])
    return start, middle, end + b"\n"


def _grounded_template(form: str) -> tuple[bytes, ...]:
    """The row's JSON around title, description, title and description."""
    product = Product("", _TITLE, _DESCRIPTION)
    row = encode({"messages": training_messages(_TITLE, _DESCRIPTION, form, product)}) + b"\n"
    title, description = encode(_TITLE)[1:-1], encode(_DESCRIPTION)[1:-1]
    parts = [part for piece in row.split(title) for part in piece.split(description)]
    start, record, question, middle, end = parts
    return start, record, question, middle, end


KIND = "training-data"
VERSION = 1
_BUFFER = 1 << 20
_Pair = tuple[str, str, str]
"""Number, title, description."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted. `limit` products at most (None: all); `valid` and `test` are shares, 0..1.

    `forms` is the number of rows for each product, worded differently; those beyond the number of
    wordings have the title in lower case. `grounded` products more, those that a larger sample
    would have, get one row in which the record stands before the question: a fine-tune that never
    sees a record forgets how to answer from one.
    """

    limit: int | None = None
    seed: int = 0
    valid: float = 0.05
    test: float = 0.05
    forms: int = 1
    grounded: int = 0

    @property
    def taken(self) -> int | None:
        """Products in all; None: every one."""
        return None if self.limit is None else self.limit + self.grounded


def prepare(
    source: Path, out: Path, plan: Plan, on_progress: Callable[[Progress], None] | None = None
) -> Manifest:
    """Write train.jsonl, valid.jsonl, test.jsonl and the manifest into the folder `out`.

    The folder appears whole: a crash leaves the one of before, or none. Raises UsageError if the
    plan makes no sense or `out` holds something else, DataError if `source` is no data set or
    nothing of it can be used.
    """
    _check(plan)
    counts = Counts()
    with atomic_folder(out, KIND) as draft:

        def tell() -> None:
            if on_progress:
                label = f"{counts.read:,} rows, {counts.rate:,.0f} a second"
                on_progress(Progress(label, counts.fraction))

        written = _write(read_rows(source, counts, tell), counts, draft, plan)
        if not counts.kept:
            raise DataError(f"{source} has no row with both a title and a description.")
        made = Manifest(
            kind=KIND,
            version=VERSION,
            inputs=[input_of(source, counts)],
            counts=counts.as_dict() | written,
            settings=asdict(plan),
            prompt_version=PROMPT_VERSION,
        )
        write_manifest(draft, made)
    return made


def _check(plan: Plan) -> None:
    if plan.limit is not None and plan.limit < 1:
        raise UsageError("--limit must be at least 1.")
    if min(plan.valid, plan.test) < 0 or plan.valid + plan.test >= 1:
        raise UsageError("--valid and --test are shares, together below 1.")
    if not 1 <= plan.forms <= MOST_FORMS:
        raise UsageError(f"--forms must be 1 to {MOST_FORMS}.")
    if plan.grounded < 0:
        raise UsageError("--grounded is a number of products, 0 or more.")
    if plan.grounded and plan.limit is None:
        raise UsageError(
            "--grounded takes products beyond --limit, and there is none.",
            "Say with --limit how many are to be learned.",
        )


def _write(
    rows: Iterator[RawRow], counts: Counts, draft: Path, plan: Plan
) -> dict[str, dict[str, int]]:
    """The rows of every split: all of them, and those of them that have the record."""
    splitter = Splitter(plan.valid, plan.test, plan.seed)
    wordings = Wordings(plan.forms)
    with contextlib.ExitStack() as stack:
        files = {
            name: stack.enter_context((draft / f"{name}.jsonl").open("wb", _BUFFER))
            for name in SPLITS
        }
        writers = {name: file.write for name, file in files.items()}
        written, grounded = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
        for to_learn, (uid, title, description) in _sampled(rows, counts, draft, plan):
            answer = encode(description)
            split = splitter.split(answer)
            if to_learn:
                writers[split](wordings.rows(uid, encode(title), answer))
                written[split] += plan.forms
            else:
                writers[split](wordings.grounded_row(uid, encode(title), answer))
                written[split] += 1
                grounded[split] += 1
        return {"splits": written, "grounded": grounded}


def _sampled(
    rows: Iterator[RawRow], counts: Counts, draft: Path, plan: Plan
) -> Iterator[tuple[bool, _Pair]]:
    """The usable products, all of them or the sample, in the order of the file.

    With each: whether it is one to learn, or one of those that get their record shown.
    """
    if plan.limit is None:
        for row in rows:
            if pair := _usable(row, counts):
                yield True, pair
        return
    spool = draft / "spool"
    sampler, to_learn = Sampler(plan.taken, plan.seed), Sampler(plan.limit, plan.seed)
    with spool.open("wb", _BUFFER) as stream:
        for row in rows:
            mark = sampler.mark(row.uid, row.title or "", row.content or "")
            if sampler.may_take(mark) and (pair := _usable(row, counts)):
                sampler.take(mark)
                if to_learn.may_take(mark):
                    to_learn.take(mark)
                stream.write(encode((mark, pair)) + b"\n")
    edge, learned = sampler.finish(), to_learn.finish()
    counts.kept = 0
    decode = msgspec.json.Decoder(tuple[int, _Pair]).decode
    with spool.open("rb") as stream:
        for line in stream:
            mark, pair = decode(line)
            if mark < edge:
                counts.kept += 1
                yield mark < learned, pair
    spool.unlink()


def _usable(row: RawRow, counts: Counts) -> _Pair | None:
    """Number, title and description, if there is something to ask for and to answer."""
    if row.title and row.content:
        title = clean(row.title, counts.changed)
        description = clean(row.content, counts.changed)
        if title and description:
            counts.kept += 1
            return row.uid, title, description
    counts.rejected["no description" if row.title else "no title"] += 1
    return None
