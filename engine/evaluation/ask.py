"""Answers on disk as they come: answers.jsonl, which a killed evaluation goes on from."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from engine.backends.openai.failures import server_name
from engine.config import paths
from engine.config.settings import (
    CatalogueEngine,
    EngineSettings,
    LlamaEngine,
    OpenAIEngine,
    Settings,
)
from engine.core.errors import BalcaoError, DataError, UsageError
from engine.core.files import describe_file, read_manifest
from engine.core.types import Answer, Mode, Status, StopReason, Timing, Tokens
from engine.evaluation.questions import Question
from engine.prompts import PROMPT_VERSION

_ADAPTER = "adapter_model.safetensors"
_CONFIG = "config.json"
_SPOKEN = {Mode.GROUNDED: "grounded", Mode.MEMORY: "from memory"}


class Asked(msgspec.Struct, frozen=True):
    """An engine in a mode.

    `made_of` is what its answers hang on (model, adapter, limits, catalogue, prompt version), as
    the manifest shows it; `mark` stands for all of it, so that answers of another model or another
    catalogue are never taken for this one's.
    """

    key: str
    engine: str
    mode: Mode
    title: str
    made_of: dict[str, Any]

    @property
    def mark(self) -> str:
        """A few letters that change with anything in `made_of`."""
        data = msgspec.json.encode(self.made_of, order="deterministic")
        return blake2b(data, digest_size=8).hexdigest()


def parse(text: str, settings: Settings, catalogue: dict[str, Any]) -> list[Asked]:
    """Those that `text` names, as in `catalogue,base:memory,lora:grounded`.

    `catalogue` is what tells the catalogue from others. Raises UsageError.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("No engine is named.", "Give --engines ID,ID; see `balcao engines`.")
    asked = [_asked(name, settings, catalogue) for name in names]
    keys = [one.key for one in asked]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"“{key}” is named twice.", "Name each once.")
    return asked


def _asked(name: str, settings: Settings, catalogue: dict[str, Any]) -> Asked:
    engine, mode = _split(name, settings)
    row = settings.engines.get(engine)
    if row is None:
        raise UsageError(
            f"There is no engine named “{engine}”.",
            f"The engines are: {', '.join(settings.engines)}.",
        )
    made_of = {
        "engine": engine,
        "mode": mode.value,
        "prompt_version": PROMPT_VERSION,
        "catalogue": catalogue,
        **_made_of(row),
    }
    if isinstance(row, CatalogueEngine):
        if mode is Mode.MEMORY:
            raise UsageError(f"“{engine}” has no memory to ask.", f"Name it as {engine}.")
        return Asked(engine, engine, mode, row.title, made_of)
    return Asked(f"{engine}:{mode}", engine, mode, f"{row.title}, {_SPOKEN[mode]}", made_of)


def _split(name: str, settings: Settings) -> tuple[str, Mode]:
    """The engine's name may hold a colon of its own."""
    engine, _, mode = name.rpartition(":")
    if engine and name not in settings.engines:
        if mode not in tuple(Mode):
            raise UsageError(f"“{mode}” is no way to ask.", "Write ID:grounded or ID:memory.")
        return engine, Mode(mode)
    return name, Mode.GROUNDED


def _made_of(row: EngineSettings) -> dict[str, Any]:
    match row:
        case CatalogueEngine():
            return {"kind": "catalogue"}
        case LlamaEngine():
            return {
                "kind": "llama",
                "model": _name(row.model),
                "model_config": _file(row.model, _CONFIG),
                "adapter": _name(row.adapter),
                "adapter_weights": _file(row.adapter, _ADAPTER),
                "adapter_manifest": _manifest(row.adapter),
                "quantization": row.quantization,
                "context": row.context,
                "max_tokens": row.max_tokens,
                "temperature": row.temperature,
                "top_p": row.top_p,
                "system_prompt": row.system_prompt,
            }
        case OpenAIEngine():
            return {
                "kind": "openai",
                "model": row.model,
                # The variable is the package's own, as the engine reads it.
                "server": server_name(row.base_url or os.environ.get("OPENAI_BASE_URL")),
                "max_tokens": row.max_tokens,
                "temperature": row.temperature,
                "top_p": row.top_p,
                "system_prompt": row.system_prompt,
            }


def _name(folder: str | None) -> str | None:
    """As the settings have it; what came with the program by its name, wherever that lies."""
    shipped = (paths.demo_model_dir(), paths.demo_adapter_dir())
    return Path(folder).name if folder and Path(folder) in shipped else folder


def _file(folder: str | None, name: str) -> dict[str, Any] | None:
    """Name, SHA-256 and size of a file in a model's folder; None where there is none."""
    path = Path(folder).expanduser() / name if folder else None
    try:
        return msgspec.to_builtins(describe_file(path)) if path else None
    except OSError:
        # A model by its hub id: the name is all that is known here.
        return None


def _manifest(folder: str | None) -> dict[str, Any] | None:
    try:
        made = read_manifest(Path(folder).expanduser()) if folder else None
    except DataError:
        return None
    return msgspec.to_builtins(made) if made else None


def names(asked: Sequence[Asked]) -> dict[str, str]:
    """Titles by key; where two are the same, the key is told as well."""
    titles = [one.title for one in asked]
    return {
        one.key: one.title if titles.count(one.title) == 1 else f"{one.title} ({one.key})"
        for one in asked
    }


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
