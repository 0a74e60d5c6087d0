"""What is offered above the composer while one types: a few lines that never take the focus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from engine.core.i18n import tr
from engine.core.text import one_line
from tui.commands.slash import Suggestion

if TYPE_CHECKING:
    pass


_MOST = 6
_WIDTH = 200
_NONE = -1


class Suggestions(Static):
    """Offers for one text. It lies over the conversation, which does not move for it."""

    class Selected(Message):
        """An offer was clicked."""

        def __init__(self, offer: Suggestion) -> None:
            super().__init__()
            self.offer = offer

    def __init__(self) -> None:
        super().__init__("", id="suggestions", markup=False)
        self.display = False
        self._typed = ""
        self._offers: list[Suggestion] = []
        self._top = 0
        self._place = _NONE
        self._refused = False
        self._taken = ""
        self._awaited = ""
        self._wished = False

    @property
    def is_open(self) -> bool:
        """Whether something is offered."""
        return bool(self._offers)

    @property
    def is_walked(self) -> bool:
        """Whether one of the offers has been gone to."""
        return self._place != _NONE

    def fits(self, text: str) -> bool:
        """Whether the offers are for that text, or it is one of them, gone to."""
        return self.is_open and text == self._here

    def answers(self, text: str) -> bool:
        """Whether there is nothing to look up for that text: it is here, or was taken from here."""
        return self.fits(text) or (bool(text) and text == self._taken)

    def offer(self, typed: str, offers: Sequence[Suggestion]) -> None:
        """Show `offers` for the text that is `typed`; none closes the list.

        Once refused they are not shown again until the text is empty.
        """
        self._awaited, self._taken = "", ""
        self._refused = self._refused and bool(typed)
        if self._refused:
            offers = ()
        self._typed, self._offers = typed, list(offers)
        self._top, self._place = 0, _NONE
        self._draw()

    def expect(self, typed: str) -> None:
        """Offers for that text are being looked up."""
        self._awaited, self._wished = typed, False

    def wish(self, typed: str) -> bool:
        """Ask for the first offer before it is there; returns whether any are expected."""
        self._wished = bool(typed) and typed == self._awaited
        return self._wished

    @property
    def is_wished(self) -> bool:
        """Whether the first offer was asked for before it was there."""
        return self._wished and self.is_open

    def close(self) -> None:
        """Offer nothing for now."""
        self._offers, self._place = [], _NONE
        self._draw()

    def refuse(self) -> None:
        """Offer nothing until another question is begun."""
        self.close()
        self._refused = True

    def step(self, by: int) -> str:
        """Go down (1) or up (-1); returns what belongs into the composer: an offer or the text."""
        self._place = max(_NONE, min(self._place + by, len(self._offers) - 1))
        if self._place != _NONE:
            self._top = min(max(self._top, self._place - _MOST + 1), self._place)
        self._draw()
        return self._here

    def take(self) -> str:
        """What the first offer, or the one gone to, puts into the composer; closes the list."""
        self._taken = self._offers[max(self._place, 0)].text
        self._awaited = ""
        self.close()
        return self._taken

    def begin_anew(self) -> None:
        """Another question is begun: offer again, whatever was refused."""
        self.offer("", ())

    def on_click(self, event: Click) -> None:
        """Take the line that was clicked."""
        place = self._top + event.y
        if place < len(self._offers):
            self.post_message(self.Selected(self._offers[place]))

    @property
    def _here(self) -> str:
        return self._typed if self._place == _NONE else self._offers[self._place].text

    def _draw(self) -> None:
        self.display = bool(self._offers)
        shown = self._offers[self._top : self._top + _MOST]
        if not shown:
            return
        names = max(cell_len(offer.label) for offer in shown) if shown[0].about else 0
        lines = [
            _line(offer, names, here=place == self._place)
            for place, offer in enumerate(shown, self._top)
        ]
        more = len(self._offers) - len(shown)
        if more:
            lines.append(Content.styled(tr("  {more} more: type on, or go down", more=more), "dim"))
        self.update(Content("\n").join(lines))
        self.styles.offset = (0, -len(lines))


def _line(offer: Suggestion, names: int, *, here: bool) -> Content:
    # The mark tells where colours do not arrive.
    mark = "›" if here else " "
    label = set_cell_size(offer.label, names) if names else one_line(offer.label, _WIDTH)
    style = "reverse" if here else ""
    return Content.assemble((f"{mark} {label}", style), (f"  {offer.about}", "dim"))
