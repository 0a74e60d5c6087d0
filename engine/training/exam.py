"""The questions of the final score: about the products of a run, in wordings that it did not train.

Known products in other words; unknown titles of the catalogue, invented ones and near misses of
known ones, which are to be refused; and records that it did not train, shown in the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from engine.catalogue.language.phrases import language_of
from engine.core.text import one_line
from engine.core.trained_products import TrainedProduct
from engine.core.types import Product
from engine.evaluation.exam import Wording, ask_untrained, near_misses, reworded
from engine.evaluation.questions import prepared_products, title_of
from engine.prompts import UNKNOWN_PRODUCT, is_refusal, training_messages
from engine.training.data import TrainingData
from engine.training.openai.plan import TRAIN, VALID, RowMessage, TrainingRow

NEAR_MISS = "near_miss"
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Exam:
    """Rows to ask: known products by wording, unknown titles by kind, records to copy."""

    known: dict[str, list[TrainingRow]]
    unknown: dict[str, list[TrainingRow]]
    shown: list[TrainingRow]
    titles: tuple[str, ...] = ()
    """The list of taught titles, as the chat has it; empty if it has none."""


def calibrated(scored: int) -> int:
    """Return how many questions of each kind to calibrate on: first tokens take little time."""
    return min(5 * scored, 60)


def make_exam(
    data: TrainingData, products: Sequence[TrainedProduct], count: int, seed: int = 0
) -> Exam:
    """Choose about `count` questions of each kind; another seed gives others, as far as it can."""
    taught = [one_line(product.title) for product in products if one_line(product.title)]
    records = {(one.uid, one.title): one.description for one in _records(data, TRAIN)}
    known = [one for one in products if one_line(one.title) and (one.uid, one.title) in records]
    chosen = _some(known, count, seed)
    titles = [one_line(product.title) for product in chosen]
    wordings: dict[str, list[TrainingRow]] = {wording.value: [] for wording in Wording}
    for product, (wording, asked) in zip(chosen, reworded(titles, taught, seed), strict=True):
        wordings[wording].append(_row(asked, records[product.uid, product.title]))
    unknown = {kind: _reasked(rows, count, seed) for kind, rows in data.refusals.by_kind()}
    near = _some(list(near_misses(titles, taught, seed)), count)
    unknown[NEAR_MISS] = [_refusal(ask_untrained(title, at)) for at, title in enumerate(near)]
    held_out = [one for one in _records(data, VALID) if not is_refusal(one.description)]
    shown = [
        _row(ask_untrained(one.title, at), one.description, one)
        for at, one in enumerate(_some(held_out, count))
    ]
    return Exam(wordings, unknown, shown, tuple(dict.fromkeys(taught)))


def _records(data: TrainingData, file: str) -> Iterator[Product]:
    """Yield the products of train.jsonl or valid.jsonl."""
    for product, record in prepared_products(data.folder / file):
        yield Product(product.uid, product.title, record)


def _reasked(rows: Sequence[TrainingRow], count: int, seed: int) -> list[TrainingRow]:
    """Ask for the titles of refusal rows in untrained forms, if they can be told."""
    return [_reask(row, at) for at, row in enumerate(_some(rows, count, seed), seed)]


def _reask(row: TrainingRow, number: int) -> TrainingRow:
    question = row.messages[-2].content
    title = title_of(question)
    return row if title == question else _refusal(ask_untrained(title, number))


def _refusal(question: str) -> TrainingRow:
    return _row(question, UNKNOWN_PRODUCT[language_of(question, "en")])


def _row(question: str, answer: str, product: Product | None = None) -> TrainingRow:
    messages = training_messages(question, answer, "{title}", product)
    return TrainingRow(tuple(RowMessage(one.role.value, one.content) for one in messages))


def _some(found: Sequence[Found], count: int, first: int = 0) -> list[Found]:
    """Return up to `count` of them, spread evenly from the `first` on."""
    count, size = min(count, len(found)), len(found)
    return [found[(turn * size // count + first) % size] for turn in range(count)]
