"""F10: the training runs, and the loss of the one under the cursor as it falls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.training.runs.display import (
    curve,
    next_step,
    runs_table,
    sample_lines,
    score_line,
    summary,
)
from engine.training.runs.folder import add_engine, stop_run
from engine.training.runs.view import MetricsReader, RunView, list_runs


class LossCurve(Widget):
    """The curve of `points`, which are step and loss."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self._points: Sequence[tuple[int, float]] = ()

    def show(self, points: Sequence[tuple[int, float]]) -> None:
        """Draw these from here on; more that are appended to them are drawn at the next call."""
        self._points = points
        self.refresh()

    def render(self) -> Content:
        """The lines, drawn anew for every size."""
        return Content("\n".join(curve(self._points, *self.content_size)))


_LOOK_EVERY = 1.0
"""Seconds between two looks at the runs' files."""
_NONE = tr("There is no run yet: `balcao train` begins one.")


class RunsScreen(ModalScreen[str | None]):
    """A list that keeps itself up to date; ends with the engine that was made of a run, or None."""

    CSS_PATH = "../pages.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u", "use", tr("Use in the chat"), id="runs_use"),
        Binding("s", "stop", tr("Stop"), id="runs_stop"),
        Binding("escape,f10", "dismiss", tr("Close"), id="runs_close"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._views: list[RunView] = []
        self._metrics: MetricsReader | None = None
        self._stopping: Path | None = None
        self._moved = asyncio.Event()

    def compose(self) -> ComposeResult:
        """The list, and below it the run under the cursor."""
        with Vertical(id="runs-page"):
            yield Static(tr("Training runs"), classes="heading")
            yield Static(id="runs-head", markup=False)
            yield OptionList()
            yield Static(id="run-state", markup=False)
            yield LossCurve(id="run-curve")
            with VerticalScroll(id="run-body"):
                yield Static(id="run-asked", markup=False)
            yield Static(id="run-told", markup=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Look from here on."""
        self._watch()

    def on_option_list_option_highlighted(self) -> None:
        """Show the one under the cursor."""
        self._stopping = None
        self._tell("")
        self._moved.set()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's signature
        """Without a run there is none to use or to stop."""
        return action not in ("use", "stop") or bool(self._views)

    def action_stop(self) -> None:
        """Ask the run to save and stop; the second time, it is asked."""
        view = self._here
        if view is None or view.state != "running":
            self._tell(tr("It is not running."))
        elif self._stopping != view.folder:
            self._stopping = view.folder
            self._tell(
                tr("S again: it saves and stops after this step; --resume goes on from there.")
            )
        else:
            self._stopping = None
            try:
                stop_run(view.folder)
            except BalcaoError as error:
                self._tell(str(error))
            else:
                self._tell(tr("It saves and stops after this step."))

    @work(exclusive=True, group="use")
    async def action_use(self) -> None:
        """Make the run's adapter an engine, and answer with it from here on."""
        view = self._here
        if view is None:
            return
        try:
            engine_id = await asyncio.to_thread(add_engine, view.folder)
        except BalcaoError as error:
            self._tell(str(error))
        else:
            self.dismiss(engine_id)

    @work
    async def _watch(self) -> None:
        """Look at once, every second, and when the cursor moves; never twice at a time."""
        while self.query(OptionList):  # closing takes it away before it ends this
            await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._moved.wait()
            self._moved.clear()

    async def _look(self) -> None:
        """Read the files, off the way of the keys; draw what has changed."""
        here = self._here
        views = await asyncio.to_thread(list_runs)
        if here is None and views:
            here = views[0]
        if here is not None:
            if self._metrics is None or self._metrics.run != here.folder:
                self._metrics = MetricsReader(here.folder)
            await asyncio.to_thread(self._metrics.refresh)
        if not self.query(OptionList):
            return  # closed meanwhile
        self._list(views)
        self._draw()

    def _list(self, views: list[RunView]) -> None:
        """Draw the list; the cursor stays on its run."""
        here = self._here
        runs = self.query_one(OptionList)
        head, *rows = runs_table(views)
        self.query_one("#runs-head", Static).update(head if views else _NONE)
        same = [view.folder for view in views] == [view.folder for view in self._views]
        self._views = views
        # Content, because a name given as a string would be read as markup.
        if same:
            for place, row in enumerate(rows):
                runs.replace_option_prompt_at_index(place, Content(row))
            return
        self.refresh_bindings()
        with self.prevent(OptionList.OptionHighlighted):
            runs.clear_options()
            runs.add_options(Option(Content(row)) for row in rows)
            folders = [view.folder for view in views]
            known = here is not None and here.folder in folders
            runs.highlighted = (
                folders.index(here.folder) if here and known else 0 if views else None
            )

    @property
    def _here(self) -> RunView | None:
        """The run under the cursor."""
        place = self.query_one(OptionList).highlighted
        return self._views[place] if place is not None and place < len(self._views) else None

    def _draw(self) -> None:
        view, metrics = self._here, self._metrics
        if view is None or metrics is None or metrics.run != view.folder:
            return  # the cursor has moved on: the next look is for its run
        state = [summary(view), *filter(None, (score_line(view), next_step(view)))]
        self.query_one("#run-state", Static).update("\n".join(state))
        self.query_one(LossCurve).show(metrics.points)
        self.query_one("#run-asked", Static).update("\n".join(sample_lines(metrics)))

    def _tell(self, sentence: str) -> None:
        self.query_one("#run-told", Static).update(one_line(sentence))
