"""No words that a person of the chat can see are left in English alone: found in the code itself.

What is looked at is the chat, `--plain`, the commands around it, and every part of the engine whose
messages reach them. What is left out is named below, with the reason.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.backends.openai import discover
from engine.models import small
from scripts import cli
from tools import translations
from tui.widgets import welcome

ROOT = translations.ROOT

_NO_PART_OF_IT = {
    "engine/evaluation/": "the report of `balcao evaluate`, which is in English",
    "engine/models/export.py": "a model card and a Modelfile",
    "engine/training/": "told in the terminal of a training (but see _SEEN_IN_F10)",
    "engine/catalogue/rows/prepare.py": "`balcao prepare` alone",
    "engine/catalogue/rows/": "`balcao prepare` and `balcao train` alone",
    "engine/catalogue/clean.py": "names of rules, counted in a manifest",
    "engine/chat/picks.py": "words that pick from a list, in both languages",
    "engine/catalogue/language/": "words of questions and records, in both languages",
    "engine/catalogue/rank.py": "words that a question has besides what it asks for",
    "engine/catalogue/families.py": "words by which editions differ, in both languages",
    "engine/catalogue/folding.py": "words that a question has besides the title",
    "engine/catalogue/taught.py": "words that a question has besides the title",
    "engine/chat/alternatives.py": "words of questions",
    "engine/chat/followup.py": "words of questions",
    "engine/fidelity/tokens.py": "words that weigh little, or turn a sentence, in both languages",
    "engine/prompts.py": "what models are told, word for word as in training",
    "scripts/": "commands with a terminal of their own (but see _THE_CHATS)",
}
_SEEN_IN_F10 = {
    ROOT / "engine/training/failures.py",
    *(ROOT / "engine/training/runs" / f"{name}.py" for name in ("display", "status", "view")),
}
_THE_CHATS = {
    ROOT / "scripts" / f"{name}.py"
    for name in (
        "ask", "cli", "common", "doctor", "engines", "history", "keys", "models", "serve"
    )
}  # fmt: skip

_DATA = {
    "standard input", "archive cut or broken", "repeated uid", "line too long", "wrong type",
    "field missing", "no uid", "no title and no description", "broken quotes", "too many columns",
    "too few columns",  # in a catalogue's manifest
    "llama.cpp model", "llama.cpp adapter",  # in that of a copy
    "Base Llama", "LoRA Llama",  # translated by `EngineConfig.shown_title`
    "# Engines that the program has added. settings.toml goes over this file: change them there.\n",
    "# Keys, written by `balcao keys set`. Only its owner may read this file.\n",
    "balcao models pull ",  # a command
    "every conversation, the latest first", "the conversations that have these words",  # --help
    *(what for _, what in cli.COMMANDS.values()),  # --help
    "unrecognized arguments: ",  # as argparse says it
    "copy for ",  # a kind, in `balcao models`
    "the name ", " begins with an underscore",  # of a chat template, as Jinja says it
    *discover.PORTS,  # names of programs
    *welcome.TITLES,  # of the sample catalogue
    small._NOTICE,  # a licence
}  # fmt: skip
"""Kept or typed, and not told."""

_SENTENCE = re.compile(r"[A-Za-z]{2,}[,;:.]? .*[a-z]{2,}|^[A-Z][a-z]+[.…]$|^ (?:and|or|and no) $")
_NOT_SHOWN = re.compile(
    r"^(?:bold|dim|italic|underline|reverse|strike|not|on|\$[\w-]+| )+$"  # styles
    r"|^set enable-bracketed-paste off$|^\s*@font-face|#[\w-]+|^-- |^[\w.]+ > "
    r"|\b(?:SELECT|FROM|WHERE|INSERT|CREATE|UPDATE|DELETE|PRAGMA|DROP|ALTER|COPY|SET"
    r"|VALUES|ORDER BY|NOT NULL|coalesce)\b"
    r"|^tokenize = |AND json_valid|^ --set accumulate=$|^import torch\n"
    r"|^engine\.retrieval\.folding|^, cut at blanks$"
    r"|^(?:allocate memory|out of memory|not enough memory|could not create a primitive"
    r"|no space left|file write failed|connection (?:closed|reset) by peer"  # what torch says
    r"|Found missing adapter keys)$"
    r"|^(?:tmux|wl-paste|xclip|xsel) "  # commands of clipboards
)
_LOOKED_UP = {"tr", "tr_n", "tr_of"}
_QUIET = {
    *_LOOKED_UP, "query_one", "query", "compile", "AssertionError", "TypeVar", "cast", "mark",
    # --help is in English, as the names of the commands are.
    "add_argument", "add_parser", "action", "ArgumentParser",
}  # fmt: skip
_TELLING = {
    "BalcaoError", "UsageError", "SettingsError", "DataError", "CatalogueError", "StoreError",
    "EngineError", "EngineUnavailable", "EngineFailed", "Problem", "Availability", "Progress",
    "Static", "Label", "Option", "tell", "notify", "say", "_tell", "_not_ready", "setting_hint",
}  # fmt: skip
"""What is given to these is told to a person, were it a single word."""


def _files() -> Iterator[Path]:
    for package in ("engine", "tui", "scripts"):
        for file in sorted((ROOT / package).rglob("*.py")):
            name = str(file.relative_to(ROOT))
            out = any(name.startswith(part) for part in _NO_PART_OF_IT)
            if not out or file in _SEEN_IN_F10 | _THE_CHATS:
                yield file


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return str(getattr(node.func, "id", getattr(node.func, "attr", "")))


def _unseen(tree: ast.Module) -> set[int]:
    """Docstrings, styles, keys of a mapping, and what is looked up in the catalogue already."""
    found: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            found |= {id(one.value) for one in body if isinstance(one, ast.Expr)}
        styled = isinstance(node, ast.Assign | ast.AnnAssign) and "CSS" in ast.unparse(node)[:40]
        if _called(node) in _QUIET or styled:
            found |= {id(one) for one in ast.walk(node)}
        if isinstance(node, ast.Subscript):
            found |= {id(one) for one in ast.walk(node.slice)}
    return found


def bare_sentences(tree: ast.Module) -> Iterator[str]:
    """Strings of several words that are neither told to nobody nor looked up in the catalogue."""
    unseen = _unseen(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            shown = _SENTENCE.search(node.value) and not _NOT_SHOWN.search(node.value)
            if shown and id(node) not in unseen and node.value not in _DATA:
                yield node.value


def bare_words(tree: ast.Module) -> Iterator[str]:
    """Words, be it one, that are given to what tells them."""
    unseen = _unseen(tree)
    for call in ast.walk(tree):
        if _called(call) not in _TELLING or not isinstance(call, ast.Call):
            continue
        named = [one.value for one in call.keywords if one.arg in ("message", "remedy", "reason")]
        for given in [*call.args, *named]:
            for node in ast.walk(given):
                if id(node) in unseen or not isinstance(node, ast.Constant):
                    continue
                if re.search(r"[A-Za-z]{3}", str(node.value)) and node.value not in _NAMES:
                    yield str(node.value)


_NAMES = {
    "balcao: ", "[engines.", "--json", "model", "adapter", "utf-8", "replace", None, True, False,
    "base", "lora", "search",
}  # fmt: skip
"""The program's and the settings' own, in any language."""


def spoken_at_import(tree: ast.Module) -> Iterator[str]:
    """What is looked up while the module is imported, before the settings name the language."""
    late: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            late |= {id(one) for statement in node.body for one in ast.walk(statement)}
        elif isinstance(node, ast.Lambda):
            late |= {id(one) for one in ast.walk(node.body)}
    for node in ast.walk(tree):
        if _called(node) in _LOOKED_UP and id(node) not in late:
            yield ast.unparse(node)


def test_no_sentence_is_left_untranslatable() -> None:
    bare = {
        f"{file.relative_to(ROOT)}: {text}"
        for file in _files()
        for text in bare_sentences(_tree(file))
    }
    assert not bare


def test_no_word_is_told_that_is_not_looked_up() -> None:
    bare = {
        f"{file.relative_to(ROOT)}: {text}" for file in _files() for text in bare_words(_tree(file))
    }
    assert not bare


def test_only_the_chat_which_is_imported_late_speaks_at_import() -> None:
    """The engine and the commands are imported before the settings are read; `tui` after."""
    early = {
        f"{file.relative_to(ROOT)}: {call}"
        for package in ("engine", "scripts")
        for file in sorted((ROOT / package).rglob("*.py"))
        for call in spoken_at_import(_tree(file))
    }
    assert not early


def test_what_the_system_says_of_a_file_is_looked_up_too() -> None:
    """`engine.core.errors.why` has it in both languages."""
    bare = {
        str(file.relative_to(ROOT))
        for file in _files()
        for node in ast.walk(_tree(file))
        if isinstance(node, ast.Attribute) and node.attr == "strerror"
    }
    assert not bare


def test_what_is_left_out_is_there() -> None:
    assert all((ROOT / name).exists() for name in _NO_PART_OF_IT)
    assert all(file.exists() for file in _SEEN_IN_F10 | _THE_CHATS)


@pytest.mark.parametrize(
    "code",
    [
        "raise EngineFailed('The model has gone away.')",
        "again = 'Ask again: the model is loaded anew.'",
        "told = f'{server} cannot be reached.'",
        "raise DataError(tr('It is broken.'), f'Mend {file} by hand.')",
        "_REMEDY = 'Make room on the disk.'",
    ],
)
def test_an_english_sentence_is_found(code: str) -> None:
    assert list(bare_sentences(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "Progress('ready', 1.0)",
        "UsageError(tr('{names} are missing.').format(names=kind or 'nothing'))",
        "bar.tell('importing…')",
        "Availability(ready=False, reason='broken')",
    ],
)
def test_an_english_word_is_found(code: str) -> None:
    assert list(bare_words(ast.parse(code)))


@pytest.mark.parametrize(
    ("code", "early"),
    [
        ("WORD = tr('ready')", True),
        ("class A:\n    word = {'a': tr('ready')}", True),
        ("def f(word=tr('ready')): ...", True),
        ("def f():\n    return tr('ready')", False),
        ("words = lambda: tr('ready')", False),
    ],
)
def test_a_word_that_is_spoken_too_early_is_found(code: str, early: bool) -> None:
    assert bool(list(spoken_at_import(ast.parse(code)))) is early
