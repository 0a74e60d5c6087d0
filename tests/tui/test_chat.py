"""The chat's flows, through Textual's pilot, over a real catalogue and a real store."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Static

from engine.config import paths, settings
from engine.core.errors import SettingsError
from engine.store.conversations import ConversationStore
from tests.conftest import ROWS
from tests.tui.driving import about, ask, chat, footer, said, state, until, words
from tui.app import BalcaoApp
from tui.screens.chat import ChatScreen
from tui.screens.conversations import ConversationsScreen
from tui.screens.dialogs import HelpScreen
from tui.screens.record import RecordScreen
from tui.widgets.composer import Composer
from tui.widgets.turns import AnswerView, SourceCard

SIZES = [(80, 24), (160, 50), (60, 20)]


@pytest.mark.parametrize("size", SIZES)
async def test_an_exact_title_is_quoted_with_its_source(
    catalogue_dir: Path, size: tuple[int, int]
) -> None:
    async with chat(catalogue_dir, size) as pilot:
        view = await ask(pilot, "canvas stool, GREEN")
        assert said(view) == "Folds flat. Holds 110 kg."
        assert str(view.query_one(SourceCard).render()) == "Canvas Stool, Green"
        assert "word for word" in about(view)
        assert not words(pilot, ".welcome Static")


async def test_markup_and_escapes_are_drawn_as_letters(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        view = await ask(pilot, ROWS[7][1])
        assert said(view) == ROWS[7][2]
        assert "Paint [/b] and [red] Brushes" in str(view.query_one(SourceCard).render())
        view = await ask(pilot, "bell owned tower")
        assert "\x1b" not in said(view)
        await pilot.press("f4")
        await until(lambda: isinstance(pilot.app.screen, RecordScreen))
        drawn = "".join(words(pilot, "Static"))
        assert "Bell" in drawn
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(drawn)


async def test_a_list_is_picked_from_by_number(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        view = await ask(pilot, "Striped Apron")
        assert about(view) == "Catalogue"
        view = await ask(pilot, "1")
        assert said(view) in {ROWS[1][2], ROWS[2][2]}


async def test_f2_goes_round_the_engines_with_draft_and_conversation(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Canvas Stool, Blue")
        await pilot.press(*"draft")
        seen = []
        for _ in range(4):
            await pilot.press("f2")
            await until(lambda: len(state(pilot)) > 1)
            seen.append(state(pilot))
        assert all(text.startswith("Not available: ") for text in seen[:3])
        assert seen[3].startswith("ready")
        assert pilot.app.screen.query_one(Composer).text == "draft"
        assert len(pilot.app.screen.query(AnswerView)) == 1


async def test_an_engine_that_is_not_ready_leaves_the_chat_usable(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, engine="openai") as pilot:
        view = await ask(pilot, "Canvas Stool, Blue")
        assert "model" in str(view.query_one(".problem", Static).render())
        await pilot.press("f2")
        view = await ask(pilot, "Canvas Stool, Blue")
        assert said(view) == "Folds flat and floats."


async def test_grounded_or_from_memory(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        assert words(pilot, "#grounding") == ["grounded"]
        await pilot.press("f5")
        assert words(pilot, "#grounding") == ["from memory"]


async def test_the_composer_takes_lines_and_remembers(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        composer = pilot.app.screen.query_one(Composer)
        await pilot.press(*"one", "ctrl+j", *"two")
        assert composer.text == "one\ntwo"
        composer.clear()
        await pilot.press("enter")
        await ask(pilot, "Empty Shelf")
        await ask(pilot, "Canvas Stool, Blue")
        await pilot.press(*"draft", "up")
        assert composer.text == "Canvas Stool, Blue"
        await pilot.press("up", "up")
        assert composer.text == "Empty Shelf"
        await pilot.press("down", "down")
        assert composer.text == "draft"


async def test_typing_elsewhere_goes_into_the_composer(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        view = await ask(pilot, "Canvas Stool, Blue")
        view.query_one(SourceCard).focus()
        await pilot.pause()
        await pilot.press("a", "b")
        assert pilot.app.screen.query_one(Composer).text == "ab"


async def test_the_record_shows_cleaned_and_original_text(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        view = await ask(pilot, 'café tokyo "nights"')
        view.query_one(SourceCard).focus()
        await pilot.press("enter")
        await until(lambda: isinstance(pilot.app.screen, RecordScreen))
        assert words(pilot, "#record-text") == ["Jazz at 2 a.m.—and rain."]
        assert footer(pilot)["o"] == "Original text"
        await pilot.press("o")
        assert words(pilot, "#record-text") == ["Jazz at 2 a.m.&#8212;and rain."]
        await until(lambda: footer(pilot)["o"] == "Cleaned text")
        await pilot.press("o")
        assert words(pilot, "#record-text") == ["Jazz at 2 a.m.—and rain."]
        await pilot.press("escape")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))


async def test_the_key_of_the_original_text_is_the_persons(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, keys={"record_original": "x"}) as pilot:
        await ask(pilot, 'café tokyo "nights"')
        await pilot.press("f4")
        await until(lambda: isinstance(pilot.app.screen, RecordScreen))
        await pilot.press("o")
        assert words(pilot, "#record-text") == ["Jazz at 2 a.m.—and rain."]
        await pilot.press("x")
        assert words(pilot, "#record-text") == ["Jazz at 2 a.m.&#8212;and rain."]
        await pilot.press("x")
        assert words(pilot, "#record-text") == ["Jazz at 2 a.m.—and rain."]


async def test_several_records_are_turned_with_the_arrows(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        await pilot.press("f4")
        await until(lambda: isinstance(pilot.app.screen, RecordScreen))
        first = words(pilot, "#record-text")
        await pilot.press("right")
        assert words(pilot, "#record-text") != first
        await pilot.press("right")
        assert words(pilot, "#record-text") == first


async def test_help_names_every_key(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await pilot.press("f1")
        await until(lambda: isinstance(pilot.app.screen, HelpScreen))
        page = "\n".join(words(pilot, "Static"))
        for key in ("f1", "f2", "f4", "f5", "escape", "ctrl+q", "ctrl+p", "ctrl+j", "enter"):
            assert key in page


async def test_keys_can_be_chosen(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, keys={"mode": "f8"}) as pilot:
        await pilot.press("f5")
        assert words(pilot, "#grounding") == ["grounded"]
        await pilot.press("f8")
        assert words(pilot, "#grounding") == ["from memory"]


async def test_conversations_are_kept_and_gone_on_with(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        await pilot.press("ctrl+n")
        assert words(pilot, ".welcome Static")
        await ask(pilot, "Canvas Stool, Blue")
        await pilot.press("ctrl+q")
    async with chat(catalogue_dir) as pilot:
        await pilot.press("ctrl+o")
        await until(lambda: isinstance(pilot.app.screen, ConversationsScreen))
        await pilot.press("down", "enter")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))
        await until(lambda: len(pilot.app.screen.query(AnswerView)) == 1)
        view = await ask(pilot, "2")
        assert said(view) in {ROWS[1][2], ROWS[2][2]}
    store = ConversationStore(paths.conversations_file())
    assert [entry.turns for entry in store.latest()] == [2, 1]
    store.close()


async def test_the_last_conversation_is_gone_on_with(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
    async with chat(catalogue_dir, go_on=True) as pilot:
        view = await ask(pilot, "2")
        assert said(view) in {ROWS[1][2], ROWS[2][2]}
        assert len(pilot.app.screen.query(AnswerView)) == 2


async def test_a_catalogue_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with chat(tmp_path / "nowhere") as pilot:
        await pilot.press(*"mog", "enter")
        assert "balcao index" in state(pilot)
        assert pilot.app.screen.query_one(Composer).text == "mog"
        assert pilot.app.screen.query_one("#state").has_class("bad")


async def test_history_that_cannot_be_kept_is_told(catalogue_dir: Path) -> None:
    paths.conversations_file().parent.mkdir(parents=True)
    paths.conversations_file().write_text("no database " * 100)
    async with chat(catalogue_dir) as pilot:
        await until(lambda: state(pilot).startswith("Not saving"))
        view = await ask(pilot, "Canvas Stool, Blue")
        assert said(view) == "Folds flat and floats."


async def test_the_palette_offers_every_engine(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        titles = [command.title for command in pilot.app.get_system_commands(pilot.app.screen)]
        assert {"Engine: Catalogue", "Engine: OpenAI", "Record", "Quit"} <= set(titles)


async def test_a_long_conversation_stays_where_the_reader_is(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        for _ in range(8):
            await ask(pilot, "The Tin Lighthouse")
        pane = pilot.app.screen.query_one("#conversation")
        assert pane.scroll_y == pane.max_scroll_y > 0
        await pilot.press("pageup")
        await pilot.pause()
        assert pane.scroll_y < pane.max_scroll_y


@pytest.mark.parametrize(("theme", "keys"), [("no-such-theme", {}), ("textual-dark", {"x": "f9"})])
def test_a_wrong_theme_or_key_is_a_settings_error(theme: str, keys: dict[str, str]) -> None:
    chosen = settings.load(Path("none"), {}, {"theme": theme, "keys": keys})
    with pytest.raises(SettingsError):
        BalcaoApp(chosen)
