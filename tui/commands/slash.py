"""Commands typed behind a slash: what “/…” in the composer means, and what can be meant by it.

“//” at the start of a question sends it with one slash, as it stands: a title may begin with one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from engine.core.i18n import tr
from engine.core.text import one_line
from tui.commands.table import COMMANDS, Command

_SLASH = "/"
_SHOWN = 40
"""Letters of a wrong name that are repeated to the person."""


class Called(Struct, frozen=True):
    """A command and the argument given with it, which may be empty."""

    command: Command
    argument: str


class Suggestion(Struct, frozen=True):
    """What may stand in the composer instead of what is typed, its name and what it is about."""

    text: str
    label: str
    about: str = ""


def is_command(text: str) -> bool:
    """Whether a text is meant as a command and not as a question."""
    return text.startswith(_SLASH) and not text.startswith(_SLASH * 2)


def as_question(text: str) -> str:
    """A question without the slash that says it is one."""
    return text.removeprefix(_SLASH) if text.startswith(_SLASH * 2) else text


def understood(text: str) -> Called | str:
    """The command that “/name argument” calls, or a sentence about why there is none.

    A name may be cut short as long as it means one command.
    """
    name, _, argument = text.removeprefix(_SLASH).partition(" ")
    meant = _named(name)
    if not name:
        return tr("Behind a slash stands a command: /help shows them.")
    if len(meant) > 1:
        return tr("“/{name}” may be {listed}.", name=name, listed=_listed(meant))
    if not meant:
        shown = one_line(name, _SHOWN)
        return tr(
            "There is no command “/{shown}”; two slashes ask for it: “//{shown}”.", shown=shown
        )
    if argument.strip() and not meant[0].takes:
        return tr(
            "“/{called}” stands alone; two slashes ask for what follows it.",
            called=_called(meant[0]),
        )
    return Called(meant[0], argument.strip())


def suggestions(text: str, values: Mapping[str, Sequence[str]]) -> list[Suggestion]:
    """What a text that begins with a slash may become.

    `values` has the words that are good arguments, by what commands say that they take.
    """
    name, blank, argument = text.removeprefix(_SLASH).partition(" ")
    if not blank:
        return [
            Suggestion(
                f"/{_called(command)}",
                f"/{_called(command)} {_takes(command)}".strip(),
                command.does,
            )
            for command in _fitting(name)
        ]
    meant = _named(name)
    good = values.get(meant[0].takes, ()) if len(meant) == 1 else ()
    return [
        Suggestion(f"/{_called(meant[0])} {value}", f"/{_called(meant[0])} {value}")
        for value in good
        if value.startswith(argument.strip()) and value != argument.strip()
    ]


def _named(name: str) -> list[Command]:
    name = _plain(name)
    same = [one for one in COMMANDS if name in (one.name, one.called) and name]
    begun = [
        one
        for one in COMMANDS
        if name and (_called(one).startswith(name) or one.name.startswith(name))
    ]
    # “/eng” means /engine, though /engines begins so too.
    shortest = [
        one for one in begun if all(_called(other).startswith(_called(one)) for other in begun)
    ]
    return same or shortest or begun


def _fitting(name: str) -> list[Command]:
    """Commands that begin so, then those that have it inside."""
    name = _plain(name)
    within = [one for one in COMMANDS if name in one.name or name in one.called]
    return sorted(within, key=lambda one: not _called(one).startswith(name))


def _takes(command: Command) -> str:
    """What stands behind it, in the person's words."""
    told = {"engine": tr("engine"), "question": tr("question"), "file": tr("file"), "": ""}
    return told[command.takes]


def _called(command: Command) -> str:
    return command.called or command.name


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _listed(commands: Sequence[Command]) -> str:
    *most, last = [f"/{_called(command)}" for command in commands]
    return tr("{most} or {last}", most=", ".join(most), last=last)
