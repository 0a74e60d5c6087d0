"""Settings: defaults, file, environment, flags, in that order; wrong ones are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.llama.engine import LLAMA2
from engine.backends.registry import Registry
from engine.config import edit, paths, settings
from engine.core.errors import BalcaoError, SettingsError
from engine.core.types import Mode
from tests.configs import llama, openai


def load(tmp_path: Path, text: str = "", **environ: str) -> settings.Settings:
    file = tmp_path / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return settings.load(file, environ)


def test_four_engines_without_any_file(tmp_path: Path) -> None:
    found = settings.load(tmp_path / "none.toml", {})
    assert list(found.engines) == ["catalogue", "base", "lora", "openai"]
    assert (found.engine, found.mode, found.catalogue) == ("catalogue", Mode.QUOTE, None)
    base = llama("base", found)
    assert (base.title, base.model, base.adapter) == ("Base Llama", "smollm2", None)
    lora = llama("lora", found)
    assert (lora.title, lora.model) == ("LoRA Llama", "smollm2")


def test_llama_2_is_taken_where_it_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / "hub" / "models--meta-llama--Llama-2-7b-chat-hf"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("c0ffee", encoding="ascii")
    (stored / "snapshots" / "c0ffee").mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    found = load(tmp_path)
    for name, title in (("base", "Base Llama"), ("lora", "LoRA Llama")):
        row = llama(name, found)
        assert (row.title, row.model, row.adapter) == (title, LLAMA2, None)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The adapter that ships with the program, standing in for the real one."""
    folder = tmp_path / "smollm2_adapter"
    folder.mkdir()
    monkeypatch.setattr(paths, "small_adapter_dir", lambda: folder)
    return folder


def test_the_adapter_that_ships_goes_with_smollm2_where_one_is_needed(
    tmp_path: Path, shipped: Path
) -> None:
    found = load(tmp_path)
    assert llama("lora", found).adapter == str(shipped)
    assert llama("base", found).adapter is None
    shipped.rmdir()
    assert llama("lora", found).adapter is None


@pytest.mark.usefixtures("shipped")
def test_what_is_set_is_not_replaced(tmp_path: Path) -> None:
    found = llama("lora", load(tmp_path, '[engines.lora]\nmodel = "/m"\n'))
    assert (found.model, found.adapter) == ("/m", None)
    found = llama("lora", load(tmp_path, '[engines.lora]\nadapter = "/a"\n'))
    assert (found.model, found.adapter) == ("smollm2", "/a")


OF_DEMO = {
    "a flag": ("demo = false", {}, "demo"),
    "a variable": ("", {"BALCAO_DEMO": "true"}, "demo"),
    "a model": ('[engines.base]\nmodel = "demo"', {}, "engines.base"),
    "its folder": ('[engines.base]\nmodel = "/gone/demo_model"', {}, "engines.base"),
    "its adapter": ('[engines.lora]\nadapter = "/gone/demo_adapter"', {}, "engines.lora"),
    "all": (
        'demo = true\n[engines.mine]\nkind = "llama"\nmodel = "demo"\nadapter = "/my/run"',
        {},
        "demo, engines.mine",
    ),
}


@pytest.mark.parametrize("how", OF_DEMO)
def test_settings_that_name_the_demo_model_open_with_one_sentence(
    tmp_path: Path, shipped: Path, how: str
) -> None:
    text, environ, named = OF_DEMO[how]
    found = load(tmp_path, text, **environ)
    assert f"smollm2 has replaced the demo model, which your settings name in {named};" in (
        found.notice
    )
    assert {llama(name, found).model for name in ("base", "lora")} == {"smollm2"}
    assert llama("lora", found).adapter == str(shipped)
    assert (tmp_path / "settings.toml").read_text() == text


def test_an_adapter_trained_on_the_demo_model_stays_set_and_its_engine_names_the_reason(
    tmp_path: Path,
) -> None:
    text = '[engines.mine]\nkind = "llama"\nmodel = "demo"\nadapter = "/my/run"\n'
    mine = llama("mine", load(tmp_path, text))
    assert (mine.model, mine.adapter) == ("smollm2", "/my/run")


def test_a_folder_of_the_user_may_have_the_demo_models_name(tmp_path: Path) -> None:
    (folder := tmp_path / "demo_model").mkdir()
    found = load(tmp_path, f'[engines.base]\nmodel = "{folder.as_posix()}"\n')
    assert (llama("base", found).model, found.notice) == (folder.as_posix(), "")


def test_settings_without_the_demo_model_have_no_notice(tmp_path: Path) -> None:
    assert load(tmp_path, 'engine = "base"').notice == ""


def test_a_table_changes_only_what_it_gives(tmp_path: Path) -> None:
    found = llama("lora", load(tmp_path, '[engines.lora]\nadapter = "/a"\n'))
    assert (found.adapter, found.needs_adapter, found.title) == ("/a", True, "LoRA Llama")


def test_an_engine_of_ones_own(tmp_path: Path) -> None:
    text = '[engines.mine]\nkind = "openai"\nmodel = "m"\nbase_url = "http://localhost:1/v1"\n'
    found = openai("mine", load(tmp_path, text))
    assert found.base_url == "http://localhost:1/v1"


def test_environment_over_file_and_flags_over_both(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('engine = "base"\ncatalogue = "/one"\n')
    environ = {
        "BALCAO_ENGINE": "lora",
        "BALCAO_MODE": "memory",
        "BALCAO_ENGINES__BASE__MAX_TOKENS": "7",
    }
    found = settings.load(file, environ, {"engine": "openai", "catalogue": None})
    base = llama("base", found)
    assert (found.engine, found.mode, base.max_tokens) == ("openai", Mode.MEMORY, 7)
    assert found.catalogue == "/one"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("engine = ", "not valid TOML"),
        ('engine = "nobody"', "no engine named “nobody”"),
        ('enginee = "base"', "unknown field `enginee`"),
        ("[engines.base]\nmax_tokens = 0", "max_tokens"),
        ('[engines.x]\nkind = "robot"', "robot"),
        ("[engines.x]\ntitle = 'no kind'", "kind"),
        ("engines = 3", "engines"),
    ],
)
def test_what_is_wrong_is_told_with_the_file(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Registry(load(tmp_path, text))
    assert told in str(caught.value)


HOSTILE = {
    "lists": ("a = " + "[" * 50_000, "nested too deeply"),
    "digits": ("a = " + "1" * 5000, "too many digits"),
    "a great number": ("[engines.base]\ntemperature = 1" + "0" * 4000, "temperature"),
    "a greater number": ("[engines.base]\nmax_tokens = 0x1" + "0" * 9000, "max_tokens"),
    "parts": ("a." * 20_000 + "a = 1", "more than 64 parts"),
    "parts in quotes": (r"""['a' . "\"" .""" + "a\t . " * 100 + "a]", "more than 64 parts"),
    "size": ("# " + "x" * 300_000, "larger than 250.0 kB"),
    "half a letter": ("\u00e9" * 200_000, "larger than"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_what_the_parser_is_not_made_for_is_one_error(tmp_path: Path, how: str) -> None:
    text, told = HOSTILE[how]
    with pytest.raises(SettingsError, match=told) as caught:
        Registry(load(tmp_path, text))
    assert len(str(caught.value)) < 500


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path: Path) -> None:
    assert load(tmp_path, '\ufeffengine = "base"\n').engine == "base"
    paths.settings_file().parent.mkdir(parents=True)
    paths.settings_file().write_text('\ufeffengine = "base" # mine\r\n', newline="")
    edit.save({"mode": "memory"})
    assert paths.settings_file().read_bytes() == b'engine = "base" # mine\r\nmode = "memory"\n'


@pytest.mark.parametrize("order", [1, -1])
def test_a_variable_inside_a_value_is_named(tmp_path: Path, order: int) -> None:
    names = ["BALCAO_ENGINE", "BALCAO_ENGINE__X"][::order]
    with pytest.raises(SettingsError, match="BALCAO_ENGINE__X: `engine` is a value"):
        load(tmp_path, **dict.fromkeys(names, "lora"))


def test_a_home_of_no_user_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALCAO_HOME", "~no-such-user/x")
    with pytest.raises(SettingsError, match="BALCAO_HOME"):
        paths.settings_file()
    monkeypatch.setenv("HF_HOME", "~no-such-user/x")
    assert paths.hub_cache() == Path("~no-such-user/x/hub")
    assert not paths.expand("~no-such-user/\0").exists()


_PIECES = st.sampled_from(
    [
        *("engine", "engines", "base", "keys", "a", "x", "title", "temperature", "1", "true", "é"),
        *(" = ", ".", "\n", "[", "]", "[[", "]]", "{", "}", ",", "#", '"', '"""', "'", "\\u", "-"),
        *(
            "\ufeff",
            "\r\n",
            "\r",
            "\0",
            "0x",
            "e9",
            "inf",
            "nan",
            "1979-05-27T07:32:00Z",
            "12:99:00",
        ),
        *("kind", '"llama"', '"openai"', "base_url", "a." * 60, "[" * 300, "9" * 4400),
    ]
)


@given(text=st.lists(_PIECES, max_size=30).map("".join), cut=st.binary(max_size=3))
def test_no_settings_file_breaks_the_program(text: str, cut: bytes) -> None:
    """Reading and changing it either works or is one sentence."""
    file = paths.settings_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() + cut)
    try:
        Registry(settings.load())
        edit.save({"mode": "memory"})
        edit.save_engine("base", {"temperature": 0.5})
    except BalcaoError:
        return
    assert settings.load().mode is Mode.MEMORY


@pytest.mark.skipif(os.name != "posix", reason="a pipe of a POSIX system")
def test_settings_that_never_end_are_one_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "settings.toml")
    with pytest.raises(SettingsError, match="not a file"):
        settings.load(tmp_path / "settings.toml", {})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Cannot read"):
        settings.load(tmp_path, {})
