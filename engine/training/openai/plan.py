"""Plan a fine-tuning job: check its files, count the tokens, estimate the cost.

Works offline, except that tiktoken, if installed, may download its tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from engine.backends.openai.engine import base_model, notice, tuning_notice
from engine.core.errors import UsageError
from engine.core.files import describe_file
from engine.training.openai.check import CheckedFile, check_file, counter_for, shared_rows
from engine.training.openai.job import JobRecord, JobSettings

PRICES_AS_OF = date(2026, 11, 23)
_USD_PER_MILLION = {
    "gpt-4o-mini": 3.0,
    "gpt-4o": 25.0,
    "gpt-4.1": 25.0,
    "gpt-4.1-mini": 5.0,
    "gpt-4.1-nano": 1.5,
    "gpt-3.5-turbo": 8.0,
}
"""USD for a million training tokens, counting every epoch, by base model."""

_ROW_LIMITS = {"gpt-3.5-turbo": 16_385}
_DEFAULT_ROW_LIMIT = 65_536
"""Tokens after which a training row is cut, from OpenAI's guide of 2025."""

_DEFAULT_EPOCHS, _MAX_EPOCHS = 3, 25
_FEW_ROWS, _MANY_ROWS = 100, 25_000
"""From OpenAI's cookbook: three epochs, but more or fewer to train on 100 to 25,000 rows in all.
The server may choose differently."""


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """The expected cost of a job. `tokens` counts every epoch; a price of None is unknown."""

    tokens: int
    epochs: int
    epochs_given: bool
    usd_per_million: float | None

    @property
    def usd(self) -> float | None:
        """The cost in US dollars, or None if the price is unknown."""
        price = self.usd_per_million
        return None if price is None else self.tokens * price / 1_000_000

    def __str__(self) -> str:
        if self.usd is None:
            return "unknown for this model; set the price with --price"
        return (
            f"about {self.usd:.2f} USD at {self.usd_per_million:g} USD a million tokens"
            f" (an estimate; prices as of {PRICES_AS_OF}, not confirmed)"
        )


def row_limit(model: str) -> int:
    """Return the maximum tokens of a training row for `model`."""
    return _ROW_LIMITS.get(base_model(model), _DEFAULT_ROW_LIMIT)


def estimate_cost(
    model: str, rows: int, tokens: int, epochs: int | None = None, price: float | None = None
) -> CostEstimate:
    """Estimate the cost of training on `rows` rows with `tokens` tokens in all.

    `price` (USD for a million tokens) overrides the table; without `epochs` the server chooses.
    """
    seen = epochs or _auto_epochs(rows)
    known = _USD_PER_MILLION.get(base_model(model)) if price is None else price
    return CostEstimate(tokens * seen, seen, epochs is not None, known)


def _auto_epochs(rows: int) -> int:
    rows = max(rows, 1)
    if rows * _DEFAULT_EPOCHS < _FEW_ROWS:
        return min(_MAX_EPOCHS, _FEW_ROWS // rows)
    if rows * _DEFAULT_EPOCHS > _MANY_ROWS:
        return max(1, _MANY_ROWS // rows)
    return _DEFAULT_EPOCHS


TRAIN, VALID = "train.jsonl", "valid.jsonl"


@dataclass(frozen=True, slots=True)
class JobPlan:
    """The checked files by name, training file first, and the expected cost."""

    folder: Path
    settings: JobSettings
    files: dict[str, CheckedFile]
    exact: bool
    """Whether tokens were counted with the model's own encoding."""
    cost: CostEstimate
    notices: tuple[str, ...]

    @property
    def size(self) -> int:
        """The bytes to upload."""
        return sum(checked.size for checked in self.files.values())

    @property
    def problems(self) -> list[str]:
        """Everything that prevents the job, by file."""
        lines = []
        for name, checked in self.files.items():
            lines += [f"{name}: {problem}" for problem in checked.problems]
            if checked.hidden:
                lines.append(f"{name}: {checked.hidden:,} more problems")
        return lines

    def __str__(self) -> str:
        lines = [f"model        {self.settings.model}"]
        for name, checked in self.files.items():
            lines.append(f"{name:12} {checked.rows:,} rows, {checked.size:,} bytes")
        how = "counted" if self.exact else "estimated by characters"
        train, cost = self.files[TRAIN], self.cost
        guess = "" if cost.epochs_given else " (a guess)"
        lines += [
            f"tokens       {train.tokens:,} in {TRAIN} ({how}), longest row {train.longest:,}",
            f"training     {cost.tokens:,} tokens in {cost.epochs} epochs{guess}",
            f"cost         {cost}",
        ]
        for name, checked in self.files.items():
            lines += [f"warning      {name}: {text}" for text in checked.warnings]
        return "\n".join([*lines, *(f"note         {text}" for text in self.notices)])

    def record(self) -> JobRecord:
        """Return the record of a new job. Raise OSError if a file is missing."""
        return JobRecord(
            inputs=[describe_file(self.folder / name) for name in self.files],
            counts={
                "rows": {name: checked.rows for name, checked in self.files.items()},
                "estimated_tokens": self.cost.tokens,
                "estimated_usd": self.cost.usd,
            },
            settings=self.settings,
        )


def plan_job(folder: Path, settings: JobSettings, price: float | None, today: date) -> JobPlan:
    """Check the files in `folder` and estimate the cost; `price` overrides the table.

    Raise UsageError if the training file is missing, DataError if a file is unreadable.
    """
    settings.check()
    if not (folder / TRAIN).is_file():
        raise UsageError(f"{folder} has no {TRAIN}.", "Write one: balcao prepare TRN --out DIR.")
    counter, limit = counter_for(settings.model), row_limit(settings.model)
    files = {TRAIN: check_file(folder / TRAIN, counter, limit)}
    train = files[TRAIN]
    valid = folder / VALID
    if valid.is_file() and valid.stat().st_size:
        files[VALID] = check_file(valid, counter, limit, least=1)
        if shared := shared_rows(train, files[VALID]):
            files[VALID].warnings.append(
                f"{shared:,} rows are also in {TRAIN}, so they do not validate anything"
            )
    cost = estimate_cost(settings.model, train.rows, train.tokens, settings.epochs, price)
    return JobPlan(folder, settings, files, counter.exact, cost, _notices(settings, today))


def _notices(settings: JobSettings, today: date) -> tuple[str, ...]:
    if settings.base_url:
        return ()  # OpenAI's shutdown dates do not concern other providers
    return tuple(text for text in (tuning_notice(today), notice(settings.model, today)) if text)
