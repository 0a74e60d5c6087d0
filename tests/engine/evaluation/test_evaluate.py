"""The command `balcao evaluate`: reports, continuing after a kill, errors."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pexpect
import pytest

from engine.core.text import printable
from engine.evaluation.ask import ANSWERS_FILE
from engine.prompts import UNKNOWN_PRODUCT
from scripts import cli
from tests.engine.backends.openai.server import (
    DONE,
    HELLO,
    Exchange,
    Server,
    error,
    sse,
    streamed,
    words,
)
from tests.engine.evaluation.conftest import echo, remote
from tools.schemas import schema_file

pytestmark = pytest.mark.usefixtures("encoder_at_hand")

ROOT = Path(__file__).parents[3]


def arguments(rows: Path, sample: Path, out: Path, *more: str) -> list[str]:
    return [
        "evaluate", "--data", str(rows / "test.jsonl"), "--catalogue", str(sample),
        "--out", str(out), *more,
    ]  # fmt: skip


async def start(*given: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scripts.cli", *given, cwd=ROOT, stdout=pipe, stderr=pipe
    )


async def finish(*given: str) -> tuple[int, str, str]:
    process = await start(*given)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def without_speed(folder: Path) -> tuple[dict[str, Any], str, str]:
    """The three reports without the part that says how fast it was."""
    data = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    del data["speed"]
    markdown = (folder / "report.md").read_text(encoding="utf-8").partition("## Speed")[0]
    html = (folder / "report.html").read_text(encoding="utf-8").partition("<h2>Speed")[0]
    return data, markdown, html


def test_the_catalogue_answers_word_for_word_and_refuses_invented_titles(
    rows: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = arguments(rows, sample, out, "--engines", "catalogue", "--limit", "30")
    assert cli.main(given) == 0
    told = capsys.readouterr()
    assert told.out.startswith("Catalogue: word for word ")
    assert " learned (30) not learned (30) invented (30) engine " in " ".join(told.out.split())
    shown = [line for line in told.out.splitlines() if not line.startswith("/")]
    assert max(map(len, shown)) <= 80
    assert "Catalogue, in other words: " in told.out
    assert "Catalogue, near misses: no to " in told.out
    assert str(out / "report.html") in told.out
    report = without_speed(out)[0]
    figures = {one["group"]: one for one in report["figures"]}
    for group in ("trained", "untrained"):
        found = figures[group]
        share = found["word_for_word"][0]
        # The others are titles that several products have: the counter asks which.
        assert share + found["offered"][0] == pytest.approx(1.0)
        assert share > 0.8
        assert found["fidelity"][0] == found["chrf"][0] == found["right_record"][0] == share
        assert found["refused"][0] == 0
    assert figures["invented"]["answered"][0] == 0
    assert figures["invented"]["refused"][0] > 0.3  # the others get a list
    invented = figures["invented"]
    assert invented["refused"][0] + invented["offered"][0] == pytest.approx(1.0)
    made = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert made["kind"] == "evaluation"
    assert [one["name"] for one in made["inputs"]] == ["test.jsonl", "train.jsonl"]
    assert made["prompt_version"] == made["settings"]["engines"]["catalogue"]["prompt_version"]
    assert made["settings"]["engines"]["catalogue"]["catalogue"]["inputs"][0]["sha256"]


def test_another_catalogue_is_refused_before_anything_is_asked(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "other.csv"
    source.write_text("sku,name,description\n1,Quorrask,Nothing of the sample.\n")
    other, out = tmp_path / "other", tmp_path / "out"
    assert cli.main(["index", str(source), "--out", str(other), "--no-meaning"]) == 0
    assert cli.main(arguments(rows, other, out, "--engines", "catalogue")) == 2
    said = capsys.readouterr().err
    assert f"{other} holds none of the titles in {rows / 'test.jsonl'}" in said
    assert not out.exists()


def test_an_evaluation_is_compared_with_an_older_one(
    rows: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    given = ("--engines", "catalogue", "--limit", "10")
    assert cli.main(arguments(rows, sample, old, *given)) == 0
    lines = (old / ANSWERS_FILE).read_text(encoding="utf-8").splitlines()
    worse = [json.loads(line) for line in lines[:3]]
    spoilt = [{**one, "text": "Something else entirely."} for one in worse]
    text = "\n".join([*map(json.dumps, spoilt), *lines[3:]]) + "\n"
    (old / ANSWERS_FILE).write_text(text, encoding="utf-8")
    whole = ["evaluate", "--data", str(rows), *arguments(rows, sample, new, *given)[3:]]
    capsys.readouterr()
    assert cli.main([*whole, "--against", str(old)]) == 0
    shown = capsys.readouterr().out
    assert "catalogue against the older evaluation: 3 better, 0 worse, 47 the same" in shown
    assert shown.count("  better  ") == 3
    found = json.loads((new / "against.json").read_text(encoding="utf-8"))
    assert [len(found[0][name]) for name in ("better", "worse")] == [3, 0]
    assert cli.main([*whole, "--against", str(tmp_path / "nowhere")]) == 2
    assert "contains no evaluation" in capsys.readouterr().err


async def test_what_a_model_thinks_is_not_its_answer(
    rows: Path, sample: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def think(exchange: Exchange) -> None:
        record = exchange.body["messages"][-1]["content"]
        await streamed(words(f"<think>{record}</th"), words("ink>\n\n"), *HELLO)(exchange)

    server.always = think
    remote(server.url, monkeypatch)
    out = tmp_path / "out"
    given = arguments(rows, sample, out, "--engines", "openai", "--limit", "2", "--yes")
    status, _, trouble = await finish(*given)
    assert status == 0, trouble
    saved = [json.loads(line) for line in (out / ANSWERS_FILE).read_text().splitlines()]
    asked = [one for one in saved if not one.get("by_counter")]
    assert {one["text"] for one in asked} == {"Hello there"}
    assert all(one["thinking_ms"] > 0 for one in asked)


async def test_a_report_follows_the_published_schemas(
    rows: Path, sample: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse_some(exchange: Exchange) -> None:
        if len(exchange.body["messages"][-1]["content"]) % 3:
            await echo()(exchange)
        else:
            await streamed(words(UNKNOWN_PRODUCT["en"]), words("", "stop"), DONE)(exchange)

    server.always = refuse_some
    remote(server.url, monkeypatch)
    names = ("--engines", "catalogue,openai,openai:memory", "--limit", "8", "--yes")
    status, _, trouble = await finish(*arguments(rows, sample, tmp_path / "out", *names))
    assert status == 0, trouble
    made = json.loads((tmp_path / "out/report.json").read_bytes())
    written = (tmp_path / "out" / ANSWERS_FILE).read_bytes()
    lines = [json.loads(line) for line in written.splitlines()]
    report, answer = (
        jsonschema.Draft202012Validator(json.loads(schema_file(name).read_bytes()))
        for name in ("report", "answers")
    )
    report.validate(made)
    for line in lines:
        answer.validate(line)
    rated = made["refusing"]["openai:memory"]["model"]
    assert all(rated[name] for name in ("precision", "recall", "f1"))
    assert not report.is_valid({**made, "refusing": {"openai:memory": {"model": {}}}})
    assert not answer.is_valid({**lines[0], "status": "perhaps"})


def test_a_second_run_asks_only_new_questions(
    rows: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(rows, sample, tmp_path / "out", "--engines", "catalogue", "--limit")
    assert cli.main([*given, "10"]) == 0
    answers = tmp_path / "out" / ANSWERS_FILE
    first, report = answers.read_bytes(), without_speed(tmp_path / "out")
    capsys.readouterr()
    assert cli.main([*given, "10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"] == report[0]["figures"]
    assert (answers.read_bytes(), without_speed(tmp_path / "out")) == (first, report)
    assert cli.main([*given, "20"]) == 0
    assert answers.read_bytes().startswith(first)
    assert answers.read_bytes().count(b"\n") == 100


async def test_an_interrupted_run_gives_the_same_report(
    rows: Path, sample: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote(server.url, monkeypatch)
    names = ("--engines", "catalogue,openai:memory,openai", "--limit", "12", "--yes")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert (await finish(*arguments(rows, sample, whole, *names)))[0] == 0
    server.always = echo(0.02)
    rng = random.Random()  # noqa: S311 - another moment each time
    for number in (signal.SIGKILL, signal.SIGINT):
        process = await start(*arguments(rows, sample, killed, *names))
        there = _answers(killed)
        while _answers(killed) < there + 30 and process.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await asyncio.sleep(rng.uniform(0, 0.1))
        process.send_signal(number)
        _, err = await process.communicate()
    # Ctrl-C says what a kill cannot.
    assert process.returncode == 130
    assert "run the same command" in err.decode()
    between = _answers(killed)
    with (killed / ANSWERS_FILE).open("ab") as stream:
        stream.write(b'{"asked": "openai:memory", "quest')
    assert (await finish(*arguments(rows, sample, killed, *names)))[0] == 0
    assert 60 <= between < _answers(whole) == _answers(killed)
    assert without_speed(killed) == without_speed(whole)


def _answers(folder: Path) -> int:
    file = folder / ANSWERS_FILE
    return file.read_bytes().count(b"\n") if file.exists() else 0


async def test_a_failing_server_exits_1_and_is_asked_again(
    rows: Path, sample: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote(server.url, monkeypatch)
    given = arguments(
        rows, sample, tmp_path / "out", "--engines", "openai:memory,catalogue", "--limit", "8",
        "--concurrency", "1",
    )  # fmt: skip
    server.always = error(401, "Incorrect key", code="invalid_api_key")
    code, _, err = await finish(*given)
    assert code == 1
    assert "10 answers failed, 30 questions were skipped" in err
    report = without_speed(tmp_path / "out")[0]
    assert report["missing"] == 30
    assert sum(one["failed"] for one in report["figures"]) == 10
    server.always = echo()
    code, _, err = await finish(*given)
    report = without_speed(tmp_path / "out")[0]
    assert (code, report["missing"], sum(one["failed"] for one in report["figures"])) == (0, 0, 0)


async def test_no_file_has_what_a_terminal_would_obey(
    rows: Path, sample: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C1 sequences and directions; and half a character does not end the run."""
    text = r"half \ud83d \u009b31m \u202e here"
    server.always = streamed(
        sse('{"choices":[{"delta":{"content":"' + text + '"},"finish_reason":"stop"}]}'), DONE
    )
    remote(server.url, monkeypatch, title="A\u202eB")
    out = tmp_path / "out"
    given = arguments(rows, sample, out, "--engines", "openai:memory", "--limit", "2", "--yes")
    assert (await finish(*given))[0] == 0
    written = {path.name: path.read_text(encoding="utf-8") for path in out.iterdir()}
    assert [name for name, text in written.items() if printable(text) != text] == []
    (example, *_) = json.loads(written["report.json"])["examples"]
    assert example["replies"][0]["text"].startswith("half \ufffd")
    asked = len(server.asked)
    assert (await finish(*given))[0] == 0
    assert len(server.asked) == asked


def test_a_remote_engine_needs_confirmation(
    rows: Path,
    sample: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BALCAO_ENGINES__OPENAI__MODEL", "gpt-4o-mini-2024-07-18")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing")
    out = tmp_path / "out"
    given = arguments(rows, sample, out, "--engines", "openai:memory,openai", "--limit", "20")
    assert cli.main(given) == 2
    told = capsys.readouterr().err
    assert "100 questions to a remote server" in told
    assert "60 questions to a remote server" in told
    assert told.count(" USD. Estimated") == 2
    assert "--yes" in told
    assert (out / ANSWERS_FILE).read_bytes() == b""
    assert cli.main([*given, "--price", "1000,0"]) == 2
    sent = capsys.readouterr().err.splitlines()[0]
    tokens = int(sent.partition("about ")[2].partition(" ")[0].replace(",", ""))
    assert f"{tokens / 1000:.2f} USD" in sent
    assert 100 * 20 < tokens < 100 * 150


def test_a_terminal_shows_the_confirmation(
    rows: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_ENGINES__OPENAI__MODEL", "some-model")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing")
    given = arguments(rows, sample, tmp_path / "out", "--engines", "openai", "--limit", "5")
    terminal = pexpect.spawn(
        sys.executable, ["-m", "scripts.cli", *given], cwd=str(ROOT), dimensions=(24, 200)
    )
    terminal.expect_exact("price unknown")
    terminal.expect_exact("Continue? [y/N]")
    terminal.sendline("n")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    assert _answers(tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--engines", "nobody"], 2, "no engine named"),
        (["--engines", "base:memory"], 1, "Base Llama|model|meta-llama"),
        (["--engines", "catalogue", "--data", "nowhere.jsonl"], 1, "Cannot read"),
        (["--engines", "catalogue", "--out", "pyproject.toml"], 2, "is a file"),
        (["--engines", "catalogue", "--out", "docs"], 2, "something other"),
        (["--engines", "catalogue", "--catalogue", "docs"], 1, "balcao index"),
    ],
)
def test_errors_before_the_first_question(
    rows: Path,
    sample: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    code: int,
    told: str,
) -> None:
    given = [*arguments(rows, sample, tmp_path / "out"), *more]
    assert cli.main(given) == code
    said = capsys.readouterr().err
    assert any(part in said for part in told.split("|"))
    assert said.count("\n") == 1


@pytest.mark.parametrize("more", [["--limit", "0"], ["--price", "cheap"], ["--concurrency", "x"]])
def test_wrong_usage_is_exit_2(rows: Path, sample: Path, tmp_path: Path, more: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments(rows, sample, tmp_path, "--engines", "catalogue"), *more])
    assert ended.value.code == 2
