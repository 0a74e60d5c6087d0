"""The command palette: what a screen can do, and what works everywhere, in the chat's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from textual.app import SystemCommand
from textual.screen import Screen

from engine.chat.session import Session
from engine.config import paths
from engine.core.errors import why
from engine.core.i18n import tr
from tui import keys
from tui.commands.table import COMMANDS, COMMANDS_BY_NAME
from tui.screens.chat import ChatScreen
from tui.themed_app import ThemedApp
from tui.widgets.engine_bar import EngineBar


def palette_commands(
    app: ThemedApp, screen: Screen[object], session: Session, report: Callable[[str], None]
) -> Iterator[SystemCommand]:
    """Yield the commands of the screen, then those that work everywhere."""
    if isinstance(screen, ChatScreen):
        yield from _chat_commands(screen, session)
    else:
        yield from _page_commands(app, screen)
    yield SystemCommand(tr("Theme"), tr("choose the colours"), app.search_themes)
    picture = tr("save a picture of this screen (SVG)")
    yield SystemCommand(tr("Screenshot"), picture, partial(_save_picture, app, report))
    yield SystemCommand(tr("Quit"), COMMANDS_BY_NAME["quit"].does, app.action_quit)


def _chat_commands(screen: ChatScreen, session: Session) -> Iterator[SystemCommand]:
    for command in COMMANDS:
        if command.in_palette:
            pressed = keys.pressed(command.name, session.settings.keys)
            help_text = f"{command.does} ({pressed})" if pressed else command.does
            action = partial(screen.action_command, command.name)
            yield SystemCommand(command.title, help_text, action)
    bar = screen.query_one(EngineBar)
    for name, title in session.titles.items():
        choose = partial(bar.choose, name)
        does = tr("answer with this engine from now on")
        yield SystemCommand(tr("Engine: {title}", title=title), does, choose)


def _page_commands(app: ThemedApp, screen: Screen[object]) -> Iterator[SystemCommand]:
    """Yield what the page's footer shows, so that nothing needs an F key."""
    for active in screen.active_bindings.values():
        binding = active.binding
        if binding.show and binding.id not in ("quit", None):
            run = partial(app.run_action, binding.action, active.node)
            yield SystemCommand(binding.description, app.get_key_display(binding), run)


def _save_picture(app: ThemedApp, report: Callable[[str], None]) -> None:
    try:
        paths.exports_dir().mkdir(parents=True, exist_ok=True)
        file = app.save_screenshot(path=str(paths.exports_dir()))
        report(tr("Written to {file}", file=file))
    except OSError as error:
        report(tr("Cannot save the picture: {error}", error=why(error)))
