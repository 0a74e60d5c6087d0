"""Many questions in one session, with switches and cancels at random moments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.attack import soak
from tools.attack.soak import Sample


async def test_every_answer_is_saved_whatever_happens_to_it(
    catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "_SAMPLES", 10)
    monkeypatch.setattr(soak, "_LONGEST", 0.3)
    monkeypatch.setattr(soak, "_TURNS", 5)
    found = await soak.attack(30, seed=3, catalogue=catalogue_dir)
    assert found.failures == []
    assert len(found.samples) == 10
    assert found.counts["complete"] > 0
    assert found.counts["cancelled"] > 0


def test_what_grows_is_told_and_what_is_level_is_not() -> None:
    level = [Sample(100_000_000 + 1000 * (number % 7), 15, 5, 1) for number in range(100)]
    warming = [Sample(50_000_000, 9, 2, 1)] * 10 + level
    assert soak.leaks(level) == soak.leaks(warming) == []
    leaking = [
        Sample(one.memory + 200_000 * number, 15 + number // 10, 5, 1)
        for number, one in enumerate(level)
    ]
    assert [line.split()[0] for line in soak.leaks(leaking)] == ["memory", "handles"]
