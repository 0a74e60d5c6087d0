"""Translate the program's messages with gettext: English and Portuguese.

English is in the code, Portuguese in `locale/` (tools/translations.py). The language of an answer
depends on the question instead (engine/catalogue/language/phrases.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gettext import GNUTranslations

Choice = Literal["auto", "en", "pt"]

LOCALE = Path(__file__).resolve().parent.with_name("locale")
DOMAIN = "balcao"
_VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
"""In gettext's order."""

_chosen: GNUTranslations | Literal[False] | None = None
"""None before the choice; False for English, which does not need gettext."""


def choose(language: Choice = "auto", environ: Mapping[str, str] | None = None) -> None:
    """Set the language before modules translate at their top level; `auto` is the locale's."""
    global _chosen  # noqa: PLW0603 - a process speaks one language
    wanted = of_locale(os.environ if environ is None else environ)
    file = mo_file("pt")
    if (language if language != "auto" else wanted) == "pt" and file.exists():
        from gettext import GNUTranslations

        with file.open("rb") as stream:
            _chosen = GNUTranslations(stream)
    else:
        _chosen = False


def of_locale(environ: Mapping[str, str]) -> Literal["en", "pt"]:
    """Return the environment's language."""
    said = next((environ[name] for name in _VARIABLES if environ.get(name)), "")
    return "pt" if said.casefold().startswith("pt") else "en"


def mo_file(language: str) -> Path:
    """Return the file of a language's compiled messages."""
    return LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.mo"


def spoken() -> Literal["en", "pt"]:
    """Return the program's language."""
    return "pt" if _translations() else "en"


def tr(message: str, /, **values: object) -> str:
    """Translate `message` into the user's language and fill in `values`."""
    found = _translations()
    return _filled(found.gettext(message) if found else message, values)


def tr_of(context: str, message: str, /, **values: object) -> str:
    """Translate a word whose translation depends on its context."""
    found = _translations()
    return _filled(found.pgettext(context, message) if found else message, values)


def tr_n(one: str, many: str, count: int, /, **values: object) -> str:
    """Translate the singular or the plural sentence, chosen by `count`, and fill it in."""
    found, values = _translations(), {"count": count, **values}
    if found:
        return _filled(found.ngettext(one, many, count), values)
    return _filled(one if count == 1 else many, values)


def numeral(value: float, form: str) -> str:
    """Format a number in the program's language: 1,234.5 or 1.234,5."""
    text = format(value, form)
    return text.translate(_TURNED) if _translations() else text


def _filled(message: str, values: dict[str, object]) -> str:
    if not values:
        return message
    return _NUMBERS.vformat(message, (), values) if _chosen else message.format(**values)


class _Numbers(Formatter):
    """Format numbers as in Portuguese: 1.234,5."""

    def format_field(self, value: object, format_spec: str) -> str:
        text: str = super().format_field(value, format_spec)
        return text.translate(_TURNED) if isinstance(value, int | float) else text


_NUMBERS = _Numbers()
_TURNED = str.maketrans(",.", ".,")


def _translations() -> GNUTranslations | Literal[False] | None:
    if _chosen is None:
        choose()
    return _chosen
