"""Ask `balcao serve --api` many questions at once, and the same ones one after the other.

    python -m benchmarks.serve_api [--chats 20] [--tokens 60]

Half of the chats ask the base, half the adapter that ships, from memory, about products that it has
learned. Prints how many were answered, how many of the adapter's answers are the descriptions, how
many of the base's are (they would be mixed up), and the tokens/s at once to those in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from engine.catalogue.clean import clean
from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import read_rows
from engine.config import paths
from engine.core.trained_products import read_trained_products

_SECONDS = 600.0


def learned(count: int) -> list[tuple[str, str]]:
    """Return titles that the adapter has learned, with their descriptions."""
    trained = read_trained_products(paths.small_adapter_dir())
    rows = read_rows(paths.sample_source(), Counts())
    texts = {clean(row.title or ""): clean(row.content or "") for row in rows}
    titles = trained.titles if trained else ()
    return [(title, texts[title]) for title in titles if title in texts][:count]


class Chat:
    """One question and its answer."""

    def __init__(self, model: str, title: str, description: str) -> None:
        self.model = model
        self.title = title
        self.description = description
        self.text = ""
        self.tokens = 0

    async def ask(self, client: AsyncOpenAI, tokens: int) -> None:
        """Ask it."""
        reply: Any = await client.chat.completions.create(
            model=self.model,
            messages=[{"role": "user", "content": self.title}],
            max_tokens=tokens,
        )
        self.text = reply.choices[0].message.content
        self.tokens = reply.usage.completion_tokens


def chats(count: int) -> list[Chat]:
    """Return the chats, alternating between the two models."""
    return [
        Chat(("lora:memory", "base:memory")[number % 2], *product)
        for number, product in enumerate(learned(count))
    ]


def report(name: str, asked: Sequence[Chat], seconds: float) -> float:
    """Print what came; return tokens/s."""
    rate = sum(one.tokens for one in asked) / seconds
    lora = [one for one in asked if one.model.startswith("lora")]
    base = [one for one in asked if not one.model.startswith("lora")]
    right = sum(one.text == one.description for one in lora)
    mixed = sum(one.text == one.description for one in base)
    answered = sum(bool(one.text) for one in asked)
    print(
        f"{name}: {answered} of {len(asked)} answered, adapter word for word {right} of"
        f" {len(lora)}, base {mixed} of {len(base)}, {rate:.1f} tokens/s",
        flush=True,
    )
    return rate


async def measure(address: str, token: str, count: int, tokens: int) -> None:
    """Ask in turn, then at once."""
    async with AsyncOpenAI(base_url=address, api_key=token, timeout=_SECONDS) as client:
        for warm in chats(2):
            await warm.ask(client, 1)
        alone, together = chats(count), chats(count)
        began = time.perf_counter()
        for one in alone:
            await one.ask(client, tokens)
        in_turn = report("in turn", alone, time.perf_counter() - began)
        began = time.perf_counter()
        await asyncio.gather(*(one.ask(client, tokens) for one in together))
        at_once = report("at once", together, time.perf_counter() - began)
    print(f"at once to in turn: {at_once / in_turn:.2f}")


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description="Ask the server at once and in turn.")
    parser.add_argument("--chats", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=60)
    options = parser.parse_args()
    token = secrets.token_urlsafe(16)
    command = [sys.executable, "-P", "-m", "scripts.cli", "serve", "--api", "--port", "0"]
    root = str(Path(__file__).resolve().parents[1])
    environ = os.environ | {"BALCAO_API_TOKEN": token, "PYTHONPATH": root}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().strip() if server.stdout else ""
            asyncio.run(measure(address, token, options.chats, options.tokens))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
