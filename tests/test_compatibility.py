"""What an older version wrote opens: history, catalogue, settings, keys, adapter, prompts.

`made_at_a915cbe` holds files that the program wrote at commit a915cbe, before the code was moved
into subject folders. Never edit them, and never make them again with a newer version.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine import prompts
from engine.core.types import Message, Mode, Product, Role

ROOT = Path(__file__).resolve().parents[1]
KEY = "sk-not-a-real-key-0123456789"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the old files: opening some of them writes locks beside them."""
    return Path(shutil.copytree(Path(__file__).with_name("made_at_a915cbe"), tmp_path / "old"))


@pytest.fixture
def home(old: Path, tmp_path: Path) -> Path:
    """A home with the old settings, keys and history."""
    config, data = tmp_path / "home/config", tmp_path / "home/data"
    config.mkdir(parents=True)
    data.mkdir()
    for name in ("settings.toml", "engines.toml", "keys.toml"):
        shutil.copy(old / name, config)
    (config / "keys.toml").chmod(0o600)
    shutil.copy(old / "conversations.db", data)
    return tmp_path / "home"


def balcao(*arguments: str | Path, status: int | None = 0, **variables: str) -> str:
    """What the command writes to stdout; it ends with `status`, or with any where that is None."""
    ended = subprocess.run(
        [sys.executable, "-m", "scripts.cli", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert status is None or ended.returncode == status, ended.stderr
    return ended.stdout


def test_a_history_opens(old: Path, home: Path) -> None:
    written = json.loads(balcao("history", "export", "--format", "json", BALCAO_HOME=str(home)))
    expected = json.loads((old / "conversations.json").read_text())
    answers = [
        answer["answer"]
        for conversation in written["conversations"]
        for turn in conversation["turns"]
        for answer in turn["answers"]
    ]
    for answer in answers:
        added = {"thinking": "", "thinking_ms": 0.0, "logprobs": []}
        added |= {"coverage": None, "described": None}
        assert {name: answer.pop(name) for name in added} == added
    assert written["conversations"] == expected["conversations"]
    assert balcao("history", "search", "minsk", BALCAO_HOME=str(home))


def test_a_catalogue_opens(old: Path) -> None:
    lines = balcao("ask", "--catalogue", old / "index", "--json", "the coper kettle")
    answer = json.loads(lines)
    assert answer["status"] in ("exact", "likely")
    assert answer["answer"] == "A kettle of two litres, hammered by hand."
    assert answer["sources"][0]["uid"] == "9000000001"


def test_settings_and_keys_open(home: Path) -> None:
    script = (
        "from engine.config import keys, settings; s = settings.load(); import json;"
        "print(json.dumps([s.engine, s.mode, s.language, s.theme, s.complete_titles,"
        " s.keys, keys.value('SHOP_API_KEY')]))"
    )
    read = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"BALCAO_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = ["shop", "memory", "pt", "high-contrast", False, {"next_engine": "f12"}, KEY]
    assert json.loads(read.stdout) == expected
    lines = balcao("engines", "--json", BALCAO_HOME=str(home)).splitlines()
    engines = {row["id"]: row for row in map(json.loads, lines)}
    assert list(engines) == ["catalogue", "base", "lora", "openai", "shop"]
    assert engines["openai"]["title"] == "Tuned gpt-4o-mini"
    assert engines["shop"]["ready"]
    assert KEY not in str(engines)


def test_a_home_that_uses_the_demo_model_opens(home: Path) -> None:
    settings, added = home / "config/settings.toml", home / "config/engines.toml"
    run = '[engines.lora-x]\nkind = "llama"\nmodel = "demo"\nadapter = "/runs/x"\n'
    settings.write_text("demo = true\n" + settings.read_text().replace('"shop"', '"lora-x"', 1))
    added.write_text(added.read_text() + run)
    kept = settings.read_bytes(), added.read_bytes()
    lines = balcao("engines", "--json", BALCAO_HOME=str(home)).splitlines()
    engines = {row["id"]: row for row in map(json.loads, lines)}
    assert "balcao models pull smollm2" in engines["lora-x"]["remedy"]
    assert balcao("history", "search", "minsk", BALCAO_HOME=str(home))
    assert (settings.read_bytes(), added.read_bytes()) == kept


def test_an_adapter_of_the_old_prompts_is_to_be_trained_again(old: Path) -> None:
    variables = {
        "BALCAO_ENGINES__OLD__KIND": "llama",
        "BALCAO_ENGINES__OLD__MODEL": str(old / "model"),
        "BALCAO_ENGINES__OLD__ADAPTER": str(old / "adapter"),
    }
    lines = balcao("engines", "--json", status=0, **variables).splitlines()
    engine = next(row for row in map(json.loads, lines) if row["id"] == "old")
    assert not engine["ready"]
    assert "version 1 of the prompts" in engine["reason"]
    assert engine["remedy"] == "Train it again with `balcao train`."


def test_a_training_run_opens(old: Path, tmp_path: Path) -> None:
    runs = tmp_path / "home/data/runs"
    runs.mkdir(parents=True)
    (runs / "6231589f09e07364.json").write_text(json.dumps({"folder": str(old / "adapter")}))
    run = json.loads(balcao("runs", "--json", BALCAO_HOME=str(tmp_path / "home")))
    assert (run["state"], run["step"], run["steps"]) == ("done", 40, 40)
    assert run["word_for_word"]["held_out"] == {"asked": 2, "right": 2}


def test_prompts_are_byte_for_byte_those_of_their_version(old: Path) -> None:
    before = json.loads((old / "prompts.json").read_text())
    assert list(prompts.QUESTION_FORMS) == before["forms"]
    assert before["llama2_template"] == prompts.LLAMA2_TEMPLATE
    kettle = Product("9000000001", "The Copper Kettle", "A kettle of two litres.")
    shelf = Product("9000000004", "Empty Shelf", "")
    said = (Message(Role.USER, kettle.title), Message(Role.ASSISTANT, kettle.description))
    memory = prompts.chat_messages(kettle.title, None, Mode.MEMORY, system="Be brief.")
    grounded = prompts.chat_messages("who made it?", kettle, Mode.GROUNDED, said)
    empty = prompts.training_messages(shelf.title, "(none)", "{title}, please", shelf)
    system = "Repeat the product's description word for word."
    record = "Title: The Copper Kettle\nDescription:\nA kettle of two litres.\n\nwho made it?"
    nothing = "Title: Empty Shelf\nDescription:\n(none)\n\nEmpty Shelf, please"
    assert prompts.PROMPT_VERSION == 3
    assert [one.content for one in memory] == ["Be brief.", kettle.title]
    assert [one.content for one in grounded] == [system, *(one.content for one in said), record]
    assert [one.content for one in empty] == [system, nothing, "(none)"]
