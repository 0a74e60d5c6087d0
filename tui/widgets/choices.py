"""A list of products as an answer: the arrow keys and Enter, or a click, pick one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from engine.catalogue.language.snippets import content_words, spans
from engine.chat.picks import as_question
from engine.core.i18n import tr
from engine.core.text import printable
from engine.core.types import Answer, Hit
from tui.textual_patches.widgets import SolidBackground
from tui.widgets.findable import Findable

_INDENTED = "   "
_LIT = "bold underline"
_TITLE = "bold"
_HIGHLIGHTED = "highlighted"


class _Line(Findable, Static):
    """A line in which hits are lit."""


class ChoiceView(SolidBackground, Vertical):
    """A product of the list: its number and title, and a line of its description."""

    def __init__(
        self, lines: list[str], words: frozenset[str], question: str, omitted: str = ""
    ) -> None:
        """`omitted` is the end of the heading that needs no showing."""
        super().__init__(classes="choice")
        self._lines, self._words = lines, words
        self._number, mark, self._heading = lines[0].partition(". ")
        self._number += mark
        self._heading = self._heading.removesuffix(omitted)
        self._title = _Line(_lit(self._heading, words, _TITLE), markup=False, classes="title")
        self.question = question

    def compose(self) -> ComposeResult:
        with Horizontal(classes="heading"):  # long titles continue below their beginning
            yield Static(self._number, markup=False, classes="number")
            yield self._title
        for line in self._lines[1:]:
            yield _Line(_lit(line, self._words), markup=False, classes="excerpt")

    def highlight(self, highlighted: bool) -> None:
        self.set_class(highlighted, _HIGHLIGHTED)
        # The words are for terminals without colours.
        hint = tr("  Enter picks it") if highlighted else ""
        title = _lit(self._heading, self._words, _TITLE)
        self._title.update(title + Content.styled(hint, "dim"))

    def on_click(self) -> None:
        if not any(part.text_selection for part in self.query(Static)):
            self.post_message(ChoicesView.Picked(self.question))


class ChoicesView(SolidBackground, Vertical):
    """The whole answer. The composer moves the highlight, which is on no product at first."""

    @dataclass
    class Picked(Message):
        """A product was clicked."""

        question: str

    def __init__(self, answer: Answer) -> None:
        super().__init__(classes="choices")
        self._answer = answer
        self._highlighted = -1

    def compose(self) -> ComposeResult:
        words = content_words(self._answer.question)
        for number, lines in _blocks(printable(self._answer.text), self._answer.choices):
            if number:
                hit = self._answer.choices[number - 1]
                lit, question = words.union(hit.lit or ()), as_question(number, hit)
                yield ChoiceView(lines, lit, question, self._omitted(hit))
            else:
                yield _Line("\n".join(lines), markup=False)

    def _omitted(self, hit: Hit) -> str:
        """Return the number behind the title, unless another product of the list has the title."""
        same = [one for one in self._answer.choices if one.product.title == hit.product.title]
        return "" if len(same) > 1 else f" ({hit.product.uid})"

    @property
    def picked(self) -> str:
        """The question that picks the highlighted product, empty without one."""
        choices = self._choices
        return choices[self._highlighted].question if 0 <= self._highlighted < len(choices) else ""

    def move(self, step: int) -> bool:
        """Move the highlight down (1) or up (-1), out of the list above its first product."""
        choices, before = self._choices, self._highlighted
        self._highlighted = max(-1, min(before + step, len(choices) - 1))
        if self._highlighted != before:
            for place, choice in enumerate(choices):
                choice.highlight(place == self._highlighted)
        if self.picked:
            choices[self._highlighted].scroll_visible(animate=False, force=True)
        return bool(self.picked)

    def leave(self) -> None:
        """Highlight no product."""
        self._highlighted = -1
        for choice in self._choices:
            choice.highlight(False)

    @property
    def _choices(self) -> list[ChoiceView]:
        return list(self.query(ChoiceView))


def _blocks(text: str, choices: Sequence[Hit]) -> Iterator[tuple[int, list[str]]]:
    """Split the text into each product's lines, with its number, and the others, with 0."""
    number, last = 0, 0
    block: list[str] = []
    for line in text.splitlines():
        # A line of a description, which is indented too, may begin with a number.
        indent = _INDENTED if last < len(choices) and choices[last].edition else ""
        begins = last < len(choices) and line.startswith(f"{indent}{last + 1}. ")
        if begins or (number and not line.startswith(_INDENTED)):
            yield from [(number, block)] if block else []
            last, block = last + bool(begins), []
            number = last if begins else 0
        block.append(line)
    yield from [(number, block)] if block else []


def _lit(line: str, words: frozenset[str], style: str = "") -> Content:
    content = Content.styled(line, style)
    for start, end in spans(line, words):
        content = content.stylize(_LIT, start, end)
    return content
