"""A turn or a conversation as Markdown, to be read elsewhere; records stand in it word for word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.chat.wording import describe, title_of
from engine.core.conversation_part import Turn
from engine.core.i18n import tr
from engine.core.text import one_line, printable
from engine.core.types import Answer

_FENCE = "~~~~"


def turn_as_markdown(turn: Turn, titles: Mapping[str, str], *, level: int = 1) -> str:
    """The question, the record, and every answer with what is told about it.

    `titles` are the engines' by id, `level` is the question's as a heading. What engines and
    records say is fenced, so that no mark in it is taken for one of the page's.
    """
    above, below = "#" * level, "#" * (level + 1)
    product = next((answer.product for answer in turn.answers if answer.product), None)
    parts = [f"{above} {one_line(turn.question)}"]
    if "\n" in turn.question:
        parts.append(_fenced(turn.question))
    if product:
        record = tr("The record: {title}").format(title=title_of(product))
        parts.append(f"{below} {record}\n\n{_fenced(product.description)}")
    chosen = turn.answer if turn.others else None
    for answer in turn.answers:
        title = one_line(titles.get(answer.engine, answer.engine))
        mark = tr(" (chosen)") if answer is chosen and turn.place else ""
        parts.append(f"{below} {title}{mark}\n\n{_said(answer)}")
    return "\n\n".join(parts) + "\n"


def conversation_as_markdown(
    title: str, when: str, turns: Iterable[Turn], titles: Mapping[str, str]
) -> str:
    """A page of a whole conversation; `when` is told under its title."""
    head = f"# {one_line(title)}\n\n{one_line(when)}\n"
    return "\n".join([head, *(turn_as_markdown(turn, titles, level=2) for turn in turns)])


def _said(answer: Answer) -> str:
    said = answer.text or (answer.problem.message if answer.problem else "")
    return f"{_fenced(said)}\n\n{describe(answer, source=False)}"


def _fenced(text: str) -> str:
    fence = _FENCE
    while fence in text:
        fence += "~"
    return f"{fence}\n{printable(text)}\n{fence}"
