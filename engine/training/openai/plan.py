"""What a fine-tuning job would send and cost: the files checked, the tokens counted, the notices.

Nothing here uses the network, but for the tables that tiktoken may fetch where it is installed.
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
class CostEstimate:
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
) -> CostEstimate:
    """The cost of training on `rows` rows of `tokens` tokens together.

    `price` is USD for a million tokens, over the table; `epochs` None lets the server choose.
    """
    seen = epochs or _auto_epochs(rows)
    known = _USD_PER_MILLION.get(base_model(model)) if price is None else price
    return CostEstimate(tokens * seen, seen, epochs is not None, known)


def _auto_epochs(rows: int) -> int:
    rows = max(rows, 1)
    if rows * _TARGET_EPOCHS < _FEW_ROWS:
        return min(_MOST_EPOCHS, _FEW_ROWS // rows)
    if rows * _TARGET_EPOCHS > _MANY_ROWS:
        return max(1, _MANY_ROWS // rows)
    return _TARGET_EPOCHS


TRAIN, VALID = "train.jsonl", "valid.jsonl"


@dataclass(frozen=True, slots=True)
class JobPlan:
    """The checked files by name (the training file first), and what the job may cost."""

    folder: Path
    settings: JobSettings
    files: dict[str, CheckedFile]
    exact: bool
    """Whether tokens were counted as the model does, or estimated by the characters."""
    estimate: CostEstimate
    notices: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """What stops the job."""
        told = []
        for name, checked in self.files.items():
            told += [f"{name}: {problem}" for problem in checked.problems]
            if checked.hidden:
                told.append(f"{name}: {checked.hidden:,} more problems")
        return told

    @property
    def warnings(self) -> list[str]:
        """What is worth knowing before money is spent."""
        files = self.files.items()
        return [f"{name}: {text}" for name, checked in files for text in checked.warnings]

    def record(self) -> JobRecord:
        """A new job's record. Raises OSError if a file is gone."""
        return JobRecord(
            inputs=[describe_file(self.folder / name) for name in self.files],
            counts={
                "rows": {name: checked.rows for name, checked in self.files.items()},
                "estimated_tokens": self.estimate.tokens,
                "estimated_usd": self.estimate.usd,
            },
            settings=self.settings,
        )


def plan_job(folder: Path, settings: JobSettings, price: float | None, today: date) -> JobPlan:
    """Check and count. Raises UsageError without a training file, DataError if one is unreadable.

    `price` is USD for a million tokens, over the table.
    """
    settings.check()
    if not (folder / TRAIN).is_file():
        raise UsageError(
            f"There is no {TRAIN} in {folder}.", "`balcao prepare TRN --out DIR` writes one."
        )
    counter, limit = counter_for(settings.model), row_limit(settings.model)
    files = {TRAIN: check_file(folder / TRAIN, counter, limit)}
    train = files[TRAIN]
    valid = folder / VALID
    if valid.is_file() and valid.stat().st_size:
        files[VALID] = check_file(valid, counter, limit, least=1)
        if shared := shared_rows(train, files[VALID]):
            files[VALID].warnings.append(f"{shared:,} rows are in {TRAIN} too: they prove nothing")
    cost = estimate(settings.model, train.rows, train.tokens, settings.epochs, price)
    return JobPlan(folder, settings, files, counter.exact, cost, _notices(settings, today))


def cost_text(cost: CostEstimate) -> str:
    """The cost in a sentence that says what it rests on."""
    if cost.usd is None:
        return "no price is known for this model; --price gives one"
    return (
        f"about {cost.usd:.2f} USD at {cost.usd_per_million:g} USD a million tokens"
        f" (an estimate; prices as of {AS_OF}, not confirmed)"
    )


def plan_text(plan: JobPlan) -> str:
    """The plan, for a person."""
    lines = [f"model        {plan.settings.model}"]
    for name, checked in plan.files.items():
        lines.append(f"{name:12} {checked.rows:,} rows, {checked.size:,} bytes")
    how = "counted" if plan.exact else "estimated by characters"
    train, cost = plan.files[TRAIN], plan.estimate
    epochs = f"{cost.epochs} epochs" if cost.epochs_given else f"{cost.epochs} epochs (a guess)"
    lines += [
        f"tokens       {train.tokens:,} in {TRAIN} ({how}), the longest row {train.longest:,}",
        f"training     {cost.tokens:,} tokens in {epochs}",
        f"cost         {cost_text(cost)}",
    ]
    lines += [f"warning      {text}" for text in plan.warnings]
    lines += [f"note         {text}" for text in plan.notices]
    return "\n".join(lines)


def _notices(settings: JobSettings, today: date) -> tuple[str, ...]:
    if settings.base_url:
        # Another provider's models and doors have lives of their own.
        return ()
    return tuple(text for text in (tuning_notice(today), notice(settings.model, today)) if text)
