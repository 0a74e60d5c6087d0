"""The installed `balcao` in a pseudo-terminal: what a person at a terminal sees and types."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from engine.config import paths
from engine.core.types import StopReason
from engine.store.conversations import ConversationStore
from tests.conftest import ROWS
from tests.engine.backends.openai import server as scripted

BALCAO = str(Path(sys.executable).parent / "balcao")
SECONDS = 30
F2, F4, ESCAPE, CTRL_O, CTRL_Q = "\x1bOQ", "\x1bOS", "\x1b", "\x0f", "\x11"


@pytest.fixture
def chat(catalogue_dir: Path) -> Iterator[Any]:
    """A chat in a terminal of 80x24 that answers no query; one may type into it at once."""
    child = pexpect.spawn(
        BALCAO,
        ["--catalogue", str(catalogue_dir)],
        dimensions=(24, 80),
        timeout=SECONDS,
        encoding="utf-8",
        env={**os.environ, "TERM": "xterm-256color"},
    )
    child.delaybeforesend = None
    yield child
    child.close(force=True)


def test_a_question_typed_while_it_starts_is_answered_and_kept(chat: Any) -> None:
    chat.send("canvas stool blue\r")
    chat.expect("Folds flat and floats.")
    chat.expect("word for word")
    chat.send(CTRL_Q)
    chat.expect(pexpect.EOF)
    chat.close()
    assert chat.exitstatus == 0

    store = ConversationStore(paths.conversations_file())
    (listed,) = store.latest()
    assert listed.title == "canvas stool blue"
    store.close()


def test_the_engines_in_turn_and_back_with_the_draft(chat: Any) -> None:
    chat.expect("ready")
    chat.send("a draft")
    chat.expect("draft")
    for _ in range(3):
        chat.send(F2)
        chat.expect("Not available")
    chat.send(F2)
    chat.expect("ready")
    chat.send("\x7f" * 7 + "Empty Shelf\r")
    chat.expect("without a description")


def test_nothing_from_the_catalogue_acts_on_the_terminal(chat: Any) -> None:
    chat.expect("ready")
    chat.logfile_read = _Log()
    chat.send("Bell Tower owned\r")
    chat.expect("Rings")
    chat.send(F4)
    chat.expect("cleaned")
    chat.send(ESCAPE)
    chat.send(CTRL_Q)
    chat.expect(pexpect.EOF)
    written = chat.logfile_read.text
    assert "]0;owned" in written  # as letters …
    assert not re.search("\x1b\\]0;|owned\x07|\x9b|\u202e", written)  # … and not as a command


def test_killed_in_the_middle_it_finds_the_conversation_again(chat: Any) -> None:
    chat.expect("ready")
    chat.send("The Tin Lighthouse\r")
    chat.expect("word for word")
    os.kill(chat.pid, signal.SIGKILL)
    chat.expect(pexpect.EOF)
    store = ConversationStore(paths.conversations_file())
    turn = store.open(store.latest()[0].id).turns[0]
    assert turn.answer is not None
    assert turn.answer.text == ROWS[0][2]
    store.close()


def test_the_terminal_is_left_as_it_was(catalogue_dir: Path) -> None:
    shell = pexpect.spawn(
        "/bin/sh",
        ["-c", f"stty -a; {BALCAO} --catalogue {catalogue_dir}; echo; stty -a; echo end"],
        dimensions=(24, 80),
        timeout=SECONDS,
        encoding="utf-8",
        env={**os.environ, "TERM": "xterm-256color"},
    )
    shell.delaybeforesend = None
    shell.expect("ready")
    before = _flags(shell.before)
    shell.send(CTRL_Q)
    shell.expect("\nend")
    assert before
    assert _flags(shell.before) == before
    shell.close(force=True)


class _Log:
    """What the terminal was sent, for pexpect."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        """Nothing to do."""


def _flags(text: str) -> list[str]:
    return re.findall(r"-?(?:icanon|echo|icrnl|ixon|isig|opost)\b", text)


def test_wrong_settings_are_one_sentence(tmp_path: Path) -> None:
    del tmp_path
    paths.settings_file().parent.mkdir(parents=True)
    paths.settings_file().write_text('engine = "nobody"\n')
    env = {**os.environ, "TERM": "xterm-256color"}
    output, code = pexpect.run(
        BALCAO, withexitstatus=True, timeout=SECONDS, encoding="utf-8", env=env
    )
    assert code == 2
    assert output.strip().startswith("balcao: There is no engine named “nobody”.")
    assert len(output.strip().splitlines()) <= 2


def test_keys_that_arrive_in_one_packet_keep_their_order(chat: Any) -> None:
    """A stock TextArea takes such letters before the backspaces that were typed before them."""
    chat.expect("ready")
    chat.send("Empty Shirt\x7f\x7f\x7fxelf\x1b[D\x1b[D\x1b[D\x7f\r")
    chat.expect("without a description")
    store = ConversationStore(paths.conversations_file())
    assert store.latest()[0].title == "Empty Shelf"
    store.close()


async def test_killed_while_words_come_it_keeps_those_that_had_come(catalogue_dir: Path) -> None:
    async with scripted.running() as server:
        server.always = scripted.stalled(scripted.words("Half an"), scripted.words(" answer"))
        engine = {"BALCAO_ENGINE": "openai", "BALCAO_ENGINES__OPENAI__MODEL": "m"}
        address = {"BALCAO_ENGINES__OPENAI__BASE_URL": server.url}
        await asyncio.to_thread(_kill_in_mid_answer, catalogue_dir, {**engine, **address})
    store = ConversationStore(paths.conversations_file())
    answer = store.open(store.latest()[0].id).turns[0].answer
    store.close()
    assert answer is not None
    assert answer.text in ("Half an", "Half an answer")
    assert answer.stop_reason is StopReason.CANCELLED


def _kill_in_mid_answer(catalogue_dir: Path, environ: dict[str, str]) -> None:
    child = pexpect.spawn(
        BALCAO,
        ["--catalogue", str(catalogue_dir)],
        dimensions=(24, 80),
        timeout=SECONDS,
        encoding="utf-8",
        env={**os.environ, **environ, "TERM": "xterm-256color"},
    )
    child.expect("ready")
    child.send("The Tin Lighthouse\r")
    child.expect("Half an answer")
    os.kill(child.pid, signal.SIGKILL)
    child.expect(pexpect.EOF)
    child.close(force=True)
