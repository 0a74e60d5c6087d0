"""Keys: where they come from, where they go, and that they are never shown."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pexpect
import pytest

from engine.backends.openai.engine import OpenAIConfig, OpenAIEngine
from engine.config import keys, paths
from engine.config.keys import Source
from engine.core.errors import BalcaoError, EngineUnavailable, SettingsError
from tests.engine.training.openai.conftest import Run

NAME, KEY = "SHOP_KEY", "sk-canary-1f0c5d2b9a"
BALCAO = str(Path(sys.executable).parent / "balcao")


@pytest.fixture(autouse=True)
def _no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


class Keyring(ModuleType):
    """A keyring of the package's own shape. `locked` makes it refuse."""

    def __init__(self) -> None:
        super().__init__("keyring")
        self.errors = ModuleType("keyring.errors")
        self.errors.KeyringError = type("KeyringError", (Exception,), {})  # type: ignore[attr-defined]
        self.errors.PasswordDeleteError = type(  # type: ignore[attr-defined]
            "PasswordDeleteError",
            (self.errors.KeyringError,),
            {},
        )
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False
        self.forgetful = False
        self.__spec__ = __spec__

    def _check(self) -> None:
        if self.locked:
            raise self.errors.KeyringError("locked, says " + KEY)

    def set_password(self, service: str, name: str, key: str) -> None:
        self._check()
        if not self.forgetful:
            self.kept[service, name] = key

    def get_password(self, service: str, name: str) -> str | None:
        self._check()
        return self.kept.get((service, name))

    def delete_password(self, service: str, name: str) -> None:
        self._check()
        if self.kept.pop((service, name), None) is None:
            raise self.errors.PasswordDeleteError


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keyring]:
    found = Keyring()
    monkeypatch.setitem(sys.modules, "keyring", found)
    return found


def pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_key_is_kept_in_a_file_of_its_owners_alone() -> None:
    assert keys.source(NAME) is None
    assert keys.value(NAME) == ""
    assert keys.store(NAME, KEY) is Source.FILE
    assert (keys.source(NAME), keys.value(NAME)) == (Source.FILE, KEY)
    mode = paths.keys_file().stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert keys.remove(NAME)
    assert keys.source(NAME) is None
    assert KEY not in paths.keys_file().read_text()
    assert not keys.remove(NAME)


def test_the_variable_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    keys.store(NAME, KEY)
    monkeypatch.setenv(NAME, "  other \n")
    assert (keys.source(NAME), keys.value(NAME)) == (Source.ENVIRONMENT, "other")
    monkeypatch.setenv(NAME, " ")
    assert keys.source(NAME) is Source.FILE


def test_a_file_written_by_hand() -> None:
    file = paths.keys_file()
    file.parent.mkdir(parents=True)
    file.write_text(f'# mine\n[keys]\n{NAME} = "{KEY}"\n')
    file.chmod(0o600)
    assert keys.value(NAME) == KEY
    file.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600") as caught:
        keys.value(NAME)
    assert KEY not in str(caught.value)


def test_a_removed_key_is_in_no_draft_of_a_killed_process() -> None:
    keys.store("OTHER", "sk-2")
    dead, mine = (
        paths.config_dir() / f".keys.toml.{process}.draft" for process in (2**22 + 1, os.getppid())
    )
    for stored in (False, True):
        dead.write_text(f'{NAME} = "{KEY}"')
        mine.write_text("")
        if stored:
            keys.store(NAME, KEY)
        assert keys.remove(NAME) is stored
        assert (dead.exists(), mine.exists()) == (False, True)


NONSENSE = {
    "no toml": f"{NAME} {KEY}",
    "no table": f"keys = '{KEY}'",
    "a list": f"[keys]\n{NAME} = ['{KEY}']",
    "a number": "in_keyring = 3",
    "lists": f"{KEY} = " + "[" * 50_000,
    "digits": f"{KEY} = " + "1" * 5000,
    "parts": "a." * 20_000 + f"a = '{KEY}'",
    "size": KEY + "#" * 300_000,
    "no text": f"{KEY}\udcff",
}


@pytest.mark.parametrize("how", NONSENSE)
def test_a_file_of_nonsense_is_told_without_its_words(how: str) -> None:
    file = paths.keys_file()
    file.parent.mkdir(parents=True)
    file.write_bytes(NONSENSE[how].encode(errors="surrogateescape"))
    file.chmod(0o600)
    with pytest.raises(SettingsError) as caught:
        keys.source(NAME)
    assert "keys.toml" in str(caught.value)
    assert KEY not in str(caught.value)


def test_the_keyring_is_taken_where_there_is_one(keyring: Keyring) -> None:
    assert keys.store(NAME, KEY) is Source.KEYRING
    assert keyring.kept == {("balcao", NAME): KEY}
    assert (keys.source(NAME), keys.value(NAME)) == (Source.KEYRING, KEY)
    assert KEY not in paths.keys_file().read_text()
    assert keys.stored() == {NAME: Source.KEYRING}

    assert keys.store(NAME, KEY + "2", in_file=True) is Source.FILE
    assert keyring.kept == {}
    assert keys.value(NAME) == KEY + "2"
    assert keys.store(NAME, KEY) is Source.KEYRING
    assert keys.stored() == {NAME: Source.KEYRING}
    assert keys.remove(NAME)
    assert (keyring.kept, keys.stored()) == ({}, {})


@pytest.mark.parametrize("fault", ["locked", "forgetful"])
def test_a_keyring_that_keeps_nothing_is_passed_over(keyring: Keyring, fault: str) -> None:
    setattr(keyring, fault, True)
    assert keys.store(NAME, KEY) is Source.FILE
    assert keys.value(NAME) == KEY


def test_a_keyring_that_gives_nothing_back(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.store(NAME, KEY)
    keyring.locked = True
    for attempt in (keys.value, keys.remove):
        with pytest.raises(BalcaoError, match="Unlock the keyring") as caught:
            attempt(NAME)
        assert KEY not in str(caught.value)
    keyring.locked = False
    keyring.kept["balcao", NAME] = f"{KEY}\n{KEY}"
    with pytest.raises(BalcaoError, match="Invalid API key") as caught:
        keys.value(NAME)
    assert KEY not in str(caught.value)
    keyring.kept.clear()
    with pytest.raises(BalcaoError, match="not in the keyring"):
        keys.value(NAME)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(BalcaoError, match="not installed"):
        keys.value(NAME)


async def test_the_engine_takes_the_key_from_where_it_is(keyring: Keyring) -> None:
    engine = OpenAIEngine("x", OpenAIConfig(model="m", api_key_env=NAME))
    state = engine.availability()
    assert not state.ready
    assert f"balcao keys set {NAME}" in state.remedy
    keys.store(NAME, KEY, in_file=True)
    assert engine.availability().ready
    paths.keys_file().chmod(0o644)
    state = engine.availability()
    assert (state.ready, "chmod 600" in state.remedy) == (False, True)
    paths.keys_file().chmod(0o600)
    keys.store(NAME, KEY)
    assert engine.availability().ready
    keyring.locked = True
    # Availability opens no keyring; what needs the key does, and says what is wrong.
    assert engine.availability().ready
    with pytest.raises(EngineUnavailable, match="Unlock the keyring"):
        _ = [step async for step in engine.load()]
    keyring.locked = False
    assert [step.label async for step in engine.load()][-1] == "ready"
    await engine.unload()


def test_the_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, KEY + "\n")
    said = [run("keys", "set", NAME)]
    assert (said[0].code, said[0].out) == (0, "")
    assert str(paths.keys_file()) in said[0].err
    said.append(run("keys", "list"))
    rows = [line.split(None, 1) for line in said[1].out.splitlines()]
    assert rows == [[NAME, "file"], ["OPENAI_API_KEY", "not set"]]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    said.append(run("keys", "list"))
    assert "environment" in said[2].out
    pipe(monkeypatch, KEY)
    said.append(run("keys", "set", "OPENAI_API_KEY"))
    assert "overrides it" in said[3].err
    said.append(run("keys", "remove", NAME))
    assert said[4].code == 0
    assert run("keys", "remove", NAME).code == 1
    assert not any(KEY in ran.out + ran.err or "sk-other" in ran.out + ran.err for ran in said)


@pytest.mark.parametrize(
    "words",
    [
        ["set", KEY], ["set", NAME, KEY], ["set", NAME, f"--key={KEY}"], [KEY], ["remove", KEY],
        [], ["set"], ["list", NAME], ["set", f"{NAME}={KEY}"], ["set", "SHÖP"],
    ],
)  # fmt: skip
def test_a_key_on_the_command_line_is_refused_and_not_repeated(
    run: Run, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, "unasked\n")
    ran = run("keys", *words)
    assert (ran.code, ran.out) == (2, "")
    assert KEY not in ran.err
    assert "command line" in ran.err
    assert not paths.keys_file().exists()


def test_a_key_in_place_of_its_name_is_refused_and_not_repeated(
    run: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [run("finetune", "--data", str(data), "--dry-run", "--api-key-env", KEY)]
    monkeypatch.setenv("BALCAO_ENGINES__OPENAI__API_KEY_ENV", KEY)
    said += [run("engines"), run("keys", "list"), run("finetune", "--data", str(data), "--dry-run")]
    assert [ran.code for ran in said] == [2, 2, 2, 2]
    assert not [ran for ran in said if KEY in ran.out + ran.err]


@pytest.mark.parametrize("key", ["", "  ", "two words", "café", "a\tb"])
def test_what_cannot_be_a_key(run: Run, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, key + "\n")
    ran = run("keys", "set", NAME)
    assert ran.code == 2
    assert "Invalid API key" in ran.err
    assert key.strip() == "" or key not in ran.err


def test_typed_at_a_terminal_it_is_not_shown() -> None:
    child = pexpect.spawn(BALCAO, ["keys", "set", "--file", NAME], timeout=30, encoding="utf-8")
    log = io.StringIO()
    child.logfile_read = log
    child.expect("not shown")
    child.waitnoecho()
    child.sendline(KEY)
    child.expect("Stored ")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert KEY not in log.getvalue()
    assert keys.value(NAME) == KEY


def test_a_key_shows_in_no_repr() -> None:
    keys.store(NAME, KEY)
    assert KEY not in repr(keys._read())
    assert KEY not in json.dumps(keys.stored())
