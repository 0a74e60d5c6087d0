"""The worker process's main loop: reads requests, has llama_runtime carry them out, replies.

Started by llama_link as `python -m engine.backends.llama.worker`, never by hand. The main thread
works; a second one reads, so that a cancellation is seen in mid-answer. Light until the first Open.
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
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO, Never

from engine.backends.llama.messages import (
    LENGTH_BYTES,
    Ask,
    Attach,
    Cancel,
    Failed,
    FromWorker,
    Open,
    Piece,
    Ready,
    Request,
    Step,
    for_worker,
    frame,
    length_of,
)
from engine.core.errors import EngineError, EngineFailed, EngineUnavailable
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Progress

if TYPE_CHECKING:
    from engine.backends.llama.llama_cpp import LlamaCppRuntime
    from engine.backends.llama.transformers import LlamaRuntime

    Runtime = LlamaRuntime | LlamaCppRuntime


SEND_EVERY = 0.04
"""Seconds; the chat draws words that come no oftener than ten times a second."""


class Pieces:
    """Gives words on, several at once where they come faster than one can read.

    Each message wakes the chat, which on a machine of few cores takes its time from the model:
    of 230 tokens a second it was 5 %.
    """

    def __init__(self, send: Callable[[str], None], every: float = SEND_EVERY) -> None:
        self._send = send
        self._every = every
        self._held: list[str] = []
        self._last = float("-inf")

    def add(self, text: str) -> None:
        """Take some more words, and give on what is held unless that was done just now."""
        self._held.append(text)
        if time.monotonic() - self._last >= self._every:
            self.send()

    def send(self) -> None:
        """Give on what is held. Called once more at the end."""
        if self._held:
            self._send("".join(self._held))
            self._held.clear()
            self._last = time.monotonic()


_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


class Worker:
    """The requests in turn, and the number up to which they are cancelled."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._requests: SimpleQueue[Request] = SimpleQueue()
        self._cancelled = 0
        self._runtime: Runtime | None = None

    def listen(self, source: BinaryIO) -> None:
        """Take requests until the chat is gone, and then end at once, in mid-answer too."""
        try:
            while len(header := source.read(LENGTH_BYTES)) == LENGTH_BYTES:
                message = for_worker(source.read(length_of(header)))
                if isinstance(message, Cancel):
                    self._cancelled = message.number
                else:
                    self._requests.put(message)
        finally:
            os._exit(0)

    def serve(self) -> Never:
        """Carry out requests, until the model can no longer be relied on."""
        while True:
            request = self._requests.get()
            if request.number <= self._cancelled:
                continue
            try:
                self._carry_out(request)
            except EngineError as error:
                ending = self._runtime is not None and self._runtime.spoiled
                self._fail(request, error, ending=ending)
            except Exception as error:  # noqa: BLE001 - the chat is told, the log has the rest
                traceback.print_exc()
                told = tr("The model failed: {error}.", error=one_line(str(error), 200).rstrip("."))
                again = tr("Ask again: the model is loaded anew.")
                self._fail(request, EngineFailed(told, again), ending=True)

    def _carry_out(self, request: Request) -> None:
        match request:
            case Open():
                self._runtime = self._open(request)
                self._send(Ready(request.number, self._runtime.gpu_bytes()))
            case Attach(folder):
                runtime = self._opened()
                runtime.attach(folder)
                self._send(Ready(request.number, runtime.gpu_bytes()))
            case Ask():
                self._answer(request)

    def _answer(self, request: Ask) -> None:
        pieces = Pieces(lambda text: self._send(Piece(text, request.number)))
        try:
            done = self._opened().answer(
                request,
                emit=pieces.add,
                cancelled=lambda: request.number <= self._cancelled,
            )
        finally:
            # What came before a failure stays.
            pieces.send()
        if done is not None:
            self._send(done)

    def _opened(self) -> Runtime:
        if self._runtime is None:
            raise EngineFailed(tr("No model is loaded."), tr("Ask again: it is loaded then."))
        return self._runtime

    def _open(self, request: Open) -> Runtime:
        def show(progress: Progress) -> None:
            self._send(Step(progress.label, progress.fraction, request.number))

        if request.runtime == "llama.cpp":
            show(Progress(tr("starting llama.cpp")))
            return _llama_cpp()(request, show)
        show(Progress(tr("importing torch")))
        runtime = _transformers()
        show(Progress(tr("reading weights")))
        return runtime(request)

    def _fail(self, request: Request, error: EngineError, *, ending: bool) -> None:
        unavailable = isinstance(error, EngineUnavailable)
        self._send(Failed(error.message, error.remedy, unavailable, ending, request.number))
        if ending:
            # A library's exit handlers could hang; there is nothing here to save.
            os._exit(1)

    def _send(self, message: FromWorker) -> None:
        self._sink.write(frame(message))
        self._sink.flush()


def main() -> None:
    """Serve the process that started this one, until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    _die_first()
    source, sink = _pipes()
    worker = Worker(sink)
    threading.Thread(target=worker.listen, args=(source,), daemon=True).start()
    worker.serve()


def _llama_cpp() -> type[LlamaCppRuntime]:
    # transformers, whose tokenizers are used, takes torch to be absent and does not load it.
    sys.modules["torch"] = None  # type: ignore[assignment] # Python's own way of saying so
    try:
        from engine.backends.llama.llama_cpp import LlamaCppRuntime
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineUnavailable(
            tr("llama.cpp cannot be loaded: {error}.", error=one_line(str(error), 200)),
            tr(
                "Build it again: {executable} -m pip install --force-reinstall --no-deps "
                "--no-cache-dir llama-cpp-python; or set `runtime` to transformers.",
                executable=sys.executable,
            ),
        ) from error
    return LlamaCppRuntime


def _transformers() -> type[LlamaRuntime]:
    try:
        from engine.backends.llama.transformers import LlamaRuntime
    except (ImportError, OSError) as error:
        raise EngineUnavailable(
            tr(
                "The packages that a Llama runs on cannot be loaded: {error}.",
                error=one_line(str(error), 200),
            ),
            tr(
                "Install them again: {executable} -m pip install --force-reinstall --no-deps "
                "torch transformers peft",
                executable=sys.executable,
            ),
        ) from error
    return LlamaRuntime


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """The protocol's two ends, out of the way of libraries that read or print."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    return source, sink


def _die_with_parent() -> None:
    """On Linux the kernel sees to it even while a library holds every thread of this process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _die_first() -> None:
    """When memory runs out, the kernel is to take this process and not the chat."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


if __name__ == "__main__":
    main()
