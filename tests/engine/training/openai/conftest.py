"""Rows, a stand-in for each test, a key, and the command in this process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts import cli
from tests.engine.training.openai import stand_in
from tests.engine.training.openai.stand_in import StandIn

KEY_ENV = "SHOP_TEST_KEY"
CANARY = "sk-canary-77aa01c2e9b84d53"


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


def row(title: str, description: str) -> dict[str, object]:
    return {
        "messages": [
            {"role": "system", "content": "Answer from the catalogue."},
            {"role": "user", "content": title},
            {"role": "assistant", "content": description},
        ]
    }


def write_rows(file: Path, count: int, kind: str = "Lamp") -> Path:
    rows = [row(f"{kind} {number}", f"{kind} {number} shines. Café!") for number in range(count)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(one)}\n" for one in rows), encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    # Where it is installed, it would want to download its tables.
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    monkeypatch.setenv(KEY_ENV, CANARY)


@pytest.fixture
def provider() -> Iterator[StandIn]:
    with stand_in.running() as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve rows to train on and three to validate with."""
    write_rows(tmp_path / "rows" / "train.jsonl", 12)
    return write_rows(tmp_path / "rows" / "valid.jsonl", 3, "Chair").parent


@pytest.fixture
def arguments(provider: StandIn, data: Path) -> list[str]:
    """A command that needs no answer and polls without a pause."""
    return [
        "finetune", "--data", str(data), "--yes", "--every", "0.01",
        "--base-url", provider.url, "--api-key-env", KEY_ENV,
    ]  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str) -> Ran:
        capsys.readouterr()
        code = cli.main(list(words))
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return command
