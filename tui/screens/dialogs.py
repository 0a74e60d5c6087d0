"""A line to type, or a few things to choose from: what a command asks the person for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.core.i18n import tr
from tui import keys
from tui.textual_patches.widgets import LineInput


class _DialogInput(LineInput):
    """A line whose Enter is told in the footer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", tr("Take it"), id="prompt_submit")
    ]


class _Choices(OptionList):
    """A list whose Enter is told in the footer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", tr("Take it"), id="prompt_submit")
    ]


class InputDialog(ModalScreen[str | None]):
    """Ends with what was typed, or None."""

    CSS_PATH = "../pages.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", tr("Leave it"), id="prompt_close")
    ]

    def __init__(self, asks: str, text: str = "", example: str = "") -> None:
        """`asks` is what for, `text` is there already, `example` is shown where nothing does."""
        super().__init__()
        self._asks = asks
        self._text = text
        self._example = example

    def compose(self) -> ComposeResult:
        """The line and what it is for."""
        with Vertical(classes="prompt"):
            yield Static(self._asks, markup=False, classes="heading")
            yield _DialogInput(
                self._text, placeholder=self._example, select_on_focus=False, compact=True
            )
        yield Footer(compact=True)

    def on_input_submitted(self) -> None:
        """End with what is typed; with nothing where it is blank."""
        self.dismiss(self.query_one(Input).value.strip() or None)


class ChoiceDialog(ModalScreen[str | None]):
    """Ends with the name of what was chosen, or None."""

    CSS_PATH = "../pages.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", tr("Leave it"), id="prompt_close")
    ]

    def __init__(self, asks: str, choices: Mapping[str, str]) -> None:
        """`choices` are told to the person by name."""
        super().__init__()
        self._asks = asks
        self._choices = choices

    def compose(self) -> ComposeResult:
        """The choices and what they are for."""
        with Vertical(classes="prompt"):
            yield Static(self._asks, markup=False, classes="heading")
            yield _Choices(
                *(Option(Content(tells), id=name) for name, tells in self._choices.items()),
                compact=True,
            )
        yield Footer(compact=True)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """End with that one."""
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
"""Paragraphs, whole: the page breaks their lines."""


class HelpScreen(ModalScreen[None]):
    """The keys in force and a short explanation."""

    CSS_PATH = "../pages.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q", "dismiss", tr("Close"), id="help_close")
    ]

    def __init__(self, chosen: dict[str, str]) -> None:
        """`chosen` are the person's own keys by action."""
        super().__init__()
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        """The page."""
        with Vertical(id="help"), VerticalScroll(id="help-body"):
            yield Static(tr("Keys"), classes="heading")
            with Grid(id="keys"):
                for pressed, does in self._lines():
                    yield Static(pressed, markup=False, classes="key")
                    yield Static(does, markup=False)
            yield Static("\n\n".join(_ABOUT), markup=False, classes="about-counter")
        yield Footer()

    def on_mount(self) -> None:
        """Let the arrow keys scroll."""
        self.query_one("#help-body").focus()

    def _lines(self) -> list[tuple[str, str]]:
        """Each key with what it does."""
        lines = [(keys.pressed(name, self._chosen), does) for name, does in keys.DOES.items()]
        return [*(line for line in lines if line[0]), (keys.PALETTE, tr("every command, by name"))]
