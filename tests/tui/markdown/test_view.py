"""The widget after streaming, selecting, resizing, and a change of theme."""

from __future__ import annotations

import asyncio
import random

import pytest
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.geometry import Offset
from textual.selection import Selection
from textual.strip import Strip

from tests.tui.driving import until
from tests.tui.markdown.documents import PIECES, cut
from tui.widgets.markdown_view import MarkdownView


class Page(App[None]):
    """Two texts with the chat's styles."""

    CSS_PATH = "../../../tui/turns.tcss"

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield MarkdownView(classes="words")
            yield MarkdownView(classes="words")


def views(page: App[None]) -> tuple[MarkdownView, MarkdownView]:
    first, second = page.query(MarkdownView)
    return first, second


def drawn(view: MarkdownView) -> list[Strip]:
    return view.render_lines(view.size.region)


def texts(view: MarkdownView) -> list[str]:
    return [strip.text.rstrip() for strip in drawn(view)]


@pytest.mark.parametrize("seed", range(6))
async def test_streamed_text_looks_as_if_drawn_at_once(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - what is random is a test
    document = "".join(chance.choice(PIECES) for _ in range(60))
    page = Page()
    async with page.run_test(size=(60, 200)) as pilot:
        streamed, whole = views(page)
        for place, piece in enumerate(cut(document, chance)):
            streamed.append(piece)
            if place % 15 == 0:
                await asyncio.sleep(0.05)
        await streamed.finish()
        whole.append(document)
        await whole.finish()
        await pilot.pause()
        assert drawn(streamed) == drawn(whole)
        assert streamed.source == whole.source


@pytest.mark.parametrize("seed", range(3))
async def test_cached_strips_equal_rendered_ones(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - what is random is a test
    document = "".join(chance.choice(PIECES) for _ in range(40))
    page = Page()
    async with page.run_test(size=(60, 200)) as pilot:
        view, _ = views(page)
        for place, piece in enumerate(cut(document, chance)):
            view.append(piece)
            if place % 10 == 0:
                await asyncio.sleep(0.05)
                await pilot.resize_terminal(chance.choice((30, 60)), 200)
                drawn(view)
                width, base = view.content_size.width, view.visual_style.rich_style
                for y in range(view.content_size.height):
                    assert view.render_line(y) == view._strip(y, width, base)
        assert view._strips


async def test_a_resize_wraps_and_a_theme_restyles() -> None:
    page = Page()
    async with page.run_test(size=(60, 20)) as pilot:
        view, _ = views(page)
        view.append("# Tea\nA word, and another word, and **one** more.\n\n- and")
        await until(lambda: len(texts(view)) == 5)
        await pilot.resize_terminal(20, 20)
        await until(lambda: len(texts(view)) == 6)
        assert all(strip.cell_length == view.size.width for strip in drawn(view))
        before = drawn(view)
        page.theme = "textual-light"
        await until(lambda: texts(view) != [] and drawn(view) != before)
        assert len(texts(view)) == 6
        await view.finish()
        await pilot.pause()
        assert len(texts(view)) == 6


async def test_a_selection_is_copied_without_wrapping() -> None:
    page = Page()
    async with page.run_test(size=(20, 20)) as pilot:
        view, _ = views(page)
        view.append("One two three four five six.\n\n- seven\n\n| a | b |\n|---|---|\n| c | d |")
        await view.finish()
        await pilot.pause()
        everything = view.get_selection(Selection(None, None))
        assert everything == (
            "One two three four five six.\n\n• seven\n\na │ b\n──┼──\nc │ d", "\n"
        )  # fmt: skip
        second = drawn(view)[1]
        offset = next(iter(second)).style.meta["offset"]  # type: ignore[union-attr]
        assert offset[1] == 0
        assert "One two three four five six."[offset[0] :].startswith(second.text.strip()[:4])
        page.screen.selections = {view: Selection(Offset(4, 0), Offset(7, 0))}
        view.selection_updated(Selection(Offset(4, 0), Offset(7, 0)))
        await pilot.pause()
        chosen = page.screen.get_component_rich_style("screen--selection").bgcolor
        marked = [segment.text for segment in drawn(view)[0] if segment.style.bgcolor == chosen]  # type: ignore[union-attr]
        assert "".join(marked) == "two"


async def test_marks_are_underlined_and_can_be_removed() -> None:
    page = Page()
    async with page.run_test(size=(60, 20)) as pilot:
        view, _ = views(page)
        view.append("It **folds** flat.\n\n- and flies")
        await view.finish()
        await pilot.pause()
        before = drawn(view)
        view.mark("Small. It folds flat. Cheap and good.")
        await pilot.pause()
        underlined = [
            segment.text
            for strip in drawn(view)
            for segment in strip
            if segment.style and segment.style.underline
        ]
        assert underlined == ["flies"]
        assert "It folds flat." in texts(view)
        view.mark(None)
        await pilot.pause()
        assert drawn(view) == before


async def test_a_long_text_is_parsed_in_a_thread() -> None:
    page = Page()
    async with page.run_test(size=(60, 20)) as pilot:
        view, _ = views(page)
        text = "A *word* and another. " * 2000
        view.append(text)
        await view.finish()
        await pilot.pause()
        assert "".join(texts(view)).replace(" ", "") == text.replace("*", "").replace(" ", "")
