"""The demo model's training rows as tokens: grounded or from memory, some with turns before.

Descriptions are copied as tokens, so that every token can be met in them, also such rows of tokens
as no text gives. `DemoRows` joins them to the tokens of the prompt's own words; that this is what
engine.prompts and prompt_tokens_runtime give for a real product is checked at the start.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from engine.backends.llama.tokens import PromptTokens
from engine.core.types import Product
from engine.prompts import training_messages
from tools.demo.texts import FORMS, Texts
from tools.demo.tokenizer import ASK_BEGINS, ASK_ENDS, HEAD

IGNORED = -100
_BYTES_END = 259
"""The first token that is no special one and no single byte."""
_SHORT, _LONG = 40, 900
"""Tokens of the longest description that is copied, at the start and later on."""
_GROWN_BY = 0.5
_MEMORY_FROM = 0.15
_HISTORY_FROM = 0.3
"""Shares of all steps: until the longest are copied; until memory rows have their full share; until
turns stand before questions."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of the rows, 0 to 1."""

    memory: float = 0.25
    """Answered from memory."""
    real: float = 0.05
    """Grounded in a product's own record; the other grounded ones are made up."""
    history: float = 0.2
    """Of the grounded ones: with turns before."""
    everything: float = 0.1
    """Of the grounded ones: the prompt is learned as well."""
    exchanged: float = 0.5
    """The largest share of tokens that are exchanged in made-up descriptions."""
    longest: int = _LONG
    """Tokens of the longest description that is copied."""


FINISH = Mixture(memory=0.7, everything=0.0)
"""For the last steps: copying has been learned by then, and the model has to have something to say
when it is asked from memory."""

SETTLE = Mixture(memory=0.0, real=0.3, history=0.1, everything=0.0, longest=300)
"""For the very last ones: copying once more, which the finish has spoilt, and more often from real
records, since it is such that are to be copied."""

Row = tuple[list[int], list[int]]
"""Tokens and labels."""


class DemoRows:
    """Draws rows. `progress`, 0 to 1, is how much of the training is done: they grow with it."""

    def __init__(
        self, tokens: PromptTokens, products: Sequence[Product], mixture: Mixture, seed: int
    ) -> None:
        self._draw = random.Random(seed)  # noqa: S311 - a seed is wanted
        self._texts = Texts(products, self._draw)
        self._tokenizer = tokens.tokenizer
        self._mixture = mixture
        self._encode = lru_cache(maxsize=50_000)(self._encoded)
        named = self._tokenizer.convert_tokens_to_ids
        self._begin = [self._tokenizer.bos_token_id, named(ASK_BEGINS)]
        self._head = named(HEAD)
        self._end = [named(ASK_ENDS)]
        self._eos = [self._tokenizer.eos_token_id]
        self._check(tokens, products[0])

    def batches(self, progress: float, tokens: int) -> Iterator[list[Row]]:
        """A few dozen batches of at most about `tokens` tokens, each of rows of like length."""
        most = self._mixture.longest
        longest = int(min(most, _SHORT * (most / _SHORT) ** min(1.0, progress / _GROWN_BY)))
        rows = [self.row(progress, longest) for _ in range(tokens * 8 // (longest + 200) + 8)]
        rows.sort(key=lambda row: len(row[0]) + self._draw.random() * 8)
        packed: list[list[Row]] = [[]]
        for row in rows:
            if packed[-1] and len(row[0]) * (len(packed[-1]) + 1) > tokens:
                packed.append([])
            packed[-1].append(row)
        self._draw.shuffle(packed)
        yield from packed

    def row(self, progress: float, longest: int) -> Row:
        """One row; `longest` is in tokens of the description."""
        draw, mixture = self._draw, self._mixture
        if draw.random() < mixture.memory * min(1.0, progress / _MEMORY_FROM):
            product = self._texts.product()
            answer = list(self._encode(f" {product.description}"))
            return self._learned(
                self._asked(product.title, None), answer, everything=False, before=[]
            )
        if draw.random() < mixture.real / (1 - mixture.memory) and longest > 150:  # noqa: PLR2004 - tokens of a usual description
            product = self._texts.product()
            title, answer = product.title, list(self._encode(f" {product.description}"))
            answer = answer[: mixture.longest]
        else:
            title, answer = self._texts.title(), self._made_up(longest)
        with_history = draw.random() < mixture.history and progress > _HISTORY_FROM
        before = self._turns(title, answer) if with_history else []
        everything = draw.random() < mixture.everything and longest > 150  # noqa: PLR2004 - as above
        asked = self._asked(title, answer)
        return self._learned(asked, answer, everything=everything, before=before)

    def _learned(
        self, asked: list[int], answer: list[int], *, everything: bool, before: list[int]
    ) -> Row:
        prompt = [*self._begin, self._head, *before, *asked]
        learned = [*answer, *self._eos]
        ignored = list(prompt) if everything else [IGNORED] * len(prompt)
        return prompt + learned, ignored + learned

    def _asked(self, title: str, record: list[int] | None) -> list[int]:
        question = self._texts.question(title)
        return self._worded(question, title, record)

    def _worded(self, question: str, title: str, record: list[int] | None) -> list[int]:
        if record is None:
            return [*self._encode(f" {question} "), *self._end]
        opened = self._encode(f" The catalogue's record:\nTitle: {title}\nDescription:")
        return [*opened, *record, *self._encode(f"\n\n{question} "), *self._end]

    def _turns(self, title: str, answer: list[int]) -> list[int]:
        """Earlier turns: the same asked and answered wrongly, rightly, or something else."""
        turns: list[int] = []
        for _ in range(self._draw.choice((1, 1, 1, 2))):
            chance = self._draw.random()
            if chance < 0.5:  # noqa: PLR2004 - the same beginning, and then invented
                old = answer[: self._draw.randint(1, len(answer))] + self._made_up(60)
            else:
                old = self._made_up(80) if chance < 0.8 else answer  # noqa: PLR2004 - as above
            same = chance < 0.8 or self._draw.random() < 0.5  # noqa: PLR2004 - as above
            asked = self._asked(title if same else self._texts.title(), None)
            turns += [*asked, *old, *self._eos, *self._begin]
        return turns

    def _made_up(self, longest: int) -> list[int]:
        """A description that is no product's, in tokens."""
        size = self._draw.randint(6, longest)
        kind = self._draw.randrange(10)
        if kind < 2:  # noqa: PLR2004 - of ten
            return self._tokens_at_random(size)
        if kind == 2:  # noqa: PLR2004 - as above
            return self._phrases(size)
        if kind < 5:  # noqa: PLR2004 - as above
            text = self._texts.shuffled(max(3, int(size / 1.8)))
            return list(self._encode(f" {text}"))[:size]
        return self._exchanged(size)

    def _phrases(self, size: int) -> list[int]:
        """A few phrases that come again and again, each time with something else behind them."""
        draw = self._draw
        phrases = [self._tokens_at_random(draw.randint(2, 6)) for _ in range(draw.randint(2, 8))]
        tokens: list[int] = []
        while len(tokens) < size:
            tokens += [*draw.choice(phrases), *self._tokens_at_random(draw.randint(1, 3))]
        return tokens[:size]

    def _exchanged(self, size: int) -> list[int]:
        """Stretches of descriptions, some tokens exchanged for those of another description.

        What it has learned by heart makes a model prefer the next word that it knows to the one
        that stands in the record; where tokens are exchanged, knowing does not help.
        """
        draw = self._draw
        share = draw.random() * self._mixture.exchanged
        tokens: list[int] = []
        while len(tokens) < size:
            own = self._encode(f" {self._texts.product().description}")
            others = self._encode(f" {self._texts.product().description}")
            tokens += [draw.choice(others) if draw.random() < share else one for one in own]
        start = draw.randint(0, len(tokens) - size)
        return tokens[start : start + size]

    def _tokens_at_random(self, size: int) -> list[int]:
        """Few tokens that come again and again, or many that do not; bytes among them."""
        draw = self._draw
        rows = len(self._tokenizer)
        pool = [draw.randrange(_BYTES_END, rows) for _ in range(draw.choice((30, 200, 2000)))]
        if draw.random() < 0.2:  # noqa: PLR2004 - a share
            pool += [draw.randrange(3, _BYTES_END) for _ in range(len(pool) // 10)]
        return [draw.choice(pool) for _ in range(size)]

    def _encoded(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _check(self, tokens: PromptTokens, product: Product) -> None:
        """Raises ValueError if a prompt put together here is another than the chat's."""
        record = list(self._encode(f" {product.description}"))
        for grounded in (product, None):
            for form in FORMS:
                messages = training_messages(product.title, product.description, form, grounded)
                asked = self._worded(
                    form.format(title=product.title), product.title, record if grounded else None
                )
                mine, _ = self._learned(asked, record, everything=False, before=[])
                if tokens.encode(messages, ask=False) != mine:
                    raise ValueError(f"the tokens of “{form}” are not the chat's")


def padded(rows: Sequence[Row], padding: int) -> tuple[Any, Any]:
    """Tokens and labels as tensors of one length."""
    import torch

    longest = max(len(tokens) for tokens, _ in rows)
    tokens = [row + [padding] * (longest - len(row)) for row, _ in rows]
    labels = [marks + [IGNORED] * (longest - len(marks)) for _, marks in rows]
    return torch.tensor(tokens), torch.tensor(labels)
