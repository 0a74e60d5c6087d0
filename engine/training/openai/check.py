"""Checks training rows before they are sent: what a server would refuse, what is paid in vain."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import msgspec

from engine.backends.openai.engine import base_model
from engine.core.errors import DataError

_BYTES_PER_TOKEN = 4
"""A usual figure for English in UTF-8; it errs upwards for plain prose."""
_PER_MESSAGE, _PER_ROW = 4, 3
"""Tokens around each message (three marks and the role) and before the answer, as OpenAI's own
guide to counting has it for its chat models."""
_FALLBACK_ENCODING = "o200k_base"
_TABLES_WAIT = 20.0
"""Seconds that tiktoken gets for its tables: it sets itself no limit."""


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """How many tokens a text has; `exact` says whether it is counted or estimated."""

    count: Callable[[str], int]
    exact: bool

    def row(self, texts: Sequence[str]) -> int:
        """The tokens of a row, from its messages' texts."""
        return _PER_ROW + sum(_PER_MESSAGE + self.count(text) for text in texts)


class _Encoding(Protocol):
    def encode_ordinary(self, text: str) -> list[int]: ...


def counter_for(model: str) -> TokenCounter:
    """The best counter at hand for a model; `ft:…` counts as its base."""
    encoding = _encoding(base_model(model))
    if encoding is None:
        return TokenCounter(_estimate, exact=False)
    return TokenCounter(lambda text: len(encoding.encode_ordinary(text)), exact=True)


def _estimate(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


def _encoding(base: str) -> _Encoding | None:
    """The encoding of tiktoken, or None if it cannot be had in reasonable time."""
    if find_spec("tiktoken") is None:
        return None
    found: list[_Encoding] = []

    def look() -> None:
        tiktoken = import_module("tiktoken")
        try:
            name = tiktoken.encoding_name_for_model(base)
        except KeyError:
            name = _FALLBACK_ENCODING
        try:
            found.append(tiktoken.get_encoding(name))
        except (ImportError, OSError, ValueError):
            # No network (requests' errors are OSErrors), or another file than the one expected.
            return

    thread = threading.Thread(target=look, daemon=True, name="tiktoken")
    thread.start()
    thread.join(_TABLES_WAIT)
    return found[0] if found else None


LEAST_ROWS = 10
"""OpenAI's least for training."""
MOST_BYTES = 512 * 1024 * 1024
"""OpenAI's limit for a file."""
_SHOWN = 5
"""Problems that are told in full; the others are counted."""
_ROLES = ("system", "user", "assistant")
_ROW_FIELDS = {"messages"}
_MESSAGE_FIELDS = {"role", "content", "name", "weight"}
_BOM = b"\xef\xbb\xbf"


class _WrongRow(Exception):
    """Its words go on after the number of the line."""


@dataclass(slots=True)
class CheckedFile:
    """What a file of rows holds. `problems` stop a job, `warnings` are worth knowing."""

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
    prints: set[bytes] = field(default_factory=set, repr=False)
    """A hash of every row, to find it in another file."""

    def problem(self, text: str) -> None:
        """Note what stops the job."""
        if len(self.problems) < _SHOWN:
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
    """Read a JSONL file of rows; `most_bytes` is what a provider takes, None where none is asked.

    Raises DataError if it cannot be read at all.
    """
    checked = CheckedFile()
    questions: dict[bytes, bytes] = {}
    repeated, contradicting = 0, 0
    for number, messages in _rows(file, checked, most_bytes):
        tokens = counter.row([message["content"] for message in messages])
        _count(checked, tokens, number, row_limit)
        whole, asked = _print(messages), _print(messages[:-1])
        repeated += whole in checked.prints
        checked.prints.add(whole)
        contradicting += questions.setdefault(asked, whole) != whole
    if checked.rows < least:
        checked.problem(f"{checked.rows} usable rows; at least {least} are needed")
    if repeated:
        checked.warnings.append(f"{repeated:,} rows repeat an earlier one")
    if contradicting:
        checked.warnings.append(
            f"{contradicting:,} rows ask what an earlier one asks and answer otherwise"
        )
    return checked


def shared_rows(one: CheckedFile, other: CheckedFile) -> int:
    """How many different rows both files hold."""
    return len(one.prints & other.prints)


def _count(checked: CheckedFile, tokens: int, number: int, row_limit: int) -> None:
    checked.rows += 1
    checked.tokens += tokens
    checked.longest = max(checked.longest, tokens)
    if tokens > row_limit:
        checked.problem(
            f"line {number}: {tokens:,} tokens, and what is beyond {row_limit:,} would be cut off"
        )


def _rows(
    file: Path, checked: CheckedFile, most_bytes: int | None
) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """Line number and messages of every row that is right; the others are noted."""
    try:
        with file.open("rb") as stream:
            checked.size = file.stat().st_size
            if most_bytes is not None and checked.size > most_bytes:
                checked.problem(f"{checked.size:,} bytes; at most {most_bytes:,} can be sent")
                return
            for number, line in enumerate(stream, 1):
                try:
                    messages = _messages(line)
                except _WrongRow as wrong:
                    checked.problem(f"line {number} {wrong}")
                else:
                    yield number, messages
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error


def _messages(line: bytes) -> list[dict[str, str]]:
    """The row's messages. Raises _WrongRow."""
    if line.startswith(_BOM):
        raise _WrongRow("begins with a byte order mark")
    if not line.strip():
        raise _WrongRow("is empty")
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _WrongRow("is no JSON") from None
    if not isinstance(row, dict):
        raise _WrongRow("is no object")
    if unknown := row.keys() - _ROW_FIELDS:
        raise _WrongRow(f"has fields besides messages: {_named(unknown)}")
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _WrongRow("has no list of messages")
    for place, message in enumerate(messages, 1):
        if wrong := _wrong(message):
            raise _WrongRow(f"has a wrong message, number {place}: {wrong}")
    _check_whole(messages)
    return messages


def _wrong(message: object) -> str:
    """What is wrong with a message; an empty string if nothing is."""
    if not isinstance(message, dict):
        return "it is no object"
    if message.get("role") not in _ROLES:
        return f"its role is none of {', '.join(_ROLES)}"
    if unknown := message.keys() - _MESSAGE_FIELDS:
        return f"it has unknown fields, {_named(unknown)}"
    if not isinstance(message.get("name", ""), str):
        return "its name is no text"
    return _wrong_content(message.get("content")) or _wrong_weight(message)


def _wrong_content(content: object) -> str:
    if not isinstance(content, str):
        return "it has no content" if content is None else "its content is no text"
    if not content.strip():
        return "its content is empty"
    try:
        content.encode()
    except UnicodeEncodeError:
        return "its content has half a character"
    return ""


def _wrong_weight(message: dict[str, Any]) -> str:
    if "weight" not in message:
        return ""
    if message["role"] != "assistant":
        return "it has a weight, which is the assistant's alone"
    weight = message["weight"]
    # True == 1, and is no number to a server.
    return "" if type(weight) is int and weight in (0, 1) else "its weight is neither 0 nor 1"


def _check_whole(messages: list[dict[str, Any]]) -> None:
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers:
        raise _WrongRow("has no message of the assistant")
    if messages[-1]["role"] != "assistant":
        raise _WrongRow("does not end with the assistant")
    if not any(message.get("weight", 1) for message in answers):
        raise _WrongRow("has nothing to learn: every weight is 0")


def _print(messages: list[dict[str, Any]]) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(messages), digest_size=16).digest()


def _named(fields: set[Any]) -> str:
    return ", ".join(sorted(str(field)[:30] for field in fields))
