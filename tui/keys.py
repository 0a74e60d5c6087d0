"""The keys of the chat, by the names that settings and docs/keys.md use for them."""

from __future__ import annotations

from textual.binding import Binding

from engine.errors import SettingsError
from tui.commands.table import COMMANDS

_NO_KEY = "unbound"
"""A key that no terminal sends, for a command that has none until settings give it one."""

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
    Binding("enter", "submit", "Send", id="submit", show=False),
    Binding("ctrl+j,shift+enter", "newline", "New line", id="newline", show=False),
    Binding("up", "older", "Older question", id="older", show=False),
    Binding("down", "newer", "Newer question", id="newer", show=False),
    Binding("tab", "complete", "Take what is offered", id="complete", show=False),
)
APP = (Binding("ctrl+q", "quit", "Quit", id="quit", priority=True),)
# Not ours to bind: the palette is Textual's, named here so that help and settings know it.
PALETTE = "ctrl+p"

DOES = {
    "submit": "send the question",
    "newline": "a new line in the question",
    "older": "on the first line: the question before",
    "newer": "on the last line: the question after, or what is offered above",
    "complete": "take the first of what is offered above the question",
    **{command.name: command.does for command in COMMANDS},
}
"""What each does, for the help page, in its order."""

_DEFAULTS = {binding.id: binding.key for binding in (*CHAT, *COMPOSER, *APP) if binding.id}


def keymap(chosen: dict[str, str]) -> dict[str, str]:
    """The person's keys, checked. Raises SettingsError for an action that does not exist."""
    unknown = sorted(set(chosen) - set(_DEFAULTS))
    if unknown:
        raise SettingsError(
            f"There is no key named “{unknown[0]}” to set.",
            f"The names under [keys] are: {', '.join(sorted(_DEFAULTS))}.",
        )
    return dict(chosen)


def pressed(name: str, chosen: dict[str, str]) -> str:
    """The keys in force for a name, for a person to read; empty where it has none."""
    keys = chosen.get(name, _DEFAULTS[name])
    return "" if keys == _NO_KEY else keys.replace(",", " or ")
