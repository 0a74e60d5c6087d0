"""What start-up loads: only Textual, the standard library, and light modules of ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "torch", "transformers", "peft", "openai", "trl", "accelerate", "bitsandbytes", "datasets",
    "sentencepiece", "tokenizers", "numpy", "huggingface_hub", "pandas", "scipy", "pydantic",
}  # fmt: skip


def loaded_after(script: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded once `script` has run."""
    report = f"{script}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    found = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=True
    )
    return set(found.stdout.split())


@pytest.mark.parametrize(
    "script",
    [
        "import tui.app, tui.typeahead, scripts.cli",
        "import engine.opening, engine.assistant, engine.registry, engine.indexing",
        "import scripts.ask, scripts.engines, scripts.build_index, scripts.models",
        (
            "from engine import settings; from engine.registry import Registry\n"
            "r = Registry(settings.load()); [r.get(i).availability() for i in r.ids]"
        ),
    ],
)
def test_nothing_heavy_is_loaded(script: str) -> None:
    assert not loaded_after(script) & HEAVY


def test_the_first_frame_needs_no_index_and_no_markdown() -> None:
    loaded = loaded_after("import tui.app")
    assert not loaded & {"tantivy", "rapidfuzz", "markdown_it", "sqlite3", "isal"}
    assert "textual" in loaded


def test_the_engine_knows_no_face() -> None:
    loaded = loaded_after("import engine.opening")
    assert not loaded & {"tui", "scripts", "textual", "rich"}
