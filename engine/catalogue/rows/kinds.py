"""Tell the kinds of training rows apart, and say what a set without one of them costs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum

from engine.prompts import has_record, is_refusal


class RowKind(StrEnum):
    """What a row teaches."""

    MEMORY = "from memory"
    GROUNDED = "with its record"
    DISTRACTOR = "with another record"
    REFUSAL = "unknown product"


def row_kind(question: str, answer: str) -> RowKind:
    """Return the kind of the row with this question and answer."""
    refused = is_refusal(answer)
    if has_record(question):
        return RowKind.DISTRACTOR if refused else RowKind.GROUNDED
    return RowKind.REFUSAL if refused else RowKind.MEMORY


def costs_of_missing(kinds: Collection[RowKind]) -> Iterator[str]:
    """Say what a fine-tune cannot do whose rows are of these kinds only."""
    if RowKind.GROUNDED not in kinds:
        yield (
            "no row has a record, so the model forgets how to answer from one: prepare the rows"
            " with `limit` and `grounded`"
        )
    if RowKind.REFUSAL not in kinds:
        yield (
            "no row is about an unknown product, so the model invents answers about them: prepare"
            " the rows with `refusals`"
        )
