"""Snapshots of the main states. After an intended change run --snapshot-update and look at them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from engine.config import settings
from tests.tui.driving import ask, still, until, until_open
from tui.app import BalcaoApp
from tui.widgets.composer import Composer
from tui.widgets.suggestions import Suggestions

Compare = Callable[..., bool]
SMALL, LARGE = (80, 24), (160, 50)


def app(catalogue_dir: Path, **flags: Any) -> BalcaoApp:
    return BalcaoApp(settings.load(Path("none"), {}, {"catalogue": catalogue_dir, **flags}))


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the user's folder be the test's, so that paths are shown from ~ on."""
    monkeypatch.setenv("HOME", str(tmp_path))


def after(*steps: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Ask questions, type texts after a slash, and press keys in angle brackets."""

    async def run(pilot: Pilot[None]) -> None:
        await until_open(pilot)
        pilot.app.screen.query_one(Composer).cursor_blink = False
        for step in steps:
            if step.startswith("<"):
                await pilot.press(step[1:-1])
                await still(pilot)
            elif step.startswith("/"):
                await pilot.press(*step[1:])
                await until(lambda: pilot.app.screen.query_one(Suggestions).display)
            else:
                await ask(pilot, step)
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False
        for line in pilot.app.screen.query(".about").results(Static):
            line.update(re.sub(r"[\d.]+ m?s\b", "1 ms", str(line.render())))
        await still(pilot)

    return run


@pytest.mark.parametrize(
    ("steps", "size"),
    [
        pytest.param([], SMALL, id="welcome"),
        pytest.param([], LARGE, id="welcome-large"),
        pytest.param(["the tin lighthouse", "who wrote it?"], SMALL, id="exact-and-follow-up"),
        pytest.param(["Striped Apron"], SMALL, id="several"),
        pytest.param(["Striped Apron", "<down>"], SMALL, id="one-highlighted"),
        pytest.param(["Vocês têm o Manual do Submarino?"], SMALL, id="none"),
        pytest.param(["Paint [/b] and [red] Brushes"], SMALL, id="markup-in-data"),
        pytest.param(["Striped Apron", "<f4>"], SMALL, id="record"),
        pytest.param(["the tin lighthouse", "<f3>"], SMALL, id="compare"),
        pytest.param(["the tin lighthouse", "<f3>"], LARGE, id="compare-large"),
        pytest.param(["<f1>"], SMALL, id="help"),
        pytest.param(["<ctrl+o>"], SMALL, id="history-empty"),
        pytest.param(
            ["Striped Apron", "2", "Empty Shelf", "O Jardim de Inverno", "cafe tokyo nights"],
            LARGE,
            id="conversation",
        ),
        pytest.param(["the tin lighthouse"], (60, 20), id="small-terminal"),
        pytest.param(["Striped Apron", "2", "the tin lighthouse"], (240, 70), id="wide-terminal"),
        pytest.param(["Empty Shelf", "/canv"], SMALL, id="titles-offered"),
        pytest.param(["Empty Shelf", "/canv", "<down>"], LARGE, id="title-gone-to"),
        pytest.param(["//co"], SMALL, id="commands-offered"),
        pytest.param(
            ["Striped Apron", "Empty Shelf", "<ctrl+t>", "<ctrl+t>", "<ctrl+r>"],
            SMALL,
            id="turn-selected",
        ),
        pytest.param(["Striped Apron", "Empty Shelf", "<ctrl+g>"], LARGE, id="question-edited"),
    ],
)
def test_looks(
    snap_compare: Compare, catalogue_dir: Path, steps: list[str], size: tuple[int, int]
) -> None:
    assert snap_compare(app(catalogue_dir), terminal_size=size, run_before=after(*steps))


@pytest.mark.parametrize("theme", ["light", "high-contrast"])
@pytest.mark.parametrize(
    "steps",
    [[], ["the tin lighthouse"], ["the tin lighthouse", "<f3>"], ["<f9>"]],
    ids=["welcome", "card", "compare", "engines"],
)
def test_the_themes(
    snap_compare: Compare, catalogue_dir: Path, steps: list[str], theme: str
) -> None:
    chosen = app(catalogue_dir, theme=theme, engine="openai" if steps == ["<f9>"] else "catalogue")
    assert snap_compare(chosen, terminal_size=SMALL, run_before=after(*steps))


@pytest.mark.parametrize("size", [SMALL, LARGE, (60, 20)])
@pytest.mark.parametrize("steps", [["<f9>"], ["<f9>", "<p>"]], ids=["engines", "parameters"])
def test_the_engines(
    snap_compare: Compare, catalogue_dir: Path, steps: list[str], size: tuple[int, int]
) -> None:
    # OpenAI is highlighted: the others name folders, which differ between runs.
    chosen = app(catalogue_dir, engine="openai")
    assert snap_compare(chosen, terminal_size=size, run_before=after(*steps))


def test_an_engine_that_is_not_ready(snap_compare: Compare, catalogue_dir: Path) -> None:
    chosen = app(catalogue_dir, engine="openai")
    assert snap_compare(chosen, terminal_size=SMALL, run_before=after("Canvas Stool, Blue"))
