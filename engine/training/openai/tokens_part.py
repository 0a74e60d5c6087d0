"""Counts the tokens of training rows: by tiktoken where it works, else by the characters.

tiktoken is optional, and it downloads its tables once; without them an estimate has to do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from engine.backends.openai.lifetimes_part import base_model

_BYTES_PER_TOKEN = 4
"""A usual figure for English in UTF-8; it errs upwards for plain prose."""
_PER_MESSAGE, _PER_ROW = 4, 3
"""Tokens around each message (three marks and the role) and before the answer, as OpenAI's own
guide to counting has it for its chat models."""
_FALLBACK_ENCODING = "o200k_base"
_TABLES_WAIT = 20.0
"""Seconds that tiktoken gets for its tables: it sets itself no limit."""


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """How many tokens a text has; `exact` says whether it is counted or estimated."""

    count: Callable[[str], int]
    exact: bool

    def row(self, texts: Sequence[str]) -> int:
        """The tokens of a row, from its messages' texts."""
        return _PER_ROW + sum(_PER_MESSAGE + self.count(text) for text in texts)


class _Encoding(Protocol):
    def encode_ordinary(self, text: str) -> list[int]: ...


def counter_for(model: str) -> TokenCounter:
    """The best counter at hand for a model; `ft:…` counts as its base."""
    encoding = _encoding(base_model(model))
    if encoding is None:
        return TokenCounter(_estimate, exact=False)
    return TokenCounter(lambda text: len(encoding.encode_ordinary(text)), exact=True)


def _estimate(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


def _encoding(base: str) -> _Encoding | None:
    """The encoding of tiktoken, or None if it cannot be had in reasonable time."""
    if find_spec("tiktoken") is None:
        return None
    found: list[_Encoding] = []

    def look() -> None:
        tiktoken = import_module("tiktoken")
        try:
            name = tiktoken.encoding_name_for_model(base)
        except KeyError:
            name = _FALLBACK_ENCODING
        try:
            found.append(tiktoken.get_encoding(name))
        except (ImportError, OSError, ValueError):
            # No network (requests' errors are OSErrors), or another file than the one expected.
            return

    thread = threading.Thread(target=look, daemon=True, name="tiktoken")
    thread.start()
    thread.join(_TABLES_WAIT)
    return found[0] if found else None
