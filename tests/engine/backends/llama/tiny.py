"""One tiny trained Llama and its adapter, for the whole session."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[4]


@dataclass(frozen=True)
class Tiny:
    """The folders that make_model wrote; `expected` has the answers by kind and question."""

    model: Path
    adapter: Path
    expected: dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny")
    made = subprocess.run(
        [sys.executable, "-m", "tests.engine.backends.llama.make_model", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return Tiny(folder / "model", folder / "adapter", expected)
