"""What is known of the terminal without asking it; for the choice of a face and for the doctor."""

from __future__ import annotations

import os
from collections.abc import Mapping

_DUMB = frozenset({"", "dumb", "unknown"})
COLUMNS, LINES = 60, 20
"""What the chat's screens are laid out for, at the least."""
SIXTEEN, MANY, ALL = 16, 256, 1 << 24


def is_dumb(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the terminal can do no more than write lines, by its name in `TERM`."""
    return (os.environ if environ is None else environ).get("TERM", "") in _DUMB


def colours(environ: Mapping[str, str] | None = None) -> int:
    """How many colours the terminal has, by the rules by which Rich, and so Textual, counts them.

    `TEXTUAL_COLOR_SYSTEM` goes before what the terminal says of itself.
    """
    environ = os.environ if environ is None else environ
    told = {"standard": SIXTEEN, "256": MANY, "truecolor": ALL}
    if environ.get("TEXTUAL_COLOR_SYSTEM") in told:
        return told[environ["TEXTUAL_COLOR_SYSTEM"]]
    if environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return ALL
    if is_dumb(environ):
        return 0
    last = environ.get("TERM", "").strip().lower().rpartition("-")[2]
    return MANY if last in ("256color", "kitty") else SIXTEEN


def no_colour(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the person wants none: `NO_COLOR` is set, and to something (no-color.org)."""
    return bool((os.environ if environ is None else environ).get("NO_COLOR"))
