"""Plan a fine-tuning job: check its rows, count their tokens, estimate the cost.

Works offline, except that tiktoken, if installed, may download its tables.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from engine.backends.openai.engine import base_model, shutdown_notice, tuning_notice
from engine.core.errors import UsageError
from engine.core.files import UNDECODABLE, describe_file, reading
from engine.training.openai.job import JobRecord, JobSettings

_BYTES_PER_TOKEN = 4
"""A common rule of thumb for English; it counts plain prose slightly too high."""
_TOKENS_PER_MESSAGE, _TOKENS_PER_ROW = 4, 3
"""Tokens around each message and before the answer, from OpenAI's guide to counting tokens."""
_FALLBACK_ENCODING = "o200k_base"
_DOWNLOAD_TIMEOUT = 20.0
"""Seconds for tiktoken to download its tables: it sets itself no limit."""


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """Count a text's tokens: with the model's own encoding if `exact`, otherwise an estimate."""

    count: Callable[[str], int]
    exact: bool

    def row(self, texts: Sequence[str]) -> int:
        """Count the tokens of a row from the texts of its messages."""
        return _TOKENS_PER_ROW + sum(_TOKENS_PER_MESSAGE + self.count(text) for text in texts)


def counter_for(model: str) -> TokenCounter:
    """Return the best available counter for a model; `ft:…` counts like its base."""
    encoding = _encoding(base_model(model))
    if encoding is None:
        return TokenCounter(
            lambda text: -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN), exact=False
        )
    return TokenCounter(lambda text: len(encoding.encode_ordinary(text)), exact=True)


def _encoding(base: str) -> Any:  # noqa: ANN401 - untyped library
    if find_spec("tiktoken") is None:
        return None
    found: list[Any] = []

    def load() -> None:
        tiktoken = import_module("tiktoken")
        try:
            name = tiktoken.encoding_name_for_model(base)
        except KeyError:
            name = _FALLBACK_ENCODING
        try:
            found.append(tiktoken.get_encoding(name))
        except (ImportError, OSError, ValueError):
            # Offline (requests' errors are OSErrors), or a table with a wrong checksum.
            return

    thread = threading.Thread(target=load, daemon=True, name="tiktoken")
    thread.start()
    thread.join(_DOWNLOAD_TIMEOUT)
    return found[0] if found else None


LEAST_ROWS = 10
"""OpenAI's minimum for training."""
MOST_BYTES = 512 * 1024 * 1024
"""OpenAI's limit for a file."""
_MAX_PROBLEMS = 5
"""Problems that are listed; further ones are counted."""
_BOM = b"\xef\xbb\xbf"


class RowMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message of a row; `weight` 0 excludes it from training."""

    role: Literal["system", "user", "assistant"]
    content: str
    name: str = ""
    weight: Literal[0, 1] | msgspec.UnsetType = msgspec.UNSET


class TrainingRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of train.jsonl or valid.jsonl."""

    messages: Annotated[tuple[RowMessage, ...], msgspec.Meta(min_length=1)]


_decoder = msgspec.json.Decoder(TrainingRow)


class _InvalidRow(Exception):
    pass


@dataclass(slots=True)
class CheckedFile:
    """The result of checking a file of rows: `problems` prevent a job, `warnings` do not."""

    rows: int = 0
    tokens: int = 0
    longest: int = 0
    """Tokens of the longest row."""
    size: int = 0
    """Bytes."""
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hidden: int = 0
    """Problems beyond those listed."""
    hashes: set[bytes] = field(default_factory=set, repr=False)
    """A hash of each row, to find it in another file."""

    def add_problem(self, text: str) -> None:
        """Record a problem."""
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(text)
        else:
            self.hidden += 1


def check_file(
    file: Path,
    counter: TokenCounter,
    row_limit: int,
    least: int = LEAST_ROWS,
    most_bytes: int | None = MOST_BYTES,
) -> CheckedFile:
    """Check a JSONL file of at least `least` rows, of `row_limit` tokens. Raise DataError."""
    checked = CheckedFile()
    answers: dict[bytes, bytes] = {}
    repeated, contradicting = 0, 0
    for number, messages in _valid_rows(file, checked, most_bytes):
        tokens = counter.row([message.content for message in messages])
        checked.rows += 1
        checked.tokens += tokens
        checked.longest = max(checked.longest, tokens)
        if tokens > row_limit:
            checked.add_problem(
                f"line {number}: {tokens:,} tokens; the server cuts rows at {row_limit:,}"
            )
        row, question = _hash(messages), _hash(messages[:-1])
        repeated += row in checked.hashes
        checked.hashes.add(row)
        contradicting += answers.setdefault(question, row) != row
    if checked.rows < least:
        checked.add_problem(f"{checked.rows} usable rows; at least {least} are needed")
    if repeated:
        checked.warnings.append(f"{repeated:,} rows are duplicates")
    if contradicting:
        checked.warnings.append(f"{contradicting:,} rows answer a repeated question differently")
    return checked


def shared_rows(one: CheckedFile, other: CheckedFile) -> int:
    """Count the distinct rows that are in both files."""
    return len(one.hashes & other.hashes)


def _valid_rows(
    file: Path, checked: CheckedFile, most_bytes: int | None
) -> Iterator[tuple[int, tuple[RowMessage, ...]]]:
    with reading(file), file.open("rb") as stream:
        checked.size = file.stat().st_size
        if most_bytes is not None and checked.size > most_bytes:
            checked.add_problem(f"{checked.size:,} bytes; the limit is {most_bytes:,}")
            return
        for number, line in enumerate(stream, 1):
            try:
                messages = _messages(line)
            except _InvalidRow as error:
                checked.add_problem(f"line {number}: {error}")
            else:
                yield number, messages


def _messages(line: bytes) -> tuple[RowMessage, ...]:
    if line.startswith(_BOM):
        raise _InvalidRow("starts with a byte order mark")
    if not line.strip():
        raise _InvalidRow("empty line")
    try:
        messages = _decoder.decode(line).messages
    except msgspec.ValidationError as error:
        raise _InvalidRow(str(error)) from None
    except UNDECODABLE:
        raise _InvalidRow("not valid JSON") from None
    for number, message in enumerate(messages, 1):
        if not message.content.strip():
            raise _InvalidRow(f"message {number} is empty")
        if message.weight is not msgspec.UNSET and message.role != "assistant":
            raise _InvalidRow(f"message {number} has a weight; only assistant messages may")
    if messages[-1].role != "assistant":
        raise _InvalidRow("the last message is not an assistant message")
    if all(message.weight == 0 for message in messages if message.role == "assistant"):
        raise _InvalidRow("every assistant message has weight 0")
    return messages


def _hash(messages: tuple[RowMessage, ...]) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(messages), digest_size=16).digest()


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
    """Check the files in `folder` and estimate the cost; `price` overrides the table."""
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
    notices = [tuning_notice(today), shutdown_notice(settings.model, today)]
    if settings.base_url:
        notices = []  # OpenAI's shutdown dates do not concern other providers
    given = tuple(filter(None, notices))
    return JobPlan(folder, settings, files, counter.exact, cost, given)
