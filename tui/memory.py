"""Keeps the collector's pauses short in a chat that stays open for days; started by the app.

Python's collector walks over everything that is alive, and the chat stands still for as long: 20 ms
over what a new chat holds, 150 ms and more over what Textual would keep of pages that are closed.
"""

from __future__ import annotations

import gc

from textual._styles_cache import StylesCache


def settle() -> None:
    """Call once the first frame is drawn: what it took is there to stay, the rest is collected."""
    gc.freeze()
    gc.enable()
    if _let_go not in gc.callbacks:
        gc.callbacks.append(_let_go)


def _let_go(phase: str, info: dict[str, int]) -> None:
    """Before everything is walked over, drop what nobody needs.

    Textual remembers two colours for each of the last 1,024 widgets, by the widget's whole cache of
    drawn lines: those of a closed page, or of a turn that was scrolled away, would stay.
    """
    if phase == "start" and info["generation"] == 2:  # noqa: PLR2004 - the last one: everything
        StylesCache.get_inner_outer.cache_clear()
