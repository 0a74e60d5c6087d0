"""Counters of reading: rows, rejections, and what the first products lack or repeat."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from engine.catalogue.language.phrases import language_of
from engine.core.i18n import tr
from engine.core.types import Language, Progress

SURVEYED = 10_000
"""Products that are looked at; a survey of millions would take minutes."""
_BAD_LINES = 5
"""Rejected rows whose lines are named."""
_LANGUAGES_OF = 200
_DESCRIPTION = 200
"""Characters of a description that are enough for its language."""
_BOTH: tuple[Language, Language] = ("en", "pt")


class Survey:
    """Count the products without a description, the repeated ones, and languages."""

    def __init__(self) -> None:
        self.products = 0
        self.no_description = 0
        self.duplicates = 0
        self.languages: Counter[str] = Counter()
        self._texts: set[int] = set()

    def add(self, title: str | None, content: str | None) -> None:
        """Count a product."""
        self.products += 1
        texts = hash((title, content))
        self.duplicates += texts in self._texts
        self._texts.add(texts)
        if not content:
            self.no_description += 1
        elif sum(self.languages.values()) < _LANGUAGES_OF:
            found = {language_of(content[:_DESCRIPTION], one) for one in _BOTH}
            self.languages[found.pop() if len(found) == 1 else "unclear"] += 1

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, as a manifest records them."""
        return {
            "products": self.products,
            "no_description": self.no_description,
            "duplicates": self.duplicates,
            "languages": dict(sorted(self.languages.items())),
        }


@dataclass(slots=True)
class Counts:
    """Counters that are updated during reading and cleaning.

    `rejected` counts rows by reason, `changed` texts by the cleaning rule that changed them.
    `bytes_read` and `bytes_total` count the file on disk; the total is 0 for standard input.
    `sha256` is set when the whole source was read. `columns` are the names of the fields where a
    file has others, `bad_lines` the first rejected ones with the reason, and `survey` counts among
    the first products.
    """

    read: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    bytes_total: int = 0
    sha256: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    bad_lines: list[tuple[int, str]] = field(default_factory=list)
    survey: Survey = field(default_factory=Survey)
    started: float = field(default_factory=time.monotonic)

    def progress(self) -> Progress:
        """Report rows read, rows per second and the share of the source."""
        rate = self.read / max(time.monotonic() - self.started, 1e-3)
        label = tr("{count:,} rows, {rate:,.0f} a second", count=self.read, rate=rate)
        share = min(1.0, self.bytes_read / self.bytes_total) if self.bytes_total else None
        return Progress(label, share)

    def as_dict(self) -> dict[str, Any]:
        """Return the counters that a manifest records."""
        return {
            "read": self.read,
            "kept": self.kept,
            "rejected": dict(sorted(self.rejected.items())),
            "changed": dict(sorted(self.changed.items())),
            **({"columns": self.columns} if self.columns else {}),
            **({"bad_lines": self.bad_lines} if self.bad_lines else {}),
            "survey": self.survey.as_dict(),
        }

    def reject(self, line: int, reason: str) -> None:
        """Count the row at `line` as rejected."""
        self.rejected[reason] += 1
        if len(self.bad_lines) < _BAD_LINES:
            self.bad_lines.append((line, reason))
