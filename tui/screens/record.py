"""F4: the product record that an answer is based on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.chat.wording import training_words
from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from engine.core.text import one_line, printable
from engine.core.types import Hit, Product
from tui.textual_patches.widgets import FittingFooter, ReportingPage


class RecordScreen(ReportingPage, ModalScreen[None]):
    """One record at a time, with Left and Right for the others."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f4,q", "dismiss", tr("Close"), id="record_close"),
        Binding("left", "turn(-1)", tr("Previous"), id="record_previous"),
        Binding("right", "turn(1)", tr("Next"), id="record_next"),
        # One key, of which check_action shows the text that is not on the screen.
        Binding("o", "original(True)", tr("Original text"), id="record_original"),
        Binding("o", "original(False)", tr("Cleaned text"), id="record_original"),
        Binding("c", "copy", tr("Copy"), id="record_copy"),
    ]

    def __init__(
        self,
        hits: tuple[Hit, ...],
        related: Callable[[str], Sequence[tuple[str, str]]] | None = None,
    ) -> None:
        """`related` returns uid and title of products related to a uid."""
        super().__init__()
        self._related = related
        self._hits = hits
        self._index = 0
        self._original = False

    def compose(self) -> ComposeResult:
        with Vertical(id="record"):
            yield Static(id="record-title", markup=False)
            yield Static(id="record-about", markup=False)
            with VerticalScroll(id="record-body"):
                yield Static(id="record-text", markup=False)
                yield Static(id="record-related", markup=False)
        yield FittingFooter()

    def on_mount(self) -> None:
        self._draw()
        self.query_one("#record-body").focus()

    def action_turn(self, step: int) -> None:
        self._index = (self._index + step) % len(self._hits)
        self._draw()

    def action_original(self, wanted: bool) -> None:
        self._original = wanted
        self.refresh_bindings()
        self._draw()

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._text)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "original":
            return parameters != (self._original,)
        return action != "turn" or len(self._hits) > 1

    @property
    def _product(self) -> Product:
        return self._hits[self._index].product

    @property
    def _text(self) -> str:
        return self._product.original if self._original else self._product.description

    def _draw(self) -> None:
        product = self._product
        place, count = self._index + 1, len(self._hits)
        among = tr(" · {place} of {count}", place=place, count=count) if count > 1 else ""
        which = tr("original text") if self._original else tr("cleaned")
        uid = one_line(product.uid)
        about = tr("ID {uid} · {which}{place}", uid=uid, which=which, place=among)
        trained = training_words(self._hits[self._index])
        self._set("#record-title", one_line(product.title) or tr("(no title)"))
        self._set("#record-about", f"{about}\n{trained}".strip())
        self._set("#record-text", self._lit_text or tr("(no description)"))
        self._set("#record-related", self._related_lines(product.uid))

    def report(self, sentence: str) -> None:
        self._set("#record-about", one_line(sentence))

    @property
    def _lit_text(self) -> Content:
        """The text, with the sentences that the answer quotes."""
        text, lit, end = self._text, Content(), 0
        for start, stop in () if self._original else self._hits[self._index].quoted or ():
            lit += printable(text[end:start])
            lit += Content.styled(printable(text[start:stop]), "$text-success bold")
            end = stop
        return lit + printable(text[end:])

    def _set(self, selector: str, text: str | Content) -> None:
        self.query_one(selector, Static).update(text)

    def _related_lines(self, uid: str) -> str:
        try:
            related = self._related(uid) if self._related else ()
        except BalcaoError as error:
            return one_line(str(error))
        lines = [f"· {one_line(title)} ({one_line(number)})" for number, title in related]
        return "\n".join([tr("Related:"), *lines]) if lines else ""
