"""An engine that does what a test tells it to, by the real protocol, and remembers its requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from engine.backends.base import ModelEngine
from engine.backends.llama.engine import LlamaConfig
from engine.core.errors import EngineError
from engine.core.types import (
    Availability,
    Chunk,
    EngineFacts,
    Progress,
    Request,
    StopReason,
)


class ScriptedEngine(ModelEngine):
    """Streams `pieces`: texts, chunks, floats to wait for (seconds), an EngineError to raise.

    A chunk with a `stop_reason` is the last one.
    """

    kind = "llama"

    def __init__(
        self,
        pieces: Sequence[str | float | Chunk | EngineError] = ("Hello",),
        availability: Availability | None = None,
        load_steps: Sequence[Progress] = (),
    ) -> None:
        super().__init__("base", LlamaConfig(title="Base Llama"))
        self.pieces = pieces
        self.asked: list[Request] = []
        self.closed = 0
        self._availability = availability or Availability(ready=True)
        self._load_steps = load_steps
        self._loaded = not load_steps

    @property
    def loaded(self) -> bool:
        return self._loaded

    def availability(self) -> Availability:
        return self._availability

    def facts(self) -> EngineFacts:
        return EngineFacts(model="scripted")

    async def load(self) -> AsyncGenerator[Progress]:
        for step in self._load_steps:
            await asyncio.sleep(0)
            yield step
        self._loaded = True

    async def unload(self) -> None:
        self._loaded = not self._load_steps

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        self.asked.append(request)
        try:
            for piece in self.pieces:
                if isinstance(piece, EngineError):
                    raise piece
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                    continue
                chunk = piece if isinstance(piece, Chunk) else Chunk(piece)
                yield chunk
                if chunk.stop_reason:
                    return
            yield Chunk(stop_reason=StopReason.COMPLETE)
        finally:
            self.closed += 1
