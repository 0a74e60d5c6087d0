"""The keys of the chat, by the names that settings and docs/keys.md use for them."""

from __future__ import annotations

from textual.binding import Binding

from engine.errors import SettingsError

CHAT = (
    Binding("f1", "app.help", "Help", id="help"),
    Binding("f2", "next_engine", "Engine", id="next_engine"),
    Binding("f3", "compare", "Compare", id="compare"),
    Binding("f4", "record", "Record", id="record"),
    Binding("f5", "mode", "Mode", id="mode"),
    Binding("f8", "copy", "Copy", id="copy", show=False),
    # Not in the footer, which is full at 80 columns.
    Binding("ctrl+n", "new_conversation", "New", id="new_conversation", show=False),
    Binding("ctrl+o", "conversations", "History", id="conversations"),
    Binding("escape", "cancel", "Cancel", id="cancel", show=False),
    # With priority, since the composer, which has the focus, would take them for itself.
    Binding("pageup", "scroll('page_up')", "Scroll up", id="scroll_up", show=False, priority=True),
    Binding(
        "pagedown",
        "scroll('page_down')",
        "Scroll down",
        id="scroll_down",
        show=False,
        priority=True,
    ),
)
COMPOSER = (
    Binding("enter", "submit", "Send", id="submit", show=False),
    Binding("ctrl+j,shift+enter", "newline", "New line", id="newline", show=False),
    Binding("up", "older", "Older question", id="older", show=False),
    Binding("down", "newer", "Newer question", id="newer", show=False),
)
APP = (Binding("ctrl+q", "quit", "Quit", id="quit", priority=True),)
# Not ours to bind: the palette is Textual's, named here so that help and settings know it.
PALETTE = "ctrl+p"

_NAMES = frozenset(binding.id for binding in (*CHAT, *COMPOSER, *APP) if binding.id)


def keymap(chosen: dict[str, str]) -> dict[str, str]:
    """The person's keys, checked. Raises SettingsError for an action that does not exist."""
    unknown = sorted(set(chosen) - _NAMES)
    if unknown:
        raise SettingsError(
            f"There is no key named “{unknown[0]}” to set.",
            f"The names under [keys] are: {', '.join(sorted(_NAMES))}.",
        )
    return dict(chosen)
