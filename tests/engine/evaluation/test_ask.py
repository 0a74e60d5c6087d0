"""Targets and saved answers: after a kill, with another model, with two writers."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.backends.registry import Registry
from engine.config.settings import load
from engine.core.errors import UsageError
from engine.core.types import Mode, Status, StopReason
from engine.evaluation.ask import (
    ANSWERS_FILE,
    SavedAnswer,
    Target,
    display_titles,
    parse_targets,
)
from engine.evaluation.questions import Question
from tests.engine.evaluation.conftest import Bench


def given(
    asked: Target, question: Question, text: str = "A stool.", error: str = ""
) -> SavedAnswer:
    return SavedAnswer(
        asked.key,
        question.id,
        asked.fingerprint,
        text,
        Status.EXACT,
        StopReason.COMPLETE,
        error=error,
    )


def test_saved_answers_are_found_again(bench: Bench) -> None:
    one = bench.targets("base:memory")[0]
    first, second = bench.questions[:2]
    with bench.answers() as answers:
        answers.add(given(one, first))
        answers.add(given(one, second, error="Cut off."))
        # On disk at once: nothing waits in a buffer for a kill.
        assert (bench.out / ANSWERS_FILE).read_bytes().count(b"\n") == 2
    with bench.answers() as answers:
        assert answers.find(one, first) == given(one, first)
        answers.add(given(one, second))
    with bench.answers() as answers:
        assert answers.find(one, second) == given(one, second)
        assert answers.find(one, bench.questions[2]) is None


def test_an_incomplete_last_line_is_dropped(bench: Bench) -> None:
    one = bench.targets("base")[0]
    with bench.answers() as answers:
        for question in bench.questions[:3]:
            answers.add(given(one, question))
    whole = (bench.out / ANSWERS_FILE).read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in range(len(whole) - len(lines[2]), len(whole) + 1, 7):
        (bench.out / ANSWERS_FILE).write_bytes(whole[:cut])
        with bench.answers() as answers:
            there = cut == len(whole)
            assert len(answers.answers) == 2 + there
            if not there:
                answers.add(given(one, bench.questions[2]))
        assert (bench.out / ANSWERS_FILE).read_bytes() == whole


def test_a_broken_line_is_asked_again(bench: Bench) -> None:
    one = bench.targets("base")[0]
    with bench.answers() as answers:
        for question in bench.questions[:3]:
            answers.add(given(one, question))
    lines = (bench.out / ANSWERS_FILE).read_bytes().splitlines(keepends=True)
    (bench.out / ANSWERS_FILE).write_bytes(lines[0] + b"\x00\xff\n" + lines[2])
    with bench.answers() as answers:
        assert answers.find(one, bench.questions[1]) is None
        assert answers.find(one, bench.questions[2]) is not None


def test_answers_of_another_model_are_rejected(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench.targets("base")[0]
    with bench.answers() as answers:
        answers.add(given(one, bench.questions[0]))
        monkeypatch.setenv("BALCAO_ENGINES__BASE__MODEL", "/models/other")
        other = parse_targets("base", Registry(load()), {"version": 1})[0]
        with pytest.raises(UsageError, match="of “base:grounded” differ"):
            answers.find(other, bench.questions[0])
        answers.add(given(one, bench.questions[1], error="No such model."))
        assert answers.find(other, bench.questions[1]) is None


def test_only_one_process_writes(bench: Bench) -> None:
    with bench.answers(), pytest.raises(UsageError, match="Another"):
        bench.answers()
    with bench.answers():
        pass


def test_targets_are_parsed(bench: Bench) -> None:
    asked = bench.targets("catalogue, base:memory,lora,lora:memory")
    assert [(one.key, one.engine, one.mode) for one in asked] == [
        ("catalogue", "catalogue", Mode.GROUNDED),
        ("base:memory", "base", Mode.MEMORY),
        ("lora:grounded", "lora", Mode.GROUNDED),
        ("lora:memory", "lora", Mode.MEMORY),
    ]
    assert list(display_titles(asked).values()) == [
        "Catalogue", "Base Llama, from memory", "LoRA Llama, grounded", "LoRA Llama, from memory",
    ]  # fmt: skip
    assert len({one.fingerprint for one in asked}) == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "No engine"),
        ("nobody", "no engine named “nobody”"),
        ("base:loudly", "Unknown mode"),
        ("catalogue:memory", "cannot answer from memory"),
        ("base,base:grounded", "named twice"),
    ],
)
def test_wrong_targets_are_usage_errors(bench: Bench, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        bench.targets(text)


def test_the_fingerprint_depends_on_the_adapter_and_hides_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"one")
    monkeypatch.setenv("BALCAO_ENGINES__LORA__ADAPTER", str(tmp_path))
    before = parse_targets("lora", Registry(load()), {})[0]
    (tmp_path / "adapter_model.safetensors").write_bytes(b"two")
    after = parse_targets("lora", Registry(load()), {})[0]
    assert before.provenance["adapter_weights"]["bytes"] == 3
    assert before.fingerprint != after.fingerprint
    monkeypatch.setenv("BALCAO_ENGINES__OPENAI__BASE_URL", "http://me:secret@127.0.0.1:1/v1")
    asked = parse_targets("openai", Registry(load()), {})[0]
    assert asked.provenance["server"] == "127.0.0.1:1"
    assert "secret" not in repr(asked)
