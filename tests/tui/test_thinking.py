"""What a model thinks: folded above its answer, opened by a key or a click, in every front end."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.chat.open import open_resources
from engine.chat.session import Session
from engine.config import paths, settings
from engine.core.types import (
    Answer,
    Conversation,
    Mode,
    Piece,
    Status,
    StopReason,
    Thought,
    Timing,
    Tokens,
    Turn,
)
from engine.store.conversations import ConversationStore
from scripts.ask import _answer as answer_of_ask
from tests.conftest import ROWS
from tests.engine.backends.openai import server as scripted
from tests.tui.driving import about, ask, chat, order, send, state, still, until, words
from tui.app import BalcaoApp
from tui.plain.chat import AnswerWriter, PlainChat
from tui.plain.terminal import LineTerminal
from tui.screens.compare import CompareScreen
from tui.widgets.composer import Composer
from tui.widgets.conversation import ConversationView
from tui.widgets.markdown_view import MarkdownView
from tui.widgets.turns import ThinkingView

TITLE = ROWS[0][1]
THOUGHT = "Is it [red]the tin*\x1b[2J one?"
SHOWN = "Is it [red]the tin*[2J one?"
ENGINE = "openai"


def remote(server: scripted.Server) -> dict[str, Any]:
    row = {"model": "m", "base_url": server.url, "max_retries": 0}
    return {"engine": ENGINE, "mode": "memory", "engines": {ENGINE: row}}


def deltas(name: str) -> list[bytes]:
    """What servers of today send: the thinking in deltas of its own."""
    return [scripted.thoughts(part, name) for part in (THOUGHT[:9], THOUGHT[9:])]


TAGGED = [scripted.words("<think>\n" + THOUGHT), scripted.words("</think>\n\n")]
END = [scripted.words("", "stop"), scripted.DONE]


def titles(pilot: Pilot[None]) -> list[str]:
    return [text.partition("\n")[0] for text in words(pilot, "ThinkingView")]


def bodies(pilot: Pilot[None]) -> list[str]:
    """The thinking that is open."""
    return [body for text in words(pilot, "ThinkingView") if (body := text.partition("\n")[2])]


def copied() -> str:
    file = paths.data_dir() / "copied.txt"
    return file.read_text() if file.exists() else ""


async def test_thinking_is_folded_and_opened_by_a_key_and_a_click(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.streamed(*deltas("reasoning"), *scripted.HELLO)
    async with chat(catalogue_dir, **remote(server)) as pilot:
        view = await ask(pilot, TITLE)
        (title,) = titles(pilot)
        assert title.startswith("▸ thought for ")
        assert view.query_one(MarkdownView).source == "Hello there"
        assert bodies(pilot) == []
        await pilot.press("ctrl+l")
        assert bodies(pilot) == [SHOWN]
        assert titles(pilot)[0].startswith("▾ thought for ")
        await pilot.pause()
        await pilot.click("ThinkingView", offset=(4, 0))
        assert bodies(pilot) == []
        await pilot.click("ThinkingView", offset=(4, 0))
        assert bodies(pilot) == [SHOWN]
        await pilot.pause()
        await pilot.click("ThinkingView", offset=(4, 1))
        assert bodies(pilot) == [SHOWN], "text is selected with the mouse"
        await order(pilot, "/thinking")
        assert bodies(pilot) == []
        await pilot.press("f8")
        await until(lambda: copied() == "Hello there")
    async with chat(catalogue_dir, go_on=True) as pilot:
        assert titles(pilot) == [title]
        await pilot.press("ctrl+l")
        assert bodies(pilot) == [SHOWN]


async def test_thinking_is_counted_and_read_while_it_runs(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.stalled(*TAGGED[:1])
    async with chat(catalogue_dir, **remote(server)) as pilot:
        view = await send(pilot, TITLE)
        await until(lambda: titles(pilot) == ["▸ thinking … 0 s"])
        await pilot.press("ctrl+l")
        assert bodies(pilot) == [SHOWN]
        await pilot.press("escape")
        await until(lambda: "stopped by you" in about(view))
        assert titles(pilot)[0].startswith("▾ thought for ")


async def test_no_more_than_the_end_is_laid_out_while_it_runs() -> None:
    view = ThinkingView()
    view.toggle()
    for _ in range(100):
        view.think("word " * 100, 1.0)
    assert len(str(view.render())) < 4_100
    view.think("", 1.0, ended=True)
    assert len(str(view.render())) > 49_000


async def test_the_thinking_of_the_turn_selected_is_opened(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.streamed(*TAGGED, *scripted.HELLO)
    async with chat(catalogue_dir, **remote(server)) as pilot:
        await ask(pilot, TITLE)
        await order(pilot, "/engine catalogue")
        await ask(pilot, TITLE)
        await pilot.press("ctrl+l")
        assert "Thinking is not available here." in state(pilot)
        await pilot.press("ctrl+t", "ctrl+t", "ctrl+l")
        await until(lambda: bodies(pilot) == [SHOWN])


async def test_what_is_opened_is_read_from_its_start(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    long = scripted.words("".join(f"Step {number}.\n" for number in range(40)))
    server.always = scripted.streamed(TAGGED[0], long, TAGGED[1], *scripted.HELLO)
    async with chat(catalogue_dir, **remote(server)) as pilot:
        view = await ask(pilot, TITLE)
        pane = pilot.app.screen.query_one("#conversation", ConversationView)
        await pilot.press("ctrl+l")
        await until(lambda: view.region.height > 40)
        await still(pilot)
        assert view.query_one(ThinkingView).region.y == pane.region.y
        assert not pane.is_following
        await pilot.press("ctrl+l")
        await still(pilot)
        assert pane.region.contains_region(view.region)
        assert pane.is_following


async def test_a_model_that_only_thought_leaves_no_blank_turn(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.streamed(TAGGED[0], scripted.words("", "length"), scripted.DONE)
    async with chat(catalogue_dir, **remote(server)) as pilot:
        view = await send(pilot, TITLE)
        await until(lambda: "no answer" in about(view))
        assert "spent all its tokens on thinking" in words(pilot, ".problem")[0]
        assert titles(pilot)[0].startswith("▸ thought for ")


async def test_a_comparison_shows_it_folded_as_well(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.streamed(*TAGGED, *scripted.HELLO)
    async with chat(catalogue_dir, **remote(server)) as pilot:
        pilot.app.screen.query_one(Composer).insert(TITLE)
        await pilot.press("f3")
        await until(lambda: isinstance(pilot.app.screen, CompareScreen))
        await until(lambda: any("thought for" in one for one in titles(pilot)))
        assert bodies(pilot) == []
        await pilot.press("ctrl+l")
        assert bodies(pilot) == [SHOWN]


def thoughtful() -> Answer:
    return Answer(
        TITLE,
        ENGINE,
        Mode.MEMORY,
        Status.NONE,
        "A keeper climbs **three hundred** steps.",
        StopReason.COMPLETE,
        timing=Timing(1.0, 3500.0, 4000.0),
        tokens=Tokens(10, 70),
        thinking="The user asks for a *lighthouse*.\n\nIt is [red]tin[/red]: I recall the record.",
        thinking_ms=3000.0,
    )


@pytest.mark.parametrize("language", ["en", "pt"])
@pytest.mark.parametrize("keys", [[], ["ctrl+l"]], ids=["folded", "open"])
def test_looks(
    snap_compare: Callable[..., bool],
    catalogue_dir: Path,
    request: pytest.FixtureRequest,
    language: str,
    keys: list[str],
) -> None:
    if language == "pt":
        request.getfixturevalue("in_portuguese")
    store = ConversationStore(paths.conversations_file())
    answer_id = store.begin(Conversation(), TITLE, thoughtful(), Turn(TITLE))
    store.update(answer_id, thoughtful(), finished=True)
    store.close()

    async def run(pilot: Pilot[None]) -> None:
        await until(lambda: bool(pilot.app.screen.query(ThinkingView)))
        await until(lambda: "10" in state(pilot))
        pilot.app.screen.query_one(Composer).cursor_blink = False
        await pilot.press(*keys)
        await still(pilot)

    flags = {"catalogue": catalogue_dir}
    app = BalcaoApp(settings.load(Path("none"), {}, flags), go_on=True)
    assert snap_compare(app, terminal_size=(80, 24), run_before=run)


async def test_the_plain_chat_says_that_it_thinks_and_reads_it_on_request(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.streamed(*TAGGED, *scripted.HELLO)
    said = io.StringIO()

    def converse() -> None:
        chosen = settings.load(Path("none"), {}, {"catalogue": catalogue_dir, **remote(server)})
        lines = io.StringIO(f"{TITLE}\n/thinking\n/new\n/thinking\n")
        plain = PlainChat(Session(chosen, open_resources(chosen)), LineTerminal(lines, said))
        try:
            plain.converse()
        finally:
            plain.close()

    await asyncio.to_thread(converse)
    lines = said.getvalue().splitlines()
    place = next(at for at, line in enumerate(lines) if line.startswith("thinking … "))
    assert lines[place].endswith(" s")
    assert lines[place + 1] == "OpenAI: Hello there"
    assert lines.count(SHOWN) == 1
    assert "Thinking is not available here." in lines


def test_a_stopped_thought_ends_its_line() -> None:
    said = io.StringIO()
    writer = AnswerWriter(LineTerminal(io.StringIO(), said), "Base Llama")
    writer.write(Thought("Hm"))
    writer.write(Thought("m", 1000.0))
    assert said.getvalue() == "thinking … "
    writer.end()
    assert said.getvalue() == "thinking … \n"
    writer.write(Piece("Yes."))
    writer.end()
    assert said.getvalue() == "thinking … \nBase Llama: Yes.\n"


@pytest.mark.parametrize(
    "thinking", [TAGGED, deltas("reasoning"), deltas("reasoning_content")], ids="<r_"
)
async def test_ask_says_on_stderr_how_long_it_thinks(
    catalogue_dir: Path,
    server: scripted.Server,
    capsys: pytest.CaptureFixture[str],
    thinking: list[bytes],
) -> None:
    server.always = scripted.streamed(*thinking, *scripted.HELLO)
    chosen = settings.load(Path("none"), {}, {"catalogue": catalogue_dir, **remote(server)})
    session = Session(chosen, open_resources(chosen))
    await answer_of_ask(session.ask(TITLE), as_json=False)
    out, err = capsys.readouterr()
    assert out == "Hello there\n"
    assert sum(line.startswith("thinking … ") and line.endswith(" s") for line in err.splitlines())
    assert "Is it" not in err
    async with aclosing(session.ask(TITLE)) as events:
        await answer_of_ask(events, as_json=True)
    out, err = capsys.readouterr()
    assert '"answer": "Hello there"' in out
    assert '"thinking": "Is it [red]the tin*\\u001b[2J one?"' in out
    assert err == ""
    assert session.resources is not None
    await session.resources.close()
