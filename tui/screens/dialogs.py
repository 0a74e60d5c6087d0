"""A line to type, or a few things to choose from: what a command asks the person for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.core.i18n import tr
from tui.textual_patches.line_part import Line


class _Line(Line):
    """A line whose Enter is told in the footer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", tr("Take it"), id="prompt_submit")
    ]


class _Choices(OptionList):
    """A list whose Enter is told in the footer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", tr("Take it"), id="prompt_submit")
    ]


class LineScreen(ModalScreen[str | None]):
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
            yield _Line(self._text, placeholder=self._example, select_on_focus=False, compact=True)
        yield Footer(compact=True)

    def on_input_submitted(self) -> None:
        """End with what is typed; with nothing where it is blank."""
        self.dismiss(self.query_one(Input).value.strip() or None)


class ChoiceScreen(ModalScreen[str | None]):
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
