"""engines.toml, which the program writes: read below the person's settings, never over them."""

from __future__ import annotations

import pytest

from engine.backends.registry import Registry
from engine.config import edit, paths, settings
from engine.config.edit import add_tuned
from engine.core.errors import SettingsError, UsageError
from tests.configs import openai


def test_a_tuned_model_fills_the_empty_row_and_then_makes_new_ones() -> None:
    assert add_tuned("ft:a:o::1", "a", None, "K") == "openai"
    assert add_tuned("ft:b:o::2", "b", "http://localhost:1/v1", "K") == "openai-2"
    assert add_tuned("ft:c:o::3", "c", None, "K", "mine") == "mine"
    assert add_tuned("ft:a:o::1", "a", None, "K") == "openai"  # it is there already
    assert (openai("openai").model, openai("openai").title) == ("ft:a:o::1", "Tuned a")
    assert openai("openai-2").base_url == "http://localhost:1/v1"
    assert list(settings.load().engines) == [
        "catalogue", "base", "lora", "openai", "openai-2", "mine",
    ]  # fmt: skip


def test_the_persons_file_goes_over_it() -> None:
    paths.settings_file().parent.mkdir(parents=True)
    paths.settings_file().write_text('[engines.openai]\nmodel = "theirs"\ntitle = "Mine"\n')
    assert add_tuned("ft:a:o::1", "a", None, "K") == "openai-2"
    assert openai("openai").model == "theirs"
    paths.settings_file().write_text('[engines.openai-2]\ntitle = "Better name"\n')
    assert (openai("openai-2").title, openai("openai-2").model) == ("Better name", "ft:a:o::1")


def test_only_engines_are_read_from_it() -> None:
    paths.engines_file().parent.mkdir(parents=True)
    paths.engines_file().write_text('engine = "base"\n[engines.x]\nkind = "openai"\n')
    assert settings.load().engine == "catalogue"
    assert "x" in settings.load().engines


@pytest.mark.parametrize("text", ["engines = ", '[engines.x]\nkind = "robot"\n'])
def test_a_broken_one_is_told_by_name(text: str) -> None:
    paths.engines_file().parent.mkdir(parents=True)
    paths.engines_file().write_text(text)
    with pytest.raises(SettingsError, match=r"engines\.toml"):
        Registry(settings.load())
    if "robot" not in text:
        with pytest.raises(SettingsError, match=r"engines\.toml"):
            add_tuned("ft:a:o::1", "a", None, "K")


def test_an_id_of_ones_own() -> None:
    chosen = settings.load()
    edit.check_free("shop-1", chosen)
    for wrong in ("catalogue", "base", "Shop", "a b", "", "x" * 41):
        with pytest.raises(UsageError):
            edit.check_free(wrong, chosen)
