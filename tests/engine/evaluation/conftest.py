"""Rows and settings for evaluations, and a server whose answers depend only on the question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.backends.registry import Registry
from engine.catalogue.rows.prepare import PrepareConfig, prepare
from engine.config.paths import sample_source
from engine.config.settings import Settings, load
from engine.evaluation.ask import AnswerFile, Target, parse_targets
from engine.evaluation.questions import Question, sample_questions
from tests.engine.backends.openai import server as scripted
from tests.engine.backends.openai.server import Exchange, Reply, streamed, words


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample catalogue as training rows."""
    folder = tmp_path_factory.mktemp("rows") / "rows"
    prepare(sample_source(), folder, PrepareConfig(limit=300, test=0.4))
    return folder


@pytest.fixture(scope="session")
def sample(built_sample: Path) -> Path:
    """The sample catalogue."""
    return built_sample


@pytest.fixture
async def server() -> AsyncIterator[scripted.Server]:
    async with scripted.running() as running:
        running.always = echo()
        yield running


def echo(delay: float = 0.0) -> Reply:
    """Answers with the last message's last twelve words, one of them changed."""

    async def reply(exchange: Exchange) -> None:
        await asyncio.sleep(delay)
        said = exchange.body["messages"][-1]["content"].split()[-12:]
        said[len(said) // 2] = "something"
        usage = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
        parts = [words(f"{word} ") for word in said]
        end = [words("", "stop"), scripted.event(usage=usage), scripted.DONE]
        await streamed(*parts, *end)(exchange)

    return reply


def remote(url: str, monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Point the engine `openai` at a server."""
    row = {"model": "m", "base_url": url, "api_key_env": "", "connect_timeout": "20", **values}
    for name, value in row.items():
        monkeypatch.setenv(f"BALCAO_ENGINES__OPENAI__{name.upper()}", value)


@dataclass
class Bench:
    """Questions to ask, and the folder for the answers."""

    settings: Settings
    questions: list[Question]
    out: Path

    def targets(self, names: str) -> list[Target]:
        return parse_targets(names, Registry(self.settings), {"version": 1})

    def answers(self) -> closing[AnswerFile]:
        return closing(AnswerFile(self.out))


@pytest.fixture
def bench(rows: Path, tmp_path: Path) -> Bench:
    questions, _ = sample_questions(rows / "test.jsonl", rows / "train.jsonl", 50, 0)
    return Bench(load(), questions, tmp_path / "out")
