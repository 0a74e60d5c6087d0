"""Dates near today are shown as words."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from engine.core import i18n
from engine.core.dates import DAY_WIDTH, WIDTH, spoken_date

TODAY = date(2026, 12, 1)


@pytest.mark.parametrize(
    ("day", "shown", "in_portuguese"),
    [
        (date(2026, 12, 1), "today 14:32", "hoje 14:32"),
        (date(2026, 11, 30), "yesterday 14:32", "ontem 14:32"),
        (date(2026, 11, 29), "Sun 14:32", "dom 14:32"),
        (date(2026, 11, 25), "Wed 14:32", "qua 14:32"),
        (date(2026, 11, 24), "24 Nov 14:32", "24 nov 14:32"),
        (date(2025, 12, 1), "1 Dec 2025", "1 dez 2025"),
        (date(2026, 12, 3), "3 Dec 14:32", "3 dez 14:32"),  # another machine's clock
    ],
)
def test_a_date_is_as_short_as_it_can_be(day: date, shown: str, in_portuguese: str) -> None:
    when = datetime(day.year, day.month, day.day, 14, 32)  # noqa: DTZ001 - local time
    assert spoken_date(when, TODAY) == shown
    assert len(shown) <= WIDTH
    assert len(spoken_date(when, TODAY, with_time=False)) <= DAY_WIDTH
    i18n.choose("pt")
    try:
        assert spoken_date(when, TODAY) == in_portuguese
    finally:
        i18n.choose("en")
