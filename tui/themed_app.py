"""An app with the chat's themes: it begins with that of the settings, and saves another choice."""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.events import DescendantFocus
from textual.reactive import Reactive
from textual.theme import Theme
from textual.widgets import Input, TextArea

from engine.config.settings import Settings
from engine.core.errors import BalcaoError, SettingsError
from engine.core.i18n import tr
from tui import themes


class ThemedApp(App[None]):
    """Looks as the settings say: theme, and motion."""

    # As the default: set later, it would make Textual parse all CSS again before the first frame.
    theme = Reactive(themes.DARK.name)

    def __init__(self, settings: Settings, **options: Any) -> None:  # noqa: ANN401 - those of an app
        """Raises SettingsError for an unknown theme."""
        super().__init__(**options)
        self._settings = settings
        self._choose_look(settings)

    def _choose_look(self, settings: Settings) -> None:
        wanted = themes.DARK.name if settings.theme == themes.AUTO else settings.theme
        if wanted not in self.available_themes:
            names = ", ".join(sorted(self.available_themes))
            raise SettingsError(
                tr("There is no theme named “{wanted}”.", wanted=wanted),
                tr("The themes are: {available_themes}.", available_themes=names),
            )
        self.theme = self._saved_theme = wanted
        if settings.motion == "reduced":
            self.animation_level = "none"

    @property
    def available_themes(self) -> dict[str, Theme]:
        """Textual's themes and the chat's."""
        return super().available_themes | themes.THEMES

    def get_theme(self, theme_name: str) -> Theme | None:
        """Return a theme by name; Textual asks at each rule with :light or :dark."""
        return themes.THEMES.get(theme_name) or super().get_theme(theme_name)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Stop the cursor from blinking if motion is reduced."""
        if self._settings.motion == "reduced" and isinstance(event.widget, TextArea | Input):
            event.widget.cursor_blink = False

    def search_themes(self) -> None:
        """Let the user choose a theme."""
        from textual.theme import ThemeProvider

        from tui.screens.dialogs import Palette

        self.push_screen(Palette(tr("Search for themes…"), ThemeProvider))

    def save_theme_changes(self) -> None:
        """Save each theme that the user chooses from now on."""
        self.theme_changed_signal.subscribe(self, self._save_theme)

    def _save_theme(self, theme: Theme) -> None:
        if theme.name == self._saved_theme:
            return
        self._saved_theme = theme.name
        from engine.config import edit

        try:
            edit.save({"theme": theme.name})
        except BalcaoError as error:
            self.notify(
                tr("Theme not saved. {error}", error=error), severity="warning", markup=False
            )
