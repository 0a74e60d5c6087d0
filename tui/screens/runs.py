"""F10: the training runs, with the loss curve of the highlighted one."""

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
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.core.i18n import tr
from engine.core.text import one_line
from engine.training.runs import display
from engine.training.runs.control import add_engine, stop_run
from engine.training.runs.view import MetricsReader, RunView, list_runs
from tui.commands.table import reporting
from tui.textual_patches.widgets import FittingFooter, Page
from tui.widgets.turns import SIGN_STYLES

_INTERVAL = 1.0
"""Seconds between two readings of the runs' files."""
_FACTS = 4
"""The part of a small screen's lines that a run's facts may take: a quarter."""
_NONE = tr("No training runs yet: `balcao train` starts one.")


def _sample(metrics: MetricsReader, width: int) -> Content:
    """Return the last sample's answers with coloured signs."""
    samples = display.sample_lines(metrics, width)
    lines = [Content.assemble((sign, SIGN_STYLES[sign]), f" {text}") for sign, text in samples]
    if lines:
        lines.insert(0, Content(display.sampled_at(metrics)))
    return Content("\n").join(lines)


class LossCurve(Widget):
    """A curve of loss over steps."""

    _points: Sequence[tuple[int, float]] = ()

    def show(self, points: Sequence[tuple[int, float]]) -> None:
        self._points = points
        self.refresh()

    def render(self) -> Content:
        return Content("\n".join(display.curve(self._points, *self.content_size)))


class _Runs(OptionList):
    """A list that shows Enter in the footer, if it has runs."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", tr("Use in the chat"), id="runs_use")
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's signature
        return action != "select" or bool(self.option_count)


class RunsScreen(Page, ModalScreen[str | None]):
    """A live list of runs. Returns the id of the engine added from a run, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "stop", tr("Stop"), id="runs_stop"),
        Binding("escape,f10", "dismiss", tr("Close"), id="runs_close"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._views: list[RunView] = []
        self._metrics: MetricsReader | None = None
        self._stopping: Path | None = None
        self._highlight_moved = asyncio.Event()

    def compose(self) -> ComposeResult:
        with Vertical(id="runs-page"):
            yield Static(tr("Training runs"), classes="heading")
            yield Static(id="runs-head", markup=False)
            yield _Runs()
            yield Static(id="run-state", markup=False)
            yield LossCurve(id="run-curve")
            with VerticalScroll(id="run-body"):
                yield Static(id="run-samples", markup=False)
            yield Static(id="run-status", markup=False)
        yield FittingFooter()

    def on_mount(self) -> None:
        self._watch()

    def on_option_list_option_highlighted(self) -> None:
        self._stopping = None
        self._show_status("")
        self._highlight_moved.set()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's signature
        return action != "stop" or bool(self._views)

    def action_stop(self) -> None:
        """Ask the run to save and stop, when pressed twice."""
        view = self._highlighted_run
        if view is None or view.state != "running":
            self._show_status(tr("It is not running."))
        elif self._stopping != view.folder:
            self._stopping = view.folder
            self._show_status(
                tr("S again: it saves and stops after this step; --resume goes on from there.")
            )
        else:
            self._stopping = None
            with reporting(self._show_status):
                stop_run(view.folder)
                self._show_status(tr("It saves and stops after this step."))

    @work(exclusive=True, group="use")
    async def on_option_list_option_selected(self) -> None:
        view = self._highlighted_run
        if view is None:
            return
        with reporting(self._show_status):
            self.dismiss(await asyncio.to_thread(add_engine, view.folder))

    @work
    async def _watch(self) -> None:
        """Read the runs every second, and at once when the highlight moves."""
        while self.query(OptionList):  # removed before the worker ends
            await self._refresh_runs()
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL):
                    await self._highlight_moved.wait()
            self._highlight_moved.clear()

    async def _refresh_runs(self) -> None:
        view = self._highlighted_run
        views = await asyncio.to_thread(list_runs)
        if view is None and views:
            view = views[0]
        if view is not None:
            if self._metrics is None or self._metrics.run != view.folder:
                self._metrics = MetricsReader(view.folder)
            await asyncio.to_thread(self._metrics.refresh)
        if self.query(OptionList):  # not closed since
            self._draw_list(views)
            self._draw_run()

    def _draw_list(self, views: list[RunView]) -> None:
        highlighted = self._highlighted_run
        runs = self.query_one(OptionList)
        head, *rows = display.runs_table(views)
        above = self.query_one("#runs-head", Static).set_class(not views, "empty")
        above.update(head if views else _NONE)
        folders = [view.folder for view in views]
        unchanged = folders == [view.folder for view in self._views]
        self._views = views
        # Content: OptionList reads a string as markup.
        if unchanged:
            for index, row in enumerate(rows):
                runs.replace_option_prompt_at_index(index, Content(row))
            return
        self.refresh_bindings()
        with self.prevent(OptionList.OptionHighlighted):
            runs.clear_options()
            runs.add_options(Option(Content(row)) for row in rows)
            if highlighted and highlighted.folder in folders:
                runs.highlighted = folders.index(highlighted.folder)
            else:
                runs.highlighted = 0 if views else None

    @property
    def _highlighted_run(self) -> RunView | None:
        index = self.query_one(OptionList).highlighted
        return self._views[index] if index is not None and index < len(self._views) else None

    def _draw_run(self) -> None:
        view, metrics = self._highlighted_run, self._metrics
        if view is None or metrics is None or metrics.run != view.folder:
            return  # the highlight has moved: _watch reads its run next
        head = self.query_one("#run-state", Static)
        facts = display.facts(view, metrics.before, head.size.width)
        lines = [*facts[: self.size.height // _FACTS], display.next_step(view)]
        head.update("\n".join(filter(None, lines)))
        self.query_one(LossCurve).show(metrics.points)
        self.query_one("#run-samples", Static).update(_sample(metrics, head.size.width))

    def _show_status(self, status: str) -> None:
        self.query_one("#run-status", Static).update(one_line(status))
