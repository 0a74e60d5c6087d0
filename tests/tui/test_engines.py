"""F9: the engines with their state, and their parameters, through Textual's pilot."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tomllib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static, TextArea

from engine.backends.llama import host
from engine.backends.llama.engine import LlamaEngine
from engine.backends.llama.host import LlamaHost
from engine.backends.llama.weights import ModelFiles
from engine.backends.registry import Registry
from engine.config import keys, paths
from engine.core.types import Progress
from tests.engine.backends.llama.conftest import lives
from tests.engine.backends.llama.make_model import BASE, HELLO
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.backends.openai.server import Exchange, Reply, Server, answer, error, hello
from tests.engine.backends.openai.server import running as scripted_server
from tests.tui.driving import ask, chat, send, state, until, words
from tui.screens.chat import ChatScreen
from tui.screens.dialogs import ChoiceDialog, InputDialog
from tui.screens.engines import EnginesScreen, ParametersScreen
from tui.widgets.engine_bar import EngineBar

SIZES = [(80, 24), (160, 50), (60, 20)]


async def open_page(pilot: Pilot[None]) -> EnginesScreen:
    await pilot.press("f9")
    await until(lambda: isinstance(pilot.app.screen, EnginesScreen))
    await pilot.pause()
    page = pilot.app.screen
    assert isinstance(page, EnginesScreen)
    await until(lambda: "…" not in str(states(page)[-1]))
    return page


def states(page: EnginesScreen) -> list[str]:
    options = page.query_one(OptionList).options
    return [" ".join(str(option.prompt).split()) for option in options]


def about(page: EnginesScreen) -> str:
    return str(page.query_one("#engine-about", Static).render())


def told(page: EnginesScreen) -> str:
    return str(page.query_one("#engine-told", Static).render())


def registry(pilot: Pilot[None]) -> Registry:
    (screen,) = [one for one in pilot.app.screen_stack if isinstance(one, ChatScreen)]
    assert screen.session.resources
    return screen.session.resources.registry


@pytest.mark.parametrize("size", SIZES)
async def test_each_engine_has_a_state_and_what_to_do(
    catalogue_dir: Path, size: tuple[int, int]
) -> None:
    async with chat(catalogue_dir, size) as pilot:
        page = await open_page(pilot)
        assert states(page)[0] == "● Catalogue ready"
        assert states(page)[3].startswith("○ OpenAI not set up: No model is set")
        await pilot.press("l")
        await until(lambda: told(page) == "The catalogue needs no loading.")
        await pilot.press("down", "down", "down", "l")
        await until(lambda: told(page).startswith("Can't load it"))
        said = " ".join(about(page).split())
        assert "Set `model` under [engines.openai] in " in said
        await pilot.press("enter")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))
        assert "● OpenAI" in words(pilot, "#names")[0]
        await pilot.press("f9")
        await until(lambda: isinstance(pilot.app.screen, EnginesScreen))
        await pilot.press("up", "escape")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))
        assert "● OpenAI" in words(pilot, "#names")[0]


async def test_the_list_ends_at_its_ends(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        engines = (await open_page(pilot)).query_one(OptionList)
        await pilot.press("up")
        assert engines.highlighted == 0
        await pilot.press(*["down"] * (engines.option_count + 1))
        assert engines.highlighted == engines.option_count - 1


async def test_without_the_model_the_chat_opens_and_names_the_command(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, engine="base") as pilot:
        await until(lambda: "Run: balcao models pull smollm2" in " ".join(state(pilot).split()))


async def test_old_settings_are_explained_once_at_the_start(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, demo=False) as pilot:
        (told,) = [one.message for one in pilot.app._notifications]
        assert told.startswith("smollm2 has replaced the demo model, which your settings name in d")


@pytest.mark.parametrize(
    ("chosen", "gpu", "said"),
    [
        ("auto", False, "no NVIDIA GPU found"),
        ("auto", True, "transformers: NVIDIA GPU found"),
        ("transformers", True, "transformers: set in the settings"),
    ],
)
async def test_the_page_says_which_runtime_and_why(
    catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, gpu: bool, said: str
) -> None:
    monkeypatch.setattr(host, "has_gpu", lambda: gpu)
    engines = {"base": {"runtime": chosen}}
    async with chat(catalogue_dir, engine="base", engines=engines) as pilot:
        page = await open_page(pilot)
        (line,) = [one for one in about(page).splitlines() if one.startswith("runs by")]
        assert said in line


async def test_a_server_says_when_its_model_ends(catalogue_dir: Path) -> None:
    """It is asked in the background, and only from this page."""
    answering = asyncio.Event()

    async def models(exchange: Exchange) -> None:
        await answering.wait()
        rows = {"data": [{"id": "old-model", "shutdown_date": "2027-02-03"}]}
        await answer(200, json.dumps(rows))(exchange)

    async with scripted_server() as server:
        server.always = models
        row = {"kind": "openai", "model": "old-model", "base_url": server.url, "api_key_env": ""}
        async with chat(catalogue_dir, engines={"remote": row}) as pilot:
            assert server.asked == []
            page = await open_page(pilot)
            await pilot.press("end")
            await until(server.came.is_set)
            assert "shut down" not in about(page)
            answering.set()
            await until(lambda: "The model is shut down on 2027-02-03" in about(page))


async def test_without_a_catalogue_it_says_why(tmp_path: Path) -> None:
    async with chat(tmp_path / "nowhere") as pilot:
        await pilot.press("f9")
        await pilot.pause()
        assert isinstance(pilot.app.screen, ChatScreen)
        assert "balcao index" in state(pilot)


def hold_loading(host: LlamaHost, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Hold loading at the worker's first step until the event is set."""
    go, load = asyncio.Event(), host._open

    async def held(model: ModelFiles) -> AsyncGenerator[Progress]:
        async with aclosing(load(model)) as steps:
            async for step in steps:
                yield step
                if host.pid:
                    await go.wait()

    monkeypatch.setattr(host, "_open", held)
    return go


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_loading_and_unloading_from_the_page(
    catalogue_dir: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"model": str(tiny.model)}
    rows: dict[str, Any] = {"base": model, "lora": {**model, "adapter": str(tiny.adapter)}}
    async with chat(catalogue_dir, engines=rows, mode="memory") as pilot:
        page = await open_page(pilot)
        await pilot.press("u")
        assert told(page) == "Nothing to unload."
        engine = registry(pilot).get("base")
        assert isinstance(engine, LlamaEngine)
        go = hold_loading(engine._host, monkeypatch)
        await pilot.press("down", "l")
        await until(lambda: states(page)[1].startswith("○ Base Llama loading: "))
        go.set()
        await until(lambda: "loaded (" in states(page)[1], seconds=120)
        assert "resident" in about(page)
        await pilot.press("l")
        await until(lambda: told(page) == "Already loaded.")
        worker = engine._host.pid
        assert worker is not None
        assert lives(worker)
        await pilot.press("u")
        await until(lambda: told(page) == "Unloaded: Base Llama and LoRA Llama.")
        assert not lives(worker)
        assert states(page)[1] == "○ Base Llama ready"
        # Stopped while it loads: the worker is gone, and nothing is told as a mistake.
        go.clear()
        await pilot.press("l")
        await until(lambda: "loading" in states(page)[1])
        worker = engine._host.pid
        assert worker is not None
        await pilot.press("u")
        await until(lambda: not lives(worker))
        assert states(page)[1] == "○ Base Llama ready"
        assert not pilot.app.screen_stack[0].query(".bad")


async def test_a_model_loads_while_the_question_is_typed(catalogue_dir: Path, tiny: Tiny) -> None:
    rows = {"base": {"model": str(tiny.model)}}
    async with chat(catalogue_dir, engines=rows, mode="memory") as pilot:
        base = registry(pilot).get("base")
        await pilot.press("f2")
        assert pilot.app.screen.session.engine == "base"  # type: ignore[attr-defined] # the chat's
        await pilot.pause()
        assert not base.facts().loading
        await pilot.press("h")
        await until(lambda: base.loaded, seconds=120)
        await base.unload()
    async with chat(catalogue_dir, engines=rows, mode="memory", engine="base") as pilot:
        base = registry(pilot).get("base")
        await until(lambda: base.facts().loading or base.loaded)
        view = await send(pilot, HELLO)
        await until(lambda: view.is_finished, seconds=120)
        assert pilot.app.screen.session.conversation.turns[-1].answer.text == BASE[HELLO]  # type: ignore[attr-defined] # the chat's
        await base.unload()


async def test_parameters_are_in_force_and_kept(catalogue_dir: Path, tiny: Tiny) -> None:
    file = paths.settings_file()
    file.parent.mkdir(parents=True)
    file.write_text("# mine\n[engines.base]\ntemperature = 0.3 # warm\n")
    rows = {"base": {"model": str(tiny.model), "temperature": 0.3}}
    async with chat(catalogue_dir, engines=rows, mode="memory", engine="base") as pilot:
        page = await open_page(pilot)
        assert "temperature 0.3, top-p 1" in about(page)
        await pilot.press("p")
        await until(lambda: isinstance(pilot.app.screen, ParametersScreen))
        form = pilot.app.screen
        form.query_one("#temperature", Input).value = "9"
        form.query_one("#max_tokens", Input).value = "none"
        await pilot.pause()
        assert str(form.query_one("#tells-temperature", Static).render()) == "A number from 0 to 2."
        assert form.query_one("#tells-max_tokens").has_class("bad")
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert pilot.app.screen is form
        assert "0.3" in file.read_text()
        form.query_one("#temperature", Input).value = "0"
        form.query_one("#max_tokens", Input).value = "3"
        form.query_one(TextArea).text = "Be\nbrief."
        await pilot.press("ctrl+s")
        await until(lambda: isinstance(pilot.app.screen, EnginesScreen))
        await until(lambda: told(page).startswith("Saved. It applies from the next question"))
        table = tomllib.loads(file.read_text())["engines"]["base"]
        assert table == {"temperature": 0.0, "max_tokens": 3, "system_prompt": "Be\nbrief."}
        assert file.read_text().startswith("# mine\n")
        await pilot.press("escape")
        view = await send(pilot, HELLO)
        await until(lambda: view.is_finished, seconds=120)
        answer = pilot.app.screen.session.conversation.turns[-1].answer  # type: ignore[attr-defined] # the chat's
        assert answer.tokens.completion == 3
        assert answer.text != BASE[HELLO]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
async def test_what_cannot_be_kept_is_in_force_all_the_same(catalogue_dir: Path) -> None:
    paths.config_dir().mkdir(parents=True)
    paths.config_dir().chmod(0o500)
    await _unkept(catalogue_dir)


async def test_a_settings_file_that_is_in_the_way(catalogue_dir: Path) -> None:
    paths.settings_file().mkdir(parents=True)
    await _unkept(catalogue_dir)


async def _unkept(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, engine="base") as pilot:
        page = await open_page(pilot)
        await pilot.press("p")
        await until(lambda: isinstance(pilot.app.screen, ParametersScreen))
        await pilot.press("1", "enter")
        await until(lambda: told(page).startswith("It applies until you quit, but is not saved"))
        assert "temperature 1" in about(page)


async def test_nothing_changed_says_nothing(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, engine="base") as pilot:
        page = await open_page(pilot)
        for leave in ("escape", "ctrl+s"):
            await pilot.press("p")
            await until(lambda: isinstance(pilot.app.screen, ParametersScreen))
            await pilot.press(leave)
            await until(lambda: pilot.app.screen is page)
            assert told(page) == ""
        assert not paths.settings_file().exists()
        await pilot.press("home", "p")
        await until(lambda: "no parameters" in told(page))


async def test_what_is_told_while_an_engine_is_looked_at_stays(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        bar = pilot.app.screen.query_one(EngineBar)
        bar.show_availability()
        bar.report("There is no engine “nobody”.")
        await pilot.app.workers.wait_for_complete()
        assert state(pilot) == "There is no engine “nobody”."
        bar.show_availability()
        await until(lambda: state(pilot).startswith("ready"))


def models(*ids: str) -> Reply:
    return answer(200, json.dumps({"data": [{"id": each} for each in ids]}))


async def until_page(pilot: Pilot[None], kind: type[Screen[Any]]) -> Screen[Any]:
    await until(lambda: isinstance(pilot.app.screen, kind))
    await pilot.pause()
    return pilot.app.screen


async def test_a_local_model_is_found_when_asked_and_answers(
    catalogue_dir: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.backends.openai.discover.PORTS", {"Ollama": server.port})
    server.always = models("llama3.2:1b", "bad\x1b[2J")
    async with chat(catalogue_dir) as pilot:
        page = await open_page(pilot)
        assert not server.asked
        await pilot.press("a")
        dialog = await until_page(pilot, ChoiceDialog)
        options = dialog.query_one(OptionList).options
        assert [str(one.prompt) for one in options] == ["Ollama · llama3.2:1b", "Another address…"]
        await pilot.press("enter")
        await until(lambda: told(page).startswith("✓ llama3.2:1b"))
        assert page.query_one("#engine-told").has_class("good")
        await until(lambda: states(page)[-1] == "● llama3.2:1b ready")
        await pilot.press("escape")
        await until_page(pilot, ChatScreen)
        server.always = hello()
        await ask(pilot, "Canvas Stool, Blue")
        assert "llama3.2:1b" in [body.get("model") for body in server.bodies]
    added = tomllib.loads(paths.engines_file().read_text())["engines"]["ollama"]
    assert added == {
        "kind": "openai", "title": "llama3.2:1b", "model": "llama3.2:1b",
        "base_url": f"http://127.0.0.1:{server.port}/v1", "api_key_env": "",
    }  # fmt: skip


async def test_without_a_local_server_it_says_where_it_looked(
    catalogue_dir: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.backends.openai.discover.PORTS", {"Ollama": server.port})
    server.always = answer(404, "no such page")
    async with chat(catalogue_dir) as pilot:
        page = await open_page(pilot)
        await pilot.press("a")
        await until_page(pilot, ChoiceDialog)
        await pilot.press("escape")
        await until_page(pilot, EnginesScreen)
        assert told(page) == f"None answered on this machine: Ollama ({server.port})."


async def test_a_key_is_masked_checked_and_stored(
    catalogue_dir: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.config.keys._keyring", lambda: None)
    server.script = [error(401, "wrong key", code="invalid_api_key")]
    server.always = models("gpt-b", "gpt-a")
    rows = {"openai": {"base_url": server.url, "api_key_env": "SHOP_API_KEY"}}
    async with chat(catalogue_dir, engines=rows) as pilot:
        page = await open_page(pilot)
        await pilot.press("end")
        await until(lambda: "Press K" in about(page))
        for key, next_page in (("sk-wrong", EnginesScreen), ("sk-right", ChoiceDialog)):
            await pilot.press("k")
            dialog = await until_page(pilot, InputDialog)
            field = dialog.query_one(Input)
            field.value = key
            assert key not in str(field._value)
            await pilot.press("enter")
            await until_page(pilot, next_page)
        assert "sk-wrong" not in told(page)
        await pilot.press("enter")
        await until(lambda: told(page).startswith("✓ "))
        assert server.asked[-1].headers["authorization"] == "Bearer sk-right"
        await until(lambda: states(page)[-1] == "○ OpenAI ready")
        assert keys.value("SHOP_API_KEY") == "sk-right"
        assert paths.keys_file().stat().st_mode & 0o077 == 0
        assert "gpt-a" in paths.settings_file().read_text()
        assert "sk-right" not in paths.settings_file().read_text()


async def test_a_server_elsewhere_is_added_with_its_key(
    catalogue_dir: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.config.keys._keyring", lambda: None)
    monkeypatch.setattr("engine.backends.openai.discover.PORTS", {})
    server.always = models("tiny")
    name = f"SERVER_127_0_0_1_{server.port}_API_KEY"
    async with chat(catalogue_dir) as pilot:
        page = await open_page(pilot)

        async def type_into_dialog(text: str) -> None:
            (await until_page(pilot, InputDialog)).query_one(Input).value = text
            await pilot.press("enter")

        for address in ("localhost", f"http://127.0.0.1:{server.port}"):
            await pilot.press("a")
            await until_page(pilot, ChoiceDialog)
            await pilot.press("enter")
            await type_into_dialog(address)
            if address == "localhost":
                await until(lambda: "is not a web address" in told(page))
        await type_into_dialog("sk-own")
        await until_page(pilot, ChoiceDialog)
        assert server.asked[-1].path == "/v1/models"
        await pilot.press("enter")
        await until(lambda: told(page).startswith("✓ tiny"))
        assert keys.value(name) == "sk-own"
        assert "sk-own" not in paths.engines_file().read_text()
