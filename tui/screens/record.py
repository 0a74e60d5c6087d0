"""The product record: the title, the number, and the description as the catalogue has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from engine.core.text import one_line, printable
from engine.core.types import Hit


class RecordScreen(ModalScreen[None]):
    """One record at a time, of those that an answer rests on."""

    CSS_PATH = "../pages.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f4,q", "dismiss", tr("Close"), id="record_close"),
        Binding("left", "turn(-1)", tr("Previous"), id="record_previous"),
        Binding("right", "turn(1)", tr("Next"), id="record_next"),
        # One key, told as what it does now.
        Binding("o", "original(True)", tr("Original text"), id="record_original"),
        Binding("o", "original(False)", tr("Cleaned text"), id="record_original"),
        Binding("c", "copy", tr("Copy"), id="record_copy"),
    ]

    def __init__(
        self,
        hits: tuple[Hit, ...],
        related: Callable[[str], Sequence[tuple[str, str]]] | None = None,
    ) -> None:
        """`related` gives number and title of the products that go with a number's."""
        super().__init__()
        self._related = related
        self._hits = hits
        self._place = 0
        self._original = False

    def compose(self) -> ComposeResult:
        """The record's box."""
        with Vertical(id="record"):
            yield Static(id="record-title", markup=False)
            yield Static(id="record-about", markup=False)
            with VerticalScroll(id="record-body"):
                yield Static(id="record-text", markup=False)
                yield Static(id="record-related", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Draw the first record."""
        self._draw()
        self.query_one("#record-body").focus()

    def action_turn(self, step: int) -> None:
        """Go to another record of the same answer."""
        self._place = (self._place + step) % len(self._hits)
        self._draw()

    def action_original(self, wanted: bool) -> None:
        """Show the text as the data set has it, or the cleaned one."""
        self._original = wanted
        self.refresh_bindings()
        self._draw()

    def action_copy(self) -> None:
        """Copy the text that is shown."""
        self.app.copy_to_clipboard(self._text)

    @property
    def _text(self) -> str:
        product = self._hits[self._place].product
        return product.original if self._original else product.description

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Turning needs a second record; the text that is shown is not offered."""
        if action == "original":
            return parameters != (self._original,)
        return action != "turn" or len(self._hits) > 1

    def _draw(self) -> None:
        product = self._hits[self._place].product
        place = (
            tr(" · {place} of {count}", place=self._place + 1, count=len(self._hits))
            if len(self._hits) > 1
            else ""
        )
        which = tr("as in the data set") if self._original else tr("as the counter quotes it")
        self.query_one("#record-title", Static).update(one_line(product.title) or tr("(no title)"))
        self.query_one("#record-about", Static).update(
            tr("number {uid} · {which}{place}", uid=one_line(product.uid), which=which, place=place)
        )
        self.query_one("#record-text", Static).update(
            printable(self._text) or tr("(no description)")
        )
        self.query_one("#record-related", Static).update(self._goes_with(product.uid))

    def _goes_with(self, uid: str) -> str:
        try:
            related = self._related(uid) if self._related else ()
        except BalcaoError as error:
            return one_line(str(error))
        lines = [f"· {one_line(title)} ({one_line(number)})" for number, title in related]
        return "\n".join([tr("Goes with:"), *lines]) if lines else ""
