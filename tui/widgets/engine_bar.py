"""The bar that shows the engines, which one answers next, and whether it can."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from engine.text import one_line
from engine.types import Availability, Mode, Progress

_PERCENT = 100


class EngineBar(Vertical):
    """One line of engines, one of state."""

    _busy = False

    def compose(self) -> ComposeResult:
        """The two lines."""
        with Horizontal(id="engines"):
            yield Static(id="names", markup=False)
            yield Static(id="grounding", markup=False)
        yield Static(id="state", markup=False)

    def show_engines(self, titles: dict[str, str], chosen: str) -> None:
        """Draw every engine's title (by id), the chosen one marked."""
        parts: list[Content | str | tuple[str, str]] = []
        for engine_id, title in titles.items():
            here = engine_id == chosen
            # The mark carries the choice where colours do not arrive.
            parts.append((f"{'●' if here else '○'} {one_line(title)}", "bold" if here else "dim"))
            parts.append("  ")
        self.query_one("#names", Static).update(Content.assemble(*parts))

    def show_mode(self, mode: Mode) -> None:
        """Draw whether models see the record."""
        words = "grounded" if mode is Mode.GROUNDED else "from memory"
        self.query_one("#grounding", Static).update(words)

    def show_availability(self, availability: Availability, what: str = "ready") -> None:
        """Draw that the chosen engine can answer, or why not and what to do."""
        if availability.ready:
            self.tell(what)
        else:
            self.tell(f"Not available: {availability.reason} {availability.remedy}", bad=True)

    @property
    def is_busy(self) -> bool:
        """Whether the state line speaks of something that is over once an answer is."""
        return self._busy

    def show_progress(self, progress: Progress) -> None:
        """Draw how far loading has come."""
        known = progress.fraction is not None
        share = f" {progress.fraction * _PERCENT:.0f} %" if known and progress.fraction else ""
        self.tell(f"loading{share}: {progress.label}")
        self._busy = True

    def tell(self, state: str, *, bad: bool = False) -> None:
        """Draw a line about the state of things."""
        self._busy = False
        line = self.query_one("#state", Static)
        line.set_class(bad, "bad")
        line.update(one_line(state))
