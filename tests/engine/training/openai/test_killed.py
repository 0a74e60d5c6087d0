"""Kill `balcao finetune` at every step and resume it: one upload, one job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.training.openai.job import read_job
from tests.configs import openai
from tests.engine.training.openai.stand_in import StandIn, Trap

Begin = Callable[[], "subprocess.Popen[str]"]
BALCAO = str(Path(sys.executable).parent / "balcao")
UPLOAD, CREATE, LOOK = "POST /files", "POST /fine_tuning/jobs", "GET /fine_tuning/jobs/"

STEPS: tuple[tuple[str, bool], ...] = (
    ("GET /models", False),  # nothing is written down yet
    (UPLOAD, False),  # about to upload the first file
    (UPLOAD, True),  # the provider has the first file, the command does not know it
    (UPLOAD, True),  # the same for the second
    (CREATE, False),  # about to start the job
    (CREATE, True),  # the job has begun, the command does not know it
    (LOOK, True),  # while it follows
)
"""Where it is killed, run after run: at a request, before or after the provider has acted."""


@pytest.fixture
def begin(arguments: list[str]) -> Iterator[Begin]:
    """Starts the command; what still runs at the end of the test is killed."""
    children: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [BALCAO, *arguments, "--resume"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
            child.communicate()


def test_one_upload_and_one_job(provider: StandIn, data: Path, begin: Begin) -> None:
    for line, after in STEPS:
        child = begin()

        def kill(pid: int = child.pid) -> None:
            os.kill(pid, signal.SIGKILL)

        provider.traps = [Trap(line, after=after, spring=kill)]
        _, err = child.communicate(timeout=60)
        assert child.returncode == -signal.SIGKILL, (line, after, err)

    child = begin()
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err.count("is uploaded")) == (0, 0)
    assert out.startswith("model   ft:gpt-4o-mini:org-1:balcao:0001\nengine  openai\n")
    names = [file["filename"] for file in provider.files.values()]
    run = read_job(data)
    assert run is not None
    assert names == [f"balcao-{run.run}-{kind}.jsonl" for kind in ("train", "valid")]
    assert list(provider.jobs) == ["ftjob-0001"]
    assert (provider.count(UPLOAD), provider.count(CREATE)) == (2, 1)
    assert [point.step for point in run.curve] == [3, 4]
    assert not list(data.glob("finetune-*.json"))
    assert openai("openai").model == run.model


def test_ctrl_c_leaves_the_job_running(provider: StandIn, data: Path, begin: Begin) -> None:
    child = begin()

    def interrupt() -> None:
        child.send_signal(signal.SIGINT)

    provider.fate = ("running",)
    provider.traps = [Trap("GET /fine_tuning/jobs/ftjob-0001/events", after=True, spring=interrupt)]
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, "")
    assert "continues" in err
    assert "Traceback" not in err
    record = read_job(data)
    assert record is not None
    assert record.job == "ftjob-0001"
