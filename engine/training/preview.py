"""Show a few training rows as the model will see them, without training."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.catalogue.rows.kinds import RowKind, costs_of_missing
from engine.core.text import printable
from engine.training.data import find_base, kind_of, read_data, require_packages
from engine.training.openai.plan import TRAIN, TrainingRow
from engine.training.refusals import RefusalPool, read_pool

if TYPE_CHECKING:
    from engine.training.recipe import Recipe

WIDTH = 80
_PLAIN, _LEARNED = "  ", "> "
_GREEN, _RESET = "\x1b[32m", "\x1b[0m"
_SHOWN, _HEAD, _TAIL = 12, 8, 3
"""Lines of a part that are shown whole; else the first and the last of them."""


@dataclass(frozen=True, slots=True)
class RowParts:
    """A row's text in parts, each learned or not, and its length in words."""

    parts: tuple[tuple[str, bool], ...]
    length: str


@dataclass(slots=True)
class Preview:
    """Rows to show, by kind, and the number of rows of each kind in an epoch."""

    rows: list[tuple[RowKind, RowParts]] = field(default_factory=list)
    counts: Counter[RowKind] = field(default_factory=Counter)

    def lines(self, *, colour: bool) -> Iterator[str]:
        """Yield the preview for a terminal; learned lines have a sign, and may be green."""
        yield from self.row_lines(len(self.rows), colour=colour)
        yield ""
        yield "Rows in an epoch"
        yield from (f"  {count:>9,} {kind}" for kind, count in self.counts.items())
        for cost in costs_of_missing(self.counts):
            yield from textwrap.wrap(f"warning: {cost}", WIDTH, subsequent_indent=_PLAIN)

    def row_lines(self, count: int, *, colour: bool) -> Iterator[str]:
        """Yield the first rows."""
        yield f"Lines with “{_LEARNED.strip()}” are learned, the others are read."
        for kind, row in self.rows[:count]:
            yield ""
            yield f"{kind}: {row.length}"
            for text, learned in row.parts:
                for line in _wrapped(text, _LEARNED if learned else _PLAIN):
                    yield f"{_GREEN}{line}{_RESET}" if learned and colour else line


def preview_messages(folder: Path) -> Preview:
    """Preview rows as messages."""
    decode = msgspec.json.Decoder(TrainingRow).decode
    with (folder / TRAIN).open("rb") as stream:
        return _preview(map(decode, stream), read_pool(folder), _as_messages)


def preview_tokens(folder: Path, model: str, recipe: Recipe) -> Preview:
    """Preview rows as the tokens of a base. Raise BalcaoError like a run."""
    require_packages(("tokenizers", "jinja2"), "train")
    base, data = find_base(model), read_data(folder)
    from engine.training.encode import Encoder

    encoder = Encoder(base.folder)
    limit = min(base.config.max_position_embeddings, recipe.max_length or 2**62)
    everything = recipe.loss_on == "everything"

    def as_tokens(row: TrainingRow) -> RowParts:
        encoded = encoder.encode([row], limit)
        if not encoded.answers:
            return RowParts(((row.messages[-1].content, False),), encoded.left_out)
        one = encoded.answers[-1]
        prompt, answer = encoder.shown(one.prompt), encoder.shown(one.completion)
        prompt_count, count = len(one.prompt), len(one.completion)
        learned = one.length if everything else count
        length = f"{prompt_count:,} + {count:,} tokens, {learned:,} learned"
        return RowParts(((prompt, everything), (answer, True)), length)

    return _preview(data.train, data.refusals, as_tokens)


def _preview(
    rows: Iterable[TrainingRow], pool: RefusalPool, show: Callable[[TrainingRow], RowParts]
) -> Preview:
    """Show the first and the last row of each kind."""
    found = Preview()
    ends: dict[RowKind, list[TrainingRow]] = {}
    for row in rows:
        kind = kind_of(row)
        found.counts[kind] += 1
        ends[kind] = [*ends.get(kind, ())[:1], row]
    refusals, drawn = pool.for_run(epochs=1, seed=0, share=1.0)
    if drawn:
        found.counts[RowKind.REFUSAL] += drawn
        ends[RowKind.REFUSAL] = list(refusals[:2])
    found.rows = [(kind, show(row)) for kind in RowKind for row in ends.get(kind, ())]
    return found


def _as_messages(row: TrainingRow) -> RowParts:
    parts = tuple(
        (f"{message.role}: {message.content}", message.role == "assistant")
        for message in row.messages
    )
    *asked, answer = (len(message.content) for message in row.messages)
    return RowParts(parts, f"{sum(asked):,} + {answer:,} characters, {answer:,} learned")


def _wrapped(text: str, margin: str) -> list[str]:
    width = WIDTH - len(margin)
    lines = [
        margin + part
        for line in text.removesuffix("\n").split("\n")
        for part in textwrap.wrap(printable(line), width) or [""]
    ]
    if len(lines) <= _SHOWN:
        return lines
    left_out = f"{margin}… {len(lines) - _HEAD - _TAIL:,} more lines …"
    return [*lines[:_HEAD], left_out, *lines[-_TAIL:]]
