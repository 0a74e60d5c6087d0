"""What training at OpenAI costs and how long a row may be: one dated table, for an estimate.

Source: several secondary sources that agree (public code and articles that cite OpenAI's price
page), read in November 2026. No primary source confirmed them: the bill is the last word, and
`--price` overrides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from engine.backends.openai.lifetimes_part import base_model

AS_OF = date(2026, 11, 23)

_USD_PER_MILLION = {
    "gpt-4o-mini": 3.0,
    "gpt-4o": 25.0,
    "gpt-4.1": 25.0,
    "gpt-4.1-mini": 5.0,
    "gpt-4.1-nano": 1.5,
    "gpt-3.5-turbo": 8.0,
}
"""USD for a million training tokens, each epoch counted, by base model."""

_ROW_TOKENS = {"gpt-3.5-turbo": 16_385}
_DEFAULT_ROW_TOKENS = 65_536
"""Tokens of a training row, above which its end is cut: OpenAI's guide of 2025."""

_TARGET_EPOCHS, _MOST_EPOCHS = 3, 25
_FEW_ROWS, _MANY_ROWS = 100, 25_000
"""How many epochs `auto` comes to, by the recipe in OpenAI's cookbook: three, more for few rows
and fewer for many, so that some 100 to 25,000 rows are seen. The server may do otherwise."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job may cost. `tokens` counts every epoch; `usd` is None where no price is known."""

    tokens: int
    epochs: int
    epochs_given: bool
    usd_per_million: float | None

    @property
    def usd(self) -> float | None:
        """US dollars."""
        price = self.usd_per_million
        return None if price is None else self.tokens * price / 1_000_000


def row_limit(model: str) -> int:
    """The most tokens that a training row of this model may have."""
    return _ROW_TOKENS.get(base_model(model), _DEFAULT_ROW_TOKENS)


def estimate(
    model: str, rows: int, tokens: int, epochs: int | None = None, price: float | None = None
) -> Estimate:
    """The cost of training on `rows` rows of `tokens` tokens together.

    `price` is USD for a million tokens, over the table; `epochs` None lets the server choose.
    """
    seen = epochs or _auto_epochs(rows)
    known = _USD_PER_MILLION.get(base_model(model)) if price is None else price
    return Estimate(tokens * seen, seen, epochs is not None, known)


def _auto_epochs(rows: int) -> int:
    rows = max(rows, 1)
    if rows * _TARGET_EPOCHS < _FEW_ROWS:
        return min(_MOST_EPOCHS, _FEW_ROWS // rows)
    if rows * _TARGET_EPOCHS > _MANY_ROWS:
        return max(1, _MANY_ROWS // rows)
    return _TARGET_EPOCHS
