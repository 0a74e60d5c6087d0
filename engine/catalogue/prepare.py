"""From a data set to training rows: cleaned, sampled, split, worded by `engine.prompts`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from engine.catalogue.clean import clean
from engine.catalogue.counts_part import Counts
from engine.catalogue.read import input_of
from engine.catalogue.reader_part import RawRow, read_rows
from engine.catalogue.sampling_part import SPLITS, Sampler, Splitter
from engine.catalogue.wordings_part import MOST_FORMS, Wordings, encode
from engine.core import manifest_part as manifest
from engine.core.errors import DataError, UsageError
from engine.core.files import whole_folder
from engine.core.manifest_part import Manifest
from engine.core.types import Progress

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
    with whole_folder(out, KIND) as draft:

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
        )
        manifest.write(draft, made)
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
