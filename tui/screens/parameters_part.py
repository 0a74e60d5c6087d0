"""The form for one engine's parameters: each field says beside it what fits, or what is wrong."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Label, Static, TextArea

from engine.backends.registry import Registry
from engine.config import parameters
from engine.config.parameters import Asked, Parameter, Value
from engine.config.settings import shown_title
from engine.core.errors import BalcaoError
from engine.core.i18n import numeral, tr
from engine.core.text import one_line

_LONG = "system_prompt"
"""The one that may have several lines."""


class ParametersScreen(ModalScreen[str | None]):
    """Ends with what became of it, a sentence; None where nothing was changed."""

    CSS_PATH = "../pages.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", tr("Leave as it was"), id="parameters_close"),
        Binding("ctrl+s", "save", tr("Save"), priority=True, id="parameters_save"),
        Binding("tab", "app.focus_next", tr("Next field"), id="parameters_next_field"),
    ]

    def __init__(self, registry: Registry, engine_id: str, row: Asked) -> None:
        super().__init__()
        self._registry = registry
        self._engine_id = engine_id
        self._row = row

    def compose(self) -> ComposeResult:
        """A line for each, and the long one below."""
        with VerticalScroll(id="parameters", can_focus=False):
            title = one_line(shown_title(self._row))
            yield Static(
                tr("Parameters of {title}").format(title=title), markup=False, classes="heading"
            )
            for parameter in parameters.every():
                yield from self._field(parameter)
            yield Static(id="parameters-about", markup=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Tell what is known of what is in force."""
        self.query_one("#parameters-about", Static).update(
            "\n".join(parameters.warnings(self._row))
        )

    def on_input_changed(self) -> None:
        """Look at what is typed, while it is."""
        self._check()

    def on_text_area_changed(self) -> None:
        """Look at what is typed, while it is."""
        self._check()

    def on_input_submitted(self) -> None:
        """Enter in a field of one line."""
        self.action_save()

    def action_save(self) -> None:
        """Put it in force, if every field fits, and keep it in the settings."""
        values = self._check()
        if values is not None:
            self._save(values)

    @work(exclusive=True)
    async def _save(self, values: dict[str, Value | None]) -> None:
        from engine.config.edit import overriding, save_engine

        row = parameters.changed(self._row, values)
        if row == self._row:
            self.dismiss(None)
            return
        different = {
            name: value
            for name, value in values.items()
            if getattr(row, name) != getattr(self._row, name)
        }
        self._registry.change(self._engine_id, row)
        try:
            await asyncio.to_thread(save_engine, self._engine_id, different)
        except BalcaoError as error:
            self.dismiss(tr("In force until you leave, but not kept: {error}").format(error=error))
            return
        over = tr(" and ").join(overriding(self._engine_id, different))
        kept = (
            tr(" But {over} will go before it at the next start.").format(over=over) if over else ""
        )
        self.dismiss(
            tr("In force from the next question, and kept in the settings.{kept}").format(kept=kept)
        )

    def _check(self) -> dict[str, Value | None] | None:
        """The values, or None if one does not fit; each field says so beside it."""
        values, wrong = parameters.read(
            {each.name: self._typed(each) for each in parameters.every()}
        )
        for parameter in parameters.every():
            line = self.query_one(f"#tells-{parameter.name}", Static)
            line.set_class(parameter.name in wrong, "bad")
            line.update(wrong.get(parameter.name, parameter.tells))
        told = parameters.warnings(parameters.changed(self._row, values))
        self.query_one("#parameters-about", Static).update("\n".join(told))
        return None if wrong else values

    def _typed(self, parameter: Parameter) -> str:
        if parameter.name == _LONG:
            return self.query_one(TextArea).text
        return self.query_one(f"#{parameter.name}", Input).value

    def _field(self, parameter: Parameter) -> ComposeResult:
        shown = parameters.shown(self._row, parameter.name)
        default = parameters.default(self._row, parameter.name)
        placeholder = numeral(default, "g") if isinstance(default, int | float) else default
        with Horizontal(classes="field"):
            yield Label(parameter.title)
            if parameter.name != _LONG:
                yield Input(shown, placeholder=placeholder, id=parameter.name, compact=True)
            yield Static(parameter.tells, id=f"tells-{parameter.name}", classes="tells")
        if parameter.name == _LONG:
            area = TextArea(shown, id=_LONG, compact=True, tab_behavior="focus")
            area.highlight_cursor_line = False
            yield area
