"""Check rows, count tokens and estimate the cost, without a server."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from engine.core.errors import DataError
from engine.prompts import training_messages
from engine.training.openai.job import JobSettings
from engine.training.openai.plan import (
    MOST_BYTES,
    CheckedFile,
    TokenCounter,
    check_file,
    counter_for,
    estimate_cost,
    plan_job,
    row_limit,
    shared_rows,
)
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


def test_our_own_rows_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    with file.open("w") as stream:
        for number in range(10):
            made = training_messages(f"Lamp {number}", "Shines.", "Describe {title}")
            stream.write(line_of(*(message(one.role, one.content) for one in made)) + "\n")
    found = check_file(file, COUNTER, 1000)
    assert (found.problems, found.warnings, found.rows) == ([], [], 10)
    assert found.size == file.stat().st_size


INVALID: dict[str, tuple[str, str]] = {
    "no JSON": ("{no", "not valid JSON"),
    "nested too deep": ("[" * 5000, "Expected `object`, got `array`"),
    "empty line": ("", "empty line"),
    "no object": ("[]", "Expected `object`"),
    "no messages": ("{}", "missing required field `messages`"),
    "messages of another kind": ('{"messages": "x"}', "Expected `array`, got `str`"),
    "no message": (line_of(), "length >= 1 - at `$.messages`"),
    "more fields": (line_of(message("user"), message(), tools=[]), "unknown field `tools`"),
    "message of another kind": (line_of("x"), "Expected `object`, got `str` - at `$.messages[0]`"),
    "role": (line_of(message("shop"), message()), "'shop' - at `$.messages[0].role`"),
    "no role": (line_of({"content": "x"}), "missing required field `role`"),
    "role of another kind": (line_of(message(["user"]), message()), "at `$.messages[0].role`"),
    "null": (line_of(message("user"), message(content=None)), "`$.messages[1].content`"),
    "no content": (line_of({"role": "user"}, message()), "missing required field `content`"),
    "empty": (line_of(message("user"), message(content=" \n")), "message 2 is empty"),
    "content of another kind": (line_of(message("user", ["x"]), message()), "Expected `str`"),
    "unknown field": (line_of(message("user", cost=1), message()), "unknown field `cost`"),
    "name": (line_of(message("user", name=3), message()), "at `$.messages[0].name`"),
    "no assistant": (line_of(message("user")), "last message is not an assistant message"),
    "assistant not last": (line_of(message(), message("user")), "last message is not"),
    "weight": (line_of(message("user"), message(weight=2)), "2 - at `$.messages[1].weight`"),
    "weight true": (line_of(message("user"), message(weight=True)), "got `bool`"),
    "weight null": (line_of(message("user"), message(weight=None)), "got `null`"),
    "weight of the user": (line_of(message("user", weight=1), message()), "message 1 has a weight"),
    "nothing to learn": (line_of(message("user"), message(weight=0)), "weight 0"),
    "too long": (line_of(message("user"), message(content="word " * 100)), "113 tokens"),
    "half a character": (line_of(message("user"), message(content="\ud800")), "not valid JSON"),
}


@pytest.mark.parametrize(("line", "problem"), INVALID.values(), ids=INVALID.keys())
def test_an_invalid_row_is_reported_with_its_line(tmp_path: Path, line: str, problem: str) -> None:
    (found,) = checked(tmp_path, line).problems
    assert found.startswith("line 11")
    assert problem in found


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", 10)
    wrong = b'{"messages": [{"role": "user", "content": "\xff"}]}\n'
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes() + wrong)
    found = check_file(file, COUNTER, 100, least=9)
    assert found.problems == [
        "line 1: starts with a byte order mark",
        "line 11: not valid JSON",
    ]


def test_several_turns_and_weights_are_valid(tmp_path: Path) -> None:
    turns = line_of(message("user"), message(weight=0), message("user", name="ann"), message())
    assert checked(tmp_path, turns).problems == []


def test_few_rows_and_many_problems(tmp_path: Path) -> None:
    assert checked(tmp_path, good=9).problems == ["9 usable rows; at least 10 are needed"]
    found = checked(tmp_path, *["{no"] * 20)
    assert (len(found.problems), found.hidden) == (5, 15)


def test_repeated_rows_are_warnings(tmp_path: Path) -> None:
    again = json.dumps(row("Lamp 1", "Lamp 1 shines. Café!"))
    other = json.dumps(row("Lamp 2", "Something else."))
    found = checked(tmp_path, again, other)
    assert found.problems == []
    assert found.warnings == [
        "1 rows are duplicates",
        "1 rows answer a repeated question differently",
    ]
    more = check_file(write_rows(tmp_path / "more.jsonl", 3), COUNTER, 100, least=1)
    assert shared_rows(found, more) == 3


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with file.open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    assert "536,870,913 bytes" in check_file(file, COUNTER, 100).problems[0]


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot read"):
        check_file(tmp_path, COUNTER, 100)


def test_tokens_are_estimated_without_tiktoken() -> None:
    counter = counter_for("ft:gpt-4.1-mini-2025-04-14:org::id")
    assert not counter.exact
    assert counter.count("12345678") == 2
    assert counter.count("123456789") == 3
    assert counter.row(["1234", "", "é"]) == 3 + 3 * 4 + 1 + 0 + 1


@pytest.mark.parametrize(
    ("rows", "epochs"), [(10, 10), (20, 5), (33, 3), (34, 3), (5_000, 3), (10_000, 2), (90_000, 1)]
)
def test_epochs_that_the_server_would_choose(rows: int, epochs: int) -> None:
    assert estimate_cost("gpt-4o-mini", rows, 100, None).tokens == 100 * epochs


def test_the_price() -> None:
    assert estimate_cost("gpt-4o-mini-2024-07-18", 10, 1_000_000, 2).usd == 6.0
    assert estimate_cost("ft:gpt-4.1-mini-2025-04-14:o::i", 10, 1_000_000, 1).usd == 5.0
    assert estimate_cost("gpt-4o-mini", 10, 1_000_000, 1, price=0.5).usd == 0.5
    assert estimate_cost("unheard-of", 10, 1_000_000, 1).usd is None
    assert row_limit("gpt-4o-mini") == 65_536


def test_shutdown_dates_are_shown(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", 10)
    write_rows(tmp_path / "valid.jsonl", 2)

    def text(base_url: str | None, today: date) -> str:
        settings = JobSettings(model="gpt-4o-mini", base_url=base_url)
        return str(plan_job(tmp_path, settings, None, today))

    assert "after 2027-01-06" in text(None, date(2026, 11, 23))
    assert "shut down gpt-4o-mini on 2027-01-14" in text(None, date(2026, 11, 23))
    assert "not accepted" not in text(None, date(2027, 1, 6))
    assert "not accepted fine-tuning jobs since 2027-01-06" in text(None, date(2027, 1, 7))
    assert "2027" not in text("https://models.example/v1", date(2026, 11, 23))
    assert "2 rows are also in train.jsonl" in text(None, date(2026, 11, 23))
