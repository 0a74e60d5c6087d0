"""Run `balcao index` and `balcao prepare`: output, exit codes, Ctrl-C, progress."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.catalogue import records
from engine.catalogue.catalogue import Catalogue
from scripts import index as build_index
from scripts import prepare as prepare_script

ROWS = "".join(
    json.dumps({"uid": f"{n:010d}", "title": f"Title {n}", "content": f"Text {n}."}) + "\n"
    for n in range(300)
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "trn.json"
    path.write_text(ROWS + '{"uid": "cut')
    return path


def test_index_as_json(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "index"
    assert build_index.main([str(source), "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["out"] == str(out)
    assert result["counts"] == {
        "read": 301,
        "kept": 300,
        "rejected": {"not JSON": 1},
        "changed": {},
        "bad_lines": [[301, "not JSON"]],
        "survey": {
            "products": 300,
            "no_description": 0,
            "duplicates": 0,
            "languages": {"unclear": 200},
        },
    }
    assert len(Catalogue.open(out)) == 300


def test_index_as_text(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build_index.main([str(source), "--out", str(tmp_path / "index")]) == 0
    shown = capsys.readouterr().out
    assert "300 products" in shown
    assert "left out: 1 (not JSON, line 301)" in shown
    assert "instead of what was there" not in shown
    arguments = [str(source), "--out", str(tmp_path / "index"), "--no-meaning"]
    assert build_index.main(arguments) == 0
    assert "index, instead of what was there\n" in capsys.readouterr().out


def test_no_meaning_leaves_the_vectors_out(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    assert build_index.main([str(source), "--out", str(out)]) == 0
    assert (out / records.MEANING).is_dir()
    assert build_index.main([str(source), "--out", str(out), "--no-meaning"]) == 0
    assert not (out / records.MEANING).exists()
    assert len(Catalogue.open(out)) == 300


def test_the_columns_of_a_table_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "products.csv"
    table.write_text("sku,naam,description\n7,Kettle,Boils.\n")
    out = str(tmp_path / "out")
    shown = "title from column “naam”, content from column “description”, uid from column “sku”"
    for command in (build_index, prepare_script):
        assert command.main([str(table), "--out", out]) == 1
        assert "--columns title=COLUMN" in capsys.readouterr().err
        assert command.main([str(table), "--out", out, "--columns", "title=naam"]) == 0
        assert shown in " ".join(capsys.readouterr().out.split())
        out += "2"
    assert build_index.main([str(table), "--out", out, "--columns", "titel=naam"]) == 2
    assert "Did you mean “title”?" in capsys.readouterr().err


def test_update(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "index"
    assert build_index.main([str(source), "--out", str(out), "--update"]) == 1
    assert "balcao index" in capsys.readouterr().err
    assert build_index.main([str(source), "--out", str(out)]) == 0
    more = tmp_path / "more.jsonl"
    more.write_text(
        '{"uid": "0000000007", "title": "Replaced", "content": "New."}\n'
        '{"uid": "0000000900", "title": "Added", "content": "Newer."}\n'
    )
    assert build_index.main([str(more), "--out", str(out), "--update"]) == 0
    assert "2 products added or replaced" in capsys.readouterr().out
    opened = Catalogue.open(out)
    assert len(opened) == 301
    assert [opened.find(title).status.value for title in ("replaced", "added", "title 7")] == [
        "exact",
        "exact",
        "none",
    ]


def test_prepare(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows"
    assert prepare_script.main([str(source), "--out", str(out), "--limit", "40"]) == 0
    assert "40 products" in capsys.readouterr().out
    assert prepare_script.main([str(source), "--out", str(out), "--json", "--valid", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["splits"]["valid"] == 0


def test_prepare_explains_its_shares_in_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text(
        "sku,name,description\n1,Red Kettle,It boils.\n2,Oak Shelf,It stands.\n"
    )
    assert prepare_script.main(["x.csv", "--out", "rows", "--valid", "0.2", "--test", "0.2"]) == 0
    shown = capsys.readouterr().out
    assert "train.jsonl: 16 rows of 1 product\n  valid.jsonl: 1 row of 1 product\n" in shown
    assert "test.jsonl is empty: editions of one thing stay together" in shown
    assert "a model does not learn the 1 in valid and test" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "Train on them:\n  balcao train --data rows --base smollm2" in shown


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["{nothing}", "--out", "{out}"], 1),
        (["{source}"], 2),
        (["--out", "{out}"], 2),
        (["{source}", "--out", "{source}"], 2),
    ],
)
def test_index_exit_codes(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
) -> None:
    places = {"nothing": tmp_path / "nothing", "source": source, "out": tmp_path / "index"}
    given = [argument.format(**places) for argument in arguments]
    assert build_index.main(given) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("balcao")


def test_prepare_exit_codes(source: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "rows")
    assert prepare_script.main([str(source), "--out", out, "--limit", "0"]) == 2
    assert prepare_script.main([str(tmp_path), "--out", out]) == 1


@pytest.mark.parametrize("module", ["scripts.index", "scripts.prepare"])
def test_ctrl_c_exits_with_130_and_leaves_nothing(tmp_path: Path, module: str) -> None:
    # The pipe stays open, so the command is still reading when the signal comes.
    running = subprocess.Popen(
        [sys.executable, "-m", module, "-", "--out", str(tmp_path / "out")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdin
    running.stdin.write(ROWS)
    running.stdin.flush()
    while not list(tmp_path.glob(".out.building-*")):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    running.wait(timeout=20)
    out, err = running.communicate()
    assert (running.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_progress_in_a_terminal_clears_its_line(source: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "scripts.index", str(source), "--out", str(tmp_path / "i")],
        stderr=theirs, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    assert "300 rows, " in shown
    assert shown.endswith("\r\x1b[K")
