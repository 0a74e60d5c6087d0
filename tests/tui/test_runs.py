"""F10: training runs. A run is a process that writes the files of a real one."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList, Static
from textual.widgets._footer import FooterKey

from engine.config import edit
from engine.training.runs.folder import MetricsWriter
from engine.training.runs.status import Score, StatusFile
from tests.engine.training.runs.test_runs import begun, finished, running
from tests.tui.driving import chat, state, until
from tests.tui.test_plain import transcript
from tui.screens.chat import ChatScreen
from tui.screens.runs import LossCurve, RunsScreen

SIZES = [(80, 24), (160, 50), (60, 20)]


async def open_page(pilot: Pilot[None]) -> RunsScreen:
    await pilot.press("f10")
    await until(lambda: isinstance(pilot.app.screen, RunsScreen))
    page = pilot.app.screen
    assert isinstance(page, RunsScreen)
    await until(lambda: bool(text(page, "#runs-head")))
    await pilot.pause()
    return page


def text(page: RunsScreen, selector: str) -> str:
    return str(page.query_one(selector, Static).render())


def rows(page: RunsScreen) -> list[list[str]]:
    return [str(option.prompt).split() for option in page.query_one(OptionList).options]


def learning(out: Path) -> Path:
    """Make a stopped run with falling losses and a sample."""
    begun(out)
    status = StatusFile(out)
    status.begin(0, 60)
    status.step(40)
    status.sampled({"training": Score(3, 2)})
    status.enter("stopped")
    metrics = MetricsWriter(out, 0)
    for step in range(1, 41):
        metrics.add({"step": step, "loss": 5 * math.exp(-step / 20)})
    said = {
        "question": "Tell me [/b]",
        "said": "a\x1b[2J stool",
        "wanted": "a stool",
        "right": False,
    }
    metrics.add({"step": 40, "samples": {"training": [said]}})
    return out


async def test_in_a_narrow_terminal_its_sentence_breaks_between_words(
    catalogue_dir: Path,
) -> None:
    async with chat(catalogue_dir, (60, 20)) as pilot:
        page = await open_page(pilot)
        head = page.query_one("#runs-head")
        await until(lambda: head.region.height == 2)
        assert head.render_line(0).text.split()[-1] == "starts"


async def test_without_runs(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        page = await open_page(pilot)
        assert "balcao train" in text(page, "#runs-head")
        assert page.query_one("#runs-head").region.height == 1
        shown = page.query(FooterKey)
        await until(lambda: [key.description for key in shown] == ["Close"])
        await pilot.press("enter", "s", "escape")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))


@pytest.mark.parametrize("size", SIZES)
async def test_a_run_is_shown_with_its_curve(
    catalogue_dir: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    learning(tmp_path / "lora")
    async with chat(catalogue_dir, size) as pilot:
        page = await open_page(pilot)
        assert rows(page)[0][:4] == ["lora", "stopped", "40/60", "2/3"]
        drawn = page.query_one(LossCurve)
        await until(lambda: "┤" in str(drawn.render()))
        await pilot.pause()
        lines = str(drawn.render()).splitlines()
        canvas = drawn.content_size
        assert len(lines) == canvas.height
        assert all(len(line) <= canvas.width for line in lines)
        assert lines[0].startswith(" 4.756 ┤")
        assert text(page, "#run-state").startswith("lora   stopped   step 40 of 60\n")
        assert "learned   2 of 3 training titles word for word" in text(page, "#run-state")
        assert text(page, "#run-samples").splitlines() == [
            "Asked at step 40",
            "✗ Tell me [/b]  invented: “a[2J stool”",
        ]


async def test_the_page_is_live(catalogue_dir: Path, tmp_path: Path) -> None:
    finished(tmp_path / "older")
    with running(tmp_path / "live") as process:
        MetricsWriter(tmp_path / "live", 0).add({"step": 7, "loss": 2.5})
        async with chat(catalogue_dir) as pilot:
            page = await open_page(pilot)
            assert [row[:2] for row in rows(page)] == [["live", "running"], ["older", "done"]]
            await pilot.press("down")
            await until(lambda: "done" in text(page, "#run-state"))
            process.kill()
            await until(lambda: ["live", "killed"] in [row[:2] for row in rows(page)])
            # The same run stays highlighted when its row moves.
            place = page.query_one(OptionList).highlighted
            assert place is not None
            assert rows(page)[place][0] == "older"


async def test_the_second_s_stops_a_run(catalogue_dir: Path, tmp_path: Path) -> None:
    with running(tmp_path / "live") as process:
        async with chat(catalogue_dir) as pilot:
            page = await open_page(pilot)
            await pilot.press("s")
            assert "S again" in text(page, "#run-status")
            assert process.poll() is None
            await pilot.press("s")
            await until(lambda: process.poll() == -signal.SIGTERM)
            await until(lambda: rows(page)[0][1] == "killed")  # this process saves nothing
            await pilot.press("s")
            assert text(page, "#run-status") == "It is not running."


async def test_an_adapter_becomes_the_engine(catalogue_dir: Path, tmp_path: Path) -> None:
    finished(tmp_path / "My Run")
    begun(tmp_path / "unfinished")
    async with chat(catalogue_dir) as pilot:
        page = await open_page(pilot)
        place = [row[0] for row in rows(page)].index("unfinished")
        await pilot.press(*["down"] * place, "enter")
        await until(lambda: "is not done" in text(page, "#run-status"))
        await pilot.press("up" if place else "down", "enter")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        await until(lambda: screen.session.engine == "lora-my-run")
        # Its base model is missing, which the engine bar reports.
        await until(lambda: "Not available" in state(pilot))
        assert "LoRA My Run" in str(screen.query_one("#names", Static).render())
        await pilot.press("f2")
        assert screen.session.engine == "catalogue"
    assert edit.engine_of(tmp_path / "My Run") == "lora-my-run"


def test_the_plain_chat_reports_runs_in_sentences(catalogue_dir: Path, tmp_path: Path) -> None:
    assert transcript(catalogue_dir, "/runs")[1] == "There is no training run yet."
    learning(tmp_path / "lora")
    assert "lora: stopped, step 40 of 60, 2 of 3 training titles word for word" in transcript(
        catalogue_dir, "/runs"
    )
