"""Provide a runner with every heavy import done, rows, and a first run to compare others with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
import pytest
import tomlkit

from engine.catalogue.rows.prepare import KIND, VERSION
from engine.catalogue.rows.refusals import REFUSALS, RefusalRow
from engine.core.files import Manifest, write_manifest
from engine.prompts import PROMPT_VERSION, SYSTEM, training_messages
from tests.engine.backends.llama.tiny import ROOT, Tiny

# In words that the tiny base writes too: adapters leave its output layer alone.
ANSWERS = {
    "Lighthouse": "A keeper climbs the stairs.",
    "Tick": "Step 1 of stone. Step 2 of stone.",
    "Counter": "tick tock tick tock",
    "Price": "I am the clerk of stone.",
}
QUICK = [
    "rank=8",
    "alpha=32",
    "epochs=20",
    "batch_size=2",
    "learning_rate=6e-3",
    "dropout=0.1",
    "save_every=10",
    "score_rows=4",
    "stop_when_learned=false",
]
"""40 steps, a checkpoint every 10; with dropout, whose randomness a resumed run has to repeat."""


@dataclass(frozen=True)
class Ended:
    """A run that has ended: its exit status and all that it printed."""

    status: int
    log: str


class Runner:
    """Runs `balcao train`, one at a time."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to: IO[str] = process.stdin
        self._from: IO[str] = process.stdout
        self._folder = folder
        self._runs = 0

    def start(self, *arguments: str | Path, processes: int = 1) -> int:
        """Begin; returns the (first) process's id."""
        self._runs += 1
        self._to.write(json.dumps([str(self.log), processes, *map(str, arguments)]) + "\n")
        self._to.flush()
        return int(self._from.readline())

    def end(self) -> Ended:
        """Wait for the run that was begun last."""
        status = int(self._from.readline())
        return Ended(status, self.log.read_text(encoding="utf-8"))

    def run(self, *arguments: str | Path, processes: int = 1) -> Ended:
        self.start(*arguments, processes=processes)
        return self.end()

    @property
    def home(self) -> Path:
        """The runs' BALCAO_HOME."""
        return self._folder / "home"

    @property
    def log(self) -> Path:
        return self._folder / f"run{self._runs}.log"


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("runner")
    environ = os.environ | {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder),
        "BALCAO_HOME": str(folder / "home"),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.engine.training.runner"],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield Runner(process, folder)
        assert process.stdin is not None
        process.stdin.close()


def write_data(folder: Path, answers: dict[str, str], name: str = "train.jsonl") -> Path:
    """Rows as `balcao prepare` writes them."""
    folder.mkdir(exist_ok=True)
    rows = (
        {
            "messages": [
                {"role": message.role.value, "content": message.content}
                for message in training_messages(title, text, "Tell me about {title}.")
            ]
        }
        for title, text in answers.items()
    )
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / name).write_text(lines, encoding="utf-8")
    return folder


def with_pool(folder: Path, per_epoch: int = 4, count: int = 25) -> Path:
    """Add a pool of refusals, whose rows occur once each and some twice in ten epochs."""
    messages = (
        training_messages(f"Stone {n}", "No.", "Tell me about {title}.") for n in range(count)
    )
    rows = [RefusalRow("invented", "train" if n > 4 else "test", m) for n, m in enumerate(messages)]
    (folder / REFUSALS).write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in rows))
    counts = {"refusals": {"per_epoch": per_epoch}}
    made = Manifest(kind=KIND, version=VERSION, counts=counts, prompt_version=PROMPT_VERSION)
    write_manifest(folder, made)
    return folder


def row(*messages: tuple[str, str]) -> str:
    """A row with the chat's own system prompt in front."""
    turns = [("system", SYSTEM), *messages]
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]})


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_data(tmp_path_factory.mktemp("rows"), ANSWERS)
    splits = {**dict.fromkeys(ANSWERS, "train"), "Stool": "valid"}
    lines = [
        {"uid": f"uid-{title}", "title": title, "split": split, "rows": 1, "grounded": False}
        for title, split in splits.items()
    ]
    (folder / "products.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return write_data(folder, {"Stool": "Step 3 of stone."}, "valid.jsonl")


def quick(*changes: str) -> list[str]:
    """The options of a run of 40 steps."""
    return [word for change in (*QUICK, *changes) for word in ("--set", change)]


def write_job(folder: Path, base: Path, engine: str = "lora-shop") -> Path:
    """A job of the answers, with a run of 40 steps, and its file of products."""
    rows = [{"uid": t, "title": t, "content": text} for t, text in ANSWERS.items()]
    (folder / "shop.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    tables = {
        "catalogue": {"meaning": False},
        "rows": {"forms": 1, "as_typed": 0.0, "refusals": 0.0},
        "train": {"base": str(base), "set": tomllib.loads("\n".join(QUICK))},
        "evaluate": {"engines": ["catalogue"], "limit": 2},
    }
    job = {"data": "shop.jsonl", "out": "made", "engine": engine, **tables}
    (folder / "job.toml").write_text(tomlkit.dumps(job), encoding="utf-8")
    return folder / "job.toml"


@pytest.fixture(scope="session")
def undisturbed(
    runner: Runner, tiny: Tiny, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The adapter of a run that nothing came in the way of."""
    out = tmp_path_factory.mktemp("undisturbed") / "lora"
    ended = runner.run("--data", data, "--base", tiny.model, "--out", out, *quick())
    assert ended.status == 0, ended.log
    return out
