"""Keys typed during start-up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pexpect
import pytest
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS

from engine.config import settings
from engine.store.conversations import ConversationStore
from tests.tui.driving import until_open, words
from tests.tui.terminals import UTF8, terminal
from tui.app import BalcaoApp
from tui.textual_patches import typeahead
from tui.widgets.composer import Composer


def chat_with(catalogue: Path, typed: str) -> BalcaoApp:
    """Make a chat for which `typed` was typed before the start."""
    chosen = settings.load(Path("none"), {}, {"catalogue": catalogue})
    return BalcaoApp(chosen, typed)


async def test_text_is_in_the_composer(catalogue_dir: Path) -> None:
    async with chat_with(catalogue_dir, "canvas stool").run_test() as pilot:
        composer = pilot.app.screen.query_one(Composer)
        assert composer.text == "canvas stool"
        assert composer.cursor_location == (0, 12)
        await until_open(pilot)
        assert words(pilot, ".welcome Static")
        assert composer.text == "canvas stool"


def test_enter_sends_the_question(tmp_path: Path, catalogue_dir: Path) -> None:
    with started(tmp_path, catalogue_dir, b"canvas stool, GREEN\r") as chat:
        chat.expect(b"Holds 110 kg")
    assert asked(tmp_path) == ["canvas stool, GREEN"]


def test_two_questions(tmp_path: Path, catalogue_dir: Path) -> None:
    """The second waits in the queue, as during an answer."""
    with started(tmp_path, catalogue_dir, b"canvas stool, GREEN\rcanvas stool, blue\r") as chat:
        chat.expect(b"Holds 110 kg")
        chat.expect(b"and floats")
        chat.expect(b"word for word")
    assert asked(tmp_path) == ["canvas stool, GREEN", "canvas stool, blue"]


@pytest.mark.parametrize(
    ("keys", "seen"),
    [
        (b"\x1b[15~", b"from memory"),  # F5
        (b"\x1bOP", b"send the question"),  # F1
        (b"\x1b[20~\x1b[12;40R", b"own words"),  # F9, and a report that another program requested
        (b"\x14abc\x7f\x7f\x1b[15~", b"from memory"),  # Ctrl+N, letters, two backspaces, F5
    ],
)
def test_keys_run_commands(tmp_path: Path, catalogue_dir: Path, keys: bytes, seen: bytes) -> None:
    with started(tmp_path, catalogue_dir, keys) as chat:
        chat.expect(seen)


def test_text_comes_before_later_keys(tmp_path: Path, catalogue_dir: Path) -> None:
    with started(tmp_path, catalogue_dir, b"canvas stool, blu\x1b[15~e\r") as chat:
        chat.expect(b"and floats")
        chat.expect(b"word for word")
    assert asked(tmp_path) == ["canvas stool, blue"]


@pytest.mark.parametrize(
    ("typed", "text", "keys"),
    [
        ("canvas", "canvas", ""),
        ("canvas\n", "canvas", "\r"),
        ("one\ntwo\n", "one", "\rtwo\r"),
        ("\x1bOQone", "", "\x1bOQone"),
        ("one\x1b[?1;2c\x1b[15~", "one", "\x1b[15~"),  # a terminal's report
        ("one\x7f", "one", "\x7f"),
    ],
)
def test_split_at_key(typed: str, text: str, keys: str) -> None:
    before, behind = typeahead.split_at_key(typed)
    assert (before, typeahead.as_terminal_input(behind, ANSI_SEQUENCES_KEYS)) == (text, keys)


def test_the_plain_chat_gets_text_only() -> None:
    assert typeahead.without_keys("one\x1b[15~\ntwo\x1bOQ") == "one\ntwo"


@contextmanager
def started(home: Path, catalogue: Path, typed: bytes) -> Iterator[pexpect.spawn]:
    """Run the chat after typing into the terminal, which is still in line mode."""
    arguments = ("--catalogue", str(catalogue))
    with terminal(*arguments, home=home, environ=UTF8, size=(30, 100)) as chat:
        chat.delaybeforesend = None
        chat.send(typed)
        yield chat
        chat.send(b"\x11")
        chat.expect(pexpect.EOF)


def asked(home: Path) -> list[str]:
    """Return the questions of the last conversation."""
    with closing(ConversationStore(home / "data" / "conversations.db")) as store:
        return [turn.question for turn in store.open(store.latest()[0].id).turns]
