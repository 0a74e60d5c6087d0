"""Rows are checked before anything is sent: each fault is told with its line."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from engine.core.errors import DataError
from engine.prompts import training_messages
from engine.training.openai.check import (
    MOST_BYTES,
    CheckedFile,
    TokenCounter,
    check_file,
    counter_for,
    shared_rows,
)
from engine.training.openai.job import JobSettings
from engine.training.openai.plan import estimate, plan_job, plan_text, row_limit
from tests.engine.training.openai.conftest import row, write_rows

COUNTER = TokenCounter(lambda text: len(text.split()), exact=True)


def message(role: Any = "assistant", content: Any = "It shines.", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def line_of(*messages: Any, **more: Any) -> str:
    return json.dumps({"messages": list(messages), **more})


def checked(tmp_path: Path, *lines: str, good: int = 10, limit: int = 100) -> CheckedFile:
    file = write_rows(tmp_path / "rows.jsonl", good)
    with file.open("a", encoding="utf-8", errors="surrogatepass") as stream:
        stream.writelines(f"{line}\n" for line in lines)
    return check_file(file, COUNTER, limit)


def test_our_own_rows_are_right(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    with file.open("w") as stream:
        for number in range(10):
            made = training_messages(f"Lamp {number}", "Shines.", "Describe {title}")
            stream.write(line_of(*(message(one.role, one.content) for one in made)) + "\n")
    found = check_file(file, COUNTER, 1000)
    assert (found.problems, found.warnings, found.rows) == ([], [], 10)
    assert found.size == file.stat().st_size


WRONG: dict[str, tuple[str, str]] = {
    "no JSON": ("{no", "is no JSON"),
    "nested too deep": ("[" * 5000, "is no JSON"),
    "empty line": ("", "is empty"),
    "no object": ("[]", "is no object"),
    "no messages": ("{}", "has no list of messages"),
    "messages of another kind": ('{"messages": "x"}', "has no list of messages"),
    "no message": (line_of(), "has no list of messages"),
    "more fields": (line_of(message("user"), message(), tools=[]), "besides messages: tools"),
    "a message that is none": (line_of("x"), "number 1: it is no object"),
    "role": (line_of(message("shop"), message()), "number 1: its role is none of system"),
    "no role": (line_of({"content": "x"}), "its role is none"),
    "role of another kind": (line_of(message(["user"]), message()), "its role is none"),
    "null": (line_of(message("user"), message(content=None)), "number 2: it has no content"),
    "no content": (line_of({"role": "user"}, message()), "number 1: it has no content"),
    "empty": (line_of(message("user"), message(content=" \n")), "its content is empty"),
    "content of another kind": (line_of(message("user", ["x"]), message()), "content is no text"),
    "unknown field": (line_of(message("user", cost=1), message()), "unknown fields, cost"),
    "name": (line_of(message("user", name=3), message()), "its name is no text"),
    "no assistant": (line_of(message("user")), "has no message of the assistant"),
    "assistant not last": (line_of(message(), message("user")), "does not end with the assistant"),
    "weight": (line_of(message("user"), message(weight=2)), "its weight is neither 0 nor 1"),
    "weight true": (line_of(message("user"), message(weight=True)), "its weight is neither"),
    "weight of the user": (line_of(message("user", weight=1), message()), "the assistant's alone"),
    "nothing to learn": (line_of(message("user"), message(weight=0)), "every weight is 0"),
    "too long": (line_of(message("user"), message(content="word " * 100)), "113 tokens"),
    "half a character": (line_of(message("user"), message(content="\ud800")), ""),
}


@pytest.mark.parametrize(("line", "told"), WRONG.values(), ids=WRONG.keys())
def test_a_fault_is_told_with_its_line(tmp_path: Path, line: str, told: str) -> None:
    (problem,) = checked(tmp_path, line).problems
    assert problem.startswith("line 11")
    assert told in problem


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", 10)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes() + b'{"messages": "\xff"}\n')
    found = check_file(file, COUNTER, 100, least=9)
    assert found.problems == ["line 1 begins with a byte order mark", "line 11 is no JSON"]


def test_several_turns_and_weights_are_right(tmp_path: Path) -> None:
    turns = line_of(message("user"), message(weight=0), message("user", name="ann"), message())
    assert checked(tmp_path, turns).problems == []


def test_ten_rows_at_least_and_many_faults_are_counted(tmp_path: Path) -> None:
    assert checked(tmp_path, good=9).problems == ["9 usable rows; at least 10 are needed"]
    found = checked(tmp_path, *["{no"] * 20)
    assert (len(found.problems), found.hidden) == (5, 15)


def test_what_is_shown_in_vain_is_a_warning(tmp_path: Path) -> None:
    again = json.dumps(row("Lamp 1", "Lamp 1 shines. Café!"))
    other = json.dumps(row("Lamp 2", "Something else."))
    found = checked(tmp_path, again, other)
    assert found.problems == []
    assert found.warnings == [
        "1 rows repeat an earlier one",
        "1 rows ask what an earlier one asks and answer otherwise",
    ]
    more = check_file(write_rows(tmp_path / "more.jsonl", 3), COUNTER, 100, least=1)
    assert shared_rows(found, more) == 3


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with file.open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    assert "536,870,913 bytes" in check_file(file, COUNTER, 100).problems[0]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        check_file(tmp_path, COUNTER, 100)


def test_tokens_by_characters_where_nothing_else_is_at_hand() -> None:
    counter = counter_for("ft:gpt-4.1-mini-2025-04-14:org::id")
    assert not counter.exact
    assert counter.count("12345678") == 2
    assert counter.count("123456789") == 3
    assert counter.row(["1234", "", "é"]) == 3 + 3 * 4 + 1 + 0 + 1


@pytest.mark.parametrize(
    ("rows", "epochs"), [(10, 10), (20, 5), (33, 3), (34, 3), (5_000, 3), (10_000, 2), (90_000, 1)]
)
def test_epochs_that_the_server_would_choose(rows: int, epochs: int) -> None:
    assert estimate("gpt-4o-mini", rows, 100, None).tokens == 100 * epochs


def test_the_price() -> None:
    assert estimate("gpt-4o-mini-2024-07-18", 10, 1_000_000, 2).usd == 6.0
    assert estimate("ft:gpt-4.1-mini-2025-04-14:o::i", 10, 1_000_000, 1).usd == 5.0
    assert estimate("gpt-4o-mini", 10, 1_000_000, 1, price=0.5).usd == 0.5
    assert estimate("unheard-of", 10, 1_000_000, 1).usd is None
    assert row_limit("gpt-4o-mini") == 65_536


def test_the_ends_are_told(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", 10)
    write_rows(tmp_path / "valid.jsonl", 2)

    def text(base_url: str | None, today: date) -> str:
        settings = JobSettings(model="gpt-4o-mini", base_url=base_url)
        return plan_text(plan_job(tmp_path, settings, None, today))

    assert "after 2027-01-06" in text(None, date(2026, 11, 23))
    assert "shut down gpt-4o-mini on 2027-01-14" in text(None, date(2026, 11, 23))
    assert "takes no" not in text(None, date(2027, 1, 6))
    assert "take no fine-tuning jobs since 2027-01-06" in text(None, date(2027, 1, 7))
    assert "2027" not in text("https://models.example/v1", date(2026, 11, 23))
    assert "2 rows are in train.jsonl too" in text(None, date(2026, 11, 23))
