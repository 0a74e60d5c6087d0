"""Dialogs over any screen: an input, a choice, the help page and the command palette."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.align import Align
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.command import CommandList, CommandPalette, Provider
from textual.containers import Grid, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.core.i18n import tr
from tui import keys
from tui.commands.slash import called
from tui.commands.table import COMMANDS_BY_NAME
from tui.textual_patches.widgets import FittingFooter, LineInput, Page


class _DialogInput(LineInput):
    """An input whose footer shows Enter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", tr("OK"), id="prompt_submit")
    ]


class _DialogChoices(OptionList):
    """A list whose footer shows Enter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", tr("OK"), id="prompt_submit")
    ]


class _Dialog(Page, ModalScreen[str | None]):
    """A heading and one field; Escape returns None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", tr("Cancel"), id="prompt_close")
    ]

    def __init__(self, heading: str, field: Widget) -> None:
        super().__init__()
        self._heading = heading
        self._field = field

    def compose(self) -> ComposeResult:
        with Vertical(classes="prompt"):
            yield Static(self._heading, markup=False, classes="heading")
            yield self._field
        yield FittingFooter()


class InputDialog(_Dialog):
    """Returns the line that was typed, or None."""

    def __init__(
        self,
        heading: str,
        text: str = "",
        example: str = "",
        *,
        secret: bool = False,
        optional: bool = False,
    ) -> None:
        """`text` is the initial text, `example` the placeholder of an empty input.

        A `secret` is masked. An `optional` line may be empty.
        """
        field = _DialogInput(
            text, placeholder=example, password=secret, select_on_focus=False, compact=True
        )
        super().__init__(heading, field)
        self._optional = optional

    def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        self.dismiss(text if text or self._optional else None)


class ChoiceDialog(_Dialog):
    """Returns the key of the choice, or None."""

    def __init__(self, heading: str, choices: Mapping[str, str]) -> None:
        """`choices` are the lines to show, by key."""
        options = (Option(Content(line), id=key) for key, line in choices.items())
        super().__init__(heading, _DialogChoices(*options, compact=True))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)


_ABOUT = (
    tr(
        "An answer is the product's description, word for word. If several products match, type a "
        'number. A follow-up ("who wrote it?", "que idade?") is answered from the same description.'
    ),
    tr(
        "Below an answer: ✓ word for word, ≈ partly, ✗ not from the description; then the engine. "
        "In quote mode a model answers a follow-up with sentences of the record; grounded, it sees "
        "the record and writes; from memory it sees only the question. /details shows the times."
    ),
    tr(
        "A slash begins a command (/fork, /engine lora); two slashes search for a title that "
        "begins with one. Commands act on the selected question, otherwise on the last."
    ),
)
"""Paragraphs; the page wraps them."""


class HelpScreen(Page, ModalScreen[None]):
    """The active keys and a short explanation."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q", "dismiss", tr("Close"), id="help_close")
    ]

    def __init__(self, user_keys: dict[str, str]) -> None:
        """`user_keys` are keys by action, from the settings."""
        super().__init__()
        self._user_keys = user_keys

    def compose(self) -> ComposeResult:
        lines = [
            (keys.pressed(name, self._user_keys), Content.assemble(does, (_twin(name), "dim")))
            for name, does in keys.DOES.items()
        ]
        every = Content(tr("every command, by name"))
        lines = [*(line for line in lines if line[0]), (keys.PALETTE, every)]
        with Vertical(id="help"), VerticalScroll(id="help-body"):
            yield Static(tr("Keys"), classes="heading")
            with Grid(id="keys"):
                for pressed, does in lines:
                    yield Static(pressed, markup=False, classes="key")
                    yield Static(does, markup=False)
            yield Static("\n\n".join(_ABOUT), markup=False, classes="about-counter")
        yield FittingFooter()

    def on_mount(self) -> None:
        self.query_one("#help-body").focus()  # for the arrow keys


def _twin(name: str) -> str:
    """Return what to type instead of a key, for terminals that keep the key."""
    command = COMMANDS_BY_NAME.get(name)
    return f"  /{called(command)}" if command and command.in_palette else ""


_NO_MATCH_DELAY = 0.5
"""Seconds to wait for a first match."""


class Palette(Page, CommandPalette):
    """Translates the one text that Textual does not take as a parameter."""

    def __init__(self, placeholder: str, *providers: type[Provider]) -> None:
        """Search these providers, by default all commands."""
        super().__init__(providers or None, placeholder=placeholder)

    def _start_no_matches_countdown(self, search_value: str) -> None:
        self._stop_no_matches_countdown()

        def show() -> None:
            self._list_visible = bool(search_value)
            if search_value:
                message = Align.center(Text(tr("No match."), style="not bold"))
                self.query_one(CommandList).add_option(
                    Option(message, disabled=True, id=self._NO_MATCHES)
                )

        self._no_matches_timer = self.set_timer(_NO_MATCH_DELAY, show)
