"""One tiny trained Llama and its adapter, for all sessions."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from engine import prompts
from engine.core.files import folder_lock, locked

ROOT = Path(__file__).resolve().parents[4]


@dataclass(frozen=True)
class Tiny:
    """The folders that make_model wrote; `expected` has the answers by kind and question."""

    model: Path
    adapter: Path
    expected: dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return make_tiny()


def make_tiny() -> Tiny:
    """Train the model unless an earlier session has."""
    folder = ROOT / ".pytest_cache" / f"tiny-{_digest()}"
    with locked(folder_lock(folder)):  # the two halves of the tests share it
        if not (folder / "expected.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
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


def _digest() -> str:
    """Digest all that decides the weights."""
    digest = hashlib.sha256()
    for file in (Path(__file__).with_name("make_model.py"), Path(prompts.__file__)):
        digest.update(file.read_bytes())
    for package in ("torch", "transformers", "peft", "tokenizers"):
        digest.update(version(package).encode())
    return digest.hexdigest()[:16]
