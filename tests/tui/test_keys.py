"""Keys and mouse: every key can be chosen anew, and what has a key can be clicked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from textual.binding import Binding
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import OptionList

from engine.config import paths, settings
from engine.core.errors import SettingsError
from engine.core.types import Mode
from tests.tui.driving import ask, chat, until
from tui import keys
from tui.commands.table import COMMANDS
from tui.screens.chat import ChatScreen
from tui.screens.record import RecordScreen
from tui.textual_patches.widgets import FittingFooter

TUI = Path(__file__).resolve().parents[2] / "tui"
SCREENS = [*sorted((TUI / "screens").glob("*.py")), TUI / "widgets" / "find.py"]


def bindings() -> Iterator[Binding]:
    """Those of every screen and of the widgets that screens are made of."""
    for file in SCREENS:
        module = import_module(f"tui.{file.parent.name}.{file.stem}")
        for found in vars(module).values():
            own: Any = vars(found).get("BINDINGS") if isinstance(found, type) else None
            if own and found.__module__ == module.__name__:
                yield from own


def test_every_key_of_every_screen_has_a_name_in_the_settings() -> None:
    names = [binding.id for binding in bindings()]
    assert None not in names
    assert set(names) == keys.IN_SCREENS | {binding.id for binding in keys.CHAT}


def test_the_docs_name_them_all() -> None:
    told = Path(SCREENS[0].parents[2] / "docs" / "guide" / "keys.md").read_text(encoding="utf-8")
    for name in keys.IN_SCREENS:
        screen, _, action = name.partition("_")
        assert re.search(rf"`{name}`|`{screen}_`[^;.]*?`{action}`", told), name


def test_a_name_that_does_not_exist_is_told() -> None:
    with pytest.raises(SettingsError, match="no key named “fly”"):
        keys.keymap({"fly": "f6"})


def is_for_macs(key: str) -> bool:
    return not re.fullmatch(r"f\d+", key)


def test_each_function_key_has_another_key_or_a_command() -> None:
    commands = {command.name for command in COMMANDS}
    for binding in (*bindings(), *keys.APP):
        pressed = binding.key.split(",")
        if binding.id == "history_import":  # /import
            continue
        assert binding.id in commands or any(map(is_for_macs, pressed)), binding.id


SAME = {"regenerate": "again", "rename": "edit", "save": "export", "delete": "cut"}
"""Actions of screens that mean the same."""
MOVING = {"enter", "escape", "tab", "up", "down", "left", "right", "pageup", "pagedown",
          "ctrl+home", "ctrl+end"}  # fmt: skip


def test_a_key_means_the_same_on_every_screen() -> None:
    """Where a key opens a screen, it may close that."""
    meanings: dict[str, set[str]] = {}
    for binding in (*bindings(), *keys.COMPOSER, *keys.APP):
        if not binding.id or binding.id.endswith("_close"):
            continue
        name = binding.id.partition("_")[2] if binding.id in keys.IN_SCREENS else binding.id
        for key in set(binding.key.split(",")) - MOVING - {"unbound"}:
            meanings.setdefault(key, set()).add(SAME.get(name, name))
    assert {key: found for key, found in meanings.items() if len(found) > 1} == {}


async def test_a_screens_key_is_chosen_anew(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, keys={"record_close": "x"}) as pilot:
        await ask(pilot, "empty shelf")
        await pilot.press("f4")
        await until(lambda: isinstance(pilot.app.screen, RecordScreen))
        await pilot.press("q")
        await pilot.pause()
        assert isinstance(pilot.app.screen, RecordScreen)
        await pilot.press("x")
        await until(lambda: not isinstance(pilot.app.screen, RecordScreen))


async def test_engines_modes_and_commands_by_the_mouse(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        session = screen.session
        for column, engine in ((2, "catalogue"), (14, "base"), (28, "lora"), (42, "openai")):
            await pilot.click("#names", offset=(column, 0))
            assert session.engine == engine
        await pilot.click("#names", offset=(60, 0))
        assert session.engine == "openai"
        await pilot.click("#grounding")
        assert session.mode is Mode.GROUNDED
        await pilot.click("FooterKey.-command-palette")
        await until(lambda: isinstance(pilot.app.screen, CommandPalette))


def offered(pilot: Pilot[None]) -> list[str]:
    """What the palette lists, by name."""
    found = pilot.app.screen.query_one(OptionList).options
    return [str(option.prompt).partition("\n")[0] for option in found]


async def test_a_theme_from_the_palette_is_kept(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        assert not paths.settings_file().exists()
        await pilot.press("ctrl+p", *"theme")
        await until(lambda: offered(pilot)[:1] == ["Theme"])
        await pilot.press("enter")
        await until(lambda: "high-contrast-light" in offered(pilot))
        await pilot.press(*"high-contrast-l")
        await until(lambda: offered(pilot) == ["high-contrast-light"])
        await pilot.press("enter")
        await until(lambda: pilot.app.theme == "high-contrast-light")
        await until(paths.settings_file().exists)
    written = tomllib.loads(paths.settings_file().read_text(encoding="utf-8"))
    assert written == {"theme": "high-contrast-light"}
    assert settings.load().theme == "high-contrast-light"


async def test_a_theme_that_cannot_be_kept_is_told(catalogue_dir: Path) -> None:
    paths.settings_file().parent.mkdir(parents=True)
    async with chat(catalogue_dir) as pilot:
        paths.settings_file().write_text("this is [no TOML", encoding="utf-8")
        pilot.app.theme = "light"
        await until(lambda: bool(pilot.app._notifications))
        told = next(iter(pilot.app._notifications))
        assert told.message.startswith("Theme not saved.")


async def test_a_footer_whose_screen_is_gone_is_quiet() -> None:
    await FittingFooter().recompose()
