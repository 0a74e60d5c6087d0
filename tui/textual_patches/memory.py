"""Keeps the collector's pauses short, and out of the way, in a chat that stays open for days.

Python's collector walks over everything that is alive, and the chat stands still for as long: 20 to
60 ms over what a chat holds, 150 ms and more over what Textual would keep of pages that are closed.
By itself it does so in the midst of a drawing, whose own time is then twice as long for who types.
"""

from __future__ import annotations

import asyncio
import gc

from textual._styles_cache import StylesCache

_USUAL = gc.get_threshold()
_NEVER = 1 << 30
_DUE = 20
"""Lesser collections before one of everything; the collector's own measure is 10."""
_PAUSE = 0.02
"""Seconds after a drawing: what was typed meanwhile is drawn by then, and no other is due yet."""


def start() -> None:
    """Freeze what the first frame allocated; leave full collections to `collect_soon`.

    Python 3.14 collects in small steps anyway, and goes on to.
    """
    gc.freeze()
    gc.set_threshold(*_USUAL[:2], _NEVER)
    gc.enable()
    if _drop_style_caches not in gc.callbacks:
        gc.callbacks.append(_drop_style_caches)


def stop() -> None:
    """Call when the chat ends: the collector goes by itself again."""
    gc.set_threshold(*_USUAL)


def collect_soon() -> None:
    """Call after a drawing: collect in the pause that follows it, if that is due."""
    if gc.get_count()[2] >= _DUE:
        asyncio.get_running_loop().call_later(_PAUSE, _collect)


def _collect() -> None:
    if gc.get_count()[2] >= _DUE:
        gc.collect()


def _drop_style_caches(phase: str, info: dict[str, int]) -> None:
    """Before everything is walked over, drop what nobody needs.

    Textual remembers two colours for each of the last 1,024 widgets, by the widget's whole cache of
    drawn lines: those of a closed page, or of a turn that was scrolled away, would stay.
    """
    if phase == "start" and info["generation"] == 2:  # noqa: PLR2004 - the last one: everything
        StylesCache.get_inner_outer.cache_clear()
