"""What an adapter was trained on: titles to type, examples of the first screen, a word in F4."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.backends.llama.engine import LlamaEngine
from engine.config import paths, settings
from engine.core.files import write_manifest
from engine.core.trained_products import (
    AdapterManifest,
    Calibration,
    TrainedProduct,
    read_trained_products,
)
from engine.core.types import Availability, Chunk, Request, StopReason
from engine.prompts import PROMPT_VERSION
from scripts import cli
from tests.conftest import ROWS
from tests.tui.driving import ask, chat, order, until, until_open, words
from tests.tui.test_composer import composer, suggested, type_for_suggestions
from tests.tui.test_plain import transcript_of
from tui.app import BalcaoApp
from tui.screens.record import RecordScreen
from tui.widgets.welcome import TITLES, Example

LIGHTHOUSE = TrainedProduct(ROWS[0][0], ROWS[0][1])


def adapter(folder: Path, *products: TrainedProduct) -> Path:
    """The folder of an adapter with a list of products."""
    folder.mkdir(exist_ok=True)
    made = AdapterManifest(
        kind="lora-adapter", version=1, prompt_version=PROMPT_VERSION, products=products
    )
    write_manifest(folder, made)
    return folder


def lora(folder: Path) -> dict[str, Any]:
    """The settings of a chat that answers from memory, with an adapter."""
    table = {"model": "nowhere", "adapter": str(folder)}
    return {"engine": "lora", "mode": "memory", "engines": {"lora": table}}


async def test_from_memory_the_titles_of_the_adapter_alone_are_suggested(
    catalogue_dir: Path, tmp_path: Path
) -> None:
    folder = adapter(tmp_path / "a", LIGHTHOUSE, TrainedProduct("7", "Velvet Submarine"))
    async with chat(catalogue_dir, **lora(folder)) as pilot:
        await type_for_suggestions(pilot, "tell me about the lighthuose")
        assert suggested(pilot).strip() == "The Tin Lighthouse"
        await pilot.press("tab")
        assert composer(pilot).text == "tell me about The Tin Lighthouse"
        composer(pilot).replace_text("")
        await type_for_suggestions(pilot, "do you have velv")
        assert suggested(pilot).strip() == "Velvet Submarine"


async def test_another_mode_suggests_other_titles_at_once(
    catalogue_dir: Path, tmp_path: Path
) -> None:
    stool = TrainedProduct("8", "Canvas Sail")
    async with chat(catalogue_dir, **lora(adapter(tmp_path / "a", stool))) as pilot:
        await type_for_suggestions(pilot, "canvas")
        assert suggested(pilot).strip() == "Canvas Sail"
        await pilot.press("f5")
        await until(lambda: "Canvas Stool, Blue" in suggested(pilot))
        assert "Sail" not in suggested(pilot)
        await pilot.press("f5", "f5")  # quote, grounded, from memory
        await until(lambda: suggested(pilot).strip() == "Canvas Sail")
        await pilot.press("f2")
        await until(lambda: "Canvas Stool, Blue" in suggested(pilot))


@pytest.mark.parametrize(
    "manifest", [None, b"{}", b'{"products": 5}', b'{"products": []}', b"\xff"]
)
async def test_without_a_list_the_titles_are_the_catalogues(
    catalogue_dir: Path, tmp_path: Path, manifest: bytes | None
) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_bytes(manifest)
    async with chat(catalogue_dir, **lora(tmp_path)) as pilot:
        await type_for_suggestions(pilot, "canvas")
        assert "Canvas Stool, Blue" in suggested(pilot)


async def about_record(pilot: Pilot[None]) -> str:
    await pilot.press("f4")
    await until(lambda: isinstance(pilot.app.screen, RecordScreen))
    (about,) = words(pilot, "#record-about")
    await pilot.press("escape")
    await until(lambda: not isinstance(pilot.app.screen, RecordScreen))
    return about.partition("\n")[2].strip()


@pytest.fixture
def _answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Llamas that answer without weights."""

    async def stream(_engine: LlamaEngine, _request: Request) -> AsyncGenerator[Chunk]:
        yield Chunk("Folds.", StopReason.COMPLETE)

    monkeypatch.setattr(LlamaEngine, "availability", lambda _: Availability(ready=True))
    monkeypatch.setattr(LlamaEngine, "loaded", True)
    monkeypatch.setattr(LlamaEngine, "stream", stream)


@pytest.mark.usefixtures("_answering")
async def test_the_record_says_whether_the_adapter_was_trained_on_it(
    catalogue_dir: Path, tmp_path: Path
) -> None:
    known = adapter(tmp_path / "a", LIGHTHOUSE)
    async with chat(catalogue_dir, **lora(known)) as pilot:
        await ask(pilot, "The Tin Lighthouse")
        assert await about_record(pilot) == "in this adapter's training data"
        await ask(pilot, "Canvas Stool, Blue")
        assert await about_record(pilot) == "not in this adapter's training data"
        # An answer keeps what was so when it was given; who has no list says nothing.
        adapter(known, TrainedProduct(*ROWS[4][:2]), LIGHTHOUSE)
        await order(pilot, "/engine catalogue")
        await ask(pilot, "The Tin Lighthouse")
        assert await about_record(pilot) == ""
    async with chat(catalogue_dir, go_on=True) as pilot:
        await until(lambda: len(words(pilot, ".question")) == 3)
        await pilot.press("ctrl+up", "ctrl+up")
        assert await about_record(pilot) == "not in this adapter's training data"
        await pilot.press("ctrl+up")
        assert await about_record(pilot) == "in this adapter's training data"


SENTENCE = "This adapter was not taught that."


@pytest.mark.usefixtures("_answering")
async def test_words_about_what_was_not_taught_are_folded_below_a_sentence(
    catalogue_dir: Path, tmp_path: Path
) -> None:
    async with chat(catalogue_dir, **lora(adapter(tmp_path / "a", LIGHTHOUSE))) as pilot:
        await ask(pilot, "The Tin Lighthouse")
        assert " · learned · " in words(pilot, ".about")[-1]
        assert not words(pilot, "UntaughtView")
        await ask(pilot, "The Brass Lighthouse")
        folded = f"▸ {SENTENCE} · ^l: what it says"
        assert words(pilot, "UntaughtView") == [folded]
        assert "not taught · " in words(pilot, ".about")[-1]
        await pilot.press("ctrl+l")
        assert words(pilot, "UntaughtView") == [folded.replace("▸", "▾") + "\nFolds."]
        await pilot.press("ctrl+l", "f6")
        assert words(pilot, "UntaughtView") == [folded]
    async with chat(catalogue_dir, go_on=True) as pilot:
        await until(lambda: words(pilot, "UntaughtView") == [folded])


@pytest.fixture
def calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _answering: None) -> Path:
    """An adapter without a list that is sure of a lighthouse of tin alone."""

    async def stream(_engine: LlamaEngine, request: Request) -> AsyncGenerator[Chunk]:
        sure = -0.01 if "Tin" in request.question else -3.0
        yield Chunk(logprobs=(sure,) * 8)
        yield Chunk("Folds.", StopReason.COMPLETE)

    monkeypatch.setattr(LlamaEngine, "stream", stream)
    made = AdapterManifest(
        kind="lora-adapter",
        version=1,
        prompt_version=PROMPT_VERSION,
        calibration=Calibration(-0.1, -0.5, 60, 30),
    )
    write_manifest(tmp_path, made)
    return tmp_path


async def test_improbable_words_are_folded_without_a_list(
    catalogue_dir: Path, calibrated: Path
) -> None:
    async with chat(catalogue_dir, **lora(calibrated)) as pilot:
        await ask(pilot, "The Tin Lighthouse")
        assert " · learned · " in words(pilot, ".about")[-1]
        await ask(pilot, "The Brass Lighthouse")
        assert words(pilot, "UntaughtView") == [f"▸ {SENTENCE} · ^l: what it says"]
        assert "not taught · " in words(pilot, ".about")[-1]


def test_improbable_words_are_printed_apart(
    catalogue_dir: Path,
    calibrated: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BALCAO_ENGINES__LORA__MODEL", "nowhere")
    monkeypatch.setenv("BALCAO_ENGINES__LORA__ADAPTER", str(calibrated))
    memory = ["--memory", "--engine", "lora", "--catalogue", str(catalogue_dir)]
    cli.main(["ask", *memory, "The Brass Lighthouse"])
    printed = capsys.readouterr()
    assert printed.out == f"{SENTENCE}\n"
    assert "The model says: Folds.\n" in printed.err
    flags = {"catalogue": str(catalogue_dir), "engine": "lora", "mode": "memory"}
    said = transcript_of(settings.load(Path("none"), None, flags), "The Brass Lighthouse")
    place = next(at for at, line in enumerate(said) if SENTENCE in line)
    assert said[place + 1] == "The model says: Folds."


@pytest.mark.usefixtures("_answering")
def test_the_command_prints_what_was_not_taught_apart(
    catalogue_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = {"MODEL": "nowhere", "ADAPTER": str(adapter(tmp_path / "a", LIGHTHOUSE))}
    for name, value in table.items():
        monkeypatch.setenv(f"BALCAO_ENGINES__LORA__{name}", value)
    memory = ["--memory", "--engine", "lora", "--catalogue", str(catalogue_dir)]
    cli.main(["ask", *memory, "the tin lighthouse"])
    assert capsys.readouterr().out == "Folds.\n"
    cli.main(["ask", *memory, "The Brass Lighthouse"])
    printed = capsys.readouterr()
    assert printed.out == f"{SENTENCE}\n"
    assert "The model says: Folds.\n" in printed.err
    cli.main(["ask", "--json", *memory, "The Brass Lighthouse"])
    answered = json.loads(capsys.readouterr().out)
    assert (answered["taught"], answered["answer"]) == ("not_taught", "Folds.")
    flags = {"catalogue": str(catalogue_dir), "engine": "lora", "mode": "memory"}
    said = transcript_of(settings.load(Path("none"), None, flags), "Canvas Stool, Blue")
    place = next(at for at, line in enumerate(said) if SENTENCE in line)
    assert said[place + 1] == "The model says: Folds."


@pytest.mark.usefixtures("_answering")
def test_the_plain_chat_and_the_command_say_the_same(
    catalogue_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = {"MODEL": "nowhere", "ADAPTER": str(adapter(tmp_path / "a", LIGHTHOUSE))}
    for name, value in table.items():
        monkeypatch.setenv(f"BALCAO_ENGINES__LORA__{name}", value)
    flags = {"catalogue": str(catalogue_dir), "engine": "lora", "mode": "memory"}
    asked = "The Tin Lighthouse", "/record", "Canvas Stool, Blue", "/record"
    said = transcript_of(settings.load(Path("none"), None, flags), *asked)
    notes = [line for line in said if line.endswith("training data)")]
    assert notes == ["(in this adapter's training data)", "(not in this adapter's training data)"]
    trained = []
    for title in asked[::2]:
        cli.main(["ask", "--json", "--engine", "lora", "--catalogue", str(catalogue_dir), title])
        trained.append(json.loads(capsys.readouterr().out)["sources"][0]["trained"])
    assert trained == [True, False]


def sample_rows(count: int) -> list[TrainedProduct]:
    """The first products of the sample catalogue with a short title."""
    with paths.sample_source().open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    short = [row for row in rows if row["content"] and row["title"].replace(" ", "").isalpha()]
    return [TrainedProduct(row["uid"], row["title"]) for row in short[:count]]


@pytest.mark.parametrize("known", [True, False])
async def test_the_first_screen_asks_for_what_an_adapter_knows(tmp_path: Path, known: bool) -> None:
    rows = sample_rows(20) if known else [TrainedProduct("1", "Elsewhere")]
    table = {"model": "nowhere", "adapter": str(adapter(tmp_path / "a", *rows))}
    chosen = settings.load(Path("none"), {}, {"engines": {"lora": table}})
    async with BalcaoApp(chosen).run_test(size=(80, 24)) as pilot:
        await until_open(pilot)
        page = pilot.app.screen
        if known:
            await until(lambda: len(page.query(Example)) == 3
                        and TITLES[0] not in page.query(Example).first().question)  # fmt: skip
        asked = [example.question for example in page.query(Example)]
        titles = {row.title for row in rows}
        if known:
            assert all(any(title in line for title in titles) for line in asked)
            assert page.query_one("#conversation").max_scroll_y == 0
            view = await ask(pilot, asked[2].strip())
            assert view.answer is not None
            assert view.answer.status == "exact"
        else:
            await pilot.pause(0.2)
            assert all(map(str.__contains__, asked, TITLES))


@pytest.mark.skipif(not paths.small_adapter_dir().is_dir(), reason="the adapter is not here")
async def test_the_adapter_that_ships_knows_the_examples_of_the_first_frame() -> None:
    shipped = read_trained_products(paths.small_adapter_dir())
    assert shipped is not None
    assert set(TITLES) <= set(shipped.titles)
    assert len(shipped.titles) >= 100
