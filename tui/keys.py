"""The keys of the chat, by their names in the settings and in docs/guide/keys.md."""

from __future__ import annotations

from textual.binding import Binding

from engine.core.errors import SettingsError
from engine.core.i18n import tr
from tui.commands.table import COMMANDS

_NO_KEY = "unbound"
"""A key that no terminal sends, for commands without one."""

CHAT = tuple(
    Binding(
        command.keys or _NO_KEY,
        f"command('{command.name}')",
        command.title,
        id=command.name,
        show=command.in_footer,
        priority=command.priority,
    )
    for command in COMMANDS
)
COMPOSER = (
    Binding("enter", "submit", tr("Send"), id="submit", show=False),
    Binding("ctrl+j,shift+enter", "newline", tr("New line"), id="newline", show=False),
    Binding("up", "older", tr("Older question"), id="older", show=False),
    Binding("down", "newer", tr("Newer question"), id="newer", show=False),
    Binding("tab", "complete", tr("Accept the suggestion"), id="complete", show=False),
    Binding("ctrl+d", "delete_or_leave", tr("Quit"), id="leave_if_empty", show=False),
)
# Textual's own binding, with a translated description.
PALETTE = "ctrl+p"
APP = (
    Binding("ctrl+q", "quit", tr("Quit"), id="quit", priority=True),
    Binding(PALETTE, "command_palette", tr("palette"), show=False, priority=True),
)

DOES = {
    "submit": tr("send the question"),
    "newline": tr("a new line in the question"),
    "older": tr("on the first line: the previous question"),
    "newer": tr("on the last line: the next question, or into the list"),
    "complete": tr("accept the first suggestion"),
    "leave_if_empty": tr("quit, if there is no question"),
    **{command.name: command.does for command in COMMANDS},
}
"""The description of each key, in the order of the help page."""

_SCREENS = {
    "compare": (
        "close",
        "next_slip",
        "export",
        "marks",
        "thinking",
        "scroll_up",
        "scroll_down",
    ),
    "record": ("close", "previous", "next", "original", "copy"),
    "browse": (
        "submit",
        "record",
        "close",
        "down",
        "up",
        "page_down",
        "page_up",
        "first",
        "last",
    ),
    "engines": ("select", "load", "unload", "parameters", "add", "key", "close"),
    "parameters": ("close", "save", "next_field"),
    "runs": ("use", "stop", "close"),
    "prompt": ("submit", "close"),
    "find": ("next", "previous", "close"),
    "help": ("close",),
    "history": (
        "submit",
        "rename",
        "delete",
        "undelete",
        "export",
        "import",
        "close",
        "down",
        "up",
        "page_down",
        "page_up",
        "first",
        "last",
    ),
}
IN_SCREENS = frozenset(f"{screen}_{key}" for screen, ids in _SCREENS.items() for key in ids)
"""The ids of the other screens' bindings, which Textual resolves."""

_DEFAULTS = {binding.id: binding.key for binding in (*CHAT, *COMPOSER, *APP) if binding.id}


def keymap(chosen: dict[str, str]) -> dict[str, str]:
    """Return the user's keys. Raises SettingsError for an unknown name."""
    known = {*_DEFAULTS, *IN_SCREENS}
    unknown = sorted(set(chosen) - known)
    if unknown:
        raise SettingsError(
            tr("There is no key named “{unknown}” to set.", unknown=unknown[0]),
            tr("The names under [keys] are: {known}.", known=", ".join(sorted(known))),
        )
    return dict(chosen)


def pressed(name: str, chosen: dict[str, str]) -> str:
    """Return the active keys of a name as shown to the user, empty if unbound."""
    keys = chosen.get(name, _DEFAULTS[name])
    return "" if keys == _NO_KEY else keys.replace(",", tr(" or "))
