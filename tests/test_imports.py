"""What start-up loads: only Textual, the standard library, and light modules of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch", "transformers", "peft", "openai", "trl", "accelerate", "bitsandbytes", "datasets",
    "sentencepiece", "tokenizers", "numpy", "huggingface_hub", "pandas", "scipy", "pydantic",
}  # fmt: skip


LATER = {"engine.chat.answer", "engine.catalogue.catalogue", "engine.store.database"}
"""Modules of ours that are loaded after the first frame."""
OTHERS = 45
"""Modules of others that the first frame may have loaded over an empty app's."""
FIRST_FRAME = """
import sys
loaded = []
def note(event, arguments):
    if event == "import":
        loaded.append(arguments[0])
sys.addaudithook(note)
import scripts.cli, tui.textual_patches.typeahead
from engine.core import i18n
from engine.config.settings import load
settings = load()
i18n.choose(settings.language)
from tui.app import BalcaoApp
async def leave(pilot):
    while "engine.chat.open" not in sys.modules:
        await pilot.pause()
    pilot.app.exit()
BalcaoApp(settings).run(headless=True, auto_pilot=leave)
# The pane is filled, and the catalogue opened, when the frame has been drawn.
behind = loaded.index("tui.widgets.welcome")
print(*(name for name in dict.fromkeys(loaded[:behind]) if name in sys.modules))
"""
EMPTY = """
import sys
from textual.app import App
async def leave(pilot):
    pilot.app.exit()
App().run(headless=True, auto_pilot=leave)
print(*sys.modules)
"""


def printed_by(script: str, **variables: str) -> set[str]:
    """The words that a fresh interpreter prints when it runs `script`."""
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | variables,
    )
    return set(found.stdout.split())


def loaded_after(script: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded once `script` has run."""
    report = f"{script}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return printed_by(report)


@pytest.mark.parametrize(
    "script",
    [
        "import tui.app, tui.textual_patches.typeahead, scripts.cli",
        "import engine.chat.open, engine.chat.answer, engine.backends.registry",
        "import engine.catalogue.index",
        "import scripts.ask, scripts.engines, scripts.index, scripts.models",
        (
            "from engine.config import settings; from engine.backends.registry import Registry\n"
            "r = Registry(settings.load()); [r.get(i).availability() for i in r.ids]"
        ),
    ],
)
def test_nothing_heavy_is_loaded(script: str) -> None:
    assert not loaded_after(script) & HEAVY


def test_the_first_frame_loads_only_what_is_on_it(tmp_path: Path) -> None:
    variables = {"BALCAO_HOME": str(tmp_path), "BALCAO_CATALOGUE": str(tmp_path / "none")}
    loaded = printed_by(FIRST_FRAME, LC_ALL="C.UTF-8", LANGUAGE="", **variables)
    ours = {name for name in loaded if name.split(".")[0] in ("engine", "scripts", "tui")}
    assert not ours & LATER
    others = loaded - ours - printed_by(EMPTY)
    assert not others & {"json", "tomllib", "gettext", "argparse", "sqlite3", "tantivy"}
    assert len(others) <= OTHERS, sorted(others)


def test_the_engine_knows_no_face() -> None:
    loaded = loaded_after("import engine.chat.open")
    assert not loaded & {"tui", "scripts", "textual", "rich"}
