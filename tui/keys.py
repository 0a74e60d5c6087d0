"""The keys of the chat, by the names that settings and docs/guide/keys.md use for them."""

from __future__ import annotations

from textual.binding import Binding

from engine.core.errors import SettingsError
from engine.core.i18n import tr
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
    Binding("enter", "submit", tr("Send"), id="submit", show=False),
    Binding("ctrl+j,shift+enter", "newline", tr("New line"), id="newline", show=False),
    Binding("up", "older", tr("Older question"), id="older", show=False),
    Binding("down", "newer", tr("Newer question"), id="newer", show=False),
    Binding("tab", "complete", tr("Take what is offered"), id="complete", show=False),
)
# The palette is Textual's, and so is its key: here it has a name in the person's language.
PALETTE = "ctrl+p"
APP = (
    Binding("ctrl+q", "quit", tr("Quit"), id="quit", priority=True),
    Binding(PALETTE, "command_palette", tr("palette"), show=False, priority=True),
)

DOES = {
    "submit": tr("send the question"),
    "newline": tr("a new line in the question"),
    "older": tr("on the first line: the question before"),
    "newer": tr("on the last line: the question after, or what is offered above"),
    "complete": tr("take the first of what is offered above the question"),
    **{command.name: command.does for command in COMMANDS},
}
"""What each does, for the help page, in its order."""

IN_SCREENS = frozenset(
    {
        "compare_close",
        "compare_export",
        "compare_marks",
        "compare_scroll_up",
        "compare_scroll_down",
        "record_close",
        "record_previous",
        "record_next",
        "record_original",
        "record_copy",
        "engines_select",
        "engines_load",
        "engines_unload",
        "engines_parameters",
        "engines_close",
        "parameters_close",
        "parameters_save",
        "parameters_next_field",
        "runs_use",
        "runs_stop",
        "runs_close",
        "prompt_submit",
        "prompt_close",
        "help_close",
        "history_submit",
        "history_rename",
        "history_delete",
        "history_undelete",
        "history_export",
        "history_import",
        "history_close",
        "history_down",
        "history_up",
        "history_page_down",
        "history_page_up",
        "history_first",
        "history_last",
    }
)
"""The ids of the screens' own bindings, which their footers show; they are Textual's to look up."""

_DEFAULTS = {binding.id: binding.key for binding in (*CHAT, *COMPOSER, *APP) if binding.id}


def keymap(chosen: dict[str, str]) -> dict[str, str]:
    """The person's keys, checked. Raises SettingsError for an action that does not exist."""
    known = {*_DEFAULTS, *IN_SCREENS}
    unknown = sorted(set(chosen) - known)
    if unknown:
        raise SettingsError(
            tr("There is no key named “{unknown}” to set.", unknown=unknown[0]),
            tr("The names under [keys] are: {known}.", known=", ".join(sorted(known))),
        )
    return dict(chosen)


def pressed(name: str, chosen: dict[str, str]) -> str:
    """The keys in force for a name, for a person to read; empty where it has none."""
    keys = chosen.get(name, _DEFAULTS[name])
    return "" if keys == _NO_KEY else keys.replace(",", tr(" or "))
