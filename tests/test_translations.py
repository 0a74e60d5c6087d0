"""Every sentence of the chat stands in both languages, with the same things to fill in."""

from __future__ import annotations

import string
import subprocess
import sys
from typing import Any

import pytest

from engine.core import i18n
from tools import translations


def _ids(catalog: Any) -> set[tuple[Any, ...]]:
    return {
        (message.context, *(message.id if isinstance(message.id, list | tuple) else [message.id]))
        for message in catalog
        if message.id
    }


def _places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_no_sentence_is_missing_and_none_is_left_over() -> None:
    assert _ids(translations.translated("pt")) == _ids(translations.in_code())


def test_each_is_translated_and_has_the_same_things_to_fill_in() -> None:
    for message in translations.translated("pt"):
        if not message.id:
            continue
        originals = [message.id] if isinstance(message.id, str) else list(message.id)
        strings = translations.forms(message)
        assert all(strings), originals
        assert not message.fuzzy, originals
        wanted = set().union(*(_places(one) for one in originals))
        for text in strings:
            assert _places(text) <= wanted, (originals, text)
            assert isinstance(message.id, tuple | list) or _places(text) == wanted, (
                originals,
                text,
            )


def test_what_the_program_reads_is_what_people_edit() -> None:
    assert i18n.mo_file("pt").read_bytes() == translations.compiled(translations.translated("pt"))


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, "en"),
        ({"LANG": "pt_BR.UTF-8"}, "pt"),
        ({"LANG": "pt_PT.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "pt_BR.UTF-8"}, "pt"),
        ({"LANG": "de_DE.UTF-8", "LANGUAGE": "pt:en"}, "pt"),
        ({"LANG": "C.UTF-8"}, "en"),
    ],
)
def test_the_language_is_that_of_the_locale(environ: dict[str, str], language: str) -> None:
    assert i18n.of_locale(environ) == language


def test_the_setting_goes_before_the_locale() -> None:
    code = (
        "from engine.core import i18n; i18n.choose('pt', {'LANG': 'en_US'});"
        "from engine.chat.wording import ending; from engine.core.types import StopReason;"
        "print(i18n.tr('word for word')); i18n.choose('auto', {'LANG': 'en_US'});"
        "print(i18n.tr('word for word'))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=None
    ).stdout.split("\n")
    assert said[:2] == ["palavra por palavra", "word for word"]


@pytest.mark.usefixtures("in_portuguese")
def test_numbers_are_written_as_in_portuguese() -> None:
    label = i18n.tr("{count:,} rows, {rate:,.0f} a second", count=1_234_567, rate=89.0)
    assert label == "1.234.567 linhas, 89 por segundo"
    size = i18n.tr("{count:,}, {size:.1f} MB ({file})", count=2, size=1.5, file="a,b.c")
    assert "1,5 MB" in size
    assert "a,b.c" in size
