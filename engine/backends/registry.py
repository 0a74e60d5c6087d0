"""Every kind of engine, and the engines that the settings define."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from engine.backends.base import PARALLEL, Engine, EngineConfig
from engine.backends.catalogue import CatalogueEngine
from engine.backends.llama.engine import LlamaEngine
from engine.backends.openai.engine import OpenAIEngine
from engine.config.settings import EngineTable, Settings, invalid, unknown_engine
from engine.core.i18n import tr

KINDS: dict[str, type[Engine]] = {}
_Config = TypeVar("_Config", bound=EngineConfig)


def register(*kinds: type[Engine]) -> None:
    """Add kinds of engines, for the settings to use."""
    KINDS.update((kind.kind, kind) for kind in kinds)


register(CatalogueEngine, LlamaEngine, OpenAIEngine)


class Registry:
    """Engines by id, in the order of the settings; each is made when it is first asked for."""

    def __init__(self, settings: Settings, parallel: int = 1) -> None:
        """Decode every engine's table. Raises SettingsError.

        Models on this machine give `parallel` answers at once, if their runtime can.
        """
        self._kinds: dict[str, type[Engine]] = {}
        self._configs: dict[str, EngineConfig] = {}
        self._engines: dict[str, Engine] = {}
        self._shared: dict[str, Any] = {PARALLEL: parallel}
        for engine_id in settings.engines:
            self.add(engine_id, settings)

    def add(self, engine_id: str, settings: Settings) -> None:
        """Add an engine of the settings. Raises SettingsError."""
        table = settings.engines[engine_id]
        self._kinds[engine_id] = kind = _kind_of(engine_id, table)
        self._configs[engine_id] = _decode(engine_id, kind, table).completed(settings)

    @property
    def ids(self) -> tuple[str, ...]:
        """Every engine's id."""
        return tuple(self._configs)

    @property
    def configs(self) -> dict[str, EngineConfig]:
        """Every engine's config by its id."""
        return self._configs | {name: engine.config for name, engine in self._engines.items()}

    @property
    def titles(self) -> dict[str, str]:
        """Every engine's title for the screen by its id."""
        return {name: config.shown_title() for name, config in self._configs.items()}

    def is_verbatim(self, engine_id: str) -> bool:
        """Return whether an engine always answers in the record's own words."""
        return self._kinds[engine_id].verbatim

    def get(self, engine_id: str) -> Engine:
        """Return the engine of that id. Raises UsageError if there is none."""
        if engine_id not in self._configs:
            raise unknown_engine(engine_id, self._configs)
        if engine_id not in self._engines:
            self._engines[engine_id] = self._kinds[engine_id].create(
                engine_id, self._configs[engine_id], self._shared
            )
        return self._engines[engine_id]

    def find(self, engine_id: str, config_type: type[_Config]) -> _Config | None:
        """Return the config of that engine, if there is one and it is of that type."""
        config = self.configs.get(engine_id)
        return config if isinstance(config, config_type) else None

    async def close(self) -> None:
        """Unload every engine that was used."""
        for engine in self._engines.values():
            await engine.unload()


def _kind_of(engine_id: str, table: EngineTable) -> type[Engine]:
    kind = table.get("kind")
    if kind not in KINDS:
        given, kinds = f"“{kind}”" if kind else tr("not set"), ", ".join(KINDS)
        wrong = tr("`kind` is {kind}, not one of {kinds}", kind=given, kinds=kinds)
        raise invalid(f"engines.{engine_id}: {wrong}")
    return KINDS[kind]


def _decode(engine_id: str, kind: type[Engine], table: EngineTable) -> EngineConfig:
    values = {name: value for name, value in table.items() if name != "kind"}
    try:
        # Not strict: values of the environment are always strings.
        return msgspec.convert(values, kind.config_type, strict=False)
    except msgspec.ValidationError as error:
        place = f"engines.{engine_id}"
        told = str(error)
        told = told.replace("$", place) if "`$" in told else f"{place}: {told}"
        raise invalid(told) from error
