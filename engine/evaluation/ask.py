"""Answers on disk as they come: answers.jsonl, which a killed evaluation goes on from."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from engine.core.errors import BalcaoError, UsageError
from engine.core.types import Answer, Status, StopReason, Timing, Tokens
from engine.evaluation.asked_part import Asked
from engine.evaluation.questions import Question

NAME = "answers.jsonl"
_SYNC_EVERY = 1.0
"""Seconds between two fsyncs: what a power cut can lose. A kill loses the answers under way."""


class Given(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer, by the key of whom was asked (`base:memory`) and the question's id.

    `mark` is that of `Asked`; `source` the text of the record that retrieval found, if it found
    one. `error` says why there is no whole answer; such a one is asked again.
    """

    asked: str
    question: str
    mark: str
    text: str
    status: Status
    stop_reason: StopReason
    by_counter: bool = False
    source: str = ""
    notice: str = ""
    error: str = ""
    tokens: Tokens | None = None
    timing: Timing = msgspec.field(default_factory=Timing)


def given(asked: Asked, question: Question, answer: Answer) -> Given:
    """What is kept of an answer."""
    product = answer.product
    return Given(
        asked=asked.key,
        question=question.id,
        mark=asked.mark,
        text=answer.text,
        status=answer.status,
        stop_reason=answer.stop_reason,
        by_counter=answer.by_counter,
        source=product.description if product else "",
        notice=answer.notice,
        error=f"{answer.problem.message} {answer.problem.remedy}".strip() if answer.problem else "",
        tokens=answer.tokens,
        timing=answer.timing,
    )


class AnswerFile:
    """The answers there are, and the file that new ones are added to. One writer at a time."""

    def __init__(self, folder: Path) -> None:
        """Open, taking over what is there; a torn last line is dropped.

        Raises UsageError if another process writes to it, BalcaoError if the disk says no.
        """
        self.path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("a+b")
        except OSError as error:
            raise _no(self.path, error) from error
        self._synced = time.monotonic()
        try:
            _lock(self._stream.fileno(), self.path)
            self.by_key = self._read()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            os.fsync(self._stream.fileno())
        with suppress(OSError):
            # A full disk has said so in `add`; closing tries the same words once more.
            self._stream.close()

    def find(self, asked: Asked, question: Question) -> Given | None:
        """The answer that is there, whole or failed.

        Raises UsageError if it comes from another model, catalogue or prompt. A failed one does
        not count then: whoever mends a wrong setting goes on in the same folder.
        """
        there = self.by_key.get((asked.key, question.id))
        if there is not None and there.mark != asked.mark:
            if there.error:
                return None
            raise UsageError(
                f"{self.path} holds answers of another “{asked.key}”: its model, adapter, limits,"
                " catalogue or prompt have changed.",
                "Name a new folder with --out, or remove this one.",
            )
        return there

    def add(self, answer: Given) -> None:
        """Write an answer; it is in the file when this returns. Raises BalcaoError."""
        try:
            self._stream.write(msgspec.json.encode(answer) + b"\n")
            self._stream.flush()
            if time.monotonic() - self._synced >= _SYNC_EVERY:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise _no(self.path, error) from error
        self.by_key[answer.asked, answer.question] = answer

    def _read(self) -> dict[tuple[str, str], Given]:
        """The last answer to each; a line that is none (a disk gone bad) is asked anew."""
        decode = msgspec.json.Decoder(Given).decode
        found: dict[tuple[str, str], Given] = {}
        whole = 0
        self._stream.seek(0)
        for line in self._stream:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                answer = decode(line)
                found[answer.asked, answer.question] = answer
        self._stream.truncate(whole)
        return found


def _no(path: Path, error: OSError) -> BalcaoError:
    return BalcaoError(
        f"{path} cannot be written: {error.strerror or error}.",
        "Make room, or name another folder; the answers so far are kept.",
    )


def _lock(handle: int, path: Path) -> None:
    lock = _locker()
    try:
        lock(handle)
    except OSError as error:
        raise UsageError(
            f"Another `balcao evaluate` is writing to {path}.", "Wait for it, or stop it."
        ) from error


def _locker() -> Callable[[int], None]:
    try:
        import fcntl
    except ImportError:  # Windows.
        return lambda _: None
    return lambda handle: fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
