"""The history page: search, open, rename, delete, undo, export and import."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot
from textual.widgets import Input
from textual.widgets._footer import FooterKey

from engine.chat import export as history
from engine.config import paths, settings
from engine.store.archive import ArchivedAnswer, ArchivedConversation, ArchivedTurn
from engine.store.conversations import ConversationStore
from tests.engine.store.test_store import ANSWER
from tests.tui.driving import ask, chat, footer, state, still, until, until_open, words
from tui.app import BalcaoApp
from tui.screens.chat import ChatScreen
from tui.screens.conversations import ConversationList, ConversationsScreen, page_size
from tui.screens.dialogs import ChoiceDialog, InputDialog
from tui.widgets.composer import Composer
from tui.widgets.turns import AnswerView

START = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.screens.conversations.today", lambda: date(2026, 11, 24))


SAID = (
    ("Qual balcão é o maior?", "O de madeira, com 2 m."),
    ("Paint [/b] and [red] Brushes", "Two coats \x1b[2J of paint, [never](three)."),
    ("do you have the neon pink tutu?", "Yes: tulle, for ages 5 to 9. It is on the counter."),
    ("The Tin Lighthouse", "A keeper of sixty climbs three hundred steps each dusk. " * 3),
)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Show times in UTC: the page uses local time."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def keep(*said: tuple[str, str]) -> None:
    """Store conversations of one turn each, a day apart."""
    with closing(ConversationStore(paths.conversations_file())) as store:
        store.add(
            ArchivedConversation(f"uid-{number}", question, at, at, [turn_of(question, text, at)])
            for number, (question, text) in enumerate(said)
            for at in [START + timedelta(days=number)]
        )


def turn_of(question: str, text: str, at: datetime) -> ArchivedTurn:
    return ArchivedTurn(
        question, at, [ArchivedAnswer(at, replace(ANSWER, question=question, text=text))]
    )


@asynccontextmanager
async def page(
    catalogue: Path, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[Pilot[None], ConversationList]]:
    """Run the chat with the page open; yield the pilot and the list."""
    async with chat(catalogue, size) as pilot:
        await pilot.press("ctrl+o")
        await until(lambda: told(pilot) != "")
        yield pilot, pilot.app.screen.query_one(ConversationList)


def told(pilot: Pilot[None]) -> str:
    return "".join(words(pilot, "#conversations-status"))


async def look_for(pilot: Pilot[None], text: str) -> None:
    """Search: type the last letter, insert the others."""
    pilot.app.screen.query_one(Input).insert_text_at_cursor(text[:-1])
    await pilot.press(text[-1])


async def command(pilot: Pilot[None], text: str) -> None:
    pilot.app.screen.query_one(Composer).insert(text)
    await pilot.press("enter")


def shown(pilot: Pilot[None]) -> bool:
    """Return whether one answer is drawn and all workers have finished."""
    drawn = [view.is_finished for view in pilot.app.screen.query(AnswerView)] == [True]
    return drawn and all(worker.is_finished for worker in pilot.app.workers)


def titles(found: ConversationList) -> list[str]:
    return [entry.title for entry in found.entries]


async def test_it_searches_while_typing_and_opens(catalogue_dir: Path) -> None:
    keep(*SAID)
    async with page(catalogue_dir) as (pilot, found):
        assert titles(found) == [question for question, _ in SAID[::-1]]
        assert told(pilot) == "4 conversations, newest first"
        await look_for(pilot, "balcao mad")
        await until(lambda: told(pilot) == "1 of 4 match")
        drawn = str(found.options[0].prompt)
        assert drawn.startswith("Fri 09:30          1  Qual balcão é o maior?")
        await pilot.press("enter")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))
        await until(lambda: shown(pilot))
        assert words(pilot, ".question") == ["❯ Qual balcão é o maior?"]


async def test_enter_waits_for_the_search(catalogue_dir: Path) -> None:
    keep(*SAID)
    async with page(catalogue_dir) as (pilot, found):
        pilot.app.screen.query_one(Input).value = "tutu"  # before the search starts:
        found.screen.query_one(Input).post_message(
            Input.Submitted(found.screen.query_one(Input), "tutu")
        )
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))
        await until(lambda: shown(pilot))
        assert words(pilot, ".question") == ["❯ do you have the neon pink tutu?"]


async def test_matches_are_underlined_and_text_is_no_markup(
    catalogue_dir: Path,
) -> None:
    keep(*SAID)
    async with page(catalogue_dir) as (pilot, found):
        await look_for(pilot, "coats")
        await until(lambda: told(pilot) == "1 of 4 match")
        content = found.options[0].prompt
        assert "Paint [/b] and [red] Brushes" in str(content)
        assert "Two coats [2J of paint, [never](three)." in str(content)
        marked = [
            str(content)[span.start : span.end]
            for span in getattr(content, "spans", ())
            if "underline" in str(span.style)
        ]
        assert marked == ["coats"]


async def test_an_empty_history_and_an_empty_result(catalogue_dir: Path) -> None:
    async with page(catalogue_dir) as (pilot, _):
        assert told(pilot) == "No conversations yet. Ask something first."
        await pilot.press("enter", "ctrl+g", "ctrl+x", "f12", "down")
        assert isinstance(pilot.app.screen, ConversationsScreen)
    keep(*SAID)
    async with page(catalogue_dir) as (pilot, found):
        await look_for(pilot, "[/b] (*zebra")
        await until(lambda: told(pilot) == "No match for “[/b] (*zebra”")
        assert not found.entries
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, ConversationsScreen)
        await pilot.press("escape")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))


async def test_renaming(catalogue_dir: Path) -> None:
    keep(*SAID)
    async with page(catalogue_dir) as (pilot, found):
        await pilot.press("down", "ctrl+g")
        await until(lambda: isinstance(pilot.app.screen, InputDialog))
        assert pilot.app.screen.query_one(Input).value == "do you have the neon pink tutu?"
        await pilot.press("ctrl+u", *"Tulle", "enter")
        await until(lambda: told(pilot) == "Renamed.")
        assert titles(found)[1] == "Tulle"
        assert found.highlighted == 1
        await pilot.press("ctrl+g")
        await until(lambda: isinstance(pilot.app.screen, InputDialog))
        await pilot.press("x", "escape")
        await until(lambda: isinstance(pilot.app.screen, ConversationsScreen))
        assert titles(found)[1] == "Tulle"


async def test_a_renamed_fork_is_still_called_a_fork(catalogue_dir: Path) -> None:
    keep(*SAID[:1])
    with closing(ConversationStore(paths.conversations_file())) as store:
        fork = store.fork(store.latest()[0].id, 1)
        store.rename(fork, "Another")
    async with page(catalogue_dir) as (_, found):
        assert "1  fork · Another" in str(found.options[0].prompt)


async def test_the_footer_cuts_no_key(catalogue_dir: Path) -> None:
    keep(*SAID)
    async with page(catalogue_dir, (60, 20)) as (pilot, _):
        await pilot.press("ctrl+x")
        await until(lambda: told(pilot).startswith("Deleted"))
        keys = pilot.app.screen.query(FooterKey)
        await until(lambda: "Undo" in [key.description for key in keys])
        assert "Close" in [key.description for key in keys]
        assert max(key.region.right for key in keys) <= 60


async def test_deleting_and_undoing(catalogue_dir: Path) -> None:
    keep(*SAID)
    async with page(catalogue_dir) as (pilot, found):
        await pilot.press("ctrl+z")  # nothing was deleted
        await pilot.press("down", "ctrl+x")
        await until(lambda: told(pilot).startswith("Deleted “do you have"))
        await pilot.press("ctrl+x")
        await until(lambda: told(pilot).startswith("Deleted “Paint [/b]"))
        assert titles(found) == [SAID[3][0], SAID[0][0]]
        await pilot.press("ctrl+z")
        await until(lambda: told(pilot) == "“Paint [/b] and [red] Brushes” is back.")
        await pilot.press("escape")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))
        await pilot.press("ctrl+o")
        await until(lambda: told(pilot) == "3 conversations, newest first")
        await pilot.press("ctrl+z")  # also on a page opened again
        await until(lambda: told(pilot) == "It is back.")
        await pilot.press("ctrl+q")
    with closing(ConversationStore(paths.conversations_file())) as store:
        assert len(store.ids()) == 4


async def test_deleting_the_open_conversation_closes_it(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        await pilot.press("ctrl+o")
        await until(lambda: told(pilot).startswith("1 conv"))
        await pilot.press("ctrl+x")
        await until(lambda: told(pilot).startswith("Deleted"))
        await pilot.press("escape")
        await until(lambda: bool(words(pilot, ".welcome Static")))
        await ask(pilot, "Empty Shelf")
        await pilot.press("ctrl+q")
    with closing(ConversationStore(paths.conversations_file())) as store:
        assert [entry.title for entry in store.latest()] == ["Empty Shelf"]


async def test_exporting(catalogue_dir: Path) -> None:
    keep(*SAID)
    async with page(catalogue_dir, (160, 50)) as (pilot, _):
        for downs, name in enumerate(
            (
                "2026-11-23-the-tin-lighthouse.md",
                "2026-11-23-the-tin-lighthouse.json",
                "*-all-conversations.json",
            )
        ):
            await pilot.press("f12")
            await until(lambda: isinstance(pilot.app.screen, ChoiceDialog))
            await until(lambda: footer(pilot) == {"enter": "OK", "escape": "Cancel"})
            await pilot.press(*["down"] * downs, "enter")
            await until(lambda name=name: Path(told(pilot)).match(name))  # type: ignore[misc]
            (file,) = paths.exports_dir().glob(name)
            assert told(pilot) == f"Written to {file}"
        await pilot.press("f12", "escape")
        assert len(list(paths.exports_dir().iterdir())) == 3


async def test_importing(
    catalogue_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(*SAID)
    with closing(ConversationStore(paths.conversations_file())) as store:
        exported = history.write_all(store, tmp_path)
    monkeypatch.setenv("BALCAO_HOME", str(tmp_path / "elsewhere"))
    (tmp_path / "broken.json").write_text("{}")
    async with page(catalogue_dir, (160, 50)) as (pilot, found):
        for file, tells in (
            (tmp_path / "broken.json", "is not an export of conversations"),
            (tmp_path / "none.json", "Cannot read"),
            (exported, "4 conversations imported."),
            (exported, "4 were here already."),
        ):
            await pilot.press("f7")
            await until(lambda: isinstance(pilot.app.screen, InputDialog))
            pilot.app.screen.query_one(Input).insert_text_at_cursor(str(file))
            await pilot.press("enter")
            await until(lambda tells=tells: tells in told(pilot))  # type: ignore[misc]
        assert len(found.entries) == 4


async def test_a_long_list_is_fetched_in_pages(catalogue_dir: Path) -> None:
    one = page_size(24)
    number = 2 * one + 7
    keep(*((f"word {n}", "said") for n in range(number)))
    async with page(catalogue_dir) as (pilot, found):
        assert len(found.entries) == one
        await pilot.press("ctrl+end")
        await until(lambda: len(found.entries) == 2 * one)
        found.scroll_end(animate=False)  # as the mouse does
        await until(lambda: len(found.entries) == number)
        assert titles(found) == [f"word {n}" for n in reversed(range(number))]
        await look_for(pilot, "word")
        await until(lambda: told(pilot) == f"the newest {one} that match")
        await pilot.press("ctrl+end")
        await until(lambda: len(found.entries) == 2 * one)
        await pilot.press("ctrl+end")
        await until(lambda: len(found.entries) == number)
        assert len(set(titles(found))) == number


async def test_a_click_opens(catalogue_dir: Path) -> None:
    keep(*SAID)
    async with page(catalogue_dir) as (pilot, _):
        await pilot.click(ConversationList, offset=(20, 2))
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))
        await until(lambda: shown(pilot))
        assert words(pilot, ".question") == [f"❯ {SAID[1][0]}"]


async def test_commands_export_and_import_without_the_page(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, (160, 50)) as pilot:
        await command(pilot, "/export")
        await until(lambda: "nothing to export" in state(pilot))
        await ask(pilot, "Striped Apron")
        for name, kind in (("/export", "md"), ("/export_json", "json")):
            await command(pilot, name)
            await until(lambda kind=kind: state(pilot).endswith(f"striped-apron.{kind}"))  # type: ignore[misc]
        file = next(paths.exports_dir().glob("*.json"))
        await command(pilot, f"/import {file}")
        await until(lambda: state(pilot) == "0 conversations imported; 1 was here already.")
        await command(pilot, "/import")
        await until(lambda: isinstance(pilot.app.screen, InputDialog))
        await pilot.press("escape")


async def test_errors_of_the_store_are_reported_on_the_page(catalogue_dir: Path) -> None:
    paths.conversations_file().parent.mkdir(parents=True)
    paths.conversations_file().write_text("no database " * 100)
    async with chat(catalogue_dir) as pilot:
        await pilot.press("ctrl+o")
        await until(lambda: state(pilot).startswith("Cannot save conversations"))


def looks(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    async def run(pilot: Pilot[None]) -> None:
        await until_open(pilot)
        await pilot.press("ctrl+o")
        await until(lambda: told(pilot) != "")
        for line in pilot.app.screen.query(Input):
            line.cursor_blink = False
        for key in keys:
            before = told(pilot)
            await pilot.press(key)
            await still(pilot)
            if key in ("ctrl+x", "ctrl+z"):
                await until(lambda before=before: told(pilot) != before)  # type: ignore[misc]
        for line in pilot.app.screen.query(Input):
            line.cursor_blink = False
        await still(pilot)

    return run


@pytest.mark.parametrize(
    ("keys", "size"),
    [
        pytest.param((), (80, 24), id="list"),
        pytest.param((*"tu",), (80, 24), id="search"),
        pytest.param((*"t",), (60, 20), id="small"),
        pytest.param((*"o",), (160, 50), id="large"),
        pytest.param(("down", "ctrl+x"), (80, 24), id="deleted"),
        pytest.param(("ctrl+g",), (60, 20), id="rename"),
        pytest.param(("f12",), (80, 24), id="export"),
    ],
)
def test_the_page_looks(
    snap_compare: Callable[..., bool],
    catalogue_dir: Path,
    keys: tuple[str, ...],
    size: tuple[int, int],
) -> None:
    keep(*SAID)
    app = BalcaoApp(settings.load(Path("none"), {}, {"catalogue": catalogue_dir}))
    assert snap_compare(app, terminal_size=size, run_before=looks(*keys))
