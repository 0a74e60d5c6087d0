"""The attack that kills commands: what it reports, with a command of a few lines."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tools.attack.kill import Victim, attack

_WRITER = """
import os, pathlib, sys, time
place, how = pathlib.Path(sys.argv[1]), sys.argv[2]
for left in place.glob(".*"):
    how != "leaves" and left.unlink()
draft = place / f".out.building-{os.getpid()}"
draft.write_text("x")
time.sleep(0.2)
with open(place / "out", "a" if how == "appends" else "w") as out:
    out.write("x")
    out.flush()
    how == "appends" and time.sleep(0.2)
    out.write("y")
draft.unlink()
"""


class _Writer(Victim):
    how = "sweeps"

    def command(self, place: Path, *, again: bool) -> list[str]:  # noqa: ARG002
        return [sys.executable, "-S", "-c", _WRITER, str(place), self.how]


@pytest.mark.parametrize(
    ("how", "fault"),
    [("sweeps", ""), ("leaves", "other files"), ("appends", "another result: out")],
)
def test_a_draft_and_a_wrong_result_are_reported(tmp_path: Path, how: str, fault: str) -> None:
    writer = _Writer(tmp_path, random.Random(3))  # noqa: S311 - not for security
    writer.how = how
    *faults, summary = attack(writer, 2)
    assert summary.startswith("2 moments")
    assert bool(faults) is bool(fault)
    assert all(fault in one for one in faults)
