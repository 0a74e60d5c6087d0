"""The engines that the settings name, as rows. The backends are light until they are used."""

from __future__ import annotations

from engine.backends.base import Engine
from engine.backends.catalogue import CatalogueEngine
from engine.backends.llama.engine import LlamaEngine
from engine.backends.llama.host import LlamaHosts
from engine.backends.llama.runtimes import runtime_of
from engine.backends.openai.engine import OpenAIEngine
from engine.config import settings
from engine.config.settings import EngineSettings, Settings, shown_title
from engine.core.errors import UsageError
from engine.core.i18n import tr


class Registry:
    """Engines by id, in the order of the settings. Nothing heavy is imported to list them."""

    def __init__(self, chosen: Settings) -> None:
        self._rows = dict(chosen.engines)
        self._engines: dict[str, Engine] = {}
        self._hosts = LlamaHosts()

    @property
    def ids(self) -> tuple[str, ...]:
        """Every engine's id."""
        return tuple(self._rows)

    def get(self, engine_id: str) -> Engine:
        """The engine of that id. Raises UsageError if there is none."""
        if engine_id not in self._rows:
            raise UsageError(
                tr("There is no engine named “{engine_id}”.", engine_id=engine_id),
                tr("The engines are: {rows}.", rows=", ".join(self._rows)),
            )
        if engine_id not in self._engines:
            self._engines[engine_id] = self._make(engine_id, self._rows[engine_id])
        return self._engines[engine_id]

    def settings_of(self, engine_id: str) -> EngineSettings:
        """The table that the engine was made from."""
        return self._rows[engine_id]

    def change(self, engine_id: str, row: EngineSettings) -> None:
        """Put other parameters in force from the next question on; what is loaded stays so.

        The engine itself is not made anew, so `row` may differ in `engine.config.parameters` alone.
        """
        self._rows[engine_id] = row

    def add(self, engine_id: str, row: EngineSettings) -> None:
        """One more engine, made while the chat runs: after a fine-tune."""
        self._rows[engine_id] = row

    async def close(self) -> None:
        """Unload every engine that was used."""
        for engine in self._engines.values():
            await engine.unload()

    def _make(self, engine_id: str, row: EngineSettings) -> Engine:
        match row:
            case settings.CatalogueEngine():
                return CatalogueEngine(engine_id, shown_title(row))
            case settings.LlamaEngine():
                host = self._hosts.host(row.model, row.quantization, runtime_of(row))
                return LlamaEngine(engine_id, row, host)
            case settings.OpenAIEngine():
                return OpenAIEngine(engine_id, row)
