"""The engine for a Llama on this machine, plain or with a LoRA adapter.

Light: the model lives in a worker process (llama_host), which engines of the same model share; the
plain base is that model with every adapter switched off.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from msgspec.structs import replace

from engine.backends.llama.adapters import AdapterFiles, find_adapter
from engine.backends.llama.host import LlamaHost
from engine.backends.llama.messages import Ask
from engine.backends.llama.runtimes import missing_packages
from engine.backends.llama.weights import ModelFiles, find_model, setting_hint
from engine.config import settings
from engine.core.errors import EngineUnavailable
from engine.core.i18n import tr
from engine.core.types import Availability, Chunk, EngineFacts, EngineInfo, Progress, Request


class LlamaEngine:
    """One row of the settings. `host` is shared by the rows with the same model."""

    def __init__(self, engine_id: str, row: settings.LlamaEngine, host: LlamaHost) -> None:
        self._row = row
        self._host = host
        self._info = EngineInfo(engine_id, settings.shown_title(row), "llama")
        self._warning = ""

    @property
    def info(self) -> EngineInfo:
        """Who this is."""
        return self._info

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory, with this engine's adapter."""
        return self._host.holds(self._adapter)

    def availability(self) -> Availability:
        """Whether packages, weights and adapter are on this machine, whole and fitting."""
        try:
            self._find()
        except EngineUnavailable as error:
            return Availability(ready=False, reason=error.message, remedy=error.remedy)
        return Availability(ready=True)

    def facts(self) -> EngineFacts:
        """Its files, and what the worker takes, which engines of the same model share."""
        row = self._row
        return EngineFacts(
            model=row.model,
            adapter=row.adapter or "",
            quantization=row.quantization,
            runtime=self._host.runtime,
            memory=self._host.memory(),
            gpu_memory=self._host.gpu_bytes,
            loading=self._host.loading,
        )

    async def load(self) -> AsyncGenerator[Progress]:
        """Load what is not loaded yet, in the worker. Raises EngineError."""
        model, adapter = await asyncio.to_thread(self._find, thorough=True)
        folder = adapter.folder if adapter else None
        async with aclosing(self._host.load(model, folder)) as steps:
            async for step in steps:
                yield step
        self._warning = adapter.warning if adapter else ""

    async def unload(self) -> None:
        """End the worker, and with it the model of every engine that shares it."""
        await self._host.close()

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Answer in pieces as the tokens come; loads first if need be. Raises EngineError."""
        if not self.loaded:
            async with aclosing(self.load()) as steps:
                async for _ in steps:
                    pass
        async with aclosing(self._host.ask(self._ask(request))) as chunks:
            async for chunk in chunks:
                yield self._with_warning(chunk)

    @property
    def _adapter(self) -> Path | None:
        adapter = self._row.adapter
        return Path(adapter).expanduser().resolve() if adapter else None

    def _ask(self, request: Request) -> Ask:
        return Ask(
            request.messages,
            request.max_tokens,
            request.temperature,
            request.top_p,
            self._row.context,
            str(self._adapter) if self._adapter else None,
        )

    def _with_warning(self, chunk: Chunk) -> Chunk:
        """The adapter's warning goes with the first answer after loading, once."""
        if chunk.stop_reason is None or not self._warning:
            return chunk
        warning, self._warning = self._warning, ""
        return replace(chunk, notice=f"{chunk.notice} {warning}".strip())

    def _find(self, *, thorough: bool = False) -> tuple[ModelFiles, AdapterFiles | None]:
        self._check_packages()
        row = self._row
        if row.needs_adapter and not row.adapter:
            raise EngineUnavailable(
                tr("“{row}” needs an adapter, and none is set.", row=self._info.title),
                setting_hint("adapter", tr("a folder that `balcao train` wrote"), self._info.id),
            )
        model = find_model(row.model, self._info.id)
        if not row.adapter:
            return model, None
        return model, find_adapter(row.adapter, model, thorough=thorough)

    def _check_packages(self) -> None:
        missing = missing_packages(self._host.runtime, self._row.quantization)
        if missing:
            raise EngineUnavailable(
                tr(
                    "“{row}” needs packages that are missing: {missing}.",
                    row=self._info.title,
                    missing=", ".join(missing),
                ),
                tr(
                    "Install them: {executable} -m pip install {missing}",
                    executable=sys.executable,
                    missing=" ".join(missing),
                ),
            )
