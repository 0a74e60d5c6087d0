"""A kind of engine that the program does not know: one class, registered by one line."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from textual.pilot import Pilot

from engine.backends.base import Engine, EngineConfig
from engine.backends.registry import KINDS, Registry, register
from engine.config import settings
from engine.config.parameters import Parameter
from engine.core.errors import SettingsError, UsageError
from engine.core.types import Availability, Chunk, Request, StopReason
from scripts import cli
from tests.tui.driving import ask, chat, until, words
from tui.screens.compare import CompareScreen
from tui.screens.engines import EnginesScreen, ParametersScreen
from tui.widgets.composer import Composer
from tui.widgets.markdown_view import MarkdownView
from tui.widgets.turns import AnswerView

QUESTION = "Canvas Stool, Blue"
ENGINES = {"mountain": {"kind": "echo", "title": "Mountain", "times": 2}}


def _times(text: str) -> int:
    if text.strip() not in ("1", "2", "3"):
        raise UsageError("A whole number from 1 to 3.")
    return int(text)


class EchoConfig(EngineConfig, frozen=True, forbid_unknown_fields=True):
    title: str = "Echo"
    times: Annotated[int, msgspec.Meta(ge=0, le=3)] = 1

    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("times", "Times", "1 to 3", _times),)

    def warnings(self) -> list[str]:
        return ["Three echoes take a large mountain."] if self.times == 3 else []


class EchoEngine(Engine):
    """Repeat the question."""

    kind = "echo"
    config_type = EchoConfig
    config: EchoConfig

    def availability(self) -> Availability:
        if self.config.times:
            return Availability(ready=True)
        return Availability(ready=False, reason="There is no echo.", remedy="Raise `times`.")

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        for _ in range(self.config.times):
            yield Chunk(f"{request.question}! ")
        yield Chunk(stop_reason=StopReason.COMPLETE)

    def summary(self) -> str:
        return f"says it {self.config.times} times"

    def details(self) -> list[tuple[str, str]]:
        return [("times", str(self.config.times))]


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    register(EchoEngine)
    yield
    del KINDS["echo"]


def answers(pilot: Pilot[None]) -> list[str]:
    return [view.source.strip() for view in pilot.app.screen.query(MarkdownView)]


async def test_in_the_chat(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, (80, 40), engine="mountain", engines=ENGINES) as pilot:
        assert any("● Mountain" in line for line in words(pilot, "#works")[0].splitlines())
        await ask(pilot, QUESTION)
        assert answers(pilot) == [f"{QUESTION}! {QUESTION}!"]

        await pilot.press("f9")
        await until(lambda: isinstance(pilot.app.screen, EnginesScreen))
        await until(lambda: "times" in words(pilot, "#engine-about")[0])
        await pilot.press("p")
        await until(lambda: isinstance(pilot.app.screen, ParametersScreen))
        await pilot.press("end", "backspace", "3")
        await until(lambda: "large mountain" in words(pilot, "#parameters-about")[0])
        await pilot.press("ctrl+s")
        await until(lambda: isinstance(pilot.app.screen, EnginesScreen))
        await pilot.press("escape")
        await ask(pilot, QUESTION)
        assert answers(pilot)[-1] == f"{QUESTION}! {QUESTION}! {QUESTION}!"


async def test_in_a_comparison(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, (80, 40), engines=ENGINES) as pilot:
        pilot.app.screen.query_one(Composer).insert(QUESTION)
        await pilot.press("f3")
        await until(lambda: isinstance(pilot.app.screen, CompareScreen))
        await until(lambda: len(pilot.app.screen.query(AnswerView)) == 2)
        views = list(pilot.app.screen.query(AnswerView))
        await until(lambda: all(view.is_finished for view in views))
        assert answers(pilot) == [f"{QUESTION}! {QUESTION}!"]


def test_on_the_command_line(
    catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BALCAO_ENGINES__CANYON__KIND", "echo")
    monkeypatch.setenv("BALCAO_ENGINES__CANYON__TIMES", "1")
    arguments = ["ask", "--engine", "canyon", "--catalogue", str(catalogue_dir), "--json", QUESTION]
    assert cli.main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["engine"], answer["answer"]) == ("canyon", f"{QUESTION}!")
    monkeypatch.setenv("BALCAO_ENGINES__CANYON__TIMES", "0")
    assert cli.main(arguments) == 1
    assert json.loads(capsys.readouterr().out)["error"]["remedy"] == "Raise `times`."


def test_wrong_values_are_refused() -> None:
    for table, told in (
        ({"kind": "echo", "times": 4}, r"engines\.x\.times"),
        ({"kind": "echo", "volume": 1}, "volume"),
        ({"kind": "yodel"}, "catalogue, llama, openai, echo"),
    ):
        with pytest.raises(SettingsError, match=told):
            Registry(settings.load(None, {}, {"engines": {"x": table}}))
