"""SIGHUP, SIGINT and SIGTERM: the chat saves what it has shown."""

from __future__ import annotations

import asyncio
import signal
from contextlib import closing
from pathlib import Path

import pytest

from engine.core.types import StopReason
from engine.store.conversations import ConversationStore
from tests.engine.backends.openai import server as scripted
from tests.tui.terminals import UTF8, end_by_signals, hang_up, terminal

SETTINGS = """
engine = "openai"
[engines.openai]
model = "m"
base_url = "{url}"
api_key_env = ""
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
async def test_a_partial_answer_is_saved(tmp_path: Path, catalogue_dir: Path, number: int) -> None:
    async with scripted.running() as server:
        # The second arrives too soon after the first for a save between them.
        server.always = scripted.stalled(scripted.words("First"), scripted.words(" second"))
        settings = tmp_path / "config" / "settings.toml"
        settings.parent.mkdir()
        settings.write_text(SETTINGS.format(url=server.url))
        with terminal(
            "--catalogue", str(catalogue_dir), home=tmp_path, environ=UTF8, size=(30, 100)
        ) as chat:
            await asyncio.to_thread(chat.expect, "ready ·".encode())
            chat.send(b"Canvas Stool, Blue\r")
            await asyncio.to_thread(chat.expect, b"second")
            if number == signal.SIGHUP:
                hang_up(chat)
            else:
                said = await asyncio.to_thread(end_by_signals, chat, number)
                assert b"\x1b[?1049l" in said  # the screen as it was
            assert await asyncio.to_thread(chat.wait) == 128 + number
    with closing(ConversationStore(tmp_path / "data" / "conversations.db")) as store:
        (turn,) = store.open(store.latest()[0].id).turns
    assert turn.answer
    assert (turn.answer.text, turn.answer.stop_reason) == ("First second", StopReason.CANCELLED)
