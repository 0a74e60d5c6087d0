"""A turn as Markdown, to be read elsewhere; records stand in it word for word."""

from __future__ import annotations

from engine.conversation import Turn
from engine.text import one_line, printable
from engine.types import Answer
from engine.wording import describe, title_of

_FENCE = "~~~~"


def turn_as_markdown(turn: Turn, titles: dict[str, str]) -> str:
    """The question, the record, and every answer with what is told about it.

    `titles` are the engines' by id. What engines and records say is fenced, so that no mark in it
    is taken for one of the page's.
    """
    answers = [answer for answer in (turn.answer, *turn.others) if answer]
    product = next((answer.product for answer in answers if answer.product), None)
    parts = [f"# {one_line(turn.question)}"]
    if product:
        parts.append(f"## The record: {title_of(product)}\n\n{_fenced(product.description)}")
    parts += [_section(answer, titles.get(answer.engine, answer.engine)) for answer in answers]
    return "\n\n".join(parts) + "\n"


def _section(answer: Answer, title: str) -> str:
    said = answer.text or (answer.problem.message if answer.problem else "")
    return f"## {one_line(title)}\n\n{_fenced(said)}\n\n{describe(answer, source=False)}"


def _fenced(text: str) -> str:
    fence = _FENCE
    while fence in text:
        fence += "~"
    return f"{fence}\n{printable(text)}\n{fence}"
