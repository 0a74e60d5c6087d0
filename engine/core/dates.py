"""Say when something was, as short as its distance from today allows."""

from __future__ import annotations

from datetime import date, datetime

from engine.core.i18n import tr

_WEEK = 7
WIDTH, DAY_WIDTH = 15, 11
"""Columns of the longest text, with the time and without."""


def spoken_date(when: datetime, today: date, *, with_time: bool = True) -> str:
    """Return “today 14:32”, “Fri 14:32”, “20 Nov 14:32” or “20 Nov 2025”."""
    time = f" {when:%H:%M}" if with_time else ""
    past = (today - when.date()).days
    if past in (0, 1):
        return (tr("yesterday") if past else tr("today")) + time
    if 1 < past < _WEEK:
        return _weekdays()[when.weekday()] + time
    day = f"{when.day} {_months()[when.month - 1]}"
    return day + time if when.year == today.year else f"{day} {when.year}"


def _weekdays() -> list[str]:
    return tr("Mon Tue Wed Thu Fri Sat Sun").split()


def _months() -> list[str]:
    return tr("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split()
