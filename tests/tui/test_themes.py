"""Readability: measured contrast, no colours, and reduced motion."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from rich.color import Color
from rich.style import Style
from textual.app import App
from textual.pilot import Pilot
from textual.theme import BUILTIN_THEMES

from engine.config import settings
from engine.core.errors import SettingsError
from tests.engine.backends.openai import server as scripted
from tests.tui.driving import ask, chat, until
from tests.tui.terminals import UTF8, terminal
from tui import themes
from tui.app import BalcaoApp
from tui.widgets.composer import Composer
from tui.widgets.engine_bar import EngineBar
from tui.widgets.turns import SourceCard

AA, AAA = 4.5, 7.0


def luminance(color: Color) -> float:
    """Return the relative luminance that WCAG 2.2 defines."""
    assert color.triplet is not None
    parts = (part / 255 for part in color.triplet)
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(style: Style) -> float:
    """Return the contrast of text and background, 1 to 21."""
    assert style.color
    assert style.bgcolor
    darker, lighter = sorted((luminance(style.color), luminance(style.bgcolor)))
    return (lighter + 0.05) / (darker + 0.05)


def letters(app: App[None]) -> Iterator[tuple[str, Style]]:
    """Return all visible text on the top screen with its style as sent to the terminal."""
    drawn = app.screen._compositor.visible_widgets.items()
    leaves = [(region, clip) for one, (region, clip) in drawn if not one.children]
    widgets = [region.intersection(clip) for region, clip in leaves]
    for line, strip in enumerate(app.screen._compositor.render_strips(app.size)):
        column = 0
        for text, style, _ in strip:
            mine = any(region.contains(column, line) for region in widgets)
            if mine and style and any(char.isalnum() for char in text):
                yield text, style
            column += len(text)


async def look(pilot: Pilot[None], where: str) -> int:
    """Assert the contrast of all text in each of the chat's themes; return how many."""
    seen = 0
    for theme in themes.THEMES.values():
        pilot.app.theme = theme.name
        wanted = AAA if theme.name.startswith("high-contrast") else AA
        for _ in range(100):  # until the screen is drawn in this theme
            await pilot.pause(0.05)
            shown = list(letters(pilot.app))
            weak = [(text, str(style)) for text, style in shown if contrast(style) < wanted]
            if not weak:
                break
        assert not weak, (theme.name, where)
        seen += len(shown)
    return seen


async def test_contrast(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, (100, 30)) as pilot:
        seen = await look(pilot, "welcome")
        await ask(pilot, "Striped Apron")
        await ask(pilot, "The Velvet Submarine Handbook")
        seen += await look(pilot, "several, and none")
        await pilot.press("f2")
        await ask(pilot, "the tin lighthouse")
        pilot.app.notify("Copied.")
        seen += await look(pilot, "an engine that is not ready, and a toast")
        for keys in ("f1", "ctrl+o", "f4", "f3", "ctrl+p"):
            await pilot.press(keys)
            await until(lambda: len(pilot.app.screen_stack) > 1)
            seen += await look(pilot, keys)
            await pilot.app.pop_screen()
        pilot.app.screen.query_one(Composer).insert("/")
        seen += await look(pilot, "commands behind a slash")
    assert seen > 400


async def test_selected_text_can_be_read_in_every_theme(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.streamed(scripted.words("# Folds\n\nIt **folds** `flat`.", "stop"))
    remote = {"model": "m", "base_url": server.url, "max_retries": 0}
    async with chat(catalogue_dir, engines={"openai": remote}) as pilot:
        plain = await ask(pilot, "Canvas Stool, Blue")
        pilot.app.screen.query_one(EngineBar).choose("openai")
        model = await ask(pilot, "Canvas Stool, Blue")
        for view in (plain, model):
            for part in view.query(".words"):
                part.text_select_all()
        themed = [*themes.THEMES.values(), *BUILTIN_THEMES.values()]
        for theme in (theme for theme in themed if not theme.name.startswith("ansi")):
            pilot.app.theme = theme.name
            await pilot.pause(0.05)
            weak = [
                (theme.name, text, contrast(style))
                for text, style in letters(pilot.app)
                if "old" in text and contrast(style) < (AA if theme.name in themes.THEMES else 2)
            ]
            assert not weak


def test_the_scroll_bar_can_be_seen_in_our_themes() -> None:
    for theme in themes.THEMES.values():
        bar = (theme.variables["scrollbar"], theme.variables["scrollbar-background"])
        assert contrast(Style(color=bar[0], bgcolor=bar[1])) >= 3, theme.name


@pytest.mark.parametrize(
    ("environ", "theme"),
    [
        ({"TERM": "xterm-256color"}, "dark"),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "dark"),
        ({"TERM": "xterm-kitty"}, "dark"),
        ({"TERM": "linux"}, "ansi-dark"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "ansi-dark"),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, "dark"),
        ({"TEXTUAL_COLOR_SYSTEM": "truecolor"}, "dark"),
    ],
)
def test_the_default_theme_depends_on_the_terminal(environ: dict[str, str], theme: str) -> None:
    assert themes.theme_for("auto", environ) == theme
    assert themes.theme_for("light", environ) == "light"


def test_an_unknown_theme_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="no theme named “mud”") as told:
        BalcaoApp(settings.load(Path("none"), {}, {"theme": "mud"}))
    assert "high-contrast, high-contrast-light" in told.value.remedy


@pytest.mark.parametrize(
    ("environ", "forms"),
    [
        # Allowed colour sequences: none; the terminal's 16; 256; all.
        ({"NO_COLOR": "1"}, rb"39|49"),
        ({"TERM": "xterm"}, rb"[34]\d|9\d|10\d"),
        ({"TERM": "xterm-256color", "COLORTERM": ""}, rb"[34]8;5;\d+"),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, rb"[34]8;2;\d+;\d+;\d+"),
    ],
)
def test_only_supported_colours_are_sent(
    tmp_path: Path, catalogue_dir: Path, environ: dict[str, str], forms: bytes
) -> None:
    clean = UTF8 | {"NO_COLOR": "", "COLORTERM": ""}
    arguments = ["--catalogue", str(catalogue_dir)]
    with terminal(*arguments, home=tmp_path, environ=clean | environ) as program:
        program.expect("ready ·".encode())
        drawn = program.before
        program.send(b"canvas stool, blue\r")
        program.expect("✓".encode())
        drawn += program.before
        program.send(b"\x11")
        program.expect(pexpect.EOF)
    attributes = rb"(?:[0-9]|2[0-9])"
    allowed = re.compile(rb"(?:%b|%b)?(?:;(?:%b|%b))*" % (attributes, forms, attributes, forms))
    sent = set(re.findall(rb"\x1b\[([\d;]*)m", drawn))
    assert len(sent) > 2
    assert [one for one in sent if not allowed.fullmatch(one)] == []


async def test_reduced_motion(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, motion="reduced") as pilot:
        assert pilot.app.animation_level == "none"
        assert not pilot.app.screen.query_one(Composer).cursor_blink
    async with chat(catalogue_dir) as pilot:
        assert pilot.app.screen.query_one(Composer).cursor_blink


async def test_without_colours_selections_are_marked_by_text_style(
    catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with chat(catalogue_dir) as pilot:

        def marked(mark: str) -> str:
            lines = pilot.app.screen._compositor.render_strips(pilot.app.size)
            return "".join(text for line in lines for text, style, _ in line if mark in str(style))

        view = await ask(pilot, "empty shelf")
        assert "Empty Shelf" not in marked("underline")
        view.query_one(SourceCard).focus()
        await until(lambda: "Empty Shelf" in marked("bold underline"))
        where = view.query_one(".about").region
        await pilot.mouse_down(offset=(where.x, where.y))
        await pilot.hover(offset=(where.x + 8, where.y))
        await until(lambda: marked("reverse").startswith("Catalogue"))
        await pilot.mouse_up(offset=(where.x + 8, where.y))
        await pilot.press("ctrl+o")
        await until(lambda: "empty shelf" in marked("underline"))
