"""The conversations so far, to go on with one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from engine.store.listing import Listed
from engine.text import one_line

_WIDTH = 120


class ConversationsScreen(ModalScreen[int | None]):
    """A list; ends with the id of the chosen conversation, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+o", "dismiss", "Close")]

    def __init__(self, listed: Sequence[Listed]) -> None:
        super().__init__()
        self._listed = listed

    def compose(self) -> ComposeResult:
        """The list, the latest first."""
        with Vertical(id="conversations"):
            yield Static("Conversations, the latest first", classes="heading")
            if self._listed:
                yield OptionList(*(_option(entry) for entry in self._listed))
            else:
                yield Static("There is none yet: ask something first.")
        yield Footer()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open the chosen one."""
        self.dismiss(int(event.option.id or 0))


def _option(entry: Listed) -> Option:
    when = datetime.fromtimestamp(entry.updated).astimezone().strftime("%Y-%m-%d %H:%M")
    turns = f"{entry.turns} question{'' if entry.turns == 1 else 's'}"
    # Content, because a title given as a string would be read as markup.
    return Option(Content(f"{when}  {one_line(entry.title, _WIDTH)}  ({turns})"), id=str(entry.id))
