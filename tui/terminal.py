"""What is known of the terminal without asking it; for the choice of a face and for the doctor."""

from __future__ import annotations

import os
from collections.abc import Mapping

_DUMB = frozenset({"", "dumb", "unknown"})


def is_dumb(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the terminal can do no more than write lines, by its name in `TERM`."""
    return (os.environ if environ is None else environ).get("TERM", "") in _DUMB
