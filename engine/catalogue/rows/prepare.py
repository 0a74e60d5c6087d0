"""Prepare training rows from a data set: clean, sample, split and word them."""

from __future__ import annotations

import contextlib
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import msgspec

from engine.catalogue.clean import clean
from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import RawRow, read_rows, source_input
from engine.catalogue.rows.refusals import (
    REFUSALS,
    RefusalFormatter,
    UnknownTitles,
    refusal_lines,
)
from engine.catalogue.rows.splits import (
    FAMILIES_UP_TO,
    HASHES,
    SPLITS,
    TRAIN,
    Division,
    Splitter,
    divide,
    hash_of,
)
from engine.catalogue.rows.typist import (
    Typist,
    clear_short_titles,
    draw,
    make_salt,
    short_title,
    title_key,
)
from engine.core.errors import DataError, UsageError
from engine.core.files import Manifest, atomic_folder, write_manifest
from engine.core.types import Product, Progress
from engine.prompts import (
    FORM_LANGUAGES,
    PROMPT_VERSION,
    QUESTION_FORMS,
    UNKNOWN_PRODUCT,
    training_messages,
)

KIND = "training-data"
VERSION = 1
PRODUCTS = "products.jsonl"
"""Uid and title of the products of the rows, in their order: a row has only messages."""
MAX_FORMS = 2 * len(QUESTION_FORMS)
"""Each wording once with the title as it is, and once in lower case, as people type."""
_FORMS = {1_000: len(QUESTION_FORMS), 10_000: 4}
"""Rows per product by the most products in a set, without `forms`; one in a larger set."""
_MEDIUM = max(_FORMS)
_AS_TYPED, _REFUSALS = 0.4, 1.0
"""The shares by default, in sets of up to that many products; larger ones have neither."""
_BARE = QUESTION_FORMS.index("{title}")
_BUFFER = 1 << 20
MAX_REFUSALS = 10
_DISTRACTORS = 0.2
"""The share of the grounded products whose record is also shown to a question about another."""
_TITLE = "\x00title\x00"
_DESCRIPTION = "\x00description\x00"

encode = msgspec.json.Encoder().encode

_Texts = tuple[str, str, str]
"""Uid, title, description."""


@dataclass(frozen=True, slots=True)
class PrepareConfig:
    """Options of `prepare`, as its manifest records them.

    `limit` is the number of products (None: all); `valid` and `test` are shares, 0 to 1. `forms` is
    the number of rows per product, each worded differently; after the last wording they repeat with
    the title in lower case. None chooses it by the size of the set, and one for held-out products.
    `grounded` products beyond `limit` get one row each with the record in the prompt, since a
    fine-tune that never sees a record forgets how to answer from one; with `refusals`, a fifth of
    these records is also shown to a question about another product. `as_typed` is the share of
    the training questions that are written as people type them. `refusals` is the number of rows
    about unknown products that each epoch gets, as a share of the training rows from memory. None
    chooses these two by the size of the set as well.
    """

    limit: int | None = None
    seed: int = 0
    valid: float = 0.05
    test: float = 0.05
    forms: int | None = 1
    grounded: int = 0
    as_typed: float | None = 0.0
    refusals: float | None = 0.0


class PreparedProduct(msgspec.Struct, frozen=True):
    """A line of products.jsonl: a product, and how many rows in a row it has in its split."""

    uid: str
    title: str
    split: str
    rows: Annotated[int, msgspec.Meta(ge=1)]
    grounded: bool


def prepare(
    source: Path,
    out: Path,
    config: PrepareConfig,
    on_progress: Callable[[Progress], None] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Manifest:
    """Write the rows, the pool of refusals, products.jsonl and a manifest, all or nothing.

    `columns` names the columns of the fields.
    """
    _check(config)
    counts = Counts()
    with atomic_folder(out, KIND) as draft:
        rows = read_rows(source, counts, on_progress, columns)
        config, written = _write_splits(rows, counts, draft, config)
        if not counts.kept:
            raise DataError(f"{source} does not contain a row with both a title and a description.")
        made = Manifest(
            kind=KIND,
            version=VERSION,
            inputs=[source_input(source, counts)],
            counts=counts.as_dict() | written,
            settings=asdict(config),
            prompt_version=PROMPT_VERSION,
        )
        return write_manifest(draft, made)


def _check(config: PrepareConfig) -> None:
    if config.limit is not None and config.limit < 1:
        raise UsageError("--limit must be at least 1.")
    if min(config.valid, config.test) < 0 or config.valid + config.test >= 1:
        raise UsageError("--valid and --test must be shares that add up to less than 1.")
    if config.forms is not None and not 1 <= config.forms <= MAX_FORMS:
        raise UsageError(f"--forms must be 1 to {MAX_FORMS}.")
    if not 0 <= (config.as_typed or 0) <= 1:
        raise UsageError("--as-typed must be a share, 0 to 1.")
    if not 0 <= (config.refusals or 0) <= MAX_REFUSALS:
        raise UsageError(f"--refusals must be a share, 0 to {MAX_REFUSALS}.")
    if config.grounded < 0:
        raise UsageError("--grounded must be 0 or more.")
    if config.grounded and config.limit is None:
        raise UsageError(
            "--grounded takes products beyond --limit, which is missing.", "Add --limit N."
        )


def _write_splits(
    rows: Iterator[RawRow], counts: Counts, draft: Path, config: PrepareConfig
) -> tuple[PrepareConfig, dict[str, dict[str, int]]]:
    """Write the rows of every split; return the values that were chosen, and counts by split."""
    all_used = config.limit is None
    unknown = UnknownTitles(config.seed, all_used=all_used) if config.refusals != 0 else None
    selected = _select(unknown.watch(rows) if unknown else rows, counts, draft, config)
    head = list(islice(selected, FAMILIES_UP_TO + 1))
    formatter = _RowFormatter(config, head)
    config = formatter.config
    if unknown and not config.refusals:
        unknown.stop()
        unknown = None
    with contextlib.ExitStack() as stack:
        opened = {
            split: stack.enter_context((draft / f"{split}.jsonl").open("wb", _BUFFER))
            for split in SPLITS
        }
        products = stack.enter_context((draft / PRODUCTS).open("wb", _BUFFER))
        written, grounded, learned = (dict.fromkeys(SPLITS, 0) for _ in range(3))
        for from_memory, texts in chain(head, selected):
            product, lines = formatter.rows(from_memory, texts)
            opened[product.split].write(lines)
            products.write(encode(product) + b"\n")
            written[product.split] += product.rows
            if from_memory:
                learned[product.split] += 1
            grounded[product.split] += product.rows if product.grounded else 0
            if unknown:
                unknown.use(product.title)
    found = {"splits": written, "grounded": grounded, "products": learned}
    if formatter.families:
        found["families"] = {"learned": formatter.families}
    if unknown and config.refusals:
        found["distractors"] = {TRAIN: formatter.distractors}
        per_epoch = round(config.refusals * (written[TRAIN] - grounded[TRAIN]))
        found["refusals"] = _write_refusals(draft, formatter, unknown, per_epoch)
    return config, found


def _write_refusals(
    draft: Path, formatter: _RowFormatter, unknown: UnknownTitles, per_epoch: int
) -> dict[str, int]:
    """Write the pool; return the rows for an epoch, and the pool's rows and titles."""
    counts: dict[str, int] = {}
    with (draft / REFUSALS).open("wb", _BUFFER) as stream:
        stream.writelines(refusal_lines(unknown, formatter.refusals(unknown), per_epoch, counts))
    return counts


def choose(config: PrepareConfig, found: int) -> PrepareConfig:
    """Choose the values that are None by the products `found`, which are counted up to a maximum.

    More than `limit` were found where some get a grounded row.
    """
    size = found if config.limit is None else min(found, config.limit)
    small = size <= _MEDIUM
    forms = next((forms for most, forms in _FORMS.items() if size <= most), 1)
    return replace(
        config,
        forms=forms if config.forms is None else config.forms,
        as_typed=_AS_TYPED * small if config.as_typed is None else config.as_typed,
        refusals=_REFUSALS * small if config.refusals is None else config.refusals,
    )


class _RowFormatter:
    """Assign each product to a split, and format its rows. `head` are the first products."""

    def __init__(self, config: PrepareConfig, head: Sequence[tuple[bool, _Texts]]) -> None:
        self.config = chosen = choose(config, len(head))
        self._forms = chosen.forms or 1
        self._splitter = Splitter(config.valid, config.test, config.seed)
        whole = len(head) <= FAMILIES_UP_TO
        division = divide(head, self._splitter) if whole else Division({})
        self._splits, self.families = division.splits, division.families
        self._train = RowTemplates(self._forms)
        self._held_out = RowTemplates(config.forms or 1)
        self._typist = Typist(chosen.as_typed, config.seed) if chosen.as_typed else None
        # Of a set that is too large to look through, no short title is known to be one product's.
        known = head if len(head) <= _MEDIUM else ()
        self._short = clear_short_titles(title for taught, (_, title, _) in known if taught)
        self._shorten = bool(known)
        self._distractors = _DISTRACTORS * min(chosen.refusals or 0, 1)
        self._salt = make_salt(f"distractors {config.seed}")
        self._shown = ""
        self.distractors = 0

    def rows(self, from_memory: bool, texts: _Texts) -> tuple[PreparedProduct, bytes]:
        """Return the line of products.jsonl, and the lines of its split's file."""
        uid, title, description = texts
        answer = encode(description)
        split = self._splits.get(uid) or self._splitter.split(self._splitter.rank(answer))
        if not from_memory:
            lines, count = self._grounded_rows(uid, title, answer, split)
        elif split == TRAIN:
            lines = self._train.rows(uid, encode(title), answer, self._typing(uid, title))
            count = self._forms
        else:
            lines = self._held_out.rows(uid, encode(title), answer)
            count = self._held_out.forms
        return PreparedProduct(uid, title, split, count, grounded=not from_memory), lines

    def _grounded_rows(
        self, uid: str, title: str, description: bytes, split: str
    ) -> tuple[bytes, int]:
        """Return the row with the record, and perhaps one that asks for another product with it."""
        quoted = encode(title)
        row = self._train.grounded_row(uid, quoted, description)
        if split != TRAIN or not self._distractors:
            return row, 1
        other, self._shown = self._shown, title
        chosen = draw(uid, self._salt) < self._distractors * HASHES
        if not chosen or not other or title_key(other) == title_key(title):
            return row, 1
        self.distractors += 1
        return row + self._train.distractor_row(uid, quoted, description, encode(other)), 2

    def refusals(self, unknown: UnknownTitles) -> RefusalFormatter:
        """Return the formatter of rows about unknown products, with the same variations."""
        return RefusalFormatter(self._forms, self._typist, unknown, shorten=self._shorten)

    def _typing(self, uid: str, title: str) -> Callable[[int, str], str] | None:
        """Return a function of a row's number and wording, for the question as typed."""
        typist = self._typist
        if typist is None:
            return None
        short = short_title(title)
        short = short if short in self._short else ""
        return lambda number, form: typist.question(form, title, f"{uid}\0{number}", short)


def _select(
    rows: Iterator[RawRow], counts: Counts, draft: Path, config: PrepareConfig
) -> Iterator[tuple[bool, _Texts]]:
    """Select usable products in the file's order; those with False get a grounded row."""
    if config.limit is None:
        return ((True, texts) for row in rows if (texts := _clean_row(row, counts)))
    sampler = Sampler(config.limit + config.grounded, config.seed)
    return _sample(rows, counts, draft / "spool", sampler, Sampler(config.limit, config.seed))


def _sample(
    rows: Iterator[RawRow], counts: Counts, spool: Path, sampler: Sampler, from_memory: Sampler
) -> Iterator[tuple[bool, _Texts]]:
    """Write the candidates of the sample to the file `spool`, then yield those that stay."""
    with spool.open("wb", _BUFFER) as stream:
        for row in rows:
            rank = sampler.rank(row.uid, row.title or "", row.content or "")
            if sampler.accepts(rank) and (texts := _clean_row(row, counts)):
                sampler.add(rank)
                if from_memory.accepts(rank):
                    from_memory.add(rank)
                stream.write(encode((rank, texts)) + b"\n")
    bound, memory_bound = sampler.finish(), from_memory.finish()
    counts.kept = 0
    decode = msgspec.json.Decoder(tuple[int, _Texts]).decode
    with spool.open("rb") as stream:
        for line in stream:
            rank, texts = decode(line)
            if rank < bound:
                counts.kept += 1
                yield rank < memory_bound, texts
    spool.unlink()


def _clean_row(row: RawRow, counts: Counts) -> _Texts | None:
    if row.title and row.content:
        title = clean(row.title, counts.changed)
        description = clean(row.content, counts.changed)
        if title and description:
            counts.kept += 1
            return row.uid, title, description
    counts.rejected["no description" if row.title else "no title"] += 1
    return None


class Sampler:
    """Select the `limit` rows of the lowest ranks. Memory is 16 bytes for each."""

    def __init__(self, limit: int, seed: int) -> None:
        self._limit = limit
        self._salt = make_salt(str(seed))
        self._ranks = array("Q")
        self._bound = HASHES

    def rank(self, *texts: str) -> int:
        """Hash a row to its rank, 0 to 2^64 - 1."""
        return hash_of("\x00".join(texts).encode(errors="replace"), self._salt)

    def accepts(self, rank: int) -> bool:
        """Report whether a row of this rank may be in the sample."""
        return rank < self._bound

    def add(self, rank: int) -> None:
        """Add a row to the sample; lower ranks may displace it."""
        self._ranks.append(rank)
        if len(self._ranks) >= 2 * self._limit + 1000:
            self._shrink()

    def finish(self) -> int:
        """Return the bound: the sample is all added rows of a lower rank."""
        if len(self._ranks) > self._limit:
            self._shrink()
        return self._bound

    def _shrink(self) -> None:
        lowest = sorted(self._ranks)[: self._limit + 1]
        self._bound = lowest.pop()
        self._ranks = array("Q", lowest)


class RowTemplates:
    """Format a product's training rows, `forms` rows with a different wording each."""

    def __init__(self, forms: int) -> None:
        self.forms = forms
        self._templates = [_template(form) for form in QUESTION_FORMS]
        record = Product("", _TITLE, _DESCRIPTION)
        self._grounded = [_template(form, record) for form in QUESTION_FORMS]

    def rows(
        self,
        uid: str,
        title: bytes,
        description: bytes,
        typed: Callable[[int, str], str] | None = None,
    ) -> bytes:
        """Format the rows of a product, one per line. `title` and `description` are JSON strings.

        The uid selects the first wording, so that over many products all are equally frequent.
        `typed` may return another question for a row's number and wording; one that is asked
        already is not used.
        """
        first = zlib.crc32(uid.encode(errors="replace"))
        title, description = title[1:-1], description[1:-1]
        rows: list[bytes] = []
        for number in range(self.forms):
            if number == len(self._templates):
                title, typed = title.decode().lower().encode(), None
            place = (first + number) % len(self._templates)
            start, middle, end = self._templates[place]
            row = start + title + middle + description + end
            if typed and (question := typed(number, QUESTION_FORMS[place])):
                start, middle, end = self._templates[_BARE]
                as_typed = start + encode(question)[1:-1] + middle + description + end
                row = row if as_typed in rows else as_typed
            rows.append(row)
        return b"".join(rows)

    def grounded_row(self, uid: str, title: bytes, description: bytes) -> bytes:
        """Format the product's row with its record in the prompt, in the first wording."""
        first = zlib.crc32(uid.encode(errors="replace"))
        start, record, question, middle, end = self._grounded[first % len(self._grounded)]
        title, description = title[1:-1], description[1:-1]
        prompt = start + title + record + description + question + title
        return prompt + middle + description + end

    def distractor_row(self, uid: str, title: bytes, description: bytes, other: bytes) -> bytes:
        """Format a row that shows the product's record, and asks for the title of another.

        It has the wording after that of the grounded row.
        """
        place = (zlib.crc32(uid.encode(errors="replace")) + 1) % len(self._grounded)
        start, record, question, middle, end = self._grounded[place]
        prompt = start + title[1:-1] + record + description[1:-1] + question + other[1:-1]
        answer = encode(UNKNOWN_PRODUCT[FORM_LANGUAGES[QUESTION_FORMS[place]]])
        return prompt + middle + answer[1:-1] + end


def _template(form: str, record: Product | None = None) -> list[bytes]:
    """Return the row's JSON around each title and description, which alternate."""
    row = encode({"messages": training_messages(_TITLE, _DESCRIPTION, form, record)}) + b"\n"
    title, description = encode(_TITLE)[1:-1], encode(_DESCRIPTION)[1:-1]
    return [part for piece in row.split(title) for part in piece.split(description)]
