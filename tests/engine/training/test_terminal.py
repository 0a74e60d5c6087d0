"""A terminal closes: a run saves and stops, a detached run continues."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.training.runs.control import stop_run
from engine.training.runs.folder import last_checkpoint, lock_holder, step_of
from engine.training.runs.view import list_runs, view_run
from tests.configs import llama
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import Runner
from tests.engine.training.test_resume import arguments, assert_same

_PATIENCE = 120.0


class Terminal:
    """A pseudo-terminal that stores its output."""

    def __init__(self) -> None:
        self._handle, self._other = os.openpty()
        self.name = os.ttyname(self._other)
        self.said = ""

    def until(self, holds: Callable[[], bool]) -> None:
        """Read output, so that the run is not blocked, until a condition holds."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() - began < _PATIENCE, self.said
            if select.select([self._handle], [], [], 0.01)[0]:
                self.said += os.read(self._handle, 4096).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self._handle, text.encode())

    def close(self) -> None:
        for handle in (self._other, self._handle):
            os.close(handle)


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """Provide a folder for a run, which is killed afterwards."""
    folder = tmp_path / "lora"
    yield folder
    if process := lock_holder(folder):
        os.kill(process, signal.SIGKILL)


def test_a_run_whose_terminal_goes_away_saves_and_goes_on_later(
    runner: Runner, tiny: Tiny, data: Path, undisturbed: Path, out: Path, terminal: Terminal
) -> None:
    given = arguments(tiny, data, out)
    runner.start("terminal", terminal.name, *given)
    terminal.until((out / "checkpoints" / "checkpoint-10" / "whole").exists)
    terminal.close()
    ended = runner.end()
    assert ended.status == 130, ended.log
    assert view_run(out).state == "stopped"
    assert 10 <= step_of(last_checkpoint(out)) < 40
    assert runner.run(*given, "--resume").status == 0
    assert_same(out, undisturbed)


def test_a_detached_run_outlives_its_terminal(
    runner: Runner,
    tiny: Tiny,
    data: Path,
    out: Path,
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = arguments(tiny, data, out, "epochs=100000", "save_every=100000")
    runner.start("terminal", terminal.name, *given, "--detach")
    terminal.until(lambda: view_run(out).step > 3)
    assert f"balcao runs stop {out}" in terminal.said.replace(" \\\r\n  ", " ")
    terminal.close()
    assert runner.end().status == -signal.SIGHUP  # the process that started it
    before = view_run(out).step
    wait_until(lambda: view_run(out).step > before)
    monkeypatch.setenv("BALCAO_HOME", str(runner.home))
    assert out in [view.folder for view in list_runs()]
    stop_run(out)
    wait_until(lambda: lock_holder(out) is None)
    ended = view_run(out)
    assert ended.state == "stopped"
    assert step_of(last_checkpoint(out)) == ended.step > before
    assert "--resume --out" in (out / "train.log").read_text(encoding="utf-8")


def test_what_is_wrong_is_said_before_a_run_detaches(
    runner: Runner, tiny: Tiny, tmp_path: Path, out: Path
) -> None:
    ended = runner.run("--data", tmp_path, "--base", tiny.model, "--out", out, "--detach")
    assert ended.status == 1
    assert "train.jsonl" in ended.log
    assert not out.exists()


def test_a_run_at_a_terminal_asks_whether_the_chat_is_to_have_it(
    runner: Runner,
    tiny: Tiny,
    data: Path,
    out: Path,
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = arguments(tiny, data, out, "score_rows=1", "sample_rows=0")
    runner.start("terminal", terminal.name, *given)
    terminal.until(lambda: "“lora-lora” in the chat? [y/N]" in terminal.said)
    assert lock_holder(out) is None
    terminal.type("y\n")
    terminal.until(lambda: "balcao --engine lora-lora" in terminal.said)
    assert runner.end().status == 0
    terminal.close()
    monkeypatch.setenv("BALCAO_HOME", str(runner.home))
    row = llama("lora-lora")
    assert (row.model, row.adapter) == (str(tiny.model.resolve()), str(out.resolve()))


def wait_until(holds: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < _PATIENCE
        time.sleep(0.02)
