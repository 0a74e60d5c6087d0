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
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.core.i18n import tr
from tui import keys
from tui.textual_patches.widgets import LineInput, Page


class _DialogInput(LineInput):
    """An input whose footer shows Enter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", tr("Take it"), id="prompt_submit")
    ]


class _DialogChoices(OptionList):
    """A list whose footer shows Enter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", tr("Take it"), id="prompt_submit")
    ]


class _Dialog(Page, ModalScreen[str | None]):
    """A heading and one field; Escape returns None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", tr("Leave it"), id="prompt_close")
    ]

    def __init__(self, heading: str, field: Widget) -> None:
        super().__init__()
        self._heading = heading
        self._field = field

    def compose(self) -> ComposeResult:
        with Vertical(classes="prompt"):
            yield Static(self._heading, markup=False, classes="heading")
            yield self._field
        yield Footer(compact=True)


class InputDialog(_Dialog):
    """Returns the line that was typed, or None."""

    def __init__(self, heading: str, text: str = "", example: str = "") -> None:
        """`text` is the initial text, `example` the placeholder of an empty input."""
        field = _DialogInput(text, placeholder=example, select_on_focus=False, compact=True)
        super().__init__(heading, field)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)


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
        "The counter answers with the product's description, word for word, and says which record "
        "it comes from. Several products with one title are listed: type the number of the one you "
        'mean. A follow-up ("who wrote it?", "que idade?") is answered from the sentences of the '
        "record in hand."
    ),
    tr(
        "The line under an answer tells which engine gave it, whether it had the record before it "
        "(grounded) or spoke from memory, how much of it is the record's own words, and how long "
        "it took."
    ),
    tr(
        "A slash begins a command by its name (/fork, /engine lora); two slashes ask for a title "
        "that begins with one. Whatever acts on a turn acts on the selected one, or else on the "
        "last."
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
        lines = [(keys.pressed(name, self._user_keys), does) for name, does in keys.DOES.items()]
        lines = [*(line for line in lines if line[0]), (keys.PALETTE, tr("every command, by name"))]
        with Vertical(id="help"), VerticalScroll(id="help-body"):
            yield Static(tr("Keys"), classes="heading")
            with Grid(id="keys"):
                for pressed, does in lines:
                    yield Static(pressed, markup=False, classes="key")
                    yield Static(does, markup=False)
            yield Static("\n\n".join(_ABOUT), markup=False, classes="about-counter")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#help-body").focus()  # for the arrow keys


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
                message = Align.center(Text(tr("Nothing fits."), style="not bold"))
                self.query_one(CommandList).add_option(
                    Option(message, disabled=True, id=self._NO_MATCHES)
                )

        self._no_matches_timer = self.set_timer(_NO_MATCH_DELAY, show)
