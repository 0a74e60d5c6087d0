"""Count what the first products of a data set lack or repeat, and their languages."""

from __future__ import annotations

from collections import Counter
from typing import Any

from engine.catalogue.language.phrases import language_of
from engine.core.types import Language

SURVEYED = 10_000
"""Products that are looked at; a survey of millions would take minutes."""
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
