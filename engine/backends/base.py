"""What an engine must do: the contract that `assistant` relies on and every backend keeps.

The rules, held by tests/engine/backends/test_contract.py for every engine:

- `availability` answers in milliseconds, imports nothing heavy and uses no network.
- `facts` is as cheap, and may be asked twice a second.
- `load` is safe to call again; once it has ended, `stream` starts without a wait. Closing it
  cancels the loading.
- `stream` yields chunks as they come; exactly the last one has a `stop_reason`.
- Closing the stream cancels: no further work is done for it, and the engine can be asked again.
- A failure is raised as EngineError, with what to do next; text that came before stays valid.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from engine.core.types import Availability, Chunk, EngineFacts, EngineInfo, Progress, Request


class Engine(Protocol):
    """Something that answers a question about products."""

    @property
    def info(self) -> EngineInfo:
        """Who this is."""
        ...

    @property
    def loaded(self) -> bool:
        """Whether `stream` would start without loading first."""
        ...

    def availability(self) -> Availability:
        """Whether it can answer, or why not."""
        ...

    def facts(self) -> EngineFacts:
        """What it is made of, and what it takes now."""
        ...

    def load(self) -> AsyncGenerator[Progress]:
        """Make ready, telling how far it is. Raises EngineError."""
        ...

    async def unload(self) -> None:
        """Give back what `load` took. Safe to call at any time."""
        ...

    def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Answer. Raises EngineError."""
        ...
