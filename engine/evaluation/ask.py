"""Whom to ask, and the answers on disk, from which a killed evaluation continues."""

import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine.backends.registry import Registry
from engine.core.errors import UsageError
from engine.core.files import UNDECODABLE, encode_json, lock, writing
from engine.core.trained_products import FIRST_TOKENS, Calibration
from engine.core.types import (
    Answer,
    Mode,
    Status,
    StopReason,
    Taught,
    Timing,
    Tokens,
    mean_logprob,
)
from engine.evaluation.questions import Question
from engine.prompts import PROMPT_VERSION

ANSWERS_FILE = "answers.jsonl"
_MODE_TITLES = {Mode.GROUNDED: "grounded", Mode.MEMORY: "from memory"}
_SYNC_EVERY = 1.0
"""Seconds between two fsyncs. A power cut can lose the answers since; a kill loses none."""


class Target(Struct, frozen=True):
    """An engine to evaluate, in a mode; its answers depend on what is in `provenance`."""

    key: str
    engine: str
    mode: Mode
    title: str
    provenance: dict[str, Any]
    queue: str = ""
    """As `Engine.queue`."""
    calibration: Calibration | None = None
    """Of an engine that answers from memory."""

    @property
    def fingerprint(self) -> str:
        """A hash of `provenance`: saved answers with another one are not reused."""
        data = msgspec.json.encode(self.provenance, order="deterministic")
        return blake2b(data, digest_size=8).hexdigest()


def parse_targets(text: str, registry: Registry, catalogue: dict[str, Any]) -> list[Target]:
    """Parse a list such as `catalogue,base:memory,lora:grounded`. Raises UsageError."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("No engine is named.", "Add --engines ID,ID; see `balcao engines`.")
    targets = [_target(name, registry, catalogue) for name in names]
    key, number = Counter(target.key for target in targets).most_common(1)[0]
    if number > 1:
        raise UsageError(f"“{key}” is named twice.", "Name each engine and mode once.")
    return targets


def _target(name: str, registry: Registry, catalogue: dict[str, Any]) -> Target:
    engine_id, mode = _split(name, registry)
    engine = registry.get(engine_id)
    provenance = {
        "engine": engine_id,
        "mode": mode.value,
        "prompt_version": PROMPT_VERSION,
        "catalogue": catalogue,
        **engine.provenance(),
    }
    key, title = f"{engine_id}:{mode}", f"{engine.config.title}, {_MODE_TITLES[mode]}"
    if engine.verbatim:
        key, title = engine_id, engine.config.title
        if mode is Mode.MEMORY:
            raise UsageError(
                f"“{engine_id}” cannot answer from memory.", f"Write {engine_id} without a mode."
            )
    calibration = engine.calibration() if mode is Mode.MEMORY else None
    return Target(key, engine_id, mode, title, provenance, engine.queue, calibration)


def _split(name: str, registry: Registry) -> tuple[str, Mode]:
    """Split ID:MODE; an id may contain colons as well."""
    engine, _, mode = name.rpartition(":")
    if engine and name not in registry.ids:
        if mode not in _MODE_TITLES:
            raise UsageError(f"Unknown mode “{mode}”.", "Write ID:grounded or ID:memory.")
        return engine, Mode(mode)
    return name, Mode.GROUNDED


def display_titles(targets: Sequence[Target]) -> dict[str, str]:
    """Return unique titles by key."""
    counts = Counter(target.title for target in targets)
    return {
        one.key: one.title if counts[one.title] == 1 else f"{one.title} ({one.key})"
        for one in targets
    }


class SavedAnswer(
    Struct, frozen=True, omit_defaults=True, rename={"target": "asked", "fingerprint": "mark"}
):
    """A line of answers.jsonl: the answer of a target, by its key, to a question, by its id.

    `source` is the text of the record that the search found, `logprob` the mean of the first
    tokens' log-probabilities. `error` says why the answer is incomplete; the next run asks again.
    """

    target: str
    question: str
    fingerprint: str
    text: str
    status: Status
    stop_reason: StopReason
    by_counter: bool = False
    source: str = ""
    notice: str = ""
    error: str = ""
    tokens: Tokens | None = None
    timing: Timing = msgspec.field(default_factory=Timing)
    thinking_ms: float = 0.0
    taught: Taught | None = None
    logprob: float | None = None


def saved_answer(target: Target, question: Question, answer: Answer) -> SavedAnswer:
    """Convert an answer for the file."""
    problem = answer.problem
    return SavedAnswer(
        target=target.key,
        question=question.id,
        fingerprint=target.fingerprint,
        text=answer.text,
        status=answer.status,
        stop_reason=answer.stop_reason,
        by_counter=answer.by_counter,
        source=answer.product.description if answer.product else "",
        notice=answer.notice,
        error=f"{problem.message} {problem.remedy}".strip() if problem else "",
        tokens=answer.tokens,
        timing=answer.timing,
        thinking_ms=answer.thinking_ms,
        taught=answer.taught or None,
        logprob=mean_logprob(answer.logprobs, FIRST_TOKENS),
    )


class AnswerFile:
    """The saved answers of an evaluation. One process at a time may open the file."""

    def __init__(self, folder: Path) -> None:
        """Open the file in `folder`, created if missing; an incomplete last line is dropped."""
        self.path = folder / ANSWERS_FILE
        with writing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("a+b")
        self._synced = time.monotonic()
        try:
            self._lock()
            self.answers = self._read()
        except BaseException:
            self._stream.close()
            raise

    def _lock(self) -> None:
        if not lock(self._stream):
            raise UsageError(
                f"Another `balcao evaluate` is writing {self.path}.", "Wait for it or stop it."
            )

    def close(self) -> None:
        """Sync and close the file."""
        # `add` has reported a full disk; closing only repeats its error.
        with suppress(OSError):
            os.fsync(self._stream.fileno())
        with suppress(OSError):
            self._stream.close()

    def find(self, target: Target, question: Question) -> SavedAnswer | None:
        """Return the saved answer, which may be a failed one.

        Raises UsageError for one from another model, catalogue or prompt, unless it failed: a
        corrected setting continues in the same folder.
        """
        saved = self.answers.get((target.key, question.id))
        if saved is None or saved.fingerprint == target.fingerprint:
            return saved
        if saved.error:
            return None
        raise UsageError(
            f"The model, adapter, limits, catalogue or prompt of “{target.key}” differ from those"
            f" of the answers in {self.path}.",
            "Choose a new folder with --out, or delete this one.",
        )

    def add(self, answer: SavedAnswer) -> None:
        """Append an answer to the file. Raises BalcaoError."""
        with writing(self.path):
            self._stream.write(encode_json(answer))
            self._stream.flush()
            if time.monotonic() - self._synced >= _SYNC_EVERY:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()
        self.answers[answer.target, answer.question] = answer

    def _read(self) -> dict[tuple[str, str], SavedAnswer]:
        """Read the last answer to each question; a broken line counts as unanswered."""
        decode = msgspec.json.Decoder(SavedAnswer).decode
        found: dict[tuple[str, str], SavedAnswer] = {}
        complete = 0
        self._stream.seek(0)
        for line in self._stream:
            if not line.endswith(b"\n"):
                break
            complete += len(line)
            with suppress(*UNDECODABLE):
                answer = decode(line)
                found[answer.target, answer.question] = answer
        self._stream.truncate(complete)
        return found
