"""Settings: defaults, file, environment, flags, in that order; wrong ones are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.backends.llama.engine import LLAMA2
from engine.backends.registry import Registry
from engine.config import paths, settings
from engine.core.errors import SettingsError
from engine.core.types import Mode
from tests.configs import llama, openai


def load(tmp_path: Path, text: str = "", **environ: str) -> settings.Settings:
    file = tmp_path / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return settings.load(file, environ)


def test_four_engines_without_any_file(tmp_path: Path) -> None:
    found = settings.load(tmp_path / "none.toml", {})
    assert list(found.engines) == ["catalogue", "base", "lora", "openai"]
    assert (found.engine, found.mode, found.catalogue) == ("catalogue", Mode.GROUNDED, None)
    base = llama("base", found)
    assert (base.title, base.model) == ("Base Llama (demo)", str(paths.demo_model_dir()))
    lora = llama("lora", found)
    assert (lora.title, lora.model) == ("LoRA Llama (demo)", base.model)
    assert (base.adapter, lora.adapter) == (None, str(paths.demo_adapter_dir()))


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


def test_what_is_set_is_not_replaced_by_the_demo(tmp_path: Path) -> None:
    found = llama("lora", load(tmp_path, '[engines.lora]\nmodel = "/m"\n'))
    assert (found.title, found.model, found.adapter) == ("LoRA Llama", "/m", None)
    found = llama("lora", load(tmp_path, '[engines.lora]\nadapter = "/a"\n'))
    assert (found.title, found.model, found.adapter) == ("LoRA Llama", LLAMA2, "/a")


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


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Cannot read"):
        settings.load(tmp_path, {})
