"""Call the user back to the terminal once something long is finished."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from engine.config.settings import Settings
from tui.terminal import notification

if TYPE_CHECKING:
    from textual.app import App

LONG = 5.0
"""Seconds from which on the user may have turned to another window."""


@contextmanager
def calling_back(app: App[Any], text: str, settings: Settings) -> Iterator[None]:
    """Notify with `text` after a long block without an exception, if the terminal has no focus."""
    begun = monotonic()
    yield
    driver = app._driver  # noqa: SLF001 - no public API
    if settings.notify and driver and not app.app_focus and monotonic() - begun >= LONG:
        driver.write(notification(text))
