"""Find model servers on this machine, when the user asks for it."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from engine.backends.openai.engine import OpenAIConfig, OpenAIEngine
from engine.core.errors import EngineUnavailable

PORTS = {"Ollama": 11434, "llama.cpp": 8080, "LM Studio": 1234}
"""The usual port of each server."""


class LocalModel(Struct, frozen=True):
    """A model that a server on this machine has."""

    server: str
    model: str
    base_url: str


async def find_local() -> list[LocalModel]:
    """Ask the usual ports for their models; what does not answer as a model server has none."""
    found = await asyncio.gather(*(_models(server, port) for server, port in PORTS.items()))
    return [model for models in found for model in models]


async def _models(server: str, port: int) -> list[LocalModel]:
    base_url = f"http://127.0.0.1:{port}/v1"
    try:
        ids = await server_at(base_url).model_ids()
    except EngineUnavailable:
        return []
    return [LocalModel(server, each, base_url) for each in ids]


def server_at(base_url: str) -> OpenAIEngine:
    """Return an engine of no model, to ask a server for those that it has."""
    return OpenAIEngine("openai", OpenAIConfig(base_url=base_url, api_key_env=""))
