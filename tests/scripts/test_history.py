"""`balcao history`, as it is used in pipes and for backups."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from engine.config import paths
from engine.store.conversations import ConversationStore
from scripts.cli import main
from tests.engine.store.test_store_history import said


@pytest.fixture
def numbers() -> list[int]:
    store = ConversationStore(paths.conversations_file())
    made = [said(store, f"balcão {number}", "words \x1b[2J") for number in range(3)]
    store.close()
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["history", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_listing(capsys: pytest.CaptureFixture[str], numbers: list[int]) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [str(n) for n in numbers[::-1]]
    code, out, _ = run(capsys, "list", "--json", "--limit", "1")
    entry = json.loads(out)
    assert (entry["id"], entry["title"], entry["questions"]) == (numbers[2], "balcão 2", 1)
    assert entry["updated"].endswith("+00:00")
    with pytest.raises(SystemExit, match="2"):
        run(capsys, "list", "--limit", "9" * 25)


def test_searching(capsys: pytest.CaptureFixture[str], numbers: list[int]) -> None:
    code, out, _ = run(capsys, "search", "balcao", "1")
    assert (code, out.split()[0]) == (0, str(numbers[1]))
    assert "*balcão* *1*" in out
    code, out, _ = run(capsys, "search", "--json", "words")
    assert len(out.splitlines()) == 3
    assert "\x1b" not in out
    assert run(capsys, "search", "zebra")[0] == 1
    assert run(capsys, "search", "--limit", "1", "a")[0] == 1


@pytest.mark.usefixtures("numbers")
def test_export_and_import(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, out, _ = run(capsys, "export")
    assert code == 0
    assert len(json.loads(out)["conversations"]) == 3
    file = tmp_path / "backup.json"
    assert run(capsys, "export", "--out", str(file))[0] == 0
    assert run(capsys, "export", "--out", str(file))[0] == 0  # in place of the one before
    assert json.loads(file.read_bytes())["conversations"] == json.loads(out)["conversations"]

    monkeypatch.setenv("BALCAO_HOME", str(tmp_path / "elsewhere"))
    assert "3 conversations imported." in run(capsys, "import", str(file))[2]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(out.encode())))
    assert "0 conversations imported; 3 were here already." in run(capsys, "import", "-")[2]
    file.write_text("{}")
    code, _, err = run(capsys, "import", str(file))
    assert (code, err.count("\n")) == (1, 1)
    assert "is not an export of conversations" in err


def test_what_a_server_spoilt_is_exported_and_counted(
    capsys: pytest.CaptureFixture[str], numbers: list[int], tmp_path: Path
) -> None:
    with closing(sqlite3.connect(paths.conversations_file())) as database, database:
        database.execute(
            "UPDATE answer SET body = json_set(body, '$.tokens.prompt', json('true')) WHERE id = ?",
            (numbers[0],),
        )
        database.execute(
            "UPDATE answer SET body = json_set(body, '$.tokens.completion', -1) WHERE id = ?",
            (numbers[1],),
        )
    file = tmp_path / "backup.json"
    code, _, err = run(capsys, "export", "--out", str(file))
    assert (code, "3 conversations exported. 2 answers are damaged" in err) == (0, True)
    assert "words" in run(capsys, "export", "--format", "markdown", str(numbers[0]))[1]
    code, _, err = run(capsys, "import", str(file))
    assert (code, err) == (0, "balcao: 0 conversations imported; 3 were here already.\n")


def test_pages(capsys: pytest.CaptureFixture[str], numbers: list[int]) -> None:
    code, out, _ = run(capsys, "export", "--format", "markdown", str(numbers[0]), str(numbers[1]))
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("# ")] == [
        "# balcão 0", "# balcão 1",
    ]  # fmt: skip
    code, out, err = run(capsys, "export", str(numbers[0]), "99")
    assert (code, out) == (1, "")
    assert "no conversation 99" in err


def test_deleting(capsys: pytest.CaptureFixture[str], numbers: list[int]) -> None:
    assert run(capsys, "delete", str(numbers[0]))[0] == 2  # nobody to ask
    assert run(capsys, "delete", "--yes", str(numbers[0]), "99")[0] == 1
    assert len(run(capsys, "list")[1].splitlines()) == 3
    assert run(capsys, "delete", "--yes", str(numbers[0]), str(numbers[2]))[0] == 0
    assert run(capsys, "list")[1].split()[0] == str(numbers[1])
    assert len(run(capsys, "list")[1].splitlines()) == 1


def test_no_history_yet(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "list")[:2] == (0, "")
    code, out, _ = run(capsys, "export")
    assert (code, json.loads(out)["conversations"]) == (0, [])
