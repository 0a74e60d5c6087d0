"""The application: session, screens, keys, theme. Importing it loads nothing heavy but Textual."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from msgspec.structs import replace
from rich.text import Text
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.events import Event, Key
from textual.screen import Screen

from engine.chat.session import Session
from engine.config import paths
from engine.config.settings import Settings
from engine.core.errors import why
from engine.core.files import write_atomic
from engine.core.i18n import tr
from engine.core.process import quiet_libraries
from engine.core.text import printable, redact
from tui import keys, themes
from tui import terminal as glyphs
from tui.commands.palette import palette_commands
from tui.screens.chat import ChatScreen
from tui.textual_patches import memory, typeahead
from tui.textual_patches.driver import TerminalDriver, driver_for
from tui.textual_patches.widgets import ReportingPage
from tui.themed_app import ThemedApp

if TYPE_CHECKING:
    from tui.widgets.turns import RecordRequested


def crash_report() -> str:
    """Save the traceback of the current exception and return a sentence about it.

    Textual would print all local variables, API keys among them.
    """
    from engine.config.keys import known

    report = redact(printable(traceback.format_exc()), *known())
    file = paths.crash_file()
    try:
        write_atomic(file, report.encode(), private=True)
        where = tr("The report is in {file}.", file=file)
    except OSError:
        where = tr("The report:") + f"\n{report}"
    error = sys.exc_info()[1]
    return tr(
        "Balcão crashed, because of a bug in it ({name}). Your conversation is saved up to here. "
        "{where}",
        name=type(error).__name__,
        where=where,
    )


_NOTICE_SECONDS = 20
_FONT_URLS = r"\s*@font-face \{.*?\}|\s*<!--.*?-->"


class BalcaoApp(ThemedApp):
    """The chat."""

    TITLE = "Balcão"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [*keys.APP]

    def __init__(
        self,
        settings: Settings,
        typed: str = "",
        *,
        go_on: bool = False,
        session: Session | None = None,
    ) -> None:
        """Start with `typed`, text and keys; `go_on` opens the last conversation.

        Raises SettingsError for an unknown theme or key.
        """
        # The first frame shows the text; keys, Enter included, are handled after it.
        self._typed, keys_pressed = typeahead.split_at_key(typed)
        super().__init__(
            settings,
            driver_class=driver_for(glyphs.terminal_charset(settings.unicode), keys_pressed),
            # With NO_COLOR Textual draws shades of grey, except in the terminal's own colours.
            ansi_color=True if glyphs.colour_disabled() else None,
        )
        self._go_on = go_on
        self._session = session or Session(settings)
        self.set_keymap(keys.keymap(settings.keys))

    def get_default_screen(self) -> Screen[None]:
        return ChatScreen(self._session, self._typed, go_on=self._go_on)

    def on_ready(self) -> None:
        """Start what the first frame does not need."""
        memory.start()
        self.save_theme_changes()
        if self._settings.notice:
            notice = printable(self._settings.notice)
            self.notify(notice, severity="warning", timeout=_NOTICE_SECONDS, markup=False)
        if isinstance(self._driver, TerminalDriver):
            from tui.textual_patches.driver import AsyncExitSignals

            self._leaving = AsyncExitSignals(self._leave)

    def on_unmount(self) -> None:
        memory.stop()

    def post_display_hook(self) -> None:
        memory.collect_soon()

    def get_key_display(self, binding: Binding) -> str:
        """Return a key as footers show it, by name if the terminal lacks its symbol."""
        shown, driver = super().get_key_display(binding), self._driver
        charset = driver.charset if isinstance(driver, TerminalDriver) else glyphs.UTF8
        return shown if glyphs.replace_glyphs(shown, charset) == shown else binding.key

    def action_command_palette(self) -> None:
        from tui.screens.dialogs import Palette

        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(tr("Search for commands…")))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Yield the palette's commands: those of the screen, and those that work everywhere."""
        return palette_commands(self, screen, self._session, self.report)

    def on_record_requested(self, event: RecordRequested) -> None:
        from tui.screens.record import RecordScreen

        resources = self._session.resources
        related = resources.catalogue.related if resources else None
        self.push_screen(RecordScreen(event.hits, related))

    def copy_to_clipboard(self, text: str) -> None:
        work = partial(self._copy, printable(text))
        self.run_worker(work, thread=True, group="copy", exclusive=True)

    def _copy(self, text: str) -> None:
        from tui.clipboard import copy, copy_to_file

        where = copy(text)
        if not where:
            # A terminal does not report whether it supports OSC 52, so the text is also in a file.
            self.call_from_thread(super().copy_to_clipboard, text)
            try:
                where = tr(
                    "the terminal's clipboard, if it allows it, and in {copy_to_file}",
                    copy_to_file=copy_to_file(text),
                )
            except OSError as error:
                where = tr("the terminal's clipboard, if it allows it ({error})", error=why(error))
        self.call_from_thread(self.report, tr("Copied to {where}.", where=where))

    def report(self, sentence: str) -> None:
        """Show a sentence in the screen's own line, which covers nothing."""
        screen = self.screen
        if isinstance(screen, ChatScreen | ReportingPage):
            screen.report(sentence)
        else:
            self.notify(sentence, markup=False)

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """Return the screen as SVG, without the web fonts that Rich links to."""
        picture = super().export_screenshot(title=title, simplify=simplify)
        return re.sub(_FONT_URLS, "", picture, flags=re.DOTALL)

    def _fatal_error(self) -> None:
        """Quit after an unexpected exception, without printing the values of variables."""
        self.panic(Text(crash_report()))

    async def on_event(self, event: Event) -> None:
        """Give a key to a screen once that has its widgets, and to none while the chat ends."""
        if isinstance(event, Key) and self._screen_stack:
            await self.screen._mounted_event.wait()  # noqa: SLF001 - no public API
        if isinstance(event, Key):
            if not self._screen_stack or self._exit:
                return
            screen: object = self.screen
            if isinstance(screen, ChatScreen):
                screen.focus_composer_for(event)
        await super().on_event(event)

    async def action_quit(self) -> None:
        await self._leave(0)

    async def _leave(self, code: int) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, ChatScreen):
                await screen.close()
        self.exit(return_code=code)


async def run(session: Session, typed: str, *, go_on: bool) -> int:
    """Run the chat with `typed` in the composer; return the exit code."""
    if not glyphs.colour_disabled():
        os.environ.pop("NO_COLOR", None)  # an empty one does not count, but Textual reads it
    theme = themes.theme_for(session.settings.theme)
    settings = session.settings = replace(session.settings, theme=theme)
    with quiet_libraries():
        if sys.__stderr__:  # where Textual draws
            glyphs.set_charset(sys.__stderr__, glyphs.terminal_charset(settings.unicode))
        app = BalcaoApp(settings, typed, go_on=go_on, session=session)
        await app.run_async()
    return app.return_code or 0
