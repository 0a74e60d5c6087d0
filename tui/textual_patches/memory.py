"""Keep garbage collection pauses short, and between repaints.

Python's full collection walks every live object: 20 to 60 ms for an open chat, and 150 ms or more
with the closed pages that Textual caches. Python starts it at any time, also during a repaint that
the user is waiting for. Python 3.14 collects in small steps and needs none of this.
"""

from __future__ import annotations

import asyncio
import gc

from textual._styles_cache import StylesCache

_DEFAULT_THRESHOLDS = gc.get_threshold()
_NEVER = 1 << 30
_YOUNG_COLLECTIONS = 20
"""Young collections before a full one; Python's default is 10."""
_PAUSE = 0.02
"""Seconds between a repaint and a collection: pending keys are drawn by then."""
_FULL = 2


def start() -> None:
    """Exempt what the first frame allocated; leave full collections to `collect_soon`."""
    gc.freeze()
    gc.set_threshold(*_DEFAULT_THRESHOLDS[:2], _NEVER)
    gc.enable()
    if _clear_style_cache not in gc.callbacks:
        gc.callbacks.append(_clear_style_cache)


def stop() -> None:
    """Restore Python's own collection when the chat ends."""
    gc.set_threshold(*_DEFAULT_THRESHOLDS)


def collect_soon() -> None:
    """Schedule a full collection after a repaint, if one is due."""
    if gc.get_count()[_FULL] >= _YOUNG_COLLECTIONS:
        asyncio.get_running_loop().call_later(_PAUSE, _collect)


def _collect() -> None:
    if gc.get_count()[_FULL] >= _YOUNG_COLLECTIONS:
        gc.collect()


def _clear_style_cache(phase: str, info: dict[str, int]) -> None:
    """Drop Textual's cache of 1,024 colour pairs: its keys keep closed pages alive."""
    if phase == "start" and info["generation"] == _FULL:
        StylesCache.get_inner_outer.cache_clear()
