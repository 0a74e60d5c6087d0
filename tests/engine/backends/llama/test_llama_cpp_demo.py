"""On the demo model, llama.cpp says what transformers says, base and adapter, with a record or not.

llama.cpp is an extra that compiles for minutes, so this runs only where it is installed.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.llama_words import answers, chosen
from engine.config import paths

ASKED, SAME = 4, 3
"""Products, and how many answers of each kind are at least the same, word for word: sums of fp32
in another order turn a close choice between two tokens (docs/measurements/llama.md counts them)."""


@pytest.mark.skipif(
    not (find_spec("llama_cpp") and find_spec("gguf")),
    reason="the extra “cpu” is not installed",
)
async def test_the_demo_model_says_the_same_by_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_HOME", str(tmp_path))
    model, adapter = paths.demo_model_dir(), paths.demo_adapter_dir()
    some = chosen(ASKED)
    ours = await answers(model, adapter, "llama.cpp", some)
    theirs = await answers(model, adapter, "transformers", some)
    assert len(ours) == 4
    for kind, said in ours.items():
        same = [one == other for one, other in zip(said, theirs[kind], strict=True)]
        assert sum(same) >= SAME, kind
    assert ours["base, memory"] != ours["adapter, memory"]
