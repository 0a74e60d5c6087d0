"""Text that was parsed while it arrived looks as if parsed at once, at every moment."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.style import Style

from engine.core.text import printable
from tests.tui.markdown.documents import cut, documents
from tui.markdown.document import MarkdownDocument
from tui.markdown.layout import BlockLayout, MarkdownStyles

STYLES = MarkdownStyles(
    heading=Style(bold=True, color="red"),
    strong=Style(bold=True),
    em=Style(italic=True),
    strike=Style(strike=True),
    code=Style(color="blue"),
    block=Style(bgcolor="blue"),
    link=Style(color="green"),
    sign=Style(dim=True),
)
WIDTHS = (14, 33, 80)


def drawn(document: MarkdownDocument, width: int) -> list[object]:
    """Return text, styles and position in the copied text of every line."""
    return [
        (
            line.text.plain,
            sorted((span.start, span.end, str(span.style)) for span in line.text.spans),
            (line.row, line.column, str(line.fill)),
        )
        for block in document.blocks
        for line in (block.line(width, place) for place in range(block.height(width)))
    ]


def plain(source: str, width: int = 40) -> list[str]:
    document = MarkdownDocument(STYLES)
    document.feed(source)
    document.read(ended=True)
    lines = (
        block.line(width, place)
        for block in document.blocks
        for place in range(block.height(width))
    )
    return [line.text.plain.rstrip() for line in lines]


@given(documents, st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_pieces_are_rendered_as_if_parsed_at_once(source: str, chance: random.Random) -> None:
    source = printable(source)
    streamed, so_far = MarkdownDocument(STYLES), ""
    for piece in cut(source, chance):
        streamed.feed(piece)
        so_far += piece
        if chance.random() < 0.8:
            streamed.read()
        if chance.random() < 0.05:
            streamed.read()
            fresh = MarkdownDocument(STYLES)
            fresh.feed(so_far)
            fresh.read()
            assert drawn(streamed, 33) == drawn(fresh, 33)
    streamed.read(ended=True)
    whole = MarkdownDocument(STYLES)
    whole.feed(source)
    whole.read(ended=True)
    for width in WIDTHS:
        assert drawn(streamed, width) == drawn(whole, width)


TABLES = ["|a|b|\n|-|-|\n", "| x | y |\n", "| 10 | *y* |\n", "| long " * 9, "|\n", "\n", "- "]


@given(
    st.one_of(documents, st.lists(st.sampled_from(TABLES), max_size=40).map("".join)),
    st.sampled_from(WIDTHS),
    st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_stable_lines_do_not_change(source: str, width: int, chance: random.Random) -> None:
    document, layout = MarkdownDocument(STYLES), BlockLayout()
    before: tuple[list[object], object] = [], None
    for piece in cut(printable(source), chance):
        document.feed(piece)
        document.read()
        layout.set_blocks(document.blocks, document.stable)
        lines = drawn(document, width)
        kept, as_long_as = layout.stable_lines(width)
        assert layout.stable_height <= kept <= len(lines)
        if as_long_as == before[1]:
            assert lines[: len(before[0])] == before[0]
        before = lines[:kept], as_long_as


def test_table_rows_are_stable_until_the_columns_change() -> None:
    document, layout = MarkdownDocument(STYLES), BlockLayout()
    kept = []
    for row in ("|a|b|\n|-|-|\n", "|1|2|\n", "|3|4|\n", "|5|6|\n", "|7|long|\n", "|8|9|\n"):
        document.feed(row)
        document.read()
        layout.set_blocks(document.blocks, document.stable)
        kept.append(layout.stable_lines(40))
    assert kept == [(0, None), (0, None), (3, (1, 1)), (4, (1, 1)), (5, (1, 4)), (6, (1, 4))]


def test_a_table_heading_inside_a_list_stays_an_item() -> None:
    """Parsed alone, the second item would be a table heading."""
    document = MarkdownDocument(STYLES)
    for letter in "- a\n- b|c\n-|-":
        document.feed(letter)
        document.read()
    document.read(ended=True)
    assert [block.line(40, 0).text.plain for block in document.blocks] == ["• a", "• b|c -|-"]


def test_closed_blocks_are_not_parsed_again() -> None:
    document = MarkdownDocument(STYLES)
    for number in range(300):
        document.feed(f"- item **{number}**\n")
        document.read()
        assert document.pending < 50
    for number in range(300):
        document.feed(f"| {number} | b |\n" if number else "\n| a | b |\n|---|---|\n")
        document.read()
        assert document.pending < 50


def test_a_table_that_arrives_with_its_rows_after_a_list_gets_later_rows() -> None:
    document = MarkdownDocument(STYLES)
    for piece in ("- a\n- b\n", "\n|c|d|\n|-|-|\n|1|2|\n", "|3|4|\n", "|5|6|\n"):
        document.feed(piece)
        document.read()
    assert [row for block in document.blocks for row in block.rows(40)][-3:] == [
        "1 │ 2",
        "3 │ 4",
        "5 │ 6",
    ]


def test_a_list_continues_its_numbers() -> None:
    document = MarkdownDocument(STYLES)
    for piece in ("8. a\n", "1. b\n", "1. c\n", "\ntext\n\n", "1. d"):
        document.feed(piece)
        document.read()
    lines = [line.text.plain for block in document.blocks for line in [block.line(40, 0)]]
    assert lines == ["8. a", "9. b", "10. c", "", "text", "", "1. d"]


def test_the_blocks_of_commonmark() -> None:
    source = (
        "# Tea\n*hot* and **black**\n\n- one\n  - inner\n- two\n\n  more\n\n> said\n\n"
        "```\na  b\n```\n\n| x | number |\n|---|--:|\n| y | 1 |\n\n---\n"
    )
    assert plain(source, 20) == [
        "Tea", "", "hot and black", "",
        "• one", "  • inner", "• two", "", "  more", "",
        "▌ said", "", "a  b", "",
        "x │ number", "──┼───────", "y │      1", "", "─" * 20,
    ]  # fmt: skip


def test_links_show_their_address_and_definitions_stay() -> None:
    assert plain("[tea](https://a.b/c) <https://a.b>", 60) == ["tea (https://a.b/c) https://a.b"]
    assert plain("![cup](cup.png) [1]\n\n[1]: https://a.b", 60) == [
        "[cup] (cup.png) [1]", "", "[1]: https://a.b",
    ]  # fmt: skip


def test_html_is_text_and_entities_are_printable() -> None:
    assert plain("<b>bold</b> &#x202e;&amp;&#27;", 60) == ["<b>bold</b> &\ufffd"]


def test_a_wide_table_wraps_its_cells_and_a_narrow_screen_lists_them() -> None:
    source = "| name | what it is |\n|---|---|\n| cup | a thing to drink tea from |\n"
    assert plain(source, 20) == [
        "name │ what it is", "─────┼──────────────", "cup  │ a thing to", "     │ drink tea",
        "     │ from",
    ]  # fmt: skip
    assert plain(source, 9) == [
        "name: cup", "what it", "is: a", "thing to", "drink tea", "from",
    ]  # fmt: skip


def test_deep_nesting_keeps_the_width() -> None:
    assert plain("> " * 500 + "deep", 20)
    assert all(len(line) <= 20 for line in plain("- " * 500 + "deep", 20))


@given(documents)
@settings(max_examples=50, deadline=None)
def test_no_line_is_wider_than_the_screen(source: str) -> None:
    document = MarkdownDocument(STYLES)
    document.feed(printable(source))
    document.read(ended=True)
    for width in WIDTHS:
        for block in document.blocks:
            for place in range(block.height(width)):
                assert block.line(width, place).text.cell_len <= width
