"""The configs of engines, as the registry decodes them."""

from __future__ import annotations

from typing import TypeVar

from engine.backends.base import EngineConfig
from engine.backends.llama.engine import LlamaConfig
from engine.backends.openai.engine import OpenAIConfig
from engine.backends.registry import Registry
from engine.config.settings import Settings, load

Config = TypeVar("Config", bound=EngineConfig)


def config_of(
    engine_id: str, config_type: type[Config], settings: Settings | None = None
) -> Config:
    found = Registry(settings or load()).find(engine_id, config_type)
    assert found is not None
    return found


def llama(engine_id: str, settings: Settings | None = None) -> LlamaConfig:
    return config_of(engine_id, LlamaConfig, settings)


def openai(engine_id: str, settings: Settings | None = None) -> OpenAIConfig:
    return config_of(engine_id, OpenAIConfig, settings)
