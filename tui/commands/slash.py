"""Read commands typed after a slash, and complete them.

“//” at the start of a question sends it with one slash, because a title may begin with one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from engine.core.errors import UsageError
from engine.core.i18n import tr
from engine.core.text import one_line
from tui.commands.table import COMMANDS, Command

_SLASH = "/"
_TAKES = {
    "engine": tr("NAME"),
    "question": tr("QUESTION"),
    "theme": tr("NAME"),
    "mode": "[quote|grounded|memory]",
    "file": tr("FILE"),
    "words": tr("WORDS"),
    "": "",
}
_WORDS = {
    **dict.fromkeys(("exit", "quit", ":q", "sair"), "/quit"),
    **dict.fromkeys(("?", "help", "ajuda"), "/help"),
}
"""What people type in other programs, as a whole line."""
_SHOWN = 40
"""Characters of a wrong name that the error repeats."""


class Suggestion(Struct, frozen=True):
    """A completion of the draft: its whole text, its label, and what it does."""

    text: str
    label: str
    about: str = ""


def spelt_out(text: str) -> str:
    """Return the command for a word like “exit”; other texts stay as they are."""
    return _WORDS.get(text.strip().lower(), text)


def is_command(text: str) -> bool:
    """Whether a text is a command and not a question."""
    return text.startswith(_SLASH) and not text.startswith(_SLASH * 2)


def as_question(text: str) -> str:
    """Remove the slash that marks a text as a question."""
    return text.removeprefix(_SLASH) if text.startswith(_SLASH * 2) else text


def parse(text: str, commands: Sequence[Command] = COMMANDS) -> tuple[Command, str]:
    """Return command and argument of “/name argument” or an abbreviation. Raises UsageError."""
    name, _, argument = text.removeprefix(_SLASH).partition(" ")
    found = _named(name, commands)
    if not name:
        raise UsageError(tr("Type a command after the slash; /help lists them."))
    if len(found) > 1:
        raise UsageError(tr("“/{name}” may be {listed}.", name=name, listed=_listed(found)))
    if not found:
        shown = one_line(name, _SHOWN)
        raise UsageError(
            tr("Unknown command /{shown}. To search for that text, type //{shown}", shown=shown)
        )
    command, argument = found[0], argument.strip()
    if argument and not command.takes:
        raise UsageError(tr("/{called} takes no argument.", called=_as_typed(command, name)))
    return command, argument


def suggestions(text: str, values: Mapping[str, Sequence[str]]) -> list[Suggestion]:
    """Complete a text that begins with a slash; `values` are arguments by Command.takes."""
    name, blank, argument = text.removeprefix(_SLASH).partition(" ")
    if not blank:
        return [
            Suggestion(f"/{shown}", f"/{shown} {_TAKES[one.takes]}".strip(), one.does)
            for one, shown in _containing(name)
        ]
    found = _named(name, COMMANDS)
    known = values.get(found[0].takes, ()) if len(found) == 1 else ()
    return [
        Suggestion(f"/{called(found[0])} {value}", f"/{called(found[0])} {value}")
        for value in known
        if value.startswith(argument.strip()) and value != argument.strip()
    ]


def called(command: Command) -> str:
    """Return the name of a command after a slash."""
    return command.called or command.name


def _named(name: str, commands: Sequence[Command]) -> list[Command]:
    name = _folded(name)
    same = [one for one in commands if name and name in _names(one)]
    begun = _begun(name, lambda one: (called(one), one.name), commands)
    begun = begun or _begun(name, lambda one: one.aliases, commands)
    # “/eng” means /engine, though /engines begins so too.
    shortest = [
        one for one in begun if all(called(other).startswith(called(one)) for other in begun)
    ]
    return same or shortest or begun


def _names(command: Command) -> tuple[str, ...]:
    return (command.called or command.name, command.name, *command.aliases)


def _begun(
    start: str, names: Callable[[Command], Sequence[str]], commands: Sequence[Command]
) -> list[Command]:
    return [one for one in commands if start and any(n.startswith(start) for n in names(one))]


def _containing(name: str) -> list[tuple[Command, str]]:
    """List the commands that begin with `name`, then those that contain it, with that name."""
    name = _folded(name)
    found = [
        (one, _shown(one, name)) for one in COMMANDS if any(name in own for own in _names(one))
    ]
    return sorted(found, key=lambda one: (one[1] != name, not one[1].startswith(name)))


def _shown(command: Command, name: str) -> str:
    """Return the name to suggest: an alias only if nothing else contains what was typed."""
    aliases = (alias for alias in command.aliases if name in alias)
    return called(command) if name in called(command) + command.name else next(aliases)


def _as_typed(command: Command, name: str) -> str:
    return name if name in command.aliases else called(command)


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _listed(commands: Sequence[Command]) -> str:
    *most, last = [f"/{called(command)}" for command in commands]
    return tr("{most} or {last}", most=", ".join(most), last=last)
