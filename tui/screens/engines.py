"""F9: list the engines with their state, model and memory; choose, load and configure them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList, Static, TextArea
from textual.widgets.option_list import Option
from textual.worker import Worker

from engine.backends.base import Engine
from engine.backends.registry import Registry
from engine.chat.session import Session
from engine.chat.wording import about_words, state_words
from engine.config import parameters
from engine.config.parameters import Parameter, Value
from engine.core.errors import BalcaoError
from engine.core.i18n import numeral, tr
from engine.core.text import one_line
from engine.core.types import Availability
from tui.commands.table import reporting
from tui.screens.connect import add_model, enter_key
from tui.textual_patches.widgets import EditArea, FittingFooter, Page


class ParametersScreen(Page, ModalScreen[str | None]):
    """A form of an engine's parameters; returns a sentence about the change, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", tr("Discard"), id="parameters_close"),
        Binding("ctrl+s", "save", tr("Save"), priority=True, id="parameters_save"),
        Binding("tab", "app.focus_next", tr("Next field"), id="parameters_next_field"),
    ]

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._config = engine.config
        self._parameters = engine.config.parameters()

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="parameters", can_focus=False):
            title = one_line(self._engine.info.title)
            yield Static(tr("Parameters of {title}", title=title), markup=False, classes="heading")
            for parameter in self._parameters:
                yield from self._field(parameter)
            warnings = "\n".join(self._config.warnings())
            yield Static(warnings, id="parameters-about", markup=False)
        yield FittingFooter()

    @on(Input.Submitted)
    def action_save(self) -> None:
        """Apply the values to the engine and save them, if all are valid."""
        values = self._check()
        if values is not None:
            self._save(values)

    @work(exclusive=True)
    async def _save(self, values: dict[str, Value | None]) -> None:
        from engine.config.edit import overriding, save_engine

        config = parameters.changed(self._config, values)
        if config == self._config:
            self.dismiss(None)
            return
        different = {
            name: value
            for name, value in values.items()
            if getattr(config, name) != getattr(self._config, name)
        }
        self._engine.config = config
        try:
            await asyncio.to_thread(save_engine, self._engine.info.id, different)
        except BalcaoError as error:
            self.dismiss(tr("It applies until you quit, but is not saved: {error}", error=error))
            return
        over = tr(" and ").join(overriding(self._engine.info.id, different))
        kept = tr(" But {over} overrides it at the next start.", over=over) if over else ""
        told = tr("Saved. It applies from the next question.{kept}", kept=kept)
        self.dismiss(told)

    @on(Input.Changed)
    @on(TextArea.Changed)
    def _check(self) -> dict[str, Value | None] | None:
        """Show the error of each field; return the values if all are valid."""
        typed = {each.name: self._typed(each) for each in self._parameters}
        values, wrong = parameters.read(self._parameters, typed)
        for parameter in self._parameters:
            line = self.query_one(f"#tells-{parameter.name}", Static)
            line.set_class(parameter.name in wrong, "bad")
            line.update(wrong.get(parameter.name, parameter.hint))
        told = parameters.changed(self._config, values).warnings()
        self.query_one("#parameters-about", Static).update("\n".join(told))
        return None if wrong else values

    def _typed(self, parameter: Parameter) -> str:
        if parameter.multiline:
            return self.query_one(TextArea).text
        return self.query_one(f"#{parameter.name}", Input).value

    def _field(self, parameter: Parameter) -> ComposeResult:
        shown = parameters.shown(self._config, parameter.name)
        default = parameters.default(self._config, parameter.name)
        placeholder = numeral(default, "g") if isinstance(default, int | float) else default
        with Horizontal(classes="field"):
            yield Label(parameter.title)
            if not parameter.multiline:
                yield Input(shown, placeholder=placeholder, id=parameter.name, compact=True)
            yield Static(parameter.hint, id=f"tells-{parameter.name}", classes="tells")
        if parameter.multiline:
            area = EditArea(shown, id=parameter.name, compact=True, tab_behavior="focus")
            area.highlight_cursor_line = False
            yield area


_LOOK_EVERY = 0.5
"""Seconds between two updates of state and memory."""


class _Engines(OptionList):
    """A list that shows Enter in the footer, and does not go round."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", tr("Choose"), id="engines_select")
    ]

    def action_cursor_up(self) -> None:
        if self.highlighted:
            super().action_cursor_up()

    def action_cursor_down(self) -> None:
        if self.highlighted != self.option_count - 1:
            super().action_cursor_down()


class EnginesScreen(Page, ModalScreen[str | None]):
    """A list of engines, with details of the highlighted one; returns the chosen engine's id."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "load", tr("Load"), id="engines_load"),
        Binding("u", "unload", tr("Unload"), id="engines_unload"),
        Binding("p", "parameters", tr("Parameters"), id="engines_parameters"),
        Binding("a", "add", tr("Add"), id="engines_add"),
        Binding("k", "key", tr("Key"), id="engines_key"),
        Binding("escape,f9", "dismiss", tr("Close"), id="engines_close"),
    ]

    def __init__(
        self, session: Session, registry: Registry, load: Callable[[str], Worker[None]]
    ) -> None:
        """`load` loads an engine in a worker that outlives this screen."""
        super().__init__()
        self._session = session
        self._registry = registry
        self._load = load
        self._availability: dict[str, Availability] = {}
        self._loading: Worker[None] | None = None
        self._told = ""
        self._list = _Engines(*(Option(self._prompt(name), id=name) for name in registry.ids))

    def compose(self) -> ComposeResult:
        with Vertical(id="engine-page"):
            yield Static(tr("Engines"), classes="heading")
            yield self._list
            with VerticalScroll(id="engine-body"):
                yield Static(id="engine-about", markup=False)
            yield Static(id="engine-told", markup=False)
        yield FittingFooter()

    def on_mount(self) -> None:
        self._list.highlighted = self._registry.ids.index(self._session.engine)
        self._look_afresh()
        self.set_interval(_LOOK_EVERY, self._draw)

    def on_option_list_option_highlighted(self) -> None:
        self._tell("")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_load(self) -> None:
        """Load the highlighted engine, even if the page is closed then."""
        availability, engine = self._availability.get(self._here), self._registry.get(self._here)
        if availability is None or (self._loading and not self._loading.is_finished):
            return
        told = ""
        if engine.verbatim:
            told = tr("The catalogue needs no loading.")
        elif engine.loaded:
            told = tr("Already loaded.")
        elif not availability.ready:
            told = tr("Can't load it: see above.")
        else:
            self._loading = self._load(self._here)
        self._tell(told)

    async def action_unload(self) -> None:
        """Unload the highlighted engine, or stop loading it."""
        if self._session.is_answering:
            self._tell(tr("Still answering. Escape in the chat stops it."))
            return
        if self._loading:
            self._loading.cancel()
        before = [name for name in self._registry.ids if self._registry.get(name).loaded]
        await self._registry.get(self._here).unload()
        gone = [name for name in before if not self._registry.get(name).loaded]
        titles = tr(" and ").join(one_line(self._session.titles[name]) for name in gone)
        unloaded = tr("Unloaded: {titles}.", titles=titles)
        self._tell(unloaded if gone else tr("Nothing to unload."))

    @work
    async def action_parameters(self) -> None:
        engine = self._registry.get(self._here)
        if engine.config.parameters():
            self._tell(await self.app.push_screen_wait(ParametersScreen(engine)) or "")
        else:
            self._tell(tr("The catalogue has no parameters."))

    @work
    async def action_add(self) -> None:
        """Look for servers on this machine, and add a model of one."""
        with reporting(self._tell):
            added = await add_model(self, self._tell)
            if added:
                await self._show_added(added)

    @work
    async def action_key(self) -> None:
        """Enter the highlighted engine's API key."""
        with reporting(self._tell):
            self._tell(await enter_key(self, self._registry.get(self._here), self._tell))
            self._look_afresh()

    async def _show_added(self, engine_id: str) -> None:
        await self._session.add_engine(engine_id)
        ids = self._registry.ids
        new = ids[self._list.option_count :]
        self._list.add_options(Option(self._prompt(name), id=name) for name in new)
        self._list.highlighted = ids.index(engine_id)
        self._look_afresh()
        title = self._session.titles[engine_id]
        self.call_after_refresh(
            self._tell, tr("✓ {title} is added, and answers from now on.", title=title)
        )

    def _tell(self, sentence: str) -> None:
        self._told = sentence
        self._draw()

    @work(exclusive=True)
    async def _look_afresh(self) -> None:
        # In a thread: it reads files, and keys must not wait.
        for name in self._registry.ids:
            engine = self._registry.get(name)
            self._availability[name] = await asyncio.to_thread(engine.availability)
            self._draw()
        ready = [name for name, state in self._availability.items() if state.ready]
        await asyncio.gather(*(self._registry.get(name).look_up() for name in ready))

    @property
    def _here(self) -> str:
        return self._registry.ids[self._list.highlighted or 0]

    def _draw(self) -> None:
        for name in self._registry.ids:
            self._list.replace_option_prompt(name, self._prompt(name))
        engine, availability = self._registry.get(self._here), self._availability.get(self._here)
        about = about_words(engine, availability)
        if availability and not availability.ready and engine.config.key_name():
            about.insert(0, tr("Press K to enter its API key and choose a model."))
        self.query_one("#engine-about", Static).update("\n".join(about))
        told = self.query_one("#engine-told", Static)
        told.set_class(self._told.startswith("✓"), "good")
        told.update(one_line(self._told))

    def _prompt(self, name: str) -> Content:
        here = name == self._session.engine
        title = f"{'●' if here else '○'} {self._session.titles[name]}"
        width = max(map(len, self._session.titles.values())) + 4
        # Content, because a title given as a string would be read as markup.
        engine = self._registry.get(name)
        facts = engine.facts()
        progress = self._session.progress if facts.loading else None
        state = state_words(engine.loaded, facts, self._availability.get(name), progress)
        return Content.assemble((f"{title:{width}}", "bold" if here else ""), (state, "dim"))
