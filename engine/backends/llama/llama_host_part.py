"""The worker process that holds one model, shared by all engines that use that model.

One request at a time: two generations with different adapters at once give wrong text (STACK.md's
measurement, 8 of 8). llama.LlamaEngine asks here; registry makes the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib import import_module
from pathlib import Path

from engine.backends.llama.host import Link
from engine.backends.llama.messages import (
    Ask,
    Attach,
    Done,
    Open,
    Piece,
    Quantization,
    Ready,
    Runtime,
    Step,
)
from engine.backends.llama.weights import ModelFiles
from engine.core.errors import EngineFailed
from engine.core.i18n import tr
from engine.core.types import Chunk, Progress, Tokens


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
