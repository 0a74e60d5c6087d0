"""`balcao doctor`: tells what is there, above all when half of it is broken."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.config import keys, paths
from engine.store.conversations import ConversationStore
from scripts import cli

HEAVY = ("torch", "transformers", "peft", "openai", "numpy", "bitsandbytes")
KEY = "sk-never-to-be-seen"


def examined(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """The exit code, and the findings by part and name."""
    code = cli.main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["can_start"] is (code == 0)
    return code, {f"{row['part']}.{row['name']}": row for row in report["findings"]}


@pytest.fixture
def _catalogue(catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALCAO_CATALOGUE", str(catalogue_dir))


@pytest.mark.usefixtures("_catalogue")
def test_a_healthy_home(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, catalogue_dir: Path
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ConversationStore(paths.conversations_file()).close()
    code, found = examined(capsys)
    assert code == 0
    assert found[f"catalogue.{catalogue_dir}"]["value"] == "10 products"
    assert found["engines.catalogue"]["value"] == "ready, the chat begins with it"
    assert found["engines.base"]["trouble"]
    assert found["engines.base"]["remedy"]
    assert found["keys.OPENAI_API_KEY"]["value"] == "found: environment"
    assert found["history.conversations"]["value"].startswith("0, 0.")
    assert found["settings.variables"]["value"] == "BALCAO_CATALOGUE, BALCAO_HOME"
    assert found["terminal.colours"]["value"] in ("256", "16,777,216", "off (NO_COLOR)")
    assert found["program.textual"]["value"].startswith("8.")
    assert "GB free" in found["machine.disk"]["value"]
    assert not any(row["fatal"] for row in found.values())


@pytest.mark.usefixtures("_catalogue")
def test_no_value_of_a_key_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    keys.store("OTHER_KEY", KEY, in_file=True)
    for arguments in (["doctor"], ["doctor", "--json"]):
        cli.main(arguments)
        told = capsys.readouterr()
        assert "OTHER_KEY" in told.out
        assert KEY not in told.out + told.err


@pytest.mark.usefixtures("_catalogue")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("engine = [", "is not valid TOML"),
        ('engine = "nobody"', "no engine named “nobody”"),
        ("colour = 1", "colour"),
        ('theme = "mud"', "no theme named “mud”"),
        ('[keys]\nfly = "f6"', "no key named “fly”"),
    ],
)
def test_settings_that_are_wrong_do_not_keep_it_from_the_rest(
    capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    file = paths.settings_file()
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    code, found = examined(capsys)
    assert code == 1
    fatal = [row for row in found.values() if row["fatal"]]
    assert len(fatal) == 1
    assert told in fatal[0]["trouble"]
    assert fatal[0]["remedy"]
    assert found["engines.catalogue"]["value"].startswith("ready")
    assert "GB free" in found["machine.disk"]["value"]


def test_a_catalogue_that_does_not_open(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_CATALOGUE", str(tmp_path / "nowhere"))
    code, found = examined(capsys)
    assert code == 1
    assert found["catalogue.catalogue"]["fatal"]
    assert "balcao index" in found["catalogue.catalogue"]["remedy"]


def test_everything_broken_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    for file in (paths.conversations_file(), paths.keys_file(), paths.engines_file()):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\xff\x00 neither this nor that")
    code, found = examined(capsys)
    assert code == 1
    assert "engines.toml" in found["settings.wrong"]["trouble"]
    assert "Cannot read" in found["history.conversations"]["trouble"]
    assert "keys.toml" in found["keys.keys"]["trouble"]
    assert "line by line" in found["terminal.TERM"]["trouble"]
    cli.main(["doctor"])
    said = capsys.readouterr().out
    assert said.endswith(f": {sum(bool(row['trouble']) for row in found.values())}.\n")
    assert "The chat cannot start." in said
    assert "\x1b" not in said


@pytest.mark.usefixtures("_catalogue")
def test_it_reads_a_history_that_a_chat_is_writing(capsys: pytest.CaptureFixture[str]) -> None:
    paths.data_dir().mkdir(parents=True)
    store = ConversationStore(paths.conversations_file())
    with sqlite3.connect(paths.conversations_file()) as other:
        other.execute("BEGIN IMMEDIATE")
        code, found = examined(capsys)
        other.rollback()
    store.close()
    assert code == 0
    assert not found["history.conversations"]["trouble"]


@pytest.mark.usefixtures("_catalogue")
def test_nothing_heavy_is_imported_for_it() -> None:
    code = (
        "import contextlib, io, sys; from scripts import cli\n"
        "with contextlib.redirect_stdout(io.StringIO()): cli.main(['doctor'])\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
