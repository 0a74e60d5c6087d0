"""The chat's end of the pipes to one worker process: starts it, asks it, notices its death.

llama_host owns the link. The worker has no terminal: its protocol goes over its first two streams,
what libraries print goes to an unnamed log, and it lives in a session of its own, out of reach of
Ctrl-C. It ends when the pipe from here closes, however this process ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib import import_module
from pathlib import Path
from typing import IO

import msgspec

from engine.backends.llama.messages import (
    LENGTH_BYTES,
    Ask,
    Attach,
    Cancel,
    Done,
    Failed,
    FromWorker,
    Open,
    Piece,
    Quantization,
    Ready,
    Request,
    Runtime,
    Step,
    ToWorker,
    frame,
    from_worker,
    length_of,
)
from engine.backends.llama.weights import ModelFiles
from engine.core.errors import EngineError, EngineFailed, EngineUnavailable, why
from engine.core.i18n import spoken, tr
from engine.core.text import one_line
from engine.core.types import Chunk, Progress, Tokens

_MODULE = "engine.backends.llama.worker"
_CODE = Path(__file__).resolve().parents[3]
_LOG_TAIL = 4096
"""Bytes of the worker's log that are looked through for its last words."""

_KILLED = 9
"""SIGKILL, which not every system's `signal` has."""

_SECRET = ("_API_KEY", "_TOKEN", "_SECRET", "_PASSWORD")


class Link:
    """One worker process. Requests are made one after the other; a newer one ends the older."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self._inbox: asyncio.Queue[FromWorker | None] = asyncio.Queue()
        self._number = 0
        self._alive = True
        self._ended_here = False
        self._last_words = ""
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls) -> Link:
        """Start a worker. Raises EngineFailed if the system lets no process start."""
        log = tempfile.TemporaryFile(prefix="balcao-llama-")  # noqa: SIM115 - closed by _read
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # not the folder that the chat was started in
                "-m",
                _MODULE,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            log.close()
            raise EngineFailed(
                tr("The model's process could not be started: {why}.", why=why(error)),
                tr("Close other programs and ask again."),
            ) from error
        return cls(process, log)

    @property
    def alive(self) -> bool:
        """Whether the process can be asked."""
        return self._alive

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    async def call(self, request: Request) -> AsyncGenerator[Step | Ready | Piece | Done]:
        """Send `request` and give its replies; the last is Ready or Done.

        Closing the generator cancels the request. Raises EngineError: the worker's own, or that
        the worker has died.
        """
        self._number += 1
        number = self._number
        # A queue of its own: what still comes for an older request finds no reader.
        inbox = self._inbox = asyncio.Queue()
        finished = False
        try:
            await self._send(msgspec.structs.replace(request, number=number))
            while not finished:
                reply = await inbox.get()
                finished = not isinstance(reply, Step | Piece)
                if reply is None:
                    raise self._death()
                if isinstance(reply, Failed):
                    if reply.ending:
                        # The next request must not go to a process that is about to end.
                        await self._gone()
                    raise _error(reply)
                yield reply
        finally:
            if not finished:
                self._write(Cancel(number))

    async def kill(self) -> None:
        """End the process and wait until it is gone, with all its memory."""
        self._ended_here = True
        self._end()
        await self._gone()

    async def _send(self, message: ToWorker) -> None:
        if not self._alive:
            await self._gone()
            raise self._death()
        self._write(message)
        with contextlib.suppress(ConnectionError):
            # The reader tells of the death.
            await self._pipe.drain()

    def _end(self) -> None:
        # Not by asyncio's kill: that one may bury a dead child before asyncio itself does, which
        # then knows no exit status and prints a warning.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, _KILLED)

    async def _gone(self) -> None:
        # Not awaited itself: the caller's cancellation would end the reader too.
        await asyncio.wait({self._reader})

    def _write(self, message: ToWorker) -> None:
        if self._alive and not self._pipe.is_closing():
            self._pipe.write(frame(message))

    @property
    def _pipe(self) -> asyncio.StreamWriter:
        pipe = self._process.stdin
        if pipe is None:
            raise AssertionError("the process was started with a pipe")
        return pipe

    async def _read(self) -> None:
        """Deliver replies until the worker ends; runs as a task for the link's whole life."""
        stream = self._process.stdout
        if stream is None:
            raise AssertionError("the process was started with a pipe")
        try:
            while True:
                header = await stream.readexactly(LENGTH_BYTES)
                reply = from_worker(await stream.readexactly(length_of(header)))
                if reply.number == self._number:
                    self._inbox.put_nowait(reply)
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError):
            # Without a protocol it is of no use, whatever it still does.
            self._end()
        finally:
            self._alive = False
            self._pipe.close()
            await self._process.wait()
            self._last_words = _last_line(self._log)
            self._log.close()
            self._inbox.put_nowait(None)

    def _death(self) -> EngineFailed:
        again = tr("Ask again: the model is loaded anew.")
        if self._ended_here:
            return EngineFailed(tr("The model was unloaded in the midst of its work."), again)
        code = self._process.returncode or 0
        if code == -_KILLED:
            return EngineFailed(
                tr("The model's process was killed, perhaps because memory ran out."), again
            )
        how = _signal_name(-code) if code < 0 else tr("exit status {code}", code=code)
        words = f": {self._last_words}" if self._last_words else ""
        return EngineFailed(
            tr("The model's process ended by itself ({how}){words}.", how=how, words=words),
            again,
        )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return tr("signal {number}", number=number)


def _error(failed: Failed) -> EngineError:
    kind = EngineUnavailable if failed.unavailable else EngineFailed
    return kind(failed.message, failed.remedy)


def _last_line(log: IO[bytes]) -> str:
    end = log.seek(0, os.SEEK_END)
    log.seek(max(0, end - _LOG_TAIL))
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return one_line(lines[-1], 200).rstrip(".") if lines else ""


def _environment() -> dict[str, str]:
    """The chat's own, less its secrets; no library in the worker may use the network."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(_SECRET)}
    path = [str(_CODE), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUTF8": "1",
        "LANGUAGE": spoken(),  # by the settings, too, which the worker does not read
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }


class LlamaHost:
    """One model, by its name in the settings, its quantization and what it runs on."""

    def __init__(self, model: str, quantization: Quantization, runtime: Runtime) -> None:
        self.model = model
        self.quantization = quantization
        self.runtime: Runtime = runtime
        self._link: Link | None = None
        self._opened = False
        self._adapters: set[Path] = set()
        self._turn = asyncio.Lock()
        self.gpu_bytes = 0
        """Of the GPU's memory, that the worker held when it last loaded something."""

    @property
    def pid(self) -> int | None:
        """The worker's process id while there is one."""
        return self._link.pid if self._link else None

    @property
    def loading(self) -> bool:
        """Whether the model is on its way into the worker."""
        return self._link is not None and self._link.alive and not self._opened

    def memory(self) -> int | None:
        """Bytes that the worker has resident; None without one."""
        if self._link is None or not self._link.alive:
            return None
        import psutil

        try:
            return int(psutil.Process(self._link.pid).memory_info().rss)
        except psutil.Error:
            # It has just ended.
            return None

    def holds(self, adapter: Path | None) -> bool:
        """Whether the model is loaded and, if one is named, the adapter beside it."""
        ready = self._link is not None and self._link.alive and self._opened
        return ready and (adapter is None or adapter in self._adapters)

    async def load(self, model: ModelFiles, adapter: Path | None) -> AsyncGenerator[Progress]:
        """Load the model and the adapter, as far as they are not there.

        Closing it while the model loads ends the worker; the model is kept if only the adapter was
        still to be loaded. Raises EngineError.
        """
        async with self._turn:
            if not self.holds(None):
                async with aclosing(self._open(model)) as steps:
                    async for step in steps:
                        yield step
            if adapter is not None and not self.holds(adapter):
                yield Progress(tr("reading the adapter"))
                await self._attach(adapter)
            yield Progress(tr("ready"), 1.0)

    async def ask(self, request: Ask) -> AsyncGenerator[Chunk]:
        """Answer. Closing it stops the worker. Raises EngineError."""
        async with self._turn:
            if self._link is None:
                raise EngineFailed(
                    tr("The model was unloaded."), tr("Ask again: it is loaded anew.")
                )
            async with aclosing(self._link.call(request)) as replies:
                async for reply in replies:
                    match reply:
                        case Piece(text):
                            yield Chunk(text)
                        case Done(reason, prompt, completion, notice):
                            yield Chunk(
                                stop_reason=reason,
                                tokens=Tokens(prompt, completion),
                                notice=notice,
                            )
                        case _:
                            raise AssertionError("an answer has pieces and an end")

    async def close(self) -> None:
        """End the worker, whatever it is doing; its memory is free when this returns."""
        link, self._link = self._link, None
        self._opened = False
        self.gpu_bytes = 0
        if link is not None:
            await link.kill()

    async def _open(self, model: ModelFiles) -> AsyncGenerator[Progress]:
        await self.close()
        self._adapters.clear()
        yield Progress(tr("starting"))
        # For `memory`, which is asked on the chat's own loop: the import alone takes 50 ms.
        await asyncio.to_thread(import_module, "psutil")
        link = self._link = await Link.start()
        try:
            request = Open(str(model.folder), self.quantization, model.weight_bytes, self.runtime)
            async with aclosing(link.call(request)) as replies:
                async for reply in replies:
                    match reply:
                        case Step(label, fraction):
                            yield Progress(label, fraction)
                        case Ready():
                            self.gpu_bytes = reply.gpu_bytes
            self._opened = True
        finally:
            if not self._opened and self._link is link:
                await self.close()

    async def _attach(self, adapter: Path) -> None:
        if self._link is None:
            raise EngineFailed(tr("The model was unloaded."), tr("Ask again: it is loaded anew."))
        async with aclosing(self._link.call(Attach(str(adapter)))) as replies:
            async for reply in replies:
                if isinstance(reply, Ready):
                    self.gpu_bytes = reply.gpu_bytes
        self._adapters.add(adapter)


class LlamaHosts:
    """One host for each model, quantization and runtime that the settings name."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[str, Quantization, Runtime], LlamaHost] = {}

    def host(
        self, model: str, quantization: Quantization, runtime: Runtime = "transformers"
    ) -> LlamaHost:
        """The host of that model; the same one for the same three."""
        key = (model, quantization, runtime)
        if key not in self._hosts:
            self._hosts[key] = LlamaHost(*key)
        return self._hosts[key]
