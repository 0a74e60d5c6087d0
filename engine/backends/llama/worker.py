"""The worker process: read requests, run the model, reply.

host.py starts it as `python -m engine.backends.llama.worker`. The main thread runs the model, and
llama.cpp's answers run on threads of their own; another thread reads, so that a cancellation
arrives during an answer. Light until the first Open.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO, Never

from engine.backends.llama import messages
from engine.backends.llama.weights import find_model
from engine.config import paths
from engine.core.errors import EngineError, EngineFailed, EngineUnavailable, PromptTooLong
from engine.core.i18n import tr
from engine.core.process import reinstall_command
from engine.core.text import one_line
from engine.core.types import Progress

if TYPE_CHECKING:
    from engine.backends.llama.llama_cpp import LlamaCppRuntime
    from engine.backends.llama.transformers import TransformersRuntime

    Runtime = TransformersRuntime | LlamaCppRuntime


_SEND_EVERY = 0.04
"""Seconds; the chat draws new words at most ten times a second."""

_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


class TextBuffer:
    """Send text in fewer, larger chunks when it comes fast.

    Each message wakes the chat, which on few cores takes time from the model: 5 % of 230 tokens a
    second.
    """

    def __init__(self, send: Callable[[str], None], every: float = _SEND_EVERY) -> None:
        self._send = send
        self._every = every
        self._pending: list[str] = []
        self._last = float("-inf")

    def add(self, text: str) -> None:
        """Buffer text; send the buffer unless it was sent a moment ago."""
        self._pending.append(text)
        if time.monotonic() - self._last >= self._every:
            self.flush()

    def flush(self) -> None:
        """Send buffered text. Call once more at the end."""
        if self._pending:
            self._send("".join(self._pending))
            self._pending.clear()
            self._last = time.monotonic()


class Worker:
    """The queue of requests and the runtime that carries them out."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._sending = threading.Lock()
        self._requests: SimpleQueue[messages.WorkerRequest] = SimpleQueue()
        self._cancelled: dict[int, threading.Event] = {}
        """By the number of each request that is not finished."""
        self._runtime: Runtime | None = None

    def listen(self, source: BinaryIO) -> None:
        """Queue requests until the chat closes the pipe; then exit, even during an answer."""
        try:
            while len(header := source.read(messages.LENGTH_BYTES)) == messages.LENGTH_BYTES:
                message = messages.for_worker(source.read(messages.length_of(header)))
                if not isinstance(message, messages.Cancel):
                    self._cancelled[message.number] = threading.Event()
                    self._requests.put(message)
                elif cancelled := self._cancelled.get(message.number):
                    cancelled.set()
        finally:
            os._exit(0)

    def serve(self) -> Never:
        """Carry out requests; exit once the model may be damaged."""
        while True:
            request = self._requests.get()
            if isinstance(request, messages.Ask) and self._runtime and self._runtime.concurrent:
                threading.Thread(target=self._finish, args=(request,), daemon=True).start()
            else:
                self._finish(request)

    def _finish(self, request: messages.WorkerRequest) -> None:
        try:
            if not self._cancelled[request.number].is_set():
                self._carry_out(request)
        except EngineError as error:
            damaged = self._runtime is not None and self._runtime.damaged
            self._fail(request, error, ending=damaged)
        except Exception as error:  # noqa: BLE001 - the chat shows it, the log has the rest
            traceback.print_exc()
            reason = one_line(str(error), 200).rstrip(".")
            told = tr("The model failed: {error}.", error=reason)
            failure = EngineFailed(told, tr("Ask again to reload the model."))
            self._fail(request, failure, ending=True)
        finally:
            del self._cancelled[request.number]

    def _carry_out(self, request: messages.WorkerRequest) -> None:
        match request:
            case messages.Open():
                self._runtime = self._open(request)
                self._ready(request, self._runtime)
            case messages.Attach(folder):
                runtime = self._opened()
                runtime.attach(folder)
                self._ready(request, runtime)
            case messages.Ask():
                self._answer(request)

    def _ready(self, request: messages.WorkerRequest, runtime: Runtime) -> None:
        gpu_bytes, adapters = runtime.gpu_bytes(), tuple(runtime.adapters)
        self._send(messages.Ready(request.number, gpu_bytes, adapters))

    def _open(self, request: messages.Open) -> Runtime:
        def show(progress: Progress) -> None:
            self._send(messages.Step(progress.label, progress.fraction, request.number))

        if request.runtime == "llama.cpp":
            show(Progress(tr("starting llama.cpp")))
            use_transformers = tr(
                "Set `runtime` to transformers for this engine, in {file}.",
                file=paths.settings_name(),
            )
            with _importing("llama.cpp", ("xllamacpp",), use_transformers):
                from engine.backends.llama.llama_cpp import LlamaCppRuntime
            return LlamaCppRuntime(request, show)
        show(Progress(tr("importing torch")))
        with _importing("transformers", ("torch", "transformers", "peft")):
            from engine.backends.llama.transformers import TransformersRuntime
            from engine.backends.llama.unpack import with_safetensors
        with_safetensors(find_model(request.folder, "base"), show)
        show(Progress(tr("reading weights")))
        return TransformersRuntime(request)

    def _opened(self) -> Runtime:
        if self._runtime is None:
            raise EngineFailed(tr("No model is loaded."), tr("Ask again to reload the model."))
        return self._runtime

    def _answer(self, request: messages.Ask) -> None:
        cancelled = self._cancelled[request.number].is_set
        buffer = TextBuffer(lambda text: self._send(messages.TextChunk(text, request.number)))

        def report(logprobs: tuple[float, ...]) -> None:
            self._send(messages.FirstTokens(logprobs, request.number))

        try:
            done = self._opened().answer(request, buffer.add, cancelled, report)
        finally:
            # The chat keeps text that came before a failure.
            buffer.flush()
        if done is not None:
            self._send(done)

    def _fail(self, request: messages.WorkerRequest, error: EngineError, *, ending: bool) -> None:
        failed = messages.Failed(
            error.message,
            error.remedy,
            isinstance(error, EngineUnavailable),
            ending,
            request.number,
            isinstance(error, PromptTooLong),
        )
        self._send(failed)
        if ending:
            # A library's exit handlers could hang, and nothing here needs saving.
            os._exit(1)

    def _send(self, message: messages.FromWorker) -> None:
        with self._sending:
            self._sink.write(messages.frame(message))
            self._sink.flush()


@contextlib.contextmanager
def _importing(library: str, packages: tuple[str, ...], alternative: str = "") -> Iterator[None]:
    try:
        yield
    except (ImportError, OSError, RuntimeError) as error:
        reason = one_line(str(error), 200).rstrip(".")
        raise EngineUnavailable(
            tr("Cannot load {library}: {error}.", library=library, error=reason),
            f"{tr('Run: {command}', command=reinstall_command(*packages))} {alternative}".rstrip(),
        ) from error


def main() -> None:
    """Serve the process that started this one until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # The reading thread ends this process too, but not while a library holds every thread.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # When memory runs out, the kernel should kill this process and not the chat.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    source, sink = _pipes()
    worker = Worker(sink)
    threading.Thread(target=worker.listen, args=(source,), daemon=True).start()
    worker.serve()


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move the protocol off stdin and stdout, which libraries read and print to."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    return source, sink


if __name__ == "__main__":
    main()
