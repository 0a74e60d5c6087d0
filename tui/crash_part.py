"""What is left behind when the program itself fails: a report without the values of variables."""

from __future__ import annotations

import sys
import traceback

from engine.config import paths
from engine.core.i18n import tr
from engine.core.text import printable


def crash_report() -> str:
    """Write down the exception that is being handled; returns a sentence about it for a person.

    Textual would print every local variable, and one of them may be a key: the report has the
    places in the code and the exception's own words.
    """
    report = printable(traceback.format_exc())
    file = paths.crash_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(report, encoding="utf-8")
        where = tr("The report is in {file}.").format(file=file)
    except OSError:
        where = tr("The report:") + f"\n{report}"
    error = sys.exc_info()[1]
    return tr(
        "Balcão stopped because of a mistake of its own ({name}). Your conversation "
        "is kept up to here. {where}"
    ).format(name=type(error).__name__, where=where)
