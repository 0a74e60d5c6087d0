"""Run a model in a worker process: start it, send it requests, notice its death.

The worker has no terminal: its protocol uses stdin and stdout, its libraries' output goes to an
unnamed log, and it runs in a session out of reach of Ctrl-C. It exits when the pipe from here
closes, however this process ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

import msgspec

from engine.backends.llama import messages
from engine.backends.llama.adapters import find_adapter
from engine.backends.llama.weights import ModelFiles
from engine.core.errors import EngineError, EngineFailed, EngineUnavailable, PromptTooLong, why
from engine.core.files import UNDECODABLE
from engine.core.i18n import spoken, tr
from engine.core.process import used_memory
from engine.core.text import one_line
from engine.core.types import Chunk, Progress, Tokens

_TRANSFORMERS = ("torch", "transformers", "peft", "accelerate", "safetensors", "sentencepiece")
_LLAMA_CPP = ("xllamacpp", "gguf", "tokenizers", "jinja2")

_MODULE = "engine.backends.llama.worker"
_CODE = Path(__file__).resolve().parents[3]
_LOG_TAIL = 4096
"""Bytes at the end of the worker's log in which its last line is looked for."""

_LOOK_EVERY = 0.1
"""Seconds between two looks at a loading that another question has begun."""

_SIGKILL = 9
"""Windows has no signal.SIGKILL."""

_PASSED_ON = (
    # programs, the user and temporary files, on POSIX systems and on Windows
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TMP", "TEMP", "TZ", "LANG", "SYSTEMROOT"),
    *("SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA"),
    *("PROGRAMFILES", "USERPROFILE", "USERNAME", "BALCAO_HOME"),
    # where shared libraries, Python, models and certificates are
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"),
    *("VIRTUAL_ENV", "CONDA_PREFIX", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_FAMILIES = (
    *("LC_", "XDG_", "PYTHON"),
    # processors and their libraries, such as CUDA_VISIBLE_DEVICES and OMP_NUM_THREADS
    *("CUDA_", "NVIDIA_", "HIP_", "ROCR_", "HSA_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_"),
    *("VECLIB_", "TORCH_", "PYTORCH_", "TRITON_", "BNB_", "GGML_"),
)
_SECRET = ("KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL")


def _error(failed: messages.Failed) -> EngineError:
    if failed.too_long:
        return PromptTooLong(failed.message, failed.remedy)
    kind = EngineUnavailable if failed.unavailable else EngineFailed
    return kind(failed.message, failed.remedy)


class WorkerProcess:
    """A worker and the pipes to it; several requests may wait for their replies."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("the process was started with pipes")
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout
        self._log = log
        self._inboxes: dict[int, asyncio.Queue[messages.FromWorker | None]] = {}
        """By the number of a request; None tells that the worker died."""
        self._number = 0
        self.pid = process.pid
        self.alive = True
        """Whether the process can take requests."""
        self._killed = False
        self._last_line = ""
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls) -> WorkerProcess:
        """Start a worker. Raises EngineFailed if the system refuses."""
        log = tempfile.TemporaryFile(prefix="balcao-llama-")  # noqa: SIM115 - closed by _read
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # no imports from the folder that the chat was started in
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
                tr("Cannot start the model's process: {why}.", why=why(error)),
                tr("Close other programs and ask again."),
            ) from error
        return cls(process, log)

    async def call(self, request: messages.WorkerRequest) -> AsyncGenerator[messages.FromWorker]:
        """Send `request` and yield its replies; the last is Ready or Done.

        Closing the generator cancels the request. Raises EngineError if it fails or the worker
        dies.
        """
        self._number += 1
        number = self._number
        inbox = self._inboxes[number] = asyncio.Queue()
        finished = False
        try:
            await self._send(msgspec.structs.replace(request, number=number))
            while not finished:
                reply = await inbox.get()
                finished = not isinstance(reply, messages.UNFINISHED)
                if reply is None:
                    raise self._death()
                if isinstance(reply, messages.Failed):
                    if reply.ending:
                        # The next request must not reach a process that is about to exit.
                        await self._wait()
                    raise _error(reply)
                yield reply
        finally:
            del self._inboxes[number]
            if not finished:
                self._write(messages.Cancel(number))

    async def kill(self) -> None:
        """Kill the process and wait until its memory is free."""
        self._killed = True
        self._kill()
        await self._wait()

    async def _send(self, message: messages.ToWorker) -> None:
        if not self.alive:
            await self._wait()
            raise self._death()
        self._write(message)
        with contextlib.suppress(ConnectionError):
            # The reader reports the death.
            await self._stdin.drain()

    def _write(self, message: messages.ToWorker) -> None:
        if self.alive and not self._stdin.is_closing():
            self._stdin.write(messages.frame(message))

    def _kill(self) -> None:
        # Not asyncio's kill: it may reap a dead child before asyncio does, which then prints a
        # warning and does not know the exit status.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, _SIGKILL)

    async def _wait(self) -> None:
        # Not `await self._reader`: cancelling the caller would cancel the reader too.
        await asyncio.wait({self._reader})

    async def _read(self) -> None:
        """Queue replies until the worker exits; runs as a task."""
        try:
            while True:
                header = await self._stdout.readexactly(messages.LENGTH_BYTES)
                body = await self._stdout.readexactly(messages.length_of(header))
                reply = messages.from_worker(body)
                if inbox := self._inboxes.get(reply.number):
                    inbox.put_nowait(reply)
        except (asyncio.IncompleteReadError, ConnectionError, *UNDECODABLE):
            # A worker that breaks the protocol is of no use.
            self._kill()
        finally:
            self.alive = False
            self._stdin.close()
            await self._process.wait()
            self._last_line = _last_line(self._log)
            self._log.close()
            for inbox in self._inboxes.values():
                inbox.put_nowait(None)

    def _death(self) -> EngineFailed:
        code = self._process.returncode or 0
        how = _signal_name(-code) if code < 0 else tr("exit status {code}", code=code)
        words = f": {self._last_line}" if self._last_line else ""
        told = tr("The model's process exited unexpectedly ({how}){words}.", how=how, words=words)
        if code == -_SIGKILL:
            told = tr("The model's process was killed, perhaps because memory ran out.")
        if self._killed:
            told = tr("The model was unloaded while it was working.")
        return EngineFailed(told, tr("Ask again to reload the model."))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return tr("signal {number}", number=number)


def _last_line(log: IO[bytes]) -> str:
    end = log.seek(0, os.SEEK_END)
    log.seek(max(0, end - _LOG_TAIL))
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return one_line(lines[-1], 200).rstrip(".") if lines else ""


def _environment() -> dict[str, str]:
    """Copy what a model needs of the chat's environment; keep libraries off the network."""
    # A list, because keys are in variables of any name: the worker must have none.
    kept = {name: value for name, value in os.environ.items() if _is_needed(name)}
    path = [str(_CODE), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUTF8": "1",
        "LANGUAGE": spoken(),  # the worker does not read the settings
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _is_needed(name: str) -> bool:
    secret = any(word in name.upper() for word in _SECRET)
    return name in _PASSED_ON or (name.startswith(_FAMILIES) and not secret)


def resolve_runtime(runtime: messages.Runtime | Literal["auto"]) -> messages.Runtime:
    """Replace "auto" by the fastest runtime on this machine."""
    if runtime != "auto":
        return runtime
    on_gpu = has_gpu() and all(find_spec(name) for name in _TRANSFORMERS)
    return "transformers" if on_gpu else "llama.cpp"


def has_gpu() -> bool:
    """Check for an NVIDIA driver; asking torch would take seconds."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def missing_packages(runtime: messages.Runtime, quantization: messages.Quantization) -> list[str]:
    """Return the packages that a runtime needs and that are not installed."""
    if runtime == "llama.cpp":
        needed = _LLAMA_CPP
    else:
        quantizers = ("bitsandbytes",) if quantization in ("nf4", "int8") else ()
        needed = (*_TRANSFORMERS, *quantizers)
    return [name for name in needed if find_spec(name) is None]


class LlamaHost:
    """One model, in a worker process that all engines with this model share."""

    def __init__(
        self,
        model: str,
        quantization: messages.Quantization,
        runtime: messages.Runtime = "transformers",
        parallel: int = 1,
    ) -> None:
        """Start nothing. With llama.cpp, each adapter gives `parallel` answers at once."""
        self.model = model
        self.quantization = quantization
        self.runtime: messages.Runtime = runtime
        self.gpu_bytes = 0
        """The worker's GPU memory when it last loaded something."""
        self._worker: WorkerProcess | None = None
        self._opened = False
        self._adapters: set[Path] = set()
        self.configured: set[str] = set()
        """Adapters of the engines that share this host."""
        self._lock = asyncio.Lock()
        self._step = Progress("")
        """How far the loading is, for those who wait for it."""
        self._parallel = parallel if runtime == "llama.cpp" else 1
        self._turns = defaultdict[str | None, asyncio.Semaphore](
            lambda: asyncio.Semaphore(self._parallel)
        )
        """Answers at a time: of the model, or with llama.cpp of the base and of each adapter."""

    @property
    def pid(self) -> int | None:
        """The worker's process id, or None without a worker."""
        return self._worker.pid if self._worker else None

    @property
    def loading(self) -> bool:
        """Whether the model is being loaded."""
        return self._worker is not None and self._worker.alive and not self._opened

    def memory(self) -> int | None:
        """Return the worker's resident bytes, or None without a worker."""
        if self._worker is None or not self._worker.alive:
            return None
        return used_memory(self._worker.pid)

    def is_loaded(self, adapter: Path | None = None) -> bool:
        """Check whether the model is loaded, with `adapter` if one is named."""
        ready = self._worker is not None and self._worker.alive and self._opened
        return ready and (adapter is None or adapter in self._adapters)

    async def load(self, model: ModelFiles, adapter: Path | None) -> AsyncGenerator[Progress]:
        """Load the model and the adapter unless they are loaded. Raises EngineError.

        Closing the generator kills the worker while the model loads, but not while only the
        adapter does.
        """
        while self._lock.locked():
            yield self._step
            await asyncio.sleep(_LOOK_EVERY)
        async with self._lock:
            if not self.is_loaded():
                async with aclosing(self._open(model)) as steps:
                    async for step in steps:
                        self._step = step
                        yield step
            if adapter is not None and not self.is_loaded(adapter):
                yield Progress(tr("reading the adapter"))
                await self._attach(adapter)
            yield Progress(tr("ready"), 1.0)

    async def ask(self, request: messages.Ask) -> AsyncGenerator[Chunk]:
        """Yield an answer; closing the generator stops it. Raises EngineError."""
        turn = self._turns[request.adapter if self.runtime == "llama.cpp" else None]
        async with turn, aclosing(self._running().call(request)) as replies:
            async for reply in replies:
                match reply:
                    case messages.TextChunk(text):
                        yield Chunk(text)
                    case messages.FirstTokens(logprobs):
                        yield Chunk(logprobs=logprobs)
                    case messages.Done(reason, prompt, completion, notice):
                        tokens = Tokens(prompt, completion, reply.drafted, reply.accepted)
                        yield Chunk(stop_reason=reason, tokens=tokens, notice=notice)
                    case _:
                        raise AssertionError("an answer has text and an end")

    async def close(self) -> None:
        """Kill the worker; its memory is free on return."""
        worker, self._worker = self._worker, None
        self._opened = False
        self.gpu_bytes = 0
        if worker is not None:
            await worker.kill()

    def _running(self) -> WorkerProcess:
        if self._worker is None:
            raise EngineFailed(tr("The model was unloaded."), tr("Ask again to reload the model."))
        return self._worker

    async def _open(self, model: ModelFiles) -> AsyncGenerator[Progress]:
        await self.close()
        self._adapters.clear()
        yield Progress(tr("starting"))
        request = messages.Open(
            str(model.folder),
            self.quantization,
            model.weight_bytes,
            self.runtime,
            await asyncio.to_thread(self._usable_adapters, model),
            parallel=self._parallel,
        )
        # `memory` runs on the chat's event loop, which the import would hold up for 50 ms.
        psutil = asyncio.create_task(asyncio.to_thread(import_module, "psutil"))
        worker = self._worker = await WorkerProcess.start()
        try:
            await psutil
            async with aclosing(worker.call(request)) as replies:
                async for reply in replies:
                    match reply:
                        case messages.Step(label, fraction):
                            yield Progress(label, fraction)
                        case messages.Ready():
                            self._note(reply)
            self._opened = True
        finally:
            if not self._opened and self._worker is worker:
                await self.close()

    async def _attach(self, adapter: Path) -> None:
        async with aclosing(self._running().call(messages.Attach(str(adapter)))) as replies:
            async for reply in replies:
                if isinstance(reply, messages.Ready):
                    self._note(reply)

    def _note(self, ready: messages.Ready) -> None:
        self.gpu_bytes = ready.gpu_bytes
        self._adapters = {Path(folder) for folder in ready.adapters}

    def _usable_adapters(self, model: ModelFiles) -> tuple[str, ...]:
        folders = []
        for name in sorted(self.configured) if self.runtime == "llama.cpp" else ():
            with contextlib.suppress(EngineUnavailable):  # its own engine says why
                folders.append(str(find_adapter(name, model).folder))
        return tuple(folders)
