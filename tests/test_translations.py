"""Every sentence of the chat stands in both languages, with the same things to fill in."""

from __future__ import annotations

import ast
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from engine import i18n
from scripts import translations


def _ids(catalog: Any) -> set[str | tuple[str, ...]]:
    return {
        tuple(message.id) if isinstance(message.id, list | tuple) else message.id
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
        "from engine import i18n; i18n.choose('pt', {'LANG': 'en_US'});"
        "from engine.wording import ending; from engine.types import StopReason;"
        "print(i18n.tr('word for word')); i18n.choose('auto', {'LANG': 'en_US'});"
        "print(i18n.tr('word for word'))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=None
    ).stdout.split("\n")
    assert said[:2] == ["palavra por palavra", "word for word"]


def test_no_sentence_of_the_chat_is_left_untranslatable() -> None:
    bare = {
        f"{file.relative_to(translations.ROOT)}: {text}"
        for file in [*sorted((translations.ROOT / "tui").rglob("*.py")), *_WORDS]
        for text in _bare_sentences(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert not bare


_WORDS = [translations.ROOT / "engine" / name for name in ("parameters.py", "engine_words.py")]
"""What the chat's pages tell that is not in `tui`."""
_SENTENCE = re.compile(r"[A-Za-z]{2,}[,;:.]? .*[a-z]{2,}|^[A-Z][a-z]+[.…]$|^ (?:and|or|and no) $")
_NOT_SHOWN = re.compile(
    r"^(?:bold|dim|italic|underline|reverse|strike|not|on|\$[\w-]+| )+$"  # styles
    r"|^set enable-bracketed-paste off$|^\s*@font-face|#[\w-]+|^-- |^[\w.]+ > "
)
_QUIET = {"tr", "tr_n", "query_one", "query", "compile", "AssertionError", "TypeVar", "cast"}


def _bare_sentences(tree: ast.Module) -> Iterator[str]:
    """Strings of several words that are neither told to nobody nor looked up in the catalogue."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            skipped |= {id(one.value) for one in body if isinstance(one, ast.Expr)}
        name = ""
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        styled = isinstance(node, ast.Assign | ast.AnnAssign) and "CSS" in ast.unparse(node)[:40]
        if name in _QUIET or styled:
            skipped |= {id(one) for one in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            shown = _SENTENCE.search(node.value) and not _NOT_SHOWN.search(node.value)
            if shown and id(node) not in skipped:
                yield node.value
