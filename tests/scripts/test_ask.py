"""`balcao ask`: the contract of the command line, on the installed command's own entry."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from engine.core.types import Answer, Mode, Status, StopReason, Taught
from scripts import ask, cli
from tests.conftest import ROWS


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_answer_is_on_stdout_and_its_source_on_stderr(
    capsys: pytest.CaptureFixture[str], catalogue_dir: Path
) -> None:
    code, out, err = run(capsys, "ask", "--catalogue", catalogue_dir, "canvas stool blue")
    assert (code, out) == (0, "Folds flat and floats.\n")
    assert err.startswith("Canvas Stool, Blue (1000000005) · word for word · ")


def test_no_matching_product_is_exit_1(
    capsys: pytest.CaptureFixture[str], catalogue_dir: Path
) -> None:
    code, out, _ = run(capsys, "ask", "--catalogue", catalogue_dir, "Velvet Submarine Handbook")
    assert code == 1
    assert out.startswith("No product matches “Velvet Submarine Handbook”.")


@pytest.mark.parametrize(
    ("taught", "is_answered"),
    [(UNSET, True), (Taught.LEARNED, True), (Taught.NOT_TAUGHT, False)],
)
def test_a_model_answers_from_memory_what_no_search_finds(
    taught: Taught | UnsetType, is_answered: bool
) -> None:
    answer = Answer("q", "lora", Mode.MEMORY, Status.NONE, "Text.", StopReason.COMPLETE)
    assert ask._is_answered(replace(answer, taught=taught)) is is_answered
    assert not ask._is_answered(replace(answer, by_counter=True))
    assert not ask._is_answered(replace(answer, mode=Mode.GROUNDED))


def test_json_holds_what_the_contract_says(
    capsys: pytest.CaptureFixture[str], catalogue_dir: Path
) -> None:
    code, out, _ = run(capsys, "ask", "--json", "--catalogue", catalogue_dir, "Empty Shelf")
    answer = json.loads(out)
    assert code == 0
    assert {
        "question", "engine", "mode", "status", "answer", "stop_reason", "sources", "fidelity",
        "timing_ms", "tokens", "error",
    } <= answer.keys()  # fmt: skip
    assert answer["timing_ms"].keys() == {"retrieval", "first_token", "total"}
    assert (answer["engine"], answer["mode"], answer["status"]) == (
        "catalogue",
        "grounded",
        "exact",
    )
    assert answer["sources"] == [
        {"uid": "1000000007", "title": "Empty Shelf", "description": "", "score": 1.0}
    ]


def test_one_question_a_line(
    capsys: pytest.CaptureFixture[str], catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [title for _, title, _ in ROWS] + ["Velvet Submarine Handbook", "\xff"]
    raw = "\n\n".join(questions).encode("latin-1", "replace")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))
    code, out, err = run(capsys, "ask", "--json", "--catalogue", catalogue_dir, "-")
    answers = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert len(answers) == len(questions)
    assert [answer["status"] for answer in answers].count("several") == 2
    assert answers[0]["answer"] == ROWS[0][2]
    assert answers[-2]["status"] == "none"


def test_the_lines_of_a_conversation_and_a_blank_line_that_begins_another(
    capsys: pytest.CaptureFixture[str], catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["The Tin Lighthouse", "how many pages?", "", "how many pages?"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    options = ("--json", "--conversation", "--catalogue", catalogue_dir)
    code, out, _ = run(capsys, "ask", *options, "-")
    _, pages, alone = (json.loads(line) for line in out.splitlines())
    assert (code, pages["answer"]) == (0, "212 pages.")
    assert pages["sources"][0]["title"] == "The Tin Lighthouse"
    assert alone["answer"] != "212 pages."


def test_nothing_that_acts_on_a_terminal_comes_out(
    capsys: pytest.CaptureFixture[str], catalogue_dir: Path
) -> None:
    for form in ([], ["--json"]):
        _, out, err = run(
            capsys, "ask", *form, "--catalogue", catalogue_dir, "Bell\x1b]0;owned\x07 Tower"
        )
        assert "Rings" in out
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out + err)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ask", "--engine", "nobody", "x"], "no engine named “nobody”"),
        (["ask", "  "], "question is empty"),
        (["ask", "--conversation", "x"], "Give - as the question"),
        (["bake"], "unknown command “bake”"),
    ],
)
def test_wrong_usage_is_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_a_question_in_quotes_needs_no_command(
    capsys: pytest.CaptureFixture[str], catalogue_dir: Path
) -> None:
    code, out, _ = run(capsys, "Canvas Stool, Blue", "--catalogue", catalogue_dir)
    assert (code, out) == (0, "Folds flat and floats.\n")


def test_questions_in_a_pipe_need_no_command(
    capsys: pytest.CaptureFixture[str], catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = io.BufferedReader(io.BytesIO(b"Canvas Stool, Blue\n"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(lines))
    code, out, _ = run(capsys, "--catalogue", catalogue_dir)
    assert (code, out) == (0, "Folds flat and floats.\n")


def test_a_missing_catalogue_says_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = run(capsys, "ask", "--catalogue", tmp_path / "none", "x")
    assert code in (1, 2)
    assert "balcao index" in err


def test_an_engine_that_is_not_ready_is_exit_1(
    capsys: pytest.CaptureFixture[str], catalogue_dir: Path
) -> None:
    code, out, err = run(
        capsys, "ask", "--engine", "openai", "--catalogue", catalogue_dir, "Empty Shelf"
    )
    assert (code, out) == (1, "")
    assert "model" in err


def test_engines_are_listed_with_reason_and_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "engines", "--json")
    engines = {row["id"]: row for row in map(json.loads, out.splitlines())}
    assert code == 0
    assert list(engines) == ["catalogue", "base", "lora", "openai"]
    assert engines["catalogue"]["ready"]
    for name in ("base", "lora", "openai"):
        assert not engines[name]["ready"]
        assert engines[name]["reason"]
        assert engines[name]["remedy"]
    code, out, _ = run(capsys, "engines")
    assert (code, out.count("not ready")) == (0, 3)


def test_commands_say_on_stderr_that_settings_name_the_demo_model(
    capsys: pytest.CaptureFixture[str], catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_DEMO", "true")
    for command in (("engines",), ("ask", "--catalogue", catalogue_dir, "Canvas Stool, Blue")):
        code, out, err = run(capsys, *command)
        assert (code, err.count("smollm2 has replaced the demo model")) == (0, 1)
        assert "has replaced" not in out


def test_the_chat_wants_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys)
    assert code == 2
    assert "balcao ask" in err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version")[1].startswith("balcao 0.")
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in cli.COMMANDS)


def test_every_command_of_the_docs_is_there_and_takes_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    docs = Path(__file__).resolve().parents[2] / "docs" / "guide" / "command-line.md"
    told = set(re.findall(r"^## `balcao (\w+)", docs.read_text(encoding="utf-8"), re.MULTILINE))
    assert told == set(cli.COMMANDS)
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0
        assert f"balcao {name}" in capsys.readouterr().out
