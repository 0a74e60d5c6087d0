"""What the chat changes in the person's own settings file, and what it leaves alone."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.llama.engine import LlamaConfig
from engine.config import paths, settings
from engine.config.edit import _edited, overriding, save_engine
from engine.core.errors import BalcaoError, SettingsError
from tests.configs import llama

OWN = """\
# Mine.
engine = 'base'   # why not

[engines.base]
# The small one.
model = '/models/tiny'  # 12 MB
temperature = 0.3

[keys]
mode = "f8"
"""


def write(text: str) -> Path:
    file = paths.settings_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())
    return file


def base() -> LlamaConfig:
    return llama("base", settings.load(environ={}))


def test_it_is_made_where_there_is_none() -> None:
    save_engine("base", {"temperature": 0.7, "system_prompt": 'a "b"\nc'})
    assert (base().temperature, base().system_prompt) == (0.7, 'a "b"\nc')


def test_a_change_holds_over_what_the_file_had_and_leaves_the_rest() -> None:
    file = write(OWN)
    save_engine("base", {"temperature": 0.9, "top_p": 0.5})
    assert (base().temperature, base().top_p, base().model) == (0.9, 0.5, "/models/tiny")
    expected = OWN.replace("temperature = 0.3\n", "temperature = 0.9\ntop_p = 0.5\n")
    assert file.read_text() == expected
    save_engine("base", {"temperature": None, "top_p": None})
    assert base().temperature == 0.0
    assert file.read_text() == OWN.replace("temperature = 0.3\n", "")


def test_an_edit_by_hand_afterwards_holds() -> None:
    save_engine("base", {"temperature": 0.7})
    file = paths.settings_file()
    file.write_text(file.read_text().replace("0.7", "0.1"))
    assert base().temperature == 0.1


def test_nothing_to_change_writes_nothing() -> None:
    save_engine("base", {"temperature": None})
    assert not paths.settings_file().exists()
    file = write(OWN)
    before = file.stat().st_mtime_ns, file.stat().st_ino
    save_engine("base", {"temperature": 0.3, "top_p": None})
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


@pytest.mark.parametrize(
    "text",
    [
        "engines.base.model = 'x'\n",
        "[engines]\nbase = { model = 'x' }\n",
        "[engines]\nbase.model = 'x'\n",
        "engines = { base = { model = 'x' } }\n",
        "[keys]\nmode = 'f8'",
        "[engines.lora]\nadapter = 'y'\n# the end",
        "[engines.'base']\nmodel = 'x'\n[keys]\nmode = 'f8'\n[engines.lora]\nadapter = 'y'\n",
        "engine = 'base'\r\n[engines.base]\r\nmodel = 'x'\r\n",
    ],
)
def test_every_way_of_writing_it(text: str) -> None:
    file = write(text)
    before = tomllib.loads(text)
    save_engine("base", {"temperature": 0.7})
    after = tomllib.loads(file.read_bytes().decode())
    assert after["engines"]["base"].pop("temperature") == 0.7
    assert after == {"engines": {}, **before} | {
        "engines": {"base": {}, **before.get("engines", {})}
    }


@given(st.text(), st.text(st.characters(codec="utf-8")))
def test_any_prompt_comes_back(prompt: str, comment: str) -> None:
    kept = "".join(letter for letter in comment if letter.isprintable())
    text = f"# {kept}\n[engines.base]\nmodel = 'x' # {kept}\n"
    try:
        prompt.encode()
    except UnicodeEncodeError:
        return
    edited = _edited(text, tomllib.loads(text), ("engines", "base"), {"system_prompt": prompt})
    assert tomllib.loads(edited)["engines"]["base"]["system_prompt"] == prompt
    assert edited.startswith(text)


def test_a_file_that_cannot_be_understood_is_left_alone() -> None:
    for text in ("engine = ", "engines = 3", "\xff"):
        file = write(text)
        with pytest.raises((SettingsError, BalcaoError)):
            save_engine("base", {"temperature": 0.7})
        assert file.read_bytes() == text.encode()


@pytest.mark.skipif(os.name != "posix", reason="rights of a POSIX system")
def test_a_link_stays_one_and_rights_stay_as_they_are(tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles.toml"
    dotfiles.write_text(OWN)
    dotfiles.chmod(0o640)
    paths.settings_file().parent.mkdir(parents=True)
    paths.settings_file().symlink_to(dotfiles)
    save_engine("base", {"temperature": 0.7})
    assert paths.settings_file().is_symlink()
    assert stat.S_IMODE(dotfiles.stat().st_mode) == 0o640
    assert base().temperature == 0.7


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(BalcaoError, match="Not a directory"):
        save_engine("base", {"temperature": 0.7})


def test_variables_that_go_before_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALCAO_ENGINES__BASE__TEMPERATURE", "1")
    monkeypatch.setenv("BALCAO_ENGINES__LORA__TOP_P", "1")
    found = overriding("base", {"temperature": 0.7, "top_p": 0.5})
    assert found == ["BALCAO_ENGINES__BASE__TEMPERATURE"]
