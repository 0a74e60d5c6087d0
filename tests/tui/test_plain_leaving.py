"""The plain chat in a terminal that hangs up, or told to end: it ends as when one leaves it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import closing
from pathlib import Path

import pytest

from engine.core.types import Answer, StopReason
from engine.store.conversations import ConversationStore
from tests.engine.backends.openai import server as scripted
from tests.tui.terminals import UTF8, end_by_signals, hang_up, terminal

HUNG_UP = 128 + signal.SIGHUP


def answers(home: Path) -> dict[str, Answer | None]:
    """What the last conversation has, by question."""
    with closing(ConversationStore(home / "data" / "conversations.db")) as store:
        return {turn.question: turn.answer for turn in store.open(store.latest()[0].id).turns}


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_what_came_is_kept(tmp_path: Path, catalogue_dir: Path, number: int) -> None:
    async with scripted.running() as server:
        # The second comes too soon after the first to be written for its own sake.
        server.always = scripted.stalled(scripted.words("First"), scripted.words(" second "))
        code, said = await asyncio.to_thread(_ended, tmp_path, catalogue_dir, server.url, number)
    assert code == 128 + number
    assert b"Traceback" not in said
    answer = answers(tmp_path)["Canvas Stool, Blue"]
    assert answer
    assert (answer.text, answer.stop_reason) == ("First second", StopReason.CANCELLED)


async def test_a_terminal_that_goes_without_a_signal(tmp_path: Path, catalogue_dir: Path) -> None:
    """Under `nohup`: the next word that is written finds nobody."""

    async def on_and_on(exchange: scripted.Exchange) -> None:
        await exchange.head(
            200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        )
        while not exchange.writer.is_closing():
            await exchange.part(scripted.words("word "))
            await asyncio.sleep(0.05)

    async with scripted.running() as server:
        server.always = on_and_on
        code, _ = await asyncio.to_thread(_ended, tmp_path, catalogue_dir, server.url, None)
    assert code == HUNG_UP
    answer = answers(tmp_path)["Canvas Stool, Blue"]
    assert answer
    assert answer.text.startswith("word word")
    assert answer.stop_reason is StopReason.CANCELLED


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_half_a_line_is_not_asked(
    tmp_path: Path, catalogue_dir: Path, ignored: bool, term: str
) -> None:
    arguments = ("--plain", "--catalogue", str(catalogue_dir))
    with terminal(
        *arguments, home=tmp_path, environ=UTF8 | {"TERM": term}, ignore_sighup=ignored
    ) as chat:
        chat.expect("You: ")
        chat.sendline("canvas stool blue")
        chat.expect("/record shows it")
        chat.expect("You: ")
        chat.send("canvas stool gre")
        chat.expect("gre")
        hang_up(chat)
        assert chat.wait() == HUNG_UP
    assert list(answers(tmp_path)) == ["canvas stool blue"]


def _ended(home: Path, catalogue: Path, url: str, number: int | None) -> tuple[int, bytes]:
    """The exit code, and what was said last, where a signal comes amid an answer, or none does."""
    environ = UTF8 | {
        "BALCAO_ENGINE": "openai",
        "BALCAO_ENGINES__OPENAI__MODEL": "m",
        "BALCAO_ENGINES__OPENAI__BASE_URL": url,
    }
    arguments = ("--plain", "--catalogue", str(catalogue))
    with terminal(*arguments, home=home, environ=environ, ignore_sighup=number is None) as chat:
        chat.expect("You: ")
        chat.sendline("Canvas Stool, Blue")
        chat.expect("(?:second|word word) ")
        said = b""
        if number == signal.SIGTERM:
            said = end_by_signals(chat, number)
        else:
            hang_up(chat)
        return chat.wait(), said
