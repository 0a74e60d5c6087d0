"""Update the translations after a sentence in the code has changed.

python -m tools.translations

Reads every `tr("…")`, `tr_n("…", "…", n)` and `tr_of("…", "…")`, adds new sentences to
engine/locale/pt/…/balcao.po for you to translate, deletes unused ones, and compiles the file that
the program reads. Needs Babel, one of the `dev` packages.
"""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from engine.core.i18n import mo_file

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engine", "tui", "scripts")
KEYWORDS = {"tr": None, "tr_n": (1, 2), "tr_of": ((1, "c"), 2)}


def po_file(language: str) -> Path:
    """Return the file that translators edit."""
    return mo_file(language).with_suffix(".po")


def in_code() -> Catalog:
    """Return every translatable sentence of the program."""
    found = Catalog()
    for package in PACKAGES:
        for file, _line, message, comments, context in extract_from_dir(
            str(ROOT / package), method_map=[("**.py", "python")], keywords=KEYWORDS
        ):
            place: Any = (f"{package}/{file}", None)  # the types ask for a line, the code does not
            found.add(message, locations=[place], auto_comments=comments, context=context)
    return found


def translated(language: str) -> Catalog:
    """Return the sentences and translations in a language's file."""
    file = po_file(language)
    found = Catalog(locale=language)
    if file.exists():
        with file.open("rb") as stream:
            found = read_po(stream, locale=language)
    # A fixed date: the same sentences give the same file.
    found.creation_date = found.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    return found


def untranslated(catalog: Catalog) -> list[str]:
    """Return the sentences without a complete translation."""
    return [str(message.id) for message in catalog if message.id and not all(forms(message))]


def forms(message: Message) -> list[str]:
    """Return a sentence's translation: two forms if it has a plural."""
    text: Any = message.string
    return [text] if isinstance(text, str) else list(text or [""])


def compiled(catalog: Catalog) -> bytes:
    """Return the compiled file, always the same for the same sentences."""
    stream = io.BytesIO()
    write_mo(stream, catalog)
    return stream.getvalue()


def main() -> int:
    """Update and compile the file; return 1 if a sentence is not translated."""
    catalog = translated("pt")
    catalog.update(in_code(), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    stream = io.BytesIO()
    write_po(stream, catalog, width=100, sort_output=True, ignore_obsolete=True, omit_header=True)
    po_file("pt").parent.mkdir(parents=True, exist_ok=True)
    po_file("pt").write_bytes(stream.getvalue())
    mo_file("pt").write_bytes(compiled(translated("pt")))
    missing = untranslated(catalog)
    for message in missing:
        print(f"not translated: {message}", file=sys.stderr)
    print(f"{len(catalog)} sentences, {len(missing)} to translate")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
