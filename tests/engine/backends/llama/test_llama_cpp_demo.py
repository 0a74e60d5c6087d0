"""On the demo model, llama.cpp answers like transformers, in every mode.

Runs only where llama.cpp is installed, an extra that compiles for minutes.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.llama_words import answers, sample_products
from engine.config import paths

PRODUCTS, SAME = 4, 3
"""Products, and how many answers of each kind must be equal: fp32 sums in another order change a
close choice between two tokens (docs/measurements/llama.md)."""


@pytest.mark.skipif(
    not (find_spec("llama_cpp") and find_spec("gguf")),
    reason="the extra “cpu” is not installed",
)
async def test_both_runtimes_answer_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALCAO_HOME", str(tmp_path))
    model, adapter = paths.demo_model_dir(), paths.demo_adapter_dir()
    some = sample_products(PRODUCTS)
    ours = await answers(model, adapter, "llama.cpp", some)
    theirs = await answers(model, adapter, "transformers", some)
    assert len(ours) == 4
    for kind, said in ours.items():
        same = [one == other for one, other in zip(said, theirs[kind], strict=True)]
        assert sum(same) >= SAME, kind
    assert ours["base, memory"] != ours["adapter, memory"]
